//! What an author writes: the state, and the two functions over it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::snapshot::SnapshotFormat;
use crate::{Command, Context, Event, Rejection, VersionedEvent};

/// The state of an aggregate, and what its type is called. Derive it: `#[derive(Aggregate)]`.
///
/// `Default` is the state at version 0. `Serialize` and `Deserialize` are how it is saved.
///
/// | `#[aggregate(…)]` | meaning | default |
/// |---|---|---|
/// | `type = "account"` | the type's name, `[a-z][a-z0-9-]{0,62}`; callers see it in the URL | required |
/// | `version = "1.2.0"` | the module's own version | the crate's |
/// | `state_version = 2` | raise it when the meaning or layout of the state changes: saved states of other versions are then refused, and replayed | 1 |
/// | `snapshot_every = 500` | events between saved states | the server's |
/// | `snapshot_format = "json"` | how the state is saved; see [`SnapshotFormat`] | `"postcard"` |
/// | `description = "…"` | for people | the first paragraph of the doc comment |
/// | `keep_commands = false` | whether commands are stored beside their events | true |
///
/// ```
/// use annals_sdk::prelude::*;
///
/// /// An account.
/// #[derive(Aggregate, Default, Serialize, Deserialize)]
/// #[aggregate(type = "account", snapshot_every = 500)]
/// struct Account { balance: u64 }
///
/// assert_eq!(Account::TYPE, "account");
/// assert_eq!(Account::DESCRIPTION, Some("An account."));
/// ```
///
/// **Keep the state deterministic**, or two replays of one log differ: `BTreeMap` and `BTreeSet`, never `HashMap` and
/// `HashSet`, whose order depends on what else lives in the same memory; whole numbers (cents, milliseconds) rather
/// than floats, and never NaN; no pointers, no counters outside the state.
pub trait Aggregate: Default + Serialize + DeserializeOwned + 'static {
    /// The type's name.
    const TYPE: &'static str;
    /// The author's own version of this module.
    const MODULE_VERSION: &'static str;
    /// The version of the saved state's meaning and layout.
    const STATE_VERSION: u32;
    /// Events between saved states; none leaves it to the server.
    const SNAPSHOT_EVERY: Option<u32>;
    /// How the state is saved.
    const SNAPSHOT_FORMAT: SnapshotFormat;
    /// For people.
    const DESCRIPTION: Option<&'static str>;
    /// Whether commands are stored beside their events.
    const KEEP_COMMANDS: bool;
}

/// The decision logic of an aggregate type: `handle` decides, `apply` remembers.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Aggregate, Default, Serialize, Deserialize)]
/// #[aggregate(type = "counter")]
/// struct Counter { count: u64 }
///
/// #[derive(Command)]
/// enum CounterCommand { Add { amount: u64 } }
///
/// #[derive(Event)]
/// enum CounterEvent { Added { amount: u64 } }
///
/// #[derive(Rejection)]
/// enum CounterRejection {
///     #[rejection("{count} and {amount} is more than can be counted")]
///     TooMuch { count: u64, amount: u64 },
/// }
///
/// impl Decide for Counter {
///     type Command = CounterCommand;
///     type Event = CounterEvent;
///     type Rejection = CounterRejection;
///
///     fn handle(&self, command: CounterCommand, _: &Context) -> Result<Vec<CounterEvent>, CounterRejection> {
///         let CounterCommand::Add { amount } = command;
///         let count = self.count;
///         count.checked_add(amount).ok_or(CounterRejection::TooMuch { count, amount })?;
///         Ok(vec![CounterEvent::Added { amount }])
///     }
///
///     fn apply(&mut self, event: CounterEvent) {
///         let CounterEvent::Added { amount } = event;
///         self.count += amount;
///     }
/// }
///
/// given_nothing::<Counter>().when(CounterCommand::Add { amount: 2 }).then_state(|counter| counter.count == 2);
/// ```
pub trait Decide: Aggregate {
    /// What is asked.
    type Command: Command;
    /// What happened.
    type Event: Event;
    /// The domain's "no".
    type Rejection: Rejection;

    /// Decides. It sees the state and cannot change it, and must give the same answer for the same state, command
    /// and context. Accepting without events is fine: what was asked for holds already.
    ///
    /// # Errors
    /// The domain says no.
    fn handle(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Changes the state. It is called for every event, live and in replay alike, and decides nothing: what is in the
    /// log has happened. So it must not panic on an event that `handle` once recorded.
    fn apply(&mut self, event: Self::Event);

    /// [`handle`](Self::handle) with an answer for the caller beside the events. Write it only when there is one:
    ///
    /// ```
    /// # use annals_sdk::prelude::*;
    /// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "orders")] struct Orders;
    /// # #[derive(Command)] enum Placing { Place }
    /// # #[derive(Event)] enum Placed { OrderPlaced { id: String } }
    /// # #[derive(Rejection)] enum Never {}
    /// # impl Decide for Orders {
    /// #     type Command = Placing; type Event = Placed; type Rejection = Never;
    /// #     fn apply(&mut self, _: Placed) {}
    /// fn handle(&self, _: Placing, context: &Context) -> Result<Vec<Placed>, Never> {
    ///     Ok(vec![Placed::OrderPlaced { id: context.uuid() }])
    /// }
    ///
    /// fn decide(&self, command: Placing, context: &Context) -> Result<Decision<Placed>, Never> {
    ///     let events = self.handle(command, context)?;
    ///     let ids: Vec<_> = events.iter().map(|Placed::OrderPlaced { id }| id.clone()).collect();
    ///     Ok(Decision::from(events).with_reply(&json!({ "ids": ids })))
    /// }
    /// # }
    /// # given_nothing::<Orders>().when(Placing::Place).then_reply(json!({
    /// #     "ids": [Context::builder("test-1").build().uuid()]
    /// # }));
    /// ```
    ///
    /// # Errors
    /// The domain says no.
    fn decide(
        &self,
        command: Self::Command,
        context: &Context,
    ) -> Result<Decision<Self::Event>, Self::Rejection> {
        self.handle(command, context).map(Decision::from)
    }

    /// [`apply`](Self::apply) with what the log knows of the event, and with the possibility to refuse it. Write it
    /// only when the state depends on the time of an event, or to report a history that cannot be.
    ///
    /// # Errors
    /// Why the event cannot follow from this state. The aggregate then cannot be rebuilt until a module that can read
    /// its history is active.
    fn apply_recorded(&mut self, event: Self::Event, recorded: Recorded) -> Result<(), String> {
        let _ = recorded;
        self.apply(event);
        Ok(())
    }

    /// The state as people and programs read it: the saved fields as JSON, unless written otherwise.
    fn view(&self) -> View {
        View::of(self)
    }

    /// What must always hold and does not, in words. The server refuses a commit that would break it.
    fn invariants(&self) -> Vec<String> {
        Vec::new()
    }

    /// Every older (event type, schema version) that [`upcast`](Self::upcast) reads.
    const UPCASTS: &'static [(&'static str, u32)] = &[];

    /// Makes an event of an older schema into none, one or several of a newer one, one hop at a time.
    ///
    /// ```
    /// # use annals_sdk::{VersionedEvent, prelude::*};
    /// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "account")] struct Account;
    /// # #[derive(Command)] enum Asked { Open { owner: String } }
    /// # #[derive(Rejection)] enum Never {}
    /// #[derive(Event)]
    /// enum AccountEvent { #[event(schema = 2)] Opened { owner: String } }
    ///
    /// # impl Decide for Account {
    /// #     type Command = Asked; type Event = AccountEvent; type Rejection = Never;
    /// #     fn handle(&self, _: Asked, _: &Context) -> Result<Vec<AccountEvent>, Never> { Ok(vec![]) }
    /// #     fn apply(&mut self, _: AccountEvent) {}
    /// const UPCASTS: &'static [(&'static str, u32)] = &[("opened", 1)];
    ///
    /// fn upcast(old: VersionedEvent) -> Result<Vec<VersionedEvent>, String> {
    ///     // Schema 1 called it `name`.
    ///     let owner = old.json()["name"].as_str().ok_or("`name` is not a text")?.to_owned();
    ///     Ok(vec![NewEvent::of(AccountEvent::Opened { owner }).into()])
    /// }
    /// # }
    /// # let old = VersionedEvent { event_type: "opened".into(), schema: 1, payload: br#"{"name":"ann"}"#.to_vec() };
    /// # assert_eq!(Account::upcast(old).unwrap()[0].payload, br#"{"owner":"ann"}"#);
    /// ```
    ///
    /// # Errors
    /// The event is of no schema that this module reads; without an upcast written by the author that is every event.
    fn upcast(event: VersionedEvent) -> Result<Vec<VersionedEvent>, String> {
        let VersionedEvent {
            event_type, schema, ..
        } = event;
        let read = Self::Event::TYPES.iter().find(|(name, _)| *name == event_type);
        Err(match read {
            Some((name, current)) => {
                format!(
                    "this module reads `{name}` at schema {current} only, and has no upcast from schema {schema}"
                )
            }
            None => format!("this module does not read `{event_type}`, and has no upcast from it"),
        })
    }
}

/// What was decided: events, and perhaps an answer for the caller.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// let decision = Decision::from(vec!["an event"]).with_reply(&json!({ "receipt": 17 }));
/// assert_eq!(decision.events(), ["an event"]);
/// assert_eq!(decision.reply(), Some(br#"{"receipt":17}"#.as_slice()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision<E> {
    events: Vec<E>,
    reply: Option<Vec<u8>>,
}

impl<E> Decision<E> {
    /// Adds an answer for the caller.
    ///
    /// # Panics
    /// When the reply has no JSON form, for example a map whose keys are not text.
    pub fn with_reply<R: Serialize + ?Sized>(mut self, reply: &R) -> Self {
        self.reply = Some(crate::json::encode("reply", reply));
        self
    }

    /// What is to be recorded, in this order, all or nothing.
    #[must_use]
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// The answer for the caller, as JSON.
    #[must_use]
    pub fn reply(&self) -> Option<&[u8]> {
        self.reply.as_deref()
    }

    pub(crate) fn into_parts(self) -> (Vec<E>, Option<Vec<u8>>) {
        (self.events, self.reply)
    }
}

impl<E> From<Vec<E>> for Decision<E> {
    fn from(events: Vec<E>) -> Self {
        Self { events, reply: None }
    }
}

/// What the log knows of an event beside its data.
///
/// ```
/// let recorded = annals_sdk::Recorded { version: 1, at: 1_700_000_000_000 };
/// assert_eq!(recorded.version, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the event within its aggregate: dense, from 1.
    pub version: u64,
    /// Milliseconds since the Unix epoch: the [`now`](Context::now) of the decision that recorded it.
    pub at: u64,
}

/// The state as people and programs read it.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// assert_eq!(View::of(&json!({ "balance": 5 })).json(), Ok(Some(r#"{"balance":5}"#.to_owned())));
/// assert_eq!(View::ended().json(), Ok(None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct View(Result<Option<String>, String>);

impl View {
    /// The JSON of a value: of the state itself, or of another value made from it.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(
            serde_json::to_string(value)
                .map(Some)
                .map_err(|error| format!("the view has no JSON form: {error}")),
        )
    }

    /// The aggregate has ended: deleted, or closed for good. It reads as gone.
    pub fn ended() -> Self {
        Self(Ok(None))
    }

    /// The JSON text; none when the aggregate has ended.
    ///
    /// # Errors
    /// The value has no JSON form, for example a map whose keys are not text.
    pub fn json(self) -> Result<Option<String>, String> {
        self.0
    }
}
