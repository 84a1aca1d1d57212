//! What is parked: looking at it, delivering it again, leaving it out.

use crate::{
    store::{Direction, PageLimit, ReadError},
    vocabulary::{AggregateKey, ConsumerName, RecordedEvent, Version},
};

use super::{
    error::ConsumerError,
    journal::{Change, Skipped},
    progress::{LaneKey, ParkedEvents, ParkedRefused, ParkedSummary, Skip},
    service::Consumers,
    status::aggregates_of,
};

/// Events of a parked aggregate that are counted at a time.
const COUNT_EVENTS: usize = 1_000;
/// Damaged events that one skip counts past, each by a read of its own.
const COUNT_DAMAGED: u64 = 1_000;

/// Parked events of one aggregate, or one event where each is by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedLane {
    /// Whose.
    pub lane: LaneKey,
    /// Since when, why, and how many.
    pub parked: ParkedSummary,
}

/// Parked events, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedPage {
    /// Why the first one is parked.
    pub lane: ParkedLane,
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// The version to go on from; none when there are no more.
    pub next: Option<Version>,
}

impl Consumers {
    /// Parked aggregates in order, after one of them.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn parked(
        &self,
        name: &ConsumerName,
        after: Option<&LaneKey>,
        most: usize,
    ) -> Result<Vec<ParkedLane>, ConsumerError> {
        let consumer = self.find(name)?;
        let state = consumer.lock();
        let later = state.progress.parked_after(after);
        let lanes = later.take(most).map(|(lane, parked)| ParkedLane {
            lane: lane.clone(),
            parked: parked.summary(),
        });
        Ok(lanes.collect())
    }

    /// The parked events of an aggregate from a version on. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn parked_events(
        &self,
        name: &ConsumerName,
        lane: &LaneKey,
        from: Option<Version>,
        page: PageLimit,
    ) -> Result<ParkedPage, ConsumerError> {
        let consumer = self.find(name)?;
        let (parked, which) = {
            let state = consumer.lock();
            let parked = state
                .progress
                .parked_lane(lane)
                .map_err(|refused| refuse(lane, refused))?;
            (parked.summary(), state.progress.parked_events(parked))
        };
        let first = from.map_or(which.first(), |from| from.max(which.first()));
        let page = PageLimit {
            events: if lane.alone.is_some() { 1 } else { page.events },
            ..page
        };
        let mut events = self
            .store
            .history(&lane.aggregate, first, Direction::Forward, page)?;
        let last = events.last().map(|event| event.version);
        let more = last.filter(|version| *version < which.last());
        events.retain(|event| which.have(event));
        Ok(ParkedPage {
            lane: ParkedLane {
                lane: lane.clone(),
                parked,
            },
            events,
            next: more.map(|version| version.plus(1)),
        })
    }

    /// Delivers parked events again, in order; the later ones of the aggregate follow. None for all aggregates. Gives how
    /// many aggregates. It blocks; [`Self::once_written`] completes once a restart does not make them parked again.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn replay(&self, name: &ConsumerName, lane: Option<&LaneKey>) -> Result<usize, ConsumerError> {
        // A skip that has been allowed, and is being recorded, comes first.
        let _changing = self.change();
        let consumer = self.find(name)?;
        let replayed = {
            let mut state = consumer.lock();
            let lanes: Vec<LaneKey> = match lane {
                Some(lane) => vec![lane.clone()],
                None => {
                    let parked = state.progress.parked().filter(|(_, parked)| !parked.replaying);
                    parked.map(|(lane, _)| lane.clone()).collect()
                }
            };
            for lane in &lanes {
                let replayed = state.progress.replay(lane);
                replayed.map_err(|refused| refuse(lane, refused))?;
            }
            state.changed();
            aggregates_of(lanes.iter())
        };
        consumer.wake();
        self.keep(&consumer);
        Ok(replayed)
    }

    /// Leaves out parked events of an aggregate for good: all, or those up to a version, and gives how many. The reason
    /// becomes part of the consumer's own history, unless there is nothing to leave out. It blocks; [`Self::once_written`]
    /// completes once it cannot be forgotten any more.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn skip(
        &self,
        name: &ConsumerName,
        lane: &LaneKey,
        through: Option<Version>,
        reason: String,
    ) -> Result<u64, ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(name)?;
        let (parked, which, described) = {
            let state = consumer.lock();
            let parked = state
                .progress
                .parked_lane(lane)
                .map_err(|refused| refuse(lane, refused))?;
            let which = state.progress.parked_events(parked);
            (parked.summary(), which, state.described.clone())
        };
        if parked.replaying {
            return Err(refuse(lane, ParkedRefused::Replaying));
        }
        let events = match through {
            Some(version) => match self.count_parked(lane, &which, version)? {
                0 => return Ok(0),
                events => events,
            },
            None => parked.count,
        };
        // What is parked while this is being recorded is none of it.
        let through = through.unwrap_or(which.last()).min(which.last());
        let skipped = Skipped {
            aggregate: lane.aggregate.clone(),
            from: which.first(),
            through: Some(through),
            reason,
        };
        self.record_with(name, Change::Skipped, &described, Some(skipped))?;
        let skip = Skip {
            which,
            through,
            events,
        };
        let mut state = consumer.lock();
        let done = state.progress.skip(lane, &skip);
        done.map_err(|refused| refuse(lane, refused))?;
        state.changed();
        drop(state);
        consumer.wake();
        self.keep(&consumer);
        Ok(events)
    }

    /// What came of a replay or a skip, once what the answer rests on is written down: what it did, or where there was
    /// nothing to do, what one before it did, which may have been told that it is to be sent again.
    ///
    /// # Errors
    /// What came of it; [`ConsumerError::NotWritten`].
    pub async fn once_written<T>(
        &self,
        name: &ConsumerName,
        came: Result<T, ConsumerError>,
    ) -> Result<T, ConsumerError> {
        if matches!(came, Ok(_) | Err(ConsumerError::Parked { .. })) {
            self.written_down(name).await?;
        }
        came
    }

    /// Completes once everything that happened to a consumer so far is written down: at once, where it is.
    ///
    /// # Errors
    /// [`ConsumerError::NotWritten`].
    pub async fn written_down(&self, name: &ConsumerName) -> Result<(), ConsumerError> {
        let consumer = self.find(name)?;
        if consumer.is_written_down() {
            return Ok(());
        }
        let change = consumer.lock().changed();
        self.keep(&consumer);
        consumer.durable(change).await
    }

    /// The parked events up to a version, counted in the log. One that is damaged counts: nobody can tell any more whether
    /// it was wanted.
    fn count_parked(
        &self,
        lane: &LaneKey,
        parked: &ParkedEvents,
        through: Version,
    ) -> Result<u64, ReadError> {
        let through = through.min(parked.last());
        let (mut events, mut damaged) = (0, 0);
        let mut from = parked.first();
        let mut most = COUNT_EVENTS;
        while from <= through {
            let page = PageLimit {
                events: most,
                bytes: self.limits.page_bytes,
            };
            let found = self
                .store
                .history(&lane.aggregate, from, Direction::Forward, page);
            match found {
                Err(ReadError::Damaged { .. }) if most > 1 => most = 1,
                Err(ReadError::Damaged { .. }) if damaged < COUNT_DAMAGED => {
                    damaged += 1;
                    from = from.plus(1);
                    most = COUNT_EVENTS;
                }
                found => {
                    let found = found?;
                    let Some(last) = found.last() else { break };
                    from = last.version.plus(1);
                    let counted = found
                        .iter()
                        .filter(|event| event.version <= through && parked.have(event));
                    events += counted.count() as u64;
                }
            }
        }
        Ok(events + damaged)
    }
}

fn refuse(lane: &LaneKey, refused: ParkedRefused) -> ConsumerError {
    ConsumerError::Parked {
        aggregate: lane.aggregate.clone(),
        refused,
    }
}

impl LaneKey {
    /// The lane of an aggregate.
    #[must_use]
    pub fn of(aggregate: AggregateKey, alone: Option<Version>) -> Self {
        Self { aggregate, alone }
    }
}
