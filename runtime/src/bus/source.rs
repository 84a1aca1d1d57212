//! What a subscription follows: the whole log, or one aggregate.

use crate::{
    store::{EventStore, FeedFilter, FeedPage, PageLimit, ReadError},
    vocabulary::{AggregateKey, Commit, NewEvent, Position, Version},
};

use super::History;

/// What a subscription follows.
#[derive(Debug, Clone)]
pub enum Source {
    /// The whole log, as far as a filter wants it.
    Feed(FeedFilter),
    /// One aggregate.
    History(History),
}

impl From<FeedFilter> for Source {
    fn from(filter: FeedFilter) -> Self {
        Self::Feed(filter)
    }
}

impl From<History> for Source {
    fn from(history: History) -> Self {
        Self::History(history)
    }
}

/// A page, and where a history goes on.
#[derive(Debug)]
pub(super) struct SourcePage {
    pub(super) page: FeedPage,
    next: Option<Version>,
}

impl Source {
    /// Reads the next page after a position.
    pub(super) fn read(
        &self,
        store: &dyn EventStore,
        after: Position,
        limit: PageLimit,
    ) -> Result<SourcePage, ReadError> {
        match self {
            Self::Feed(filter) => Ok(SourcePage {
                page: store.feed(after, filter, limit)?,
                next: None,
            }),
            Self::History(history) => {
                let (page, next) = history.read(store, after, limit)?;
                let next = Some(next);
                Ok(SourcePage { page, next })
            }
        }
    }

    /// Takes note of a page that was read.
    pub(super) fn passed_page(&mut self, page: &SourcePage) {
        if let (Self::History(history), Some(next)) = (self, page.next) {
            history.go_on_at(next);
        }
    }

    /// Whether anything of an aggregate can be wanted.
    pub(super) fn may_want(&self, key: &AggregateKey) -> bool {
        match self {
            Self::Feed(_) => true,
            Self::History(history) => history.is_of(key),
        }
    }

    /// Whether any event of a commit can be wanted: asked before its events are looked at.
    pub(super) fn wants_commit(&self, commit: &Commit) -> bool {
        match self {
            Self::Feed(filter) => filter.wants_commit(commit),
            Self::History(history) => history.wants_commit(commit),
        }
    }

    /// Whether an event of a commit that can be wanted is.
    pub(super) fn wants_event(&self, commit: &Commit, index: usize, event: &NewEvent) -> bool {
        match self {
            Self::Feed(filter) => filter.wants_kind(&commit.key.aggregate_type, &event.event_type),
            Self::History(history) => history.wants_event(commit, index, event),
        }
    }

    /// Takes note of a commit that was looked at.
    pub(super) fn passed_commit(&mut self, commit: &Commit) {
        if let Self::History(history) = self {
            history.passed(commit);
        }
    }
}
