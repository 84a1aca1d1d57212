//! Which events a command is about: the options for it, and times as they are written.

use clap::Args;

use crate::{
    client::EventFilter,
    vocabulary::{AggregateType, EventType},
};

/// Which events: those that fit all that is said.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only events of these aggregate types: several with commas, or given again
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<AggregateType>,
    /// Only events of aggregates whose id begins with this
    #[arg(long, value_name = "TEXT")]
    pub id_prefix: Option<String>,
    /// Only events with these names: several with commas, or given again
    #[arg(long = "event-type", value_name = "NAME", value_delimiter = ',')]
    pub event_types: Vec<EventType>,
    /// Only what this actor asked for
    #[arg(long)]
    pub actor: Option<String>,
    /// Only what was recorded at this time or later, such as 2026-11-21T08:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<String>,
    /// Only what was recorded before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<String>,
    /// With the server's own events: deployments and the like
    #[arg(long)]
    pub include_system: bool,
}

impl FilterArgs {
    /// What of it a history has, too.
    pub(super) fn events(&self) -> EventFilter {
        EventFilter {
            event_types: self.event_types.iter().map(ToString::to_string).collect(),
            actor: self.actor.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
        }
    }
}

/// A time, as the server reads it too.
pub(super) fn time(text: &str) -> Result<String, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be a time such as 2026-11-21T08:30:00Z".to_owned()),
    }
}
