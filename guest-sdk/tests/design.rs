//! The code of DESIGN.md section 8, as it stands there: this is how an aggregate must read.

#![allow(
    missing_docs,
    missing_debug_implementations,
    reason = "the code is shown as an author would write it first"
)]

use annals_sdk::prelude::*;

#[derive(Aggregate, Default, Serialize, Deserialize, JsonSchema)]
#[aggregate(type = "account")]
pub struct Account {
    owner: Option<String>,
    balance: u64,
}

#[derive(Command, Serialize, Deserialize, JsonSchema)]
pub enum AccountCommand {
    Open { owner: String },
    Deposit { amount: u64 },
    Withdraw { amount: u64 },
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
pub enum AccountEvent {
    Opened { owner: String },
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Rejection)]
pub enum AccountRejection {
    #[rejection("the account is not open")]
    NotOpen,
    #[rejection("balance {balance} is less than {requested}")]
    InsufficientFunds { balance: u64, requested: u64 },
}

use AccountCommand::{Deposit, Open, Withdraw};
use AccountEvent::{Deposited, Opened, Withdrawn};

impl Decide for Account {
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Rejection = AccountRejection;

    fn handle(&self, command: AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountRejection> {
        match command {
            Open { owner } => Ok(vec![Opened { owner }]),
            _ if self.owner.is_none() => Err(AccountRejection::NotOpen),
            Deposit { amount } => Ok(vec![Deposited { amount }]),
            Withdraw { amount } if amount > self.balance => Err(AccountRejection::InsufficientFunds {
                balance: self.balance,
                requested: amount,
            }),
            Withdraw { amount } => Ok(vec![Withdrawn { amount }]),
        }
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            Opened { owner } => self.owner = Some(owner),
            Deposited { amount } => self.balance += amount,
            Withdrawn { amount } => self.balance -= amount,
        }
    }
}

export_aggregate!(Account);

#[test]
fn cannot_overdraw() {
    given::<Account>([Opened { owner: "a".into() }, Deposited { amount: 10 }])
        .when(Withdraw { amount: 11 })
        .then_rejected("insufficient-funds");
}

#[test]
fn the_rest_of_the_rules() {
    given_nothing::<Account>()
        .when(Deposit { amount: 1 })
        .then_rejected("not-open")
        .and_when(Open { owner: "a".into() })
        .then_events([Opened { owner: "a".into() }])
        .and_when(Deposit { amount: 3 })
        .then_events([Deposited { amount: 3 }])
        .and_when(Withdraw { amount: 3 })
        .then_events([Withdrawn { amount: 3 }])
        .then_view(json!({ "owner": "a", "balance": 0 }));
}

/// The wire is what callers and the log see for ever. A change here breaks both.
#[test]
fn the_wire_is_this() {
    let manifest = Manifest::of::<Account>();
    assert_eq!(manifest.aggregate_type, "account");
    assert_eq!(manifest.command_names(), ["open", "deposit", "withdraw"]);
    assert_eq!(
        manifest.event_types(),
        [("opened", 1), ("deposited", 1), ("withdrawn", 1)]
    );
    assert_eq!(AccountRejection::CODES, ["not-open", "insufficient-funds"]);
    assert_eq!(Deposit { amount: 3 }.encode(), br#"{"amount":3}"#);
    assert_eq!(Opened { owner: "a".into() }.encode(), br#"{"owner":"a"}"#);
    let schema = concat!(
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","additionalProperties":false,"#,
        r#""properties":{"amount":{"format":"uint64","minimum":0,"type":"integer"}},"#,
        r#""required":["amount"],"title":"deposit","type":"object"}"#
    );
    assert_eq!(
        manifest
            .commands
            .iter()
            .map(|command| command.json_schema.as_str())
            .nth(1),
        Some(schema)
    );
}
