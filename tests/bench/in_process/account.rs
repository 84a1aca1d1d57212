//! The account of `examples/account` as native code: the same rules, events and JSON, without a sandbox.

use std::sync::Arc;

use annals::{
    vocabulary::{
        AggregateId, CommandSchema, Context, Decision, EventSchema, GuestCommand, Manifest, NewEvent,
        Rejection,
    },
    wasm::{AppliedEvent, ApplyProblem, Host, Module, NativeAggregate, NativeFactory, Refusal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::failed::Failed;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    owner: Option<String>,
    balance: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    owner: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Deposit {
    amount: u64,
}

#[derive(Debug)]
struct Accounts;

impl NativeFactory for Accounts {
    fn create(&self, _: &AggregateId) -> Box<dyn NativeAggregate> {
        Box::new(Account::default())
    }

    fn restore(&self, _: &AggregateId, state: &[u8]) -> Result<Box<dyn NativeAggregate>, String> {
        let account: Account = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        Ok(Box::new(account))
    }
}

fn read<T: DeserializeOwned>(command: &GuestCommand) -> Result<T, Refusal> {
    serde_json::from_slice(&command.payload).map_err(|error| Refusal::Malformed {
        pointer: String::new(),
        problem: error.to_string(),
    })
}

fn accepted(event_type: &str, payload: &impl Serialize) -> Result<Decision, Refusal> {
    let event = event_type.parse().ok().zip(serde_json::to_vec(payload).ok());
    let (event_type, payload) = event.ok_or(Refusal::UnknownCommand)?;
    Ok(Decision {
        events: vec![NewEvent {
            event_type,
            schema: 1,
            payload: payload.into(),
        }],
        reply: None,
    })
}

fn rejected<T>(code: &str, message: &str) -> Result<T, Refusal> {
    Err(Refusal::Rejected(Rejection {
        code: code.to_owned(),
        message: message.to_owned(),
        details: None,
    }))
}

impl NativeAggregate for Account {
    fn handle(&self, _: &Context, command: &GuestCommand) -> Result<Decision, Refusal> {
        match (command.name.as_str(), &self.owner) {
            ("open", None) => accepted("opened", &read::<Open>(command)?),
            ("open", Some(_)) => rejected("already-open", "the account is open already"),
            ("deposit", None) => rejected("not-open", "the account is not open"),
            ("deposit", Some(_)) => {
                let deposit: Deposit = read(command)?;
                match self.balance.checked_add(deposit.amount) {
                    _ if deposit.amount == 0 => rejected("zero-amount", "an amount must be more than 0"),
                    None => rejected("balance-too-large", "an account cannot hold that much"),
                    Some(_) => accepted("deposited", &deposit),
                }
            }
            _ => Err(Refusal::UnknownCommand),
        }
    }

    fn apply(&mut self, event: &AppliedEvent<'_>) -> Result<(), ApplyProblem> {
        let malformed = |error: serde_json::Error| ApplyProblem::Malformed(error.to_string());
        match event.event_type {
            "opened" => {
                let opened: Open = serde_json::from_slice(event.payload).map_err(malformed)?;
                self.owner = Some(opened.owner);
            }
            "deposited" => {
                let deposited: Deposit = serde_json::from_slice(event.payload).map_err(malformed)?;
                let balance = self.balance.checked_add(deposited.amount);
                self.balance = balance.ok_or_else(|| ApplyProblem::Impossible("too much".to_owned()))?;
            }
            _ => return Err(ApplyProblem::UnknownEvent),
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn render(&self) -> Option<String> {
        Some(json!({ "owner": self.owner, "balance": self.balance }).to_string())
    }
}

/// The account as a module.
pub(super) fn module(host: &Host) -> Result<Arc<Module>, Failed> {
    let named = |error: annals::vocabulary::InvalidName| Failed::new(error.to_string());
    let schema = || "true".to_owned();
    let mut commands = Vec::new();
    for name in ["open", "deposit"] {
        commands.push(CommandSchema {
            name: name.parse().map_err(named)?,
            json_schema: schema(),
        });
    }
    let mut records = Vec::new();
    for name in ["opened", "deposited"] {
        records.push(EventSchema {
            event_type: name.parse().map_err(named)?,
            schema: 1,
            json_schema: schema(),
        });
    }
    let reads = records
        .iter()
        .map(|event| (event.event_type.clone(), 1))
        .collect();
    let manifest = Manifest {
        aggregate_type: "account".parse().map_err(named)?,
        module_version: "1.0.0".to_owned(),
        payload_encoding: "application/json".to_owned(),
        commands,
        records,
        reads,
        state_version: 1,
        attributes: Vec::new(),
    };
    Ok(Module::native(host, manifest, Arc::new(Accounts)))
}
