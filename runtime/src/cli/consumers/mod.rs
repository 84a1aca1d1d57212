//! `annals consumers`: durable consumers, their deliveries and what is parked.

mod changes;
mod define;
mod deliver;
mod leases;
mod parked;
mod secret;
mod stand;
mod words;

use clap::{Args, Subcommand};

use super::{error::CliError, output::Out};
use crate::{client::Client, vocabulary::ConsumerName};
use define::{CreateArgs, ResetArgs};
use deliver::FetchArgs;
use leases::{LeasesArgs, NackArgs};
use parked::{ParkedArgs, ReplayArgs, SkipArgs};
use secret::RotateArgs;

/// Arguments of `annals consumers`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct ConsumersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ConsumersCommand,
}

/// What can be done with consumers.
#[derive(Debug, Subcommand)]
pub enum ConsumersCommand {
    /// List the consumers, and how far each is behind
    List,
    /// Show a consumer: what it was asked to be, and how it stands
    Show(NameArgs),
    /// Create a consumer, or change the one there is: what is not said has its default
    Create(Box<CreateArgs>),
    /// Delete a consumer, with its place in the log and with what is parked
    Delete(NameArgs),
    /// Take the next events, each with a lease by which it is acknowledged
    Fetch(FetchArgs),
    /// Acknowledge events: they are done
    Ack(LeasesArgs),
    /// Give events back: they are delivered again later, or parked
    Nack(NackArgs),
    /// Take more time: leases last as long as at the beginning, from now on
    Extend(LeasesArgs),
    /// List the parked aggregates with why they are, or show the parked events of one
    Parked(ParkedArgs),
    /// Deliver parked events again, in order
    Replay(ReplayArgs),
    /// Leave parked events out for good
    Skip(SkipArgs),
    /// Begin anew elsewhere; leases and what is parked are void
    Reset(ResetArgs),
    /// Stop delivering; what is leased can be acknowledged
    Pause(NameArgs),
    /// Deliver again, and try the receiver of a webhook at once
    Resume(NameArgs),
    /// Put another secret of a webhook in force; the one before signs beside it for a while
    RotateSecret(RotateArgs),
}

/// Which consumer.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
}

impl ConsumersArgs {
    /// The leases that are named, also those that standard input names, or the secret that is given. It may wait for
    /// standard input.
    pub(crate) fn given(&self) -> Result<Vec<String>, CliError> {
        match &self.command {
            ConsumersCommand::Ack(args) | ConsumersCommand::Extend(args) => leases::named(&args.leases),
            ConsumersCommand::Nack(args) => leases::named(&args.of.leases),
            ConsumersCommand::RotateSecret(args) => Ok(secret::given(args)?.into_iter().collect()),
            _ => Ok(Vec::new()),
        }
    }
}

pub(crate) async fn run(
    client: &Client,
    args: &ConsumersArgs,
    given: &[String],
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match &args.command {
        ConsumersCommand::List => define::list(client, out).await,
        ConsumersCommand::Show(args) => define::show(client, &args.name, out).await,
        ConsumersCommand::Create(args) => define::create(client, args, out).await,
        ConsumersCommand::Delete(args) => define::delete(client, &args.name, out).await,
        ConsumersCommand::Fetch(args) => deliver::fetch(client, args, out).await,
        ConsumersCommand::Ack(args) => leases::ack(client, args, given, out).await,
        ConsumersCommand::Nack(args) => leases::nack(client, args, given, out).await,
        ConsumersCommand::Extend(args) => leases::extend(client, args, given, out).await,
        ConsumersCommand::Parked(args) => parked::parked(client, args, out).await,
        ConsumersCommand::Replay(args) => parked::replay(client, args, out).await,
        ConsumersCommand::Skip(args) => parked::skip(client, args, out).await,
        ConsumersCommand::Reset(args) => define::reset(client, args, out).await,
        ConsumersCommand::Pause(args) => define::pause(client, &args.name, out).await,
        ConsumersCommand::Resume(args) => define::resume(client, &args.name, out).await,
        ConsumersCommand::RotateSecret(args) => {
            let given = given.first().map(String::as_str);
            secret::rotate(client, args, given, out).await
        }
    }
}

#[cfg(test)]
mod tests;
