//! The grammar of the command line.

use clap::{Args, Parser, Subcommand};

use super::{
    bench::BenchArgs, build::BuildArgs, consumers::ConsumersArgs, demo::DemoArgs, deploy::DeployArgs,
    events::EventsArgs, exit::Exit, lists::TypesArgs, load::LoadArgs, send::SendArgs, serve::ServeArgs,
    state::StateArgs,
};
use crate::client::{BaseUrl, Client};

/// An event-sourcing server that runs your aggregates as sandboxed WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "annals", version, max_term_width = 100, after_help = Exit::help(), after_long_help = Exit::help())]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The server to talk to
    #[arg(
        long,
        global = true,
        env = "ANNALS_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    pub server: BaseUrl,
    /// Write JSON for programs: the server's own, or a summary as documented in docs/cli.md
    #[arg(long, global = true)]
    pub json: bool,
}

impl GlobalArgs {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.server.clone())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server
    Serve(ServeArgs),
    /// Build an aggregate's crate into a component
    Build(BuildArgs),
    /// Upload a module, and build it first when it is a crate
    Deploy(DeployArgs),
    /// Send a command to an aggregate
    Send(SendArgs),
    /// Show the state of an aggregate
    State(StateArgs),
    /// Show the events of an aggregate or of all, or follow them
    Events(EventsArgs),
    /// Durable consumers: create them, take their events, see what is parked
    Consumers(ConsumersArgs),
    /// List the aggregate types, or the aggregates of one
    Types(TypesArgs),
    /// List the uploaded modules
    Modules,
    /// Send many commands from a file of JSON lines
    Load(LoadArgs),
    /// Measure a module on this machine: a server of its own, commands over HTTP, and its log checked at the end
    Bench(BenchArgs),
    /// See everything at once: a server, an account, commands, state, history, the live feed, a crash
    Demo(DemoArgs),
}

#[cfg(test)]
mod tests;
