//! What came of a command, and what a test says of it.

use serde_json::Value;

use super::{Given, Subject};
use crate::json::nearest;
use crate::live::{self, Decided, HandleError};
use crate::{Command, ContextBuilder, Decide, NewEvent, Rejection};

/// What came of a command. When it was accepted, its events have been applied.
///
/// ```
/// # use annals_sdk::prelude::*;
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "sum")] struct Sum { sum: u64 }
/// # #[derive(Command)] enum Asked { Add { amount: u64 } }
/// # #[derive(Event)] enum Happened { Added { amount: u64 } }
/// # #[derive(Rejection)] enum Refused { #[rejection("{amount} adds nothing")] Nothing { amount: u64 } }
/// # impl Decide for Sum {
/// #     type Command = Asked; type Event = Happened; type Rejection = Refused;
/// #     fn handle(&self, Asked::Add { amount }: Asked, _: &Context) -> Result<Vec<Happened>, Refused> {
/// #         if amount == 0 { Err(Refused::Nothing { amount }) } else { Ok(vec![Happened::Added { amount }]) }
/// #     }
/// #     fn apply(&mut self, Happened::Added { amount }: Happened) { self.sum += amount; }
/// # }
/// given_nothing::<Sum>()
///     .when(Asked::Add { amount: 2 })
///     .then_events([Happened::Added { amount: 2 }])
///     .then_view(json!({ "sum": 2 }))
///     .and_when(Asked::Add { amount: 0 })
///     .then_rejected("nothing")
///     .then_message("0 adds nothing")
///     .then_details(json!({ "amount": 0 }))
///     .and_when_sent("add", r#"{"amount": -1}"#)
///     .then_malformed("/amount");
/// ```
#[derive(Debug)]
pub struct Outcome<A: Decide> {
    subject: Subject<A>,
    context: ContextBuilder,
    command: String,
    result: Result<Decided, HandleError>,
}

impl<A: Decide> Outcome<A> {
    #[track_caller]
    pub(super) fn of(given: Given<A>, name: &str, payload: &[u8]) -> Self {
        let Given { mut subject, context } = given;
        // A clone would share nothing with the first but the seed's place in its sequence, so build it twice.
        let decide = || {
            let context = context.clone().version(subject.version).build();
            live::handle(&subject.state, &context, name, payload)
        };
        let before = subject.saved();
        let result = decide();
        assert!(
            before == subject.saved(),
            "`handle` changed the state when asked to `{name}`: that is for `apply`"
        );
        assert!(
            result == decide(),
            "`handle` decides differently when asked to `{name}` again: it may depend on the state, the command and \
             the context, and on nothing else, not on a clock, randomness, or the order of a `HashMap`"
        );
        let now = context.clone().build().now();
        for event in result.iter().flat_map(|decided| &decided.events) {
            subject.apply(event, now);
        }
        Self {
            subject,
            context,
            command: name.to_owned(),
            result,
        }
    }

    /// It was accepted, with exactly these events.
    ///
    /// # Panics
    /// When it was not, or with others, or when an invariant is broken now.
    #[track_caller]
    pub fn then_events(self, events: impl IntoIterator<Item = A::Event>) -> Self {
        let expected: Vec<_> = events.into_iter().map(NewEvent::of).collect();
        let found = &self.accepted().events;
        assert!(
            expected == *found,
            "`{}` was accepted with other events:\nexpected: {}\n   found: {}",
            self.command,
            listed(&expected),
            listed(found)
        );
        self.assert_invariants();
        self
    }

    /// It was accepted, whatever the events.
    ///
    /// # Panics
    /// When it was not, or when an invariant is broken now.
    #[track_caller]
    pub fn then_accepted(self) -> Self {
        let _ = self.accepted();
        self.assert_invariants();
        self
    }

    /// It was accepted without events: what was asked for holds already.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn then_nothing(self) -> Self {
        self.then_events([])
    }

    /// It was accepted with this reply.
    ///
    /// # Panics
    /// When it was not, or with another reply, or with none.
    #[track_caller]
    pub fn then_reply(self, expected: Value) -> Self {
        let found = self.accepted().reply.as_deref().map(as_json);
        assert!(
            found == Some(expected.clone()),
            "expected the reply {expected}, found {found:?}"
        );
        self
    }

    /// It was rejected with this code.
    ///
    /// # Panics
    /// When it was not, or with another code, or when there is no such code.
    #[track_caller]
    pub fn then_rejected(self, code: &str) -> Self {
        let known = <A::Rejection as Rejection>::CODES;
        if !known.contains(&code) {
            let hint = nearest(code, known)
                .map(|name| format!(": did you mean `{name}`?"))
                .unwrap_or_default();
            panic!("there is no rejection `{code}`{hint} The codes are {known:?}");
        }
        let (found, message, _) = self.rejection();
        assert!(
            found == code,
            "`{}` was rejected, but with `{found}` ({message}), not `{code}`",
            self.command
        );
        self
    }

    /// The rejection has this message.
    ///
    /// # Panics
    /// When it has another, or there was none.
    #[track_caller]
    pub fn then_message(self, expected: &str) -> Self {
        let (_, found, _) = self.rejection();
        assert!(
            found == expected,
            "expected the message `{expected}`, found `{found}`"
        );
        self
    }

    /// The rejection has these details.
    ///
    /// # Panics
    /// When it has others or none, or there was no rejection.
    #[track_caller]
    pub fn then_details(self, expected: Value) -> Self {
        let found = self.rejection().2.map(as_json);
        assert!(
            found == Some(expected.clone()),
            "expected the details {expected}, found {found:?}"
        );
        self
    }

    /// The payload was refused, for what is at this JSON pointer.
    ///
    /// # Panics
    /// When it was taken, or refused for something else.
    #[track_caller]
    pub fn then_malformed(self, pointer: &str) -> Self {
        match &self.result {
            Err(HandleError::Malformed(malformed)) if malformed.pointer == pointer => self,
            other => panic!(
                "expected `{}` to be malformed at `{pointer}`, found {other:?}",
                self.command
            ),
        }
    }

    /// There is no command of that name.
    ///
    /// # Panics
    /// When there is.
    #[track_caller]
    pub fn then_unknown_command(self) -> Self {
        let known = <A::Command as Command>::NAMES;
        assert!(
            self.result == Err(HandleError::UnknownCommand),
            "`{}` is one of {known:?}",
            self.command
        );
        self
    }

    /// Fails the test unless the predicate holds for the state after the command. Assertions inside say more: end
    /// them with `true`.
    ///
    /// # Panics
    /// When the predicate does not hold.
    #[track_caller]
    pub fn then_state(self, predicate: impl FnOnce(&A) -> bool) -> Self {
        self.subject.assert_state(predicate);
        self
    }

    /// The state reads as this JSON.
    ///
    /// # Panics
    /// When it reads as something else, or the aggregate has ended.
    #[track_caller]
    pub fn then_view(self, expected: Value) -> Self {
        let found = self.view();
        assert!(
            found == Some(expected.clone()),
            "expected the view {expected}, found {found:?}"
        );
        self
    }

    /// The aggregate has ended.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn then_ended(self) -> Self {
        let found = self.view();
        assert!(
            found.is_none(),
            "expected the aggregate to have ended, found {found:?}"
        );
        self
    }

    /// Accepting the command broke an invariant, so that the server will refuse it.
    ///
    /// # Panics
    /// When no invariant is broken.
    #[track_caller]
    pub fn then_breaks_an_invariant(self) -> Self {
        let _ = self.accepted();
        assert!(
            !self.subject.state.invariants().is_empty(),
            "no invariant is broken by `{}`",
            self.command
        );
        self
    }

    /// Goes on from here.
    ///
    /// # Panics
    /// As [`Given::when`].
    #[track_caller]
    #[must_use = "say what follows, for example with `then_events` or `then_rejected`"]
    pub fn and_when(self, command: A::Command) -> Self {
        self.and_given().when(command)
    }

    /// Goes on from here with a command as it comes over the wire.
    ///
    /// # Panics
    /// As [`Given::when_sent`].
    #[track_caller]
    #[must_use = "say what follows, for example with `then_events` or `then_rejected`"]
    pub fn and_when_sent(self, name: &str, body: impl AsRef<[u8]>) -> Self {
        self.and_given().when_sent(name, body)
    }

    /// Goes on from here, with another time or caller.
    #[must_use = "say what follows, for example with `then_events` or `then_rejected`"]
    pub fn and_given(self) -> Given<A> {
        Given {
            subject: self.subject,
            context: self.context,
        }
    }

    #[track_caller]
    fn accepted(&self) -> &Decided {
        match &self.result {
            Ok(decided) => decided,
            Err(error) => panic!("`{}` was not accepted: {}", self.command, described(error)),
        }
    }

    #[track_caller]
    fn rejection(&self) -> (&'static str, &str, Option<&[u8]>) {
        match &self.result {
            Err(HandleError::Rejected {
                code,
                message,
                details,
            }) => (code, message, details.as_deref()),
            Err(error) => panic!(
                "`{}` was not rejected by the domain: {}",
                self.command,
                described(error)
            ),
            Ok(decided) => panic!(
                "`{}` was accepted, with {}",
                self.command,
                listed(&decided.events)
            ),
        }
    }

    #[track_caller]
    fn view(&self) -> Option<Value> {
        match self.subject.state.view().json() {
            Ok(json) => json.map(|text| as_json(text.as_bytes())),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn assert_invariants(&self) {
        let broken = self.subject.state.invariants();
        assert!(
            broken.is_empty(),
            "`{}` was accepted and breaks invariants: {broken:?}",
            self.command
        );
    }
}

fn as_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{} is not JSON: {error}", String::from_utf8_lossy(bytes)))
}

fn listed(events: &[NewEvent]) -> String {
    let events = events.iter().map(|event| {
        let NewEvent {
            event_type,
            schema,
            payload,
        } = event;
        format!(
            "{event_type} (schema {schema}) {}",
            String::from_utf8_lossy(payload)
        )
    });
    format!("[{}]", events.collect::<Vec<_>>().join(", "))
}

fn described(error: &HandleError) -> String {
    match error {
        HandleError::Rejected { code, message, .. } => format!("rejected with `{code}` ({message})"),
        HandleError::UnknownCommand => "there is no command of this name".to_owned(),
        HandleError::Malformed(malformed) => format!("malformed: {malformed}"),
    }
}
