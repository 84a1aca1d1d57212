//! What a subscriber is given.

use std::sync::{Arc, OnceLock};

use super::Written;
use crate::vocabulary::{Committed, Position, RecordedEvent};

/// What a subscriber is given, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery<E = Event> {
    /// An event.
    Event(E),
    /// Everything up to here has been delivered or was not wanted; what comes next is live.
    CaughtUp(Position),
    /// The subscriber was too slow for the broadcast; it goes on from the store. Nothing is lost.
    FellBehind(Position),
    /// Everything up to here has been looked at: where to resume although nothing was wanted.
    Checkpoint(Position),
    /// The server is shutting down.
    Closed,
}

/// An event on its way to a subscriber.
#[derive(Debug, Clone)]
pub enum Event {
    /// Read from the store.
    Read(RecordedEvent),
    /// As it was committed.
    Live(LiveEvent),
    /// Several, one behind the other, in the form that was asked for.
    Written(Written),
}

impl Event {
    /// Its place in the whole log; of several, the last one's.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Read(event) => event.position,
            Self::Live(event) => event.position(),
            Self::Written(written) => written.position(),
        }
    }
}

/// An event of a commit that all who follow share.
#[derive(Debug, Clone)]
pub struct LiveEvent {
    commit: Arc<Shared>,
    index: usize,
}

impl LiveEvent {
    pub(super) fn new(commit: &Arc<Shared>, index: usize) -> Self {
        Self {
            commit: Arc::clone(commit),
            index,
        }
    }

    /// Its place in the whole log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.commit.committed.first_position.0 + self.index as u64)
    }

    /// Appends the event as `write` has it, who is given the commit and the event's index. That is done once for all
    /// who follow, where it is small enough to be kept, so every caller must have the same form in mind.
    pub fn write(&self, out: &mut Vec<u8>, write: impl Fn(&Committed, usize, &mut Vec<u8>)) {
        let Shared { committed, forms } = &*self.commit;
        match forms {
            None => write(committed, self.index, out),
            Some(forms) => {
                let forms = forms.get_or_init(|| Forms::of(committed, write));
                out.extend_from_slice(forms.get(self.index));
            }
        }
    }
}

/// A commit as the broadcast keeps it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) committed: Arc<Committed>,
    /// None where it would take much more memory than the commit.
    forms: Option<OnceLock<Forms>>,
}

/// Events of one commit whose form is kept beside them.
const KEPT_FORMS_MAX: usize = 16;

impl Shared {
    pub(super) fn new(committed: &Arc<Committed>) -> Self {
        let is_kept = committed.commit.events.len() <= KEPT_FORMS_MAX;
        Self {
            committed: Arc::clone(committed),
            forms: is_kept.then(OnceLock::new),
        }
    }
}

/// The events of a commit in the form that they are sent in, one behind the other.
#[derive(Debug)]
struct Forms {
    bytes: Box<[u8]>,
    ends: Box<[usize]>,
}

impl Forms {
    fn of(committed: &Committed, write: impl Fn(&Committed, usize, &mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        let write = |index| {
            write(committed, index, &mut bytes);
            bytes.len()
        };
        let ends = (0..committed.commit.events.len()).map(write).collect();
        Self {
            bytes: bytes.into(),
            ends,
        }
    }

    fn get(&self, index: usize) -> &[u8] {
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let from = before.copied().unwrap_or(0);
        let to = self.ends.get(index).copied().unwrap_or(from);
        self.bytes.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::store::conformance::{commit, event, key};

    fn live(events: u64) -> Arc<Shared> {
        let events = (0..events).map(|salt| event(salt, 3)).collect();
        let commit = commit(&key("account", "alice"), 0, None, events);
        Arc::new(Shared::new(&Arc::new(Committed {
            commit,
            first_position: Position(7),
        })))
    }

    #[test]
    fn a_form_is_made_once_and_each_event_has_its_own() {
        for (events, expected) in [(3, 3), (KEPT_FORMS_MAX as u64 + 1, 2 * (KEPT_FORMS_MAX + 1))] {
            let shared = live(events);
            let made = Cell::new(0);
            for _ in 0..2 {
                for index in 0..events as usize {
                    let event = LiveEvent::new(&shared, index);
                    let mut out = b"<".to_vec();
                    event.write(&mut out, |committed, index, out| {
                        made.set(made.get() + 1);
                        let position = committed.first_position.0 + index as u64;
                        out.extend_from_slice("x".repeat(index).as_bytes());
                        out.extend_from_slice(position.to_string().as_bytes());
                    });
                    let expected = format!("<{}{}", "x".repeat(index), event.position().0);
                    assert_eq!(String::from_utf8(out).unwrap(), expected);
                }
            }
            assert_eq!(made.get(), expected);
        }
    }
}
