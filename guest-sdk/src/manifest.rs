//! What a module says of itself.

use crate::{Command, CommandSchema, Decide, Event, EventSchema};

/// What a module says of itself: the server asks for it when the module is uploaded.
///
/// A test that pins the wire names keeps a rename in Rust from changing what callers and the log see:
///
/// ```
/// use annals_sdk::prelude::*;
///
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "account")] struct Account;
/// # #[derive(Command)] enum AccountCommand { Open { owner: String }, Close }
/// # #[derive(Event)] enum AccountEvent { Opened { owner: String }, Closed }
/// # #[derive(Rejection)] enum AccountRejection { #[rejection("closed")] Closed }
/// # impl Decide for Account {
/// #     type Command = AccountCommand; type Event = AccountEvent; type Rejection = AccountRejection;
/// #     fn handle(&self, _: AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountRejection> { Ok(vec![]) }
/// #     fn apply(&mut self, _: AccountEvent) {}
/// # }
/// let manifest = Manifest::of::<Account>();
/// assert_eq!(manifest.aggregate_type, "account");
/// assert_eq!(manifest.command_names(), ["open", "close"]);
/// assert_eq!(manifest.event_types(), [("opened", 1), ("closed", 1)]);
/// assert_eq!(manifest.attribute("sdk"), Some("annals-sdk"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The type that the module serves.
    pub aggregate_type: &'static str,
    /// The author's own version of the module.
    pub module_version: &'static str,
    /// Every command that it takes.
    pub commands: Vec<CommandSchema>,
    /// Every event that it may record.
    pub records: Vec<EventSchema>,
    /// Every (event type, schema) that it can read, upcasting included.
    pub reads: Vec<(&'static str, u32)>,
    /// The version of the saved state's meaning and layout.
    pub state_version: u32,
    /// `sdk`, `sdk-version`, `language`, `keep-commands`; `snapshot-every` and `description` when they are given.
    pub attributes: Vec<(&'static str, String)>,
}

impl Manifest {
    /// The media type of every payload.
    pub const PAYLOAD_ENCODING: &'static str = "application/json";

    /// The manifest of an aggregate type.
    #[must_use]
    pub fn of<A: Decide>() -> Self {
        let mut attributes = vec![
            ("sdk", "annals-sdk".to_owned()),
            ("sdk-version", env!("CARGO_PKG_VERSION").to_owned()),
            ("language", "rust".to_owned()),
            ("keep-commands", A::KEEP_COMMANDS.to_string()),
        ];
        attributes.extend(A::SNAPSHOT_EVERY.map(|every| ("snapshot-every", every.to_string())));
        attributes.extend(A::DESCRIPTION.map(|text| ("description", text.to_owned())));
        Self {
            aggregate_type: A::TYPE,
            module_version: A::MODULE_VERSION,
            commands: A::Command::schemas(),
            records: A::Event::schemas(),
            reads: [A::Event::TYPES, A::UPCASTS].concat(),
            state_version: A::STATE_VERSION,
            attributes,
        }
    }

    /// The wire names of the commands, in the order of declaration.
    #[must_use]
    pub fn command_names(&self) -> Vec<&'static str> {
        self.commands.iter().map(|command| command.name).collect()
    }

    /// The wire names and schema versions of the events, in the order of declaration.
    #[must_use]
    pub fn event_types(&self) -> Vec<(&'static str, u32)> {
        self.records
            .iter()
            .map(|event| (event.event_type, event.schema))
            .collect()
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    }
}
