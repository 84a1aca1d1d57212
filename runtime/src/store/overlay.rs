//! What is durable in the log and not in the index yet: in memory, bounded, and read before the index, so that a
//! commit which is on its way from here to there is seen in one of the two.
//!
//! The newest commits are in a segment that is added to; the others in sealed ones, each of which becomes a run of the
//! index. The lock is held for look-ups only: whoever looks at many commits does so in a segment that is sealed, or in
//! the pages of the newest one as they were.

mod segment;
mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(super) use self::segment::{Fresh, Member, Pages, Place, Segment, Wanted};
use bytes::Bytes;

use super::{
    Direction, Head,
    format::{Hashing, Malformed, Mark, Sink as _, Walk, text_of},
};
use crate::vocabulary::{AggregateId, AggregateKey, AggregateType, Committed, IdempotencyKey};

/// The commits that wait for the index.
#[derive(Debug)]
pub(super) struct Overlay {
    hashing: Hashing,
    limit: RunLimit,
    inner: Mutex<Inner>,
    /// Told when something came, went, or is asked of the indexer.
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// The oldest first.
    sealed: VecDeque<Arc<Segment>>,
    newest: Segment,
    /// What the sealed ones take.
    sealed_bytes: usize,
    /// Since when the newest segment has something.
    since: Option<Instant>,
    hurry: bool,
}

/// When the indexer should begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimit {
    /// So many events wait.
    pub(super) events: usize,
    /// So many bytes wait.
    pub(super) bytes: usize,
    /// The oldest waits for so long.
    pub(super) after: Duration,
}

impl Overlay {
    /// Nothing yet.
    pub(super) fn new(hashing: Hashing, limit: RunLimit) -> Self {
        Self {
            hashing,
            limit,
            inner: Mutex::new(Inner {
                sealed: VecDeque::new(),
                newest: Segment::new(Mark::START),
                sealed_bytes: 0,
                since: None,
                hurry: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk that is to be added once it is durable; its body is known to be good.
    pub(super) fn fresh(&self, before: Mark, after: Mark, body: Bytes) -> Result<Fresh, Malformed> {
        Fresh::new(self.hashing, before, after, body)
    }

    /// Adds chunks that are durable.
    pub(super) fn add(&self, chunks: Vec<Fresh>) {
        let mut inner = self.lock();
        let mut is_run = false;
        for chunk in chunks {
            inner.newest.add(chunk);
            inner.since.get_or_insert_with(Instant::now);
            if inner.newest.events >= self.limit.events || inner.newest.bytes >= self.limit.bytes {
                inner.cut();
                is_run = true;
            }
        }
        drop(inner);
        if is_run {
            self.changed.notify_all();
        }
    }

    /// The oldest run that is due, or with `all` whatever there is.
    pub(super) fn oldest(&self, all: bool) -> Option<Arc<Segment>> {
        let mut inner = self.lock();
        if inner.sealed.is_empty() && (all || inner.is_old(self.limit)) {
            inner.cut();
        }
        inner.sealed.front().cloned()
    }

    /// Forgets the oldest run, which is in the index by now.
    pub(super) fn remove(&self, run: &Arc<Segment>) {
        let mut inner = self.lock();
        if inner
            .sealed
            .front()
            .is_some_and(|oldest| Arc::ptr_eq(oldest, run))
        {
            inner.sealed.pop_front();
            inner.sealed_bytes -= run.bytes;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until there is room. False when there is none after this time.
    pub(super) fn wait_for_room(&self, bytes_max: usize, patience: Duration) -> bool {
        let mut inner = self.lock();
        if inner.bytes() < bytes_max {
            return true;
        }
        let give_up = Instant::now() + patience;
        while inner.bytes() >= bytes_max {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner.cut();
            self.changed.notify_all();
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Where the oldest chunk begins that waits.
    pub(super) fn begins_at(&self) -> Option<Mark> {
        let inner = self.lock();
        let newest = (!inner.newest.is_empty()).then_some(inner.newest.before);
        inner.sealed.front().map(|oldest| oldest.before).or(newest)
    }

    /// Waits until there is a run to be made, or for at most so long.
    pub(super) fn wait_for_run(&self, at_most: Duration) {
        let give_up = Instant::now() + at_most;
        let mut inner = self.lock();
        while !inner.is_run(self.limit) && !inner.hurry {
            let due = inner.since.and_then(|since| since.checked_add(self.limit.after));
            let left = due
                .map_or(give_up, |due| due.min(give_up))
                .saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.hurry = false;
    }

    /// Wakes the indexer for something else than commits.
    pub(super) fn nudge(&self) {
        self.lock().hurry = true;
        self.changed.notify_all();
    }

    /// What is looked for when an aggregate is.
    pub(super) fn wanted(&self, key: &AggregateKey) -> Wanted {
        Wanted::new(self.hashing, key)
    }

    /// Where an aggregate stands, when it has events here.
    pub(super) fn head(&self, wanted: &Wanted) -> Result<Option<Head>, Malformed> {
        let inner = self.lock();
        let place = inner.newest_first().find_map(|segment| segment.newest(wanted));
        drop(inner);
        place.map(|place| place.head()).transpose()
    }

    /// The commits of an aggregate that hold versions from `low` to `high`, oldest first, of which at most about so
    /// many from the end asked for; with the first version of the aggregate that is here, everything below being in
    /// the index.
    pub(super) fn commits(
        &self,
        wanted: &Wanted,
        (low, high): (u64, u64),
        direction: Direction,
        count: u64,
    ) -> Result<Option<(u64, Vec<Place>)>, Malformed> {
        let mut chains = Vec::new();
        let inner = self.lock();
        for segment in &inner.sealed {
            chains.extend(segment.chain(wanted).map(|chain| (chain, segment.pages())));
        }
        chains.extend(
            inner
                .newest
                .chain(wanted)
                .map(|chain| (chain, inner.newest.pages())),
        );
        drop(inner);
        let Some((oldest, _)) = chains.first() else {
            return Ok(None);
        };
        let first = oldest.first;
        let (low, high) = match direction {
            Direction::Forward => (low.max(first), high.min(low.max(first).saturating_add(count))),
            Direction::Backward => {
                let head = self.head(wanted)?.map_or(0, |head| head.version.0);
                (low.max(high.min(head).saturating_sub(count)), high)
            }
        };
        let found = chains
            .iter()
            .flat_map(|(chain, pages)| pages.between(chain, low, high));
        Ok(Some((first, found.collect())))
    }

    /// The hash of an aggregate's idempotency key.
    pub(super) fn outcome_hash(&self, wanted: &Wanted, idempotency: &IdempotencyKey) -> u64 {
        self.hashing
            .outcome(wanted.hash(), &encoded(idempotency.as_str()))
    }

    /// The commit that an idempotency key, given with its hash, is bound to.
    pub(super) fn outcome(
        &self,
        wanted: &Wanted,
        hash: u64,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, Malformed> {
        let inner = self.lock();
        let found = inner
            .newest_first()
            .find_map(|segment| segment.outcome(wanted, hash, idempotency));
        drop(inner);
        found.map(|place| place.commit().map(Arc::new)).transpose()
    }

    /// Everything that is here now, the oldest first.
    pub(super) fn pages(&self) -> Vec<Pages> {
        let inner = self.lock();
        let mut segments: Vec<_> = inner.sealed.iter().map(|segment| segment.pages()).collect();
        segments.push(inner.newest.pages());
        segments
    }

    /// The aggregates of a type after an id that have something here, in order, with where they stand; at most so many.
    pub(super) fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, Malformed> {
        let segments = self.pages();
        let of_type = encoded(aggregate_type.as_str());
        let mut found = BTreeMap::new();
        for pages in segments.iter().rev() {
            for (name, place) in pages.newest_of(&of_type) {
                let id = Walk::new(name.get(of_type.len()..).unwrap_or_default()).text()?;
                let id = text_of(id)?;
                if after.is_some_and(|after| *id <= *after.as_str()) {
                    continue;
                }
                found.entry(id.into_owned()).or_insert(place);
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        let parsed = found.into_iter().map(|(id, place)| {
            let id = AggregateId::parse(&id).map_err(|_| Malformed("aggregate id"))?;
            Ok((id, place.head()?))
        });
        parsed.collect()
    }
}

/// A text as it stands in a commit.
fn encoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.text(text);
    bytes
}

impl Inner {
    fn newest_first(&self) -> impl Iterator<Item = &Segment> {
        std::iter::once(&self.newest).chain(self.sealed.iter().rev().map(|segment| &**segment))
    }

    fn bytes(&self) -> usize {
        self.sealed_bytes + self.newest.bytes
    }

    fn is_old(&self, limit: RunLimit) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= limit.after)
    }

    fn is_run(&self, limit: RunLimit) -> bool {
        !self.sealed.is_empty() || self.is_old(limit)
    }

    /// Makes the newest segment a run.
    fn cut(&mut self) {
        if self.newest.is_empty() {
            return;
        }
        let after = self.newest.after;
        let segment = std::mem::replace(&mut self.newest, Segment::new(after));
        self.sealed_bytes += segment.bytes;
        self.sealed.push_back(Arc::new(segment));
        self.since = None;
    }
}
