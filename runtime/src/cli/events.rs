//! `annals events`

use clap::Args;

use super::{
    error::CliError,
    filter::FilterArgs,
    lists::{PAGE_MAX, at_least_one},
    output::Out,
    text::{compact, escape},
};
use crate::{
    client::{Client, Event, FeedQuery, Follow, FollowItem, HistoryQuery, HistoryStart},
    vocabulary::{AggregateId, AggregateType},
};

/// Arguments of `annals events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only events of this aggregate type
    #[arg(value_name = "TYPE", conflicts_with = "types")]
    pub aggregate_type: Option<AggregateType>,
    /// Only events of this aggregate
    #[arg(conflicts_with_all = ["id_prefix", "include_system"])]
    pub id: Option<AggregateId>,
    /// Go on with events as they happen, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Begin after this cursor: the `position` of an event, or with --follow `now`
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The history of one aggregate, newest first
    #[arg(long, requires = "id", conflicts_with = "follow")]
    pub backward: bool,
    /// The history of one aggregate from this version
    #[arg(long, value_name = "VERSION", requires = "id", conflicts_with = "after")]
    pub from: Option<u64>,
    /// Most events to show
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

impl EventsArgs {
    fn query(&self) -> FeedQuery {
        let types = self.aggregate_type.iter().chain(&self.filter.types);
        FeedQuery {
            after: self.after.clone(),
            aggregate_types: types.map(ToString::to_string).collect(),
            id_prefix: self.filter.id_prefix.clone(),
            filter: self.filter.events(),
            include_system: self.filter.include_system,
            limit: self.limit.map(|limit| limit.min(PAGE_MAX)),
        }
    }

    /// The aggregate, when one is named.
    fn aggregate(&self) -> Option<(&str, &str)> {
        let aggregate_type = self.aggregate_type.as_ref()?;
        Some((aggregate_type.as_str(), self.id.as_ref()?.as_str()))
    }
}

pub(crate) async fn run(client: &Client, args: &EventsArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    if args.follow {
        return tokio::select! {
            result = follow(client, args, out) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    match args.aggregate() {
        Some((aggregate_type, id)) => history(client, args, aggregate_type, id, out).await,
        None => feed(client, args, out).await,
    }
}

async fn history(
    client: &Client,
    args: &EventsArgs,
    aggregate_type: &str,
    id: &str,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    if args.after.is_some() {
        return Err(CliError::usage(
            "--after goes with the whole feed; the history of one aggregate goes by version",
            "use --from VERSION, or --follow",
        ));
    }
    let query = HistoryQuery {
        from: args.from,
        backward: args.backward,
        filter: args.filter.events(),
        limit: args.limit.map(|limit| limit.min(PAGE_MAX)),
    };
    let mut printer = Printer::new(args.limit);
    let mut page = client.history(aggregate_type, id, &query).await?;
    loop {
        printer.print_all(&page.items, out)?;
        let Some(next) = page.next else {
            return Ok(());
        };
        if printer.is_done() {
            printer.more_history(args.backward, out);
            return Ok(());
        }
        page = client.history_next(&next).await?;
    }
}

async fn feed(client: &Client, args: &EventsArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut printer = Printer::new(args.limit);
    let mut page = client.feed(&args.query()).await?;
    loop {
        printer.print_all(&page.events, out)?;
        if printer.is_done() {
            printer.more(out);
            return Ok(());
        }
        if page.caught_up {
            return Ok(());
        }
        page = client.feed_next(&page.next).await?;
    }
}

/// The stream of the feed, or of one aggregate.
fn stream(client: &Client, args: &EventsArgs) -> Follow {
    let Some((aggregate_type, id)) = args.aggregate() else {
        return client.follow(args.query());
    };
    let start = match (args.from, &args.after) {
        (Some(from), _) => HistoryStart::Version(from),
        (None, Some(after)) => HistoryStart::After(after.clone()),
        (None, None) => HistoryStart::Beginning,
    };
    client.follow_history(aggregate_type, id, start, args.filter.events())
}

async fn follow(client: &Client, args: &EventsArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut printer = Printer::new(args.limit);
    let mut follow = stream(client, args);
    let mut was_caught_up = false;
    while !printer.is_done() {
        match follow.next().await? {
            FollowItem::Event(event) => printer.print(&event, out)?,
            FollowItem::CaughtUp if !std::mem::replace(&mut was_caught_up, true) => {
                out.flush()?;
                out.note("-- everything so far is shown; waiting for more (Ctrl-C ends)");
            }
            FollowItem::CaughtUp => {}
            FollowItem::FellBehind => out.note("-- too slow for the live feed; reading on from the store"),
            FollowItem::Reconnecting { cause, wait } => {
                out.flush()?;
                out.note(&format!(
                    "-- {}; trying again in {:.1} s, after the last event shown",
                    escape(&cause.to_string()),
                    wait.as_secs_f64()
                ));
            }
        }
        if !follow.has_arrived() {
            out.flush()?;
        }
    }
    Ok(())
}

/// Prints events, each on a line of its own, in columns that only ever grow.
pub(crate) struct Printer {
    left: usize,
    aggregate_width: usize,
    type_width: usize,
    last_position: Option<String>,
    last_version: Option<u64>,
}

impl Printer {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            left: limit.unwrap_or(usize::MAX),
            aggregate_width: 16,
            type_width: 12,
            last_position: None,
            last_version: None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn print_all(&mut self, events: &[Event], out: &mut Out<'_>) -> Result<(), CliError> {
        events
            .iter()
            .take(self.left)
            .try_for_each(|event| self.print(event, out))
    }

    pub(crate) fn print(&mut self, event: &Event, out: &mut Out<'_>) -> Result<(), CliError> {
        self.left -= 1;
        self.last_position = Some(event.fields.position.clone());
        self.last_version = event.version();
        let raw = event.raw.get();
        if out.is_json() {
            // One event a line, whatever whitespace the server chose.
            return Ok(out.line(&compact(raw))?);
        }
        let line = self.render(event);
        Ok(out.line(&line)?)
    }

    pub(crate) fn render(&mut self, event: &Event) -> String {
        let fields = &event.fields;
        let aggregate = format!("{}/{}", escape(event.aggregate_type()), escape(&fields.subject));
        let event_type = escape(&fields.event_type);
        let version = event
            .version()
            .map_or_else(|| escape(&fields.sequence), |version| version.to_string());
        let data = match (&fields.data, &fields.data_base64) {
            (Some(data), _) => escape(&compact(data.get())),
            (None, Some(base64)) => format!("base64:{}", escape(base64)),
            (None, None) => String::new(),
        };
        self.aggregate_width = self.aggregate_width.max(aggregate.chars().count());
        self.type_width = self.type_width.max(event_type.chars().count());
        let (aggregate_width, type_width) = (self.aggregate_width, self.type_width);
        let time = escape(&fields.time);
        format!("{time}  {aggregate:aggregate_width$}  {version:>6}  {event_type:type_width$}  {data}")
            .trim_end()
            .to_owned()
    }

    /// The limit cut the feed: says how to go on.
    fn more(&self, out: &Out<'_>) {
        if let Some(position) = &self.last_position {
            out.note(&format!("-- to go on: --after {}", escape(position)));
        }
    }

    /// The limit cut a history: says how to go on.
    fn more_history(&self, is_backward: bool, out: &Out<'_>) {
        if let Some(version) = self.last_version {
            let next = if is_backward {
                version.saturating_sub(1)
            } else {
                version + 1
            };
            out.note(&format!("-- to go on: --from {next}"));
        }
    }
}

#[cfg(test)]
mod tests;
