//! Commands: what is asked of an aggregate.

use crate::json::Malformed;

/// The commands of an aggregate type. Derive it: `#[derive(Command)]` on an enum.
///
/// The derive owns encoding, decoding and the schemas, so nothing else need be derived for it. On the wire a command
/// is its name, the variant in kebab-case unless `#[command(name = "…")]` says otherwise, and a JSON object with the
/// variant's fields. A unit variant takes `{}` or an empty body. A variant around one type of your own,
/// `Open(OpenAccount)`, takes that type's JSON.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Command)]
/// enum AccountCommand {
///     Deposit { amount: u64 },
///     #[command(name = "close")]
///     CloseForGood,
/// }
///
/// assert_eq!(AccountCommand::NAMES, ["deposit", "close"]);
/// assert!(AccountCommand::decode("deposit", br#"{"amount": 5}"#).is_ok());
/// assert!(AccountCommand::decode("close", b"").is_ok());
/// assert_eq!(AccountCommand::decode("deposti", b"{}").err(), Some(CommandError::Unknown));
/// ```
///
/// An unknown field of the command itself is refused. For objects nested in it, that is your choice, by
/// `#[serde(deny_unknown_fields)]` on their types.
pub trait Command: Sized + 'static {
    /// The wire names, in the order of declaration.
    const NAMES: &'static [&'static str];

    /// The wire name of this command.
    fn name(&self) -> &'static str;

    /// The payload, as JSON.
    ///
    /// # Panics
    /// When a field has no JSON form, for example a map whose keys are not text.
    fn encode(self) -> Vec<u8>;

    /// Reads a command as it came over the wire.
    ///
    /// # Errors
    /// There is no command of that name, or the payload does not decode.
    fn decode(name: &str, payload: &[u8]) -> Result<Self, CommandError>;

    /// Name and JSON Schema of every command.
    fn schemas() -> Vec<CommandSchema>;
}

/// Why a command does not decode.
///
/// ```
/// use annals_sdk::CommandError;
///
/// assert_eq!(CommandError::Unknown.to_string(), "there is no command of this name");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no command of this name.
    Unknown,
    /// The payload does not decode.
    Malformed(Malformed),
}

impl From<Malformed> for CommandError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("there is no command of this name"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}

impl std::error::Error for CommandError {}

/// A command as the manifest describes it.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Command)]
/// enum AccountCommand { Deposit { amount: u64 } }
///
/// let schema = &AccountCommand::schemas()[0];
/// assert_eq!(schema.name, "deposit");
/// assert!(schema.json_schema.contains(r#""required":["amount"]"#));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSchema {
    /// The wire name.
    pub name: &'static str,
    /// JSON Schema (2020-12) of the payload.
    pub json_schema: String,
}
