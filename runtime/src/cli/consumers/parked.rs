//! What a consumer could not handle: `parked`, `replay` and `skip`.

use clap::Args;

use super::super::{
    error::CliError,
    events::Printer,
    lists::{PAGE_MAX, at_least_one},
    output::Out,
    text::{compact, count, escape, plural, table},
};
use crate::{
    client::{Client, Parked, ParkedKey, Verbatim},
    vocabulary::{AggregateId, AggregateType, ConsumerName},
};

/// Arguments of `annals consumers parked`.
#[derive(Debug, Args)]
pub struct ParkedArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// Show the parked events of this aggregate instead
    #[arg(value_name = "TYPE", requires = "id")]
    pub aggregate_type: Option<AggregateType>,
    /// Which aggregate, for example alice
    pub id: Option<AggregateId>,
    /// The one event with this version, where each is parked by itself (--ordering none)
    #[arg(long, value_name = "VERSION", requires = "id")]
    pub version: Option<u64>,
    /// Most aggregates or events to show
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

/// Arguments of `annals consumers replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// The aggregate's type, for example account
    #[arg(
        value_name = "TYPE",
        requires = "id",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub aggregate_type: Option<AggregateType>,
    /// Which aggregate, for example alice
    #[arg(required_unless_present = "all")]
    pub id: Option<AggregateId>,
    /// Everything that is parked
    #[arg(long)]
    pub all: bool,
    /// The one event with this version, where each is parked by itself (--ordering none)
    #[arg(long, value_name = "VERSION", conflicts_with = "all")]
    pub version: Option<u64>,
}

/// Arguments of `annals consumers skip`.
#[derive(Debug, Args)]
pub struct SkipArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// The aggregate's type, for example account
    #[arg(value_name = "TYPE")]
    pub aggregate_type: AggregateType,
    /// Which aggregate, for example alice
    pub id: AggregateId,
    /// Why: it stays in the consumer's history
    #[arg(long)]
    pub reason: String,
    /// Only the events up to this version; those after it are delivered again with `replay`
    #[arg(long, value_name = "VERSION")]
    pub through: Option<u64>,
    /// The one event with this version, where each is parked by itself (--ordering none)
    #[arg(long, value_name = "VERSION", conflicts_with = "through")]
    pub version: Option<u64>,
}

fn key<'a>(aggregate_type: &'a AggregateType, id: &'a AggregateId, version: Option<u64>) -> ParkedKey<'a> {
    ParkedKey {
        aggregate_type: aggregate_type.as_str(),
        id: id.as_str(),
        version,
    }
}

pub(super) async fn parked(client: &Client, args: &ParkedArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    match (&args.aggregate_type, &args.id) {
        (Some(aggregate_type), Some(id)) => {
            events(client, args, key(aggregate_type, id, args.version), out).await
        }
        _ => aggregates(client, args, out).await,
    }
}

async fn aggregates(client: &Client, args: &ParkedArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut left = args.limit.unwrap_or(usize::MAX);
    let page_size = args.limit.map(|limit| limit.min(PAGE_MAX));
    let mut page = client.parked(args.name.as_str(), page_size).await?;
    if page.items.is_empty() {
        out.note(&format!("nothing of {} is parked", args.name));
    }
    let mut is_first = true;
    let mut any_alone = false;
    loop {
        page.items.truncate(left);
        left -= page.items.len();
        any_alone |= page.items.iter().any(|parked| parked.value.alone.is_some());
        if out.is_json() {
            for parked in &page.items {
                out.line(&compact(parked.raw.get()))?;
            }
        } else if !page.items.is_empty() {
            out.line(&rows(&page.items, is_first))?;
            is_first = false;
        }
        let Some(next) = page.next.filter(|_| left > 0) else {
            break;
        };
        page = client.parked_next(&next).await?;
    }
    if any_alone {
        out.note("-- each of these events is parked by itself: name it with --version");
    }
    Ok(())
}

fn rows(page: &[Verbatim<Parked>], with_heading: bool) -> String {
    let mut rows = Vec::with_capacity(page.len() + 1);
    if with_heading {
        let heading = [
            "AGGREGATE",
            "VERSION",
            "EVENTS",
            "ATTEMPTS",
            "STATUS",
            "SINCE",
            "LAST ERROR",
        ];
        rows.push(heading.map(str::to_owned).to_vec());
    }
    rows.extend(page.iter().map(|Verbatim { value: parked, .. }| {
        vec![
            aggregate(parked),
            parked.first_version.to_string(),
            count(parked.events),
            parked.attempts.to_string(),
            status(parked).to_owned(),
            escape(&parked.parked_at),
            escape(&parked.last_error),
        ]
    }));
    table(&rows)
}

fn aggregate(parked: &Parked) -> String {
    format!("{}/{}", escape(&parked.aggregate_type), escape(&parked.id))
}

fn status(parked: &Parked) -> &'static str {
    if parked.replaying { "replaying" } else { "parked" }
}

async fn events(
    client: &Client,
    args: &ParkedArgs,
    key: ParkedKey<'_>,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let page_size = args.limit.map(|limit| limit.min(PAGE_MAX));
    let mut found = client.parked_events(args.name.as_str(), key, page_size).await?;
    if !out.is_json() {
        let parked = &found.parked;
        out.line(&format!(
            "{}  {} since {} after {}: {}",
            aggregate(parked),
            status(parked),
            escape(&parked.parked_at),
            plural(parked.attempts.into(), "attempt"),
            escape(&parked.last_error)
        ))?;
    }
    let mut printer = Printer::new(args.limit);
    loop {
        printer.print_all(&found.page.items, out)?;
        let Some(next) = found.page.next.filter(|_| !printer.is_done()) else {
            return Ok(());
        };
        found = client.parked_events_next(&next).await?;
    }
}

pub(super) async fn replay(client: &Client, args: &ReplayArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let named = args.aggregate_type.as_ref().zip(args.id.as_ref());
    let named = named.map(|(aggregate_type, id)| key(aggregate_type, id, args.version));
    let answer = client.replay(args.name.as_str(), named).await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    let aggregates = answer.value.replaying_aggregates;
    if aggregates == 0 {
        out.note(&format!("nothing of {} is parked", args.name));
        return Ok(());
    }
    Ok(out.line(&format!(
        "{} delivered again",
        plural(aggregates, "parked aggregate")
    ))?)
}

pub(super) async fn skip(client: &Client, args: &SkipArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let key = key(&args.aggregate_type, &args.id, args.version);
    let answer = client
        .skip(args.name.as_str(), key, args.through, &args.reason)
        .await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    Ok(out.line(&format!(
        "{} left out for good",
        plural(answer.value.skipped, "event")
    ))?)
}
