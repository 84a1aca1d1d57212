//! What every engine must do, as a list of checks. An engine's tests run [`run_all`]; a check panics when it fails.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking, like any test"
)]

mod appends;
mod filters;
mod intercepted;
mod make;
mod model;
mod outcomes;
mod reads;
mod shelf;

use std::{fmt, sync::Arc};

pub use intercepted::{Intercept, Intercepted};
pub use make::{Rng, appended, commit, event, key, try_append, wait_until};
pub use model::{Observation, observe};

use super::EventStore;

/// Makes a new, empty store.
pub type Create<'a> = &'a dyn Fn() -> Arc<dyn EventStore>;
/// Closes a store and opens it again.
pub type Reopen<'a> = &'a dyn Fn(Arc<dyn EventStore>) -> Arc<dyn EventStore>;

/// An engine under test.
pub struct Subject<'a> {
    /// A new, empty store.
    pub create: Create<'a>,
    /// Closes a store and opens it again; none for an engine that forgets.
    pub reopen: Option<Reopen<'a>>,
}

impl Subject<'_> {
    fn store(&self) -> Arc<dyn EventStore> {
        (self.create)()
    }

    /// The same store, opened again where the engine can.
    fn again(&self, store: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
        match self.reopen {
            Some(reopen) => reopen(store),
            None => store,
        }
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// One check.
pub type Check = fn(&Subject<'_>);

/// Every check, by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("a new log is empty", reads::new_log_is_empty),
    ("what was appended is read in every way", reads::appended_is_read),
    ("histories are paged both ways", reads::histories_are_paged),
    ("feeds are paged and filtered", reads::feeds_are_paged),
    (
        "the parts of a filter hold together",
        filters::filters_hold_together,
    ),
    ("events are counted", filters::events_are_counted),
    ("aggregates are listed by id", reads::aggregates_are_listed),
    ("large commits come back whole", reads::large_commits),
    ("a wrong head conflicts", appends::wrong_head_conflicts),
    ("a failed life is superseded", appends::failed_life_is_superseded),
    ("queued proposals chain", appends::queued_proposals_chain),
    (
        "racing proposals do not fork",
        appends::racing_proposals_do_not_fork,
    ),
    ("listeners miss nothing", appends::listeners_miss_nothing),
    ("a closed store refuses", appends::closed_store_refuses),
    ("a key is bound once", outcomes::key_is_bound_once),
    (
        "a key is bound once within a group",
        outcomes::key_is_bound_once_in_group,
    ),
    (
        "decisions without events take no position",
        outcomes::without_events,
    ),
    ("snapshots are found by module and version", shelf::snapshots),
    ("modules are kept", shelf::modules),
    ("what consumers have reached is kept", shelf::consumers),
    ("random appends follow the model", model::random_appends),
];

/// Runs every check and prints its name.
///
/// # Panics
/// When a check fails.
pub fn run_all(subject: &Subject<'_>) {
    for (name, check) in CHECKS {
        println!("conformance: {name}");
        check(subject);
    }
}
