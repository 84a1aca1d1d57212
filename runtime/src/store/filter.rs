//! Which events of the log a reader wants.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::format::{Malformed, Scan, Walk, text_of};
use crate::vocabulary::{
    AggregateType, Commit, ContextRecord, EventType, Millis, RecordedEvent, ids::SYSTEM_TYPE_PREFIX,
};

/// Which events of the whole log are wanted: those that every part of it lets through. An empty part lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedFilter {
    /// Only aggregates of these types; empty for all that are not the server's own.
    #[serde(rename = "types", alias = "aggregate_types")]
    pub aggregate_types: Vec<AggregateType>,
    /// Only events with one of these names; empty for all.
    pub event_types: Vec<EventType>,
    /// Only aggregates whose id begins with this.
    pub id_prefix: Option<String>,
    /// Only what this actor asked for.
    pub actor: Option<String>,
    /// Only what was recorded at this time or later.
    pub since: Option<Millis>,
    /// Only what was recorded before this time.
    pub until: Option<Millis>,
    /// Whether the server's own aggregates (`annals-…`) are wanted as well.
    pub include_system: bool,
}

impl FeedFilter {
    /// Everything there is, the server's own events too.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            include_system: true,
            ..Self::default()
        }
    }

    /// The events of one aggregate type.
    #[must_use]
    pub fn of_type(aggregate_type: AggregateType) -> Self {
        Self {
            aggregate_types: vec![aggregate_type],
            ..Self::default()
        }
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &RecordedEvent) -> bool {
        self.wants_kind(&event.key.aggregate_type, &event.event_type)
            && self.wants_origin(
                event.key.aggregate_id.as_str(),
                event.origin.actor.as_deref(),
                event.recorded_at,
            )
    }

    /// Whether any event of a commit can be wanted, as far as aggregate, actor and time say: a look at the commit
    /// before its events are taken apart.
    #[must_use]
    pub fn wants_commit(&self, commit: &Commit) -> bool {
        let ContextRecord { actor, now, .. } = &commit.context;
        self.wants_type(commit.key.aggregate_type.as_str())
            && self.wants_origin(commit.key.aggregate_id.as_str(), actor.as_deref(), *now)
    }

    /// Whether any event of a commit can be wanted, by a look at its bytes before it is decoded.
    pub(super) fn wants_any_of(&self, scan: &Scan<'_>) -> Result<bool, Malformed> {
        let mut walk = Walk::new(scan.aggregate);
        if !self.wants_type(&text_of(walk.text()?)?) {
            return Ok(false);
        }
        let actor = match scan.actor {
            [0] => None,
            actor => Some(text_of(actor)?),
        };
        let id = match self.id_prefix {
            None => "".into(),
            Some(_) => text_of(walk.text()?)?,
        };
        if !self.wants_origin(&id, actor.as_deref(), scan.now) {
            return Ok(false);
        }
        if self.event_types.is_empty() {
            return Ok(true);
        }
        for event_type in scan.event_types() {
            if self.wants_name(&text_of(event_type?)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many events of a commit, at these positions, the types let through.
    pub(super) fn count_of(
        &self,
        scan: &Scan<'_>,
        first_position: u64,
        positions: &Range<u64>,
    ) -> Result<u64, Malformed> {
        if !self.wants_type(&text_of(scan.aggregate_type()?)?) {
            return Ok(0);
        }
        let mut events = 0;
        for (position, event_type) in (first_position..).zip(scan.event_types()) {
            let wanted = self.wants_name(&text_of(event_type?)?);
            events += u64::from(wanted && positions.contains(&position));
        }
        Ok(events)
    }

    /// Whether events of this name of aggregates of this type are wanted: the part that an index can answer.
    #[must_use]
    pub fn wants_kind(&self, aggregate_type: &AggregateType, event_type: &EventType) -> bool {
        self.wants_type(aggregate_type.as_str()) && self.wants_name(event_type.as_str())
    }

    /// Whether it names types: then an index can say where to look.
    pub(super) fn names_types(&self) -> bool {
        !self.aggregate_types.is_empty() || !self.event_types.is_empty()
    }

    /// Whether it says nothing but which types are wanted: then all that its types let through is wanted.
    #[must_use]
    pub fn is_by_kind_alone(&self) -> bool {
        self.id_prefix.is_none() && self.actor.is_none() && self.since.is_none() && self.until.is_none()
    }

    fn wants_type(&self, aggregate_type: &str) -> bool {
        if self.aggregate_types.is_empty() {
            self.include_system || !aggregate_type.starts_with(SYSTEM_TYPE_PREFIX)
        } else {
            self.aggregate_types
                .iter()
                .any(|wanted| wanted.as_str() == aggregate_type)
        }
    }

    fn wants_name(&self, event_type: &str) -> bool {
        self.event_types.is_empty()
            || self
                .event_types
                .iter()
                .any(|wanted| wanted.as_str() == event_type)
    }

    fn wants_origin(&self, id: &str, actor: Option<&str>, recorded_at: Millis) -> bool {
        // Not an empty prefix for none: comparing nothing at no address takes some processors hundreds of cycles.
        self.id_prefix
            .as_deref()
            .is_none_or(|prefix| id.starts_with(prefix))
            && self.actor.as_deref().is_none_or(|wanted| actor == Some(wanted))
            && self.since.is_none_or(|since| recorded_at >= since)
            && self.until.is_none_or(|until| recorded_at < until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::vocabulary::{
        AggregateId, AggregateKey, CommandName, ModuleDigest, Origin, Position, Version,
    };

    fn event(kind: &str, id: &str, name: &str) -> RecordedEvent {
        RecordedEvent {
            key: AggregateKey::new(
                AggregateType::parse(kind).unwrap(),
                AggregateId::parse(id).unwrap(),
            ),
            version: Version(1),
            position: Position(1),
            event_type: EventType::parse(name).unwrap(),
            schema: 1,
            recorded_at: 1_000,
            payload: Bytes::new(),
            origin: Arc::new(Origin {
                command: CommandName::parse("do").unwrap(),
                command_id: "c".into(),
                correlation_id: "c".into(),
                causation_id: None,
                actor: Some("anna".into()),
                traceparent: None,
                module: ModuleDigest([0; 32]),
            }),
        }
    }

    #[test]
    fn every_part_must_let_an_event_through() {
        let types = |names: &[&str]| {
            names
                .iter()
                .map(|name| AggregateType::parse(name).unwrap())
                .collect()
        };
        let events = |names: &[&str]| names.iter().map(|name| EventType::parse(name).unwrap()).collect();
        let all = FeedFilter::default;
        let found = event("account", "alice", "opened");
        for (filter, wanted) in [
            (all(), true),
            (
                FeedFilter {
                    aggregate_types: types(&["order", "account"]),
                    ..all()
                },
                true,
            ),
            (
                FeedFilter {
                    aggregate_types: types(&["order"]),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    event_types: events(&["closed", "opened"]),
                    ..all()
                },
                true,
            ),
            (
                FeedFilter {
                    event_types: events(&["closed"]),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    id_prefix: Some("ali".into()),
                    ..all()
                },
                true,
            ),
            (
                FeedFilter {
                    id_prefix: Some("alicia".into()),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    actor: Some("anna".into()),
                    ..all()
                },
                true,
            ),
            (
                FeedFilter {
                    actor: Some("ann".into()),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    since: Some(1_000),
                    until: Some(1_001),
                    ..all()
                },
                true,
            ),
            (
                FeedFilter {
                    since: Some(1_001),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    until: Some(1_000),
                    ..all()
                },
                false,
            ),
            (
                FeedFilter {
                    event_types: events(&["opened"]),
                    actor: Some("bert".into()),
                    ..all()
                },
                false,
            ),
        ] {
            assert_eq!(filter.wants(&found), wanted, "{filter:?}");
        }
    }

    #[test]
    fn the_servers_own_events_are_asked_for() {
        let own = event("annals-deployment", "account", "activated");
        let by_name = FeedFilter::of_type(own.key.aggregate_type.clone());
        for (filter, wanted) in [
            (FeedFilter::default(), false),
            (FeedFilter::everything(), true),
            (by_name, true),
        ] {
            assert_eq!(filter.wants(&own), wanted, "{filter:?}");
        }
    }
}
