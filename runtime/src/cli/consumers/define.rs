//! Consumers themselves: `list`, `show`, `create`, `delete`, `reset`, `pause` and `resume`.

use clap::Args;
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{error::CliError, filter::FilterArgs, output::Out, text::escape},
    changes::changes,
    stand, words,
};
use crate::{
    client::{
        Answer, Client, ClientError, Consumer, ConsumerFilter, ConsumerSettings, ConsumerStart,
        RetrySettings, WebhookSettings,
    },
    vocabulary::{ConsumerName, Millis},
};

/// Arguments of `annals consumers create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// Which events it wants.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where a new consumer begins: beginning (the default), now, a cursor, or a time such as 2026-11-21T08:30:00Z
    #[arg(long, value_name = "START", value_parser = words::start)]
    pub start: Option<ConsumerStart>,
    /// Events that are fetched at a time when a member does not say
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// Seconds within which an event is to be acknowledged; then it is delivered again
    #[arg(long, value_name = "SECONDS", value_parser = words::seconds)]
    pub ack_deadline: Option<Millis>,
    /// Attempts before an event is parked, the first one included
    #[arg(long, value_name = "N")]
    pub attempts: Option<u32>,
    /// Seconds to wait after the first attempt that failed; they double with each further one
    #[arg(long, value_name = "SECONDS", value_parser = words::seconds)]
    pub first_pause: Option<Millis>,
    /// Seconds that the pauses grow to
    #[arg(long, value_name = "SECONDS", value_parser = words::seconds)]
    pub longest_pause: Option<Millis>,
    /// Events that may be with members at a time
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// aggregate: an aggregate's next event waits until its previous one is acknowledged or parked; none: no event waits
    #[arg(long, value_name = "ORDERING", value_parser = ["aggregate", "none"])]
    pub ordering: Option<String>,
    /// Where the server posts the events to, instead of members fetching them; it must allow the host (serve --webhook-host)
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// event: one event in each request; batch: several
    #[arg(long, value_name = "MODE", value_parser = ["event", "batch"], requires = "webhook")]
    pub webhook_mode: Option<String>,
    /// Requests that may be under way at a time
    #[arg(long, value_name = "N", requires = "webhook")]
    pub webhook_requests: Option<u32>,
    /// Seconds for one request
    #[arg(long, value_name = "SECONDS", value_parser = words::seconds, requires = "webhook")]
    pub webhook_timeout: Option<Millis>,
}

/// Arguments of `annals consumers reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// Where to begin: beginning, now, a cursor, or a time such as 2026-11-21T08:30:00Z
    #[arg(long, value_name = "START", value_parser = words::start)]
    pub to: ConsumerStart,
}

fn wanted(filter: &FilterArgs) -> ConsumerFilter {
    ConsumerFilter {
        types: filter.types.iter().map(ToString::to_string).collect(),
        event_types: filter.event_types.iter().map(ToString::to_string).collect(),
        id_prefix: filter.id_prefix.clone(),
        actor: filter.actor.clone(),
        since: filter.since.clone(),
        until: filter.until.clone(),
        include_system: filter.include_system,
    }
}

impl CreateArgs {
    fn settings(&self) -> ConsumerSettings {
        ConsumerSettings {
            filter: wanted(&self.filter),
            start: self.start.clone(),
            batch: self.batch,
            ack_deadline_ms: self.ack_deadline,
            retry: RetrySettings {
                attempts: self.attempts,
                first_pause_ms: self.first_pause,
                longest_pause_ms: self.longest_pause,
            },
            concurrency: self.concurrency,
            ordering: self.ordering.clone(),
            webhook: self.webhook.as_ref().map(|url| WebhookSettings {
                url: url.clone(),
                mode: self.webhook_mode.clone(),
                timeout_ms: self.webhook_timeout,
                requests: self.webhook_requests,
            }),
        }
    }
}

pub(super) async fn list(client: &Client, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut answer = client.consumers().await?;
    let mut all = Vec::new();
    loop {
        if out.is_json() {
            out.raw(&answer.body)?;
        }
        all.append(&mut answer.value.consumers);
        let Some(next) = answer.value.next else { break };
        answer = client.consumers_next(&next).await?;
    }
    if out.is_json() {
        return Ok(());
    }
    if all.is_empty() {
        out.note("there is no consumer yet; create one with `annals consumers create NAME`");
        return Ok(());
    }
    Ok(out.line(&stand::list(&all))?)
}

pub(super) async fn show(client: &Client, name: &ConsumerName, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client.consumer(name.as_str()).await?;
    print(&answer, out)
}

pub(super) async fn create(client: &Client, args: &CreateArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let name = &args.name;
    // A program compares for itself, if it wants to.
    let before = if out.is_json() {
        Value::Null
    } else {
        present(client, name).await?
    };
    let answer = client.put_consumer(name.as_str(), &args.settings()).await?;
    print(&answer, out)?;
    if answer.status != StatusCode::CREATED {
        out.note(&format!(
            "-- {name} was there already; it goes on behind its checkpoint"
        ));
        for change in changes(&before, &document(&answer)) {
            out.note(&format!("-- {change}"));
        }
        if args.start.is_some() {
            out.note(&format!(
                "-- --start is for a new one; to begin elsewhere: annals consumers reset {name} --to START"
            ));
        }
    }
    Ok(())
}

/// What there is of a consumer; null when there is none.
async fn present(client: &Client, name: &ConsumerName) -> Result<Value, CliError> {
    match client.consumer(name.as_str()).await {
        Ok(answer) => Ok(document(&answer)),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(Value::Null),
        Err(error) => Err(error.into()),
    }
}

fn document(answer: &Answer<Consumer>) -> Value {
    // It was read before.
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

pub(super) async fn delete(client: &Client, name: &ConsumerName, out: &mut Out<'_>) -> Result<(), CliError> {
    client.delete_consumer(name.as_str()).await?;
    if out.is_json() {
        // The server says no more than that it succeeded.
        return Ok(());
    }
    Ok(out.line(&format!("{}  deleted", escape(name.as_str())))?)
}

pub(super) async fn reset(client: &Client, args: &ResetArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client.reset_consumer(args.name.as_str(), &args.to).await?;
    print(&answer, out)
}

pub(super) async fn pause(client: &Client, name: &ConsumerName, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client.pause_consumer(name.as_str()).await?;
    print(&answer, out)
}

pub(super) async fn resume(client: &Client, name: &ConsumerName, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client.resume_consumer(name.as_str()).await?;
    print(&answer, out)
}

fn print(answer: &Answer<Consumer>, out: &mut Out<'_>) -> Result<(), CliError> {
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    Ok(out.line(&stand::whole(&answer.value))?)
}
