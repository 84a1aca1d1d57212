//! Tests of an aggregate, native and without Wasm: given what happened, when something is asked, then this follows.
//!
//! Beside what a test states, the kit checks what holds for every aggregate, and fails the test when it does not:
//! every event and command survives its wire encoding, every state that is reached survives a snapshot, `handle`
//! changes nothing and decides the same when asked again, and no accepted command breaks an invariant.
//!
//! ```
//! use annals_sdk::prelude::*;
//!
//! #[derive(Aggregate, Default, Serialize, Deserialize)]
//! #[aggregate(type = "door")]
//! struct Door { open: bool }
//!
//! #[derive(Command)]
//! enum Asked { Open, Close }
//! #[derive(Event)]
//! enum Happened { Opened, Closed }
//! #[derive(Rejection)]
//! enum Refused { #[rejection("the door is open")] IsOpen, #[rejection("the door is closed")] IsClosed }
//!
//! impl Decide for Door {
//!     type Command = Asked;
//!     type Event = Happened;
//!     type Rejection = Refused;
//!
//!     fn handle(&self, command: Asked, _: &Context) -> Result<Vec<Happened>, Refused> {
//!         match (command, self.open) {
//!             (Asked::Open, false) => Ok(vec![Happened::Opened]),
//!             (Asked::Open, true) => Err(Refused::IsOpen),
//!             (Asked::Close, true) => Ok(vec![Happened::Closed]),
//!             (Asked::Close, false) => Err(Refused::IsClosed),
//!         }
//!     }
//!
//!     fn apply(&mut self, event: Happened) {
//!         self.open = matches!(event, Happened::Opened);
//!     }
//! }
//!
//! given_nothing::<Door>()
//!     .when(Asked::Open)
//!     .then_events([Happened::Opened])
//!     .then_state(|door| door.open)
//!     .and_when(Asked::Open)
//!     .then_rejected("is-open");
//! ```

mod outcome;
mod subject;
#[cfg(test)]
mod tests;

pub use outcome::Outcome;
use subject::Subject;

use crate::{Command, Context, ContextBuilder, Decide};

/// An aggregate with a history.
///
/// ```
/// # use annals_sdk::prelude::*;
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "door")] struct Door { open: bool }
/// # #[derive(Command)] enum Asked { Open }
/// # #[derive(Event)] enum Happened { Opened, Closed }
/// # #[derive(Rejection)] enum Refused {}
/// # impl Decide for Door {
/// #     type Command = Asked; type Event = Happened; type Rejection = Refused;
/// #     fn handle(&self, _: Asked, _: &Context) -> Result<Vec<Happened>, Refused> { Ok(vec![]) }
/// #     fn apply(&mut self, event: Happened) { self.open = matches!(event, Happened::Opened); }
/// # }
/// given::<Door>([Happened::Opened, Happened::Closed]).then_state(|door| !door.open);
/// ```
///
/// # Panics
/// When an event does not survive its encoding, cannot be applied, or leads to a state that does not survive a
/// snapshot.
#[track_caller]
pub fn given<A: Decide>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut subject = Subject::new();
    for event in events {
        subject.record(event);
    }
    Given {
        subject,
        context: Context::builder("test-1"),
    }
}

/// An aggregate that does not exist yet.
///
/// ```
/// # use annals_sdk::prelude::*;
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "door")] struct Door { open: bool }
/// # #[derive(Command)] enum Asked { Look }
/// # #[derive(Event)] enum Happened { Opened }
/// # #[derive(Rejection)] enum Refused {}
/// # impl Decide for Door {
/// #     type Command = Asked; type Event = Happened; type Rejection = Refused;
/// #     fn handle(&self, _: Asked, _: &Context) -> Result<Vec<Happened>, Refused> { Ok(vec![]) }
/// #     fn apply(&mut self, _: Happened) { self.open = true; }
/// # }
/// given_nothing::<Door>().when(Asked::Look).then_nothing();
/// ```
#[track_caller]
#[must_use]
pub fn given_nothing<A: Decide>() -> Given<A> {
    given([])
}

/// An aggregate with a history, and the context of what is going to be asked.
///
/// ```
/// # use annals_sdk::prelude::*;
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "log")] struct Log { last: String }
/// # #[derive(Command)] enum Asked { Note }
/// # #[derive(Event)] enum Happened { Noted { by: String, at: u64 } }
/// # #[derive(Rejection)] enum Refused {}
/// # impl Decide for Log {
/// #     type Command = Asked; type Event = Happened; type Rejection = Refused;
/// #     fn handle(&self, _: Asked, context: &Context) -> Result<Vec<Happened>, Refused> {
/// #         let by = context.actor().unwrap_or("nobody").to_owned();
/// #         Ok(vec![Happened::Noted { by, at: context.now() }])
/// #     }
/// #     fn apply(&mut self, event: Happened) { let Happened::Noted { by, .. } = event; self.last = by; }
/// # }
/// given_nothing::<Log>()
///     .now(1_700_000_000_000)
///     .actor("ann")
///     .when(Asked::Note)
///     .then_events([Happened::Noted { by: "ann".into(), at: 1_700_000_000_000 }]);
/// ```
#[derive(Debug)]
pub struct Given<A: Decide> {
    pub(crate) subject: Subject<A>,
    pub(crate) context: ContextBuilder,
}

impl<A: Decide> Given<A> {
    /// The time of the decision, in milliseconds since the Unix epoch; 0 unless it is set.
    #[must_use]
    pub fn now(mut self, now: u64) -> Self {
        self.context = self.context.now(now);
        self
    }

    /// Who asks; nobody unless it is set.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.context = self.context.actor(actor);
        self
    }

    /// What everything random is derived from; zeros unless it is set.
    #[must_use]
    pub fn seed(mut self, high: u64, low: u64) -> Self {
        self.context = self.context.seed(high, low);
        self
    }

    /// The whole context, where the above do not suffice. Its version is set by the kit.
    #[must_use]
    pub fn context(mut self, context: ContextBuilder) -> Self {
        self.context = context;
        self
    }

    /// Asks for something.
    ///
    /// # Panics
    /// When the command does not survive its encoding, or `handle` changes the state or decides differently when
    /// asked again.
    #[track_caller]
    #[must_use = "say what follows, for example with `then_events` or `then_rejected`"]
    pub fn when(self, command: A::Command) -> Outcome<A> {
        let name = command.name();
        let payload = command.encode();
        match A::Command::decode(name, &payload) {
            Ok(again) => assert_same_bytes(&format!("command `{name}`"), &payload, &again.encode()),
            Err(error) => panic!("command `{name}` does not survive its encoding: {error}"),
        }
        self.when_sent(name, payload)
    }

    /// Asks for something as it comes over the wire: a name and a body, both perhaps wrong.
    ///
    /// # Panics
    /// When `handle` changes the state or decides differently when asked again.
    #[track_caller]
    #[must_use = "say what follows, for example with `then_events` or `then_rejected`"]
    pub fn when_sent(self, name: &str, body: impl AsRef<[u8]>) -> Outcome<A> {
        Outcome::of(self, name, body.as_ref())
    }

    /// Fails the test unless the predicate holds for the state. Assertions inside say more: end them with `true`.
    ///
    /// # Panics
    /// When the predicate does not hold.
    #[track_caller]
    pub fn then_state(self, predicate: impl FnOnce(&A) -> bool) -> Self {
        self.subject.assert_state(predicate);
        self
    }
}

#[track_caller]
fn assert_same_bytes(what: &str, first: &[u8], second: &[u8]) {
    assert!(
        first == second,
        "{what} is not the same after encoding, decoding and encoding again:\n first: {}\nsecond: {}",
        String::from_utf8_lossy(first),
        String::from_utf8_lossy(second)
    );
}
