//! Opening a data directory: creating it, or recovering and checking what is there.

use std::sync::{Arc, atomic::AtomicBool};

use super::Shared;
use crate::{
    store::{
        LogIdentity, OpenError, ReadError, StoreOptions,
        file::{DataDirectory, Fault, Files},
        format::{Hashing, Malformed, Mark},
        index::Index,
        listeners::Listeners,
        log::Log,
        meta::{self, Identity, Meta},
        options::{Progress, Step},
        overlay::{Overlay, RunLimit},
        undecided::Undecided,
    },
    vocabulary::{Epoch, LogId, Position},
};

/// Commits between two reports of progress.
const REPORT_EVERY: u64 = 10_000;

pub(super) fn open(directory: DataDirectory, options: StoreOptions) -> Result<Shared, OpenError> {
    let files = &directory.files;
    create_if_new(files)?;
    let meta = Meta::open(files)?;
    let identity = meta.identity.log;
    let log = Log::open(Arc::clone(files), identity, options.clone())?;
    let (index, reached, problem) =
        Index::open(files, identity, &options).map_err(|fault| failed("opening `index.redb`", &fault))?;
    if let Some(reason) = &problem {
        let end = log.end();
        if end != Mark::START {
            tracing::warn!(reason, "the index is rebuilt from the log");
        }
    }
    let limit = RunLimit {
        events: options.run_events.max(1),
        bytes: options.run_bytes.max(1),
        after: options.run_after,
    };
    let hashing = Hashing::of(identity.log_id);
    let mut overlay = Overlay::new(hashing, limit);
    let step = if problem.is_some() {
        Step::Rebuilding
    } else {
        Step::CatchingUp
    };
    let fold = Fold {
        log: &log,
        hashing,
        options: &options,
        step,
    };
    if let Err(error) = fold.fold(&index, &overlay, reached) {
        match error {
            FoldError::Stray(reason) => {
                tracing::warn!(reason, "the index is rebuilt from the log");
                index
                    .reset()
                    .map_err(|fault| failed("emptying `index.redb`", &fault))?;
                let fold = Fold {
                    step: Step::Rebuilding,
                    ..fold
                };
                overlay = Overlay::new(hashing, limit);
                fold.fold(&index, &overlay, Mark::START)
                    .map_err(FoldError::into_open)?;
            }
            other => return Err(other.into_open()),
        }
    }
    let last = Position(log.end().position - 1);
    Ok(Shared {
        identity,
        options,
        meta,
        log,
        index,
        overlay,
        listeners: Listeners::starting_at(last),
        undecided: Undecided::default(),
        stopping: AtomicBool::new(false),
        directory,
    })
}

/// Creates the log. `meta.redb` is written last and gets its name at once, so that a creation which was cut off is
/// begun again, and never taken for a log.
fn create_if_new(files: &Arc<dyn Files>) -> Result<(), OpenError> {
    let names = files.list("").map_err(|source| OpenError::Io {
        what: "listing the data directory".to_owned(),
        source,
    })?;
    if names.iter().any(|name| name == meta::FILE) {
        return Ok(());
    }
    let holds = Log::holds_chunks(files).map_err(|fault| failed("looking for a log", &fault))?;
    if holds {
        return Err(OpenError::Damaged {
            what: format!("`{}` is missing, while there is a log", meta::FILE),
        });
    }
    let mut log_id = [0; 16];
    let mut cache_key = [0; 32];
    for bytes in [&mut log_id[..], &mut cache_key[..]] {
        getrandom::fill(bytes).map_err(|error| OpenError::Io {
            what: "drawing a log id".to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
    }
    let log = LogIdentity {
        log_id: LogId(log_id),
        epoch: Epoch(1),
    };
    Log::create(files, log).map_err(|fault| failed("creating the log", &fault))?;
    Meta::create(files, Identity { log, cache_key }).map_err(|fault| failed("creating `meta.redb`", &fault))
}

fn failed(what: &str, fault: &Fault) -> OpenError {
    OpenError::Io {
        what: what.to_owned(),
        source: std::io::Error::other(fault.to_string()),
    }
}

/// Why the end of the log could not be folded into the index.
pub(super) enum FoldError {
    /// The index is not a prefix of this log.
    Stray(String),
    /// The log cannot be read.
    Log(ReadError),
    /// The index cannot be written.
    Index(Fault),
}

impl FoldError {
    pub(super) fn into_open(self) -> OpenError {
        match self {
            Self::Stray(what) | Self::Log(ReadError::Damaged { what }) => OpenError::Damaged { what },
            Self::Log(ReadError::Unavailable { reason }) => OpenError::Io {
                what: "reading the log".to_owned(),
                source: std::io::Error::other(reason),
            },
            Self::Index(fault) => failed("writing `index.redb`", &fault),
        }
    }
}

/// Brings an index up to the end of the log. What is less than a run stays in the overlay.
pub(super) struct Fold<'a> {
    pub(super) log: &'a Log,
    pub(super) hashing: Hashing,
    pub(super) options: &'a StoreOptions,
    pub(super) step: Step,
}

impl Fold<'_> {
    pub(super) fn fold(&self, index: &Index, overlay: &Overlay, from: Mark) -> Result<(), FoldError> {
        let end = self.log.end();
        if from.chunk > end.chunk || from.commit > end.commit {
            // The index is written behind the log, so what it has seen was durable once.
            return Err(FoldError::Log(ReadError::Damaged {
                what: format!(
                    "the log ends before commit {}, while its index has reached commit {}: files of the log are \
                     older than the rest, or lost what was acknowledged",
                    end.commit, from.commit
                ),
            }));
        }
        self.each(overlay, from, end, || self.take_in(index, overlay, false))
    }

    /// Builds an index from nothing, up to a mark.
    pub(super) fn build(&self, index: &Index, end: Mark) -> Result<(), FoldError> {
        let limit = RunLimit {
            events: self.options.run_events.max(1),
            bytes: self.options.run_bytes.max(1),
            after: std::time::Duration::MAX,
        };
        let scratch = Overlay::new(self.hashing, limit);
        self.each(&scratch, Mark::START, end, || {
            self.take_in(index, &scratch, false)
        })?;
        self.take_in(index, &scratch, true)
    }

    /// Writes the runs that are due, or with `all` whatever there is. What then is to be merged is merged at once:
    /// nobody waits for the disk meanwhile.
    fn take_in(&self, index: &Index, overlay: &Overlay, all: bool) -> Result<(), FoldError> {
        while let Some(run) = overlay.oldest(all) {
            index.write_run(&run).map_err(FoldError::Index)?;
            overlay.remove(&run);
            while index.merge_step().map_err(FoldError::Index)? {}
        }
        Ok(())
    }

    fn each(
        &self,
        overlay: &Overlay,
        from: Mark,
        end: Mark,
        mut take_in: impl FnMut() -> Result<(), FoldError>,
    ) -> Result<(), FoldError> {
        let mut at = from;
        let mut reported = from.commit;
        while at.chunk < end.chunk {
            let chunk = self.log.chunk(at.chunk).map_err(FoldError::Log)?;
            if chunk.before != at {
                return Err(FoldError::Stray(format!(
                    "chunk {} does not continue what was before it",
                    at.chunk
                )));
            }
            let damaged = |error: Malformed| {
                FoldError::Log(ReadError::Damaged {
                    what: format!("chunk {} of the log: {error}", at.chunk),
                })
            };
            let after = chunk.check_all().map_err(damaged)?;
            let fresh = overlay.fresh(at, after, chunk.body().clone()).map_err(damaged)?;
            overlay.add(vec![fresh]);
            take_in()?;
            at = after;
            if at.commit - reported >= REPORT_EVERY || at.chunk == end.chunk {
                reported = at.commit;
                self.report(at.commit - from.commit, end.commit - from.commit);
            }
        }
        if at == end {
            Ok(())
        } else {
            Err(FoldError::Stray(
                "it does not lead to the end of the log".to_owned(),
            ))
        }
    }

    fn report(&self, done: u64, total: u64) {
        if let Some(listener) = &self.options.progress {
            listener(Progress {
                step: self.step,
                done,
                total,
            });
        }
    }
}
