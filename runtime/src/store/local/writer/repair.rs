//! After a failed commit: the segment is closed and opened again until that works, and what turns out to be durable is
//! taken in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{RETRY_AFTER, Writer};
use crate::{
    store::{AppendError, OpenError, file::Fault, format::Mark, overlay::Fresh},
    vocabulary::Committed,
};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// A log that cannot be written now.
#[derive(Debug)]
pub(super) struct Repair {
    reason: String,
    full: bool,
    due: Instant,
    pause: Duration,
    /// The log has lost what was acknowledged: nothing may be written on top of that.
    hopeless: bool,
}

impl Repair {
    pub(super) fn begin(fault: &Fault) -> Self {
        let full = matches!(fault, Fault::Full(_));
        // A full disk stays full for a moment, and every attempt costs a recovery.
        let pause = if full { Duration::from_millis(500) } else { FIRST };
        Self {
            reason: fault.to_string(),
            full,
            due: Instant::now() + pause,
            pause,
            hopeless: false,
        }
    }

    /// What proposals are told meanwhile.
    pub(super) fn answer(&self) -> AppendError {
        let reason = self.reason.clone();
        if self.full {
            AppendError::Full { reason }
        } else {
            AppendError::Unavailable {
                reason,
                retry_after: RETRY_AFTER,
            }
        }
    }

    pub(super) fn due_in(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    fn later(&mut self, reason: String) {
        self.pause = (self.pause * 2).min(LONGEST);
        self.due = Instant::now() + self.pause;
        self.reason = reason;
    }
}

/// Why the log could not be taken up again.
enum Obstacle {
    Open(OpenError),
    Lost(String),
}

impl Writer {
    /// Opens the log again and goes on where it ends now.
    pub(super) fn try_repair(&mut self) {
        let hopeless = self.repair.as_ref().is_some_and(|repair| repair.hopeless);
        let result = if hopeless {
            Err(None)
        } else {
            self.take_up().map_err(Some)
        };
        match result {
            Ok(found) => {
                self.repair = None;
                tracing::warn!(found, "the log is open again");
            }
            Err(obstacle) => {
                let Some(repair) = self.repair.as_mut() else {
                    return;
                };
                let reason = match obstacle {
                    None => repair.reason.clone(),
                    Some(Obstacle::Open(error)) => error.to_string(),
                    Some(Obstacle::Lost(reason)) => {
                        repair.hopeless = true;
                        reason
                    }
                };
                if obstacle_is_new(&repair.reason, &reason) {
                    tracing::error!(reason, "the log cannot be opened again yet");
                }
                repair.later(reason);
            }
        }
    }

    /// Says how many commits were durable though their commit had failed.
    fn take_up(&mut self) -> Result<usize, Obstacle> {
        let shared = Arc::clone(&self.shared);
        let found = shared.log.reopen().map_err(Obstacle::Open)?;
        let known = self.end;
        if found.chunk < known.chunk || (found.chunk == known.chunk && found != known) {
            return Err(Obstacle::Lost(format!(
                "the log ends before commit {} of it, which was acknowledged: the disk has lost what it had \
                 confirmed; stop the server and restore from a backup",
                known.commit
            )));
        }
        let (fresh, commits) = self.read_found(known, found)?;
        self.heads.clear();
        if !fresh.is_empty() {
            shared.overlay.add(fresh);
            shared.log.set_end(found);
            shared.listeners.publish(&commits);
        }
        self.end = found;
        shared.undecided.decided();
        Ok(commits.len())
    }

    fn read_found(&self, known: Mark, found: Mark) -> Result<(Vec<Fresh>, Vec<Arc<Committed>>), Obstacle> {
        let damaged = |what: String| Obstacle::Open(OpenError::Damaged { what });
        let mut at = known;
        let (mut fresh, mut all) = (Vec::new(), Vec::new());
        while at.chunk < found.chunk {
            let chunk = self
                .shared
                .log
                .chunk(at.chunk)
                .map_err(|error| damaged(error.to_string()))?;
            if chunk.before != at {
                return Err(damaged(format!("chunk {} does not continue the log", at.chunk)));
            }
            let (commits, after) = chunk
                .read_all()
                .map_err(|error| damaged(format!("chunk {}: {error}", at.chunk)))?;
            let made = self.shared.overlay.fresh(at, after, chunk.body().clone());
            fresh.push(made.map_err(|error| damaged(format!("chunk {}: {error}", at.chunk)))?);
            all.extend(commits);
            at = after;
        }
        Ok((fresh, all))
    }
}

fn obstacle_is_new(before: &str, now: &str) -> bool {
    before != now
}
