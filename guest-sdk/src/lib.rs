//! Write an aggregate for annals in Rust.
//!
//! An aggregate is a struct, three enums and two functions: `handle` looks at the state and decides, `apply` changes
//! the state by what was decided. Everything else, the wire names, JSON, schemas, snapshots and the exports of the
//! module, comes from the derives. Cargo.toml needs `annals-sdk` and nothing else.
//!
//! ```
//! use annals_sdk::prelude::*;
//!
//! #[derive(Aggregate, Default, Serialize, Deserialize, JsonSchema)]
//! #[aggregate(type = "account")]
//! pub struct Account { owner: Option<String>, balance: u64 }
//!
//! #[derive(Command)]
//! pub enum AccountCommand { Open { owner: String }, Deposit { amount: u64 }, Withdraw { amount: u64 } }
//! use AccountCommand::*;
//!
//! #[derive(Event)]
//! pub enum AccountEvent { Opened { owner: String }, Deposited { amount: u64 }, Withdrawn { amount: u64 } }
//! use AccountEvent::*;
//!
//! #[derive(Rejection)]
//! pub enum AccountRejection {
//!     #[rejection("the account is not open")] NotOpen,
//!     #[rejection("the account is open already")] AlreadyOpen,
//!     #[rejection("the balance would be more than an account holds")] TooMuch,
//!     #[rejection("balance {balance} is less than {requested}")] InsufficientFunds { balance: u64, requested: u64 },
//! }
//! use AccountRejection::*;
//!
//! impl Decide for Account {
//!     type Command = AccountCommand;
//!     type Event = AccountEvent;
//!     type Rejection = AccountRejection;
//!
//!     fn handle(&self, command: AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountRejection> {
//!         match (command, &self.owner) {
//!             (Open { owner }, None) => Ok(vec![Opened { owner }]),
//!             (Open { .. }, Some(_)) => Err(AlreadyOpen),
//!             (_, None) => Err(NotOpen),
//!             (Deposit { amount }, _) => {
//!                 self.balance.checked_add(amount).ok_or(TooMuch)?;
//!                 Ok(vec![Deposited { amount }])
//!             }
//!             (Withdraw { amount }, _) if amount > self.balance => {
//!                 Err(InsufficientFunds { balance: self.balance, requested: amount })
//!             }
//!             (Withdraw { amount }, _) => Ok(vec![Withdrawn { amount }]),
//!         }
//!     }
//!
//!     fn apply(&mut self, event: AccountEvent) {
//!         match event {
//!             Opened { owner } => self.owner = Some(owner),
//!             Deposited { amount } => self.balance += amount,
//!             Withdrawn { amount } => self.balance -= amount,
//!         }
//!     }
//! }
//!
//! export_aggregate!(Account);
//!
//! # fn main() {
//! // A test, native and without Wasm:
//! given::<Account>([Opened { owner: "ann".into() }, Deposited { amount: 10 }])
//!     .when(Withdraw { amount: 11 })
//!     .then_rejected("insufficient-funds");
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | name the type and say how it is saved | [`Aggregate`] |
//! | decide, render, check, read old events | [`Decide`] |
//! | name commands, events, rejections | [`Command`], [`Event`], [`Rejection`] |
//! | know the time, the caller, and draw identifiers | [`Context`] |
//! | write a line to the server's log | [`log`] |
//! | test | [`testing`] |

// The derives say `::annals_sdk`, here too.
extern crate self as annals_sdk;

mod aggregate;
#[doc(hidden)]
pub mod bindings;
mod command;
mod context;
mod derives;
mod event;
mod export;
mod json;
mod live;
pub mod log;
mod manifest;
pub mod prelude;
mod rejection;
mod snapshot;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod turn;

pub use aggregate::{Aggregate, Decide, Decision, Recorded, View};
pub use command::{Command, CommandError, CommandSchema};
pub use context::{Context, ContextBuilder};
pub use derives::{Aggregate, Command, Deserialize, Event, JsonSchema, Rejection, Serialize};
pub use event::{Event, EventError, EventSchema, NewEvent, VersionedEvent};
pub use json::Malformed;
pub use manifest::Manifest;
pub use rejection::Rejection;
pub use serde::de::Deserialize;
pub use serde::ser::Serialize;
pub use serde_json::{Value, json};
pub use snapshot::SnapshotFormat;
pub use traits::*;

/// A glob import, so that our derive of the same name shadows schemars'.
mod traits {
    pub use schemars::JsonSchema;
}

/// For the derives and `export_aggregate!`; not part of the interface.
#[doc(hidden)]
pub mod __rt {
    pub use crate::bindings;
    pub use crate::bindings::__export_module as export_module;
    pub use crate::export::{Adapter, Live, check_exportable};
    pub use crate::json::{decode_any, decode_object, encode, json_schema};
    pub use schemars;
    pub use serde;
    pub use wit_bindgen;
}

/// The README's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
