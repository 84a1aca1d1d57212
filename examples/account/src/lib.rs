//! An account: open, deposit, withdraw, close.
//!
//! Amounts are whole cents. A closed account has ended: it reads as gone, and nothing can be done with it any more.

#![forbid(unsafe_code)]

use annals_sdk::prelude::*;

/// An account that holds money for its owner.
#[derive(Debug, Default, Aggregate, Serialize, Deserialize, JsonSchema)]
#[aggregate(type = "account")]
pub struct Account {
    /// Whose account it is; none until it is opened.
    owner: Option<String>,
    /// Whole cents.
    balance: u64,
    /// Closed for good.
    closed: bool,
}

/// What can be asked of an account.
#[derive(Debug, Clone, Command)]
pub enum AccountCommand {
    /// Opens the account.
    Open {
        /// Whose account it is.
        owner: String,
    },
    /// Puts money in.
    Deposit {
        /// Whole cents, more than 0.
        amount: u64,
    },
    /// Takes money out.
    Withdraw {
        /// Whole cents, more than 0, at most the balance.
        amount: u64,
    },
    /// Closes the account for good. It must be empty.
    Close,
}

/// What can have happened to an account.
#[derive(Debug, Clone, Event)]
pub enum AccountEvent {
    /// The account was opened.
    Opened {
        /// Whose account it is.
        owner: String,
    },
    /// Money was put in.
    Deposited {
        /// Whole cents.
        amount: u64,
    },
    /// Money was taken out.
    Withdrawn {
        /// Whole cents.
        amount: u64,
    },
    /// The account was closed for good.
    Closed,
}

/// Why an account says no.
#[derive(Debug, Clone, Rejection)]
pub enum AccountRejection {
    /// Nothing can be done before `open`.
    #[rejection("the account is not open")]
    NotOpen,
    /// An account is opened once.
    #[rejection("the account is open already, and belongs to {owner}")]
    AlreadyOpen {
        /// Whose account it is.
        owner: String,
    },
    /// An account belongs to somebody.
    #[rejection("an account needs an owner, and the name is empty")]
    NoOwner,
    /// Nothing can be done after `close`.
    #[rejection("the account is closed")]
    Closed,
    /// Moving nothing is a mistake of the caller.
    #[rejection("an amount must be more than 0")]
    ZeroAmount,
    /// There is not enough money.
    #[rejection("balance {balance} is less than {requested}")]
    InsufficientFunds {
        /// What there is, in cents.
        balance: u64,
        /// What was asked for, in cents.
        requested: u64,
    },
    /// There would be more money than an account can count.
    #[rejection("balance {balance} and {amount} are more than an account can hold")]
    BalanceTooLarge {
        /// What there is, in cents.
        balance: u64,
        /// What was to be added, in cents.
        amount: u64,
    },
    /// Money would be lost.
    #[rejection("the account still holds {balance}: withdraw it before closing")]
    NotEmpty {
        /// What there is, in cents.
        balance: u64,
    },
}

use AccountCommand::{Close, Deposit, Open, Withdraw};
use AccountEvent::{Closed, Deposited, Opened, Withdrawn};

impl Decide for Account {
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Rejection = AccountRejection;

    fn handle(&self, command: AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountRejection> {
        if self.closed {
            return Err(AccountRejection::Closed);
        }
        match (&self.owner, command) {
            (None, Open { owner }) if owner.trim().is_empty() => Err(AccountRejection::NoOwner),
            (None, Open { owner }) => Ok(vec![Opened { owner }]),
            (None, _) => Err(AccountRejection::NotOpen),
            (Some(owner), Open { .. }) => Err(AccountRejection::AlreadyOpen { owner: owner.clone() }),
            (_, Deposit { amount }) => self.deposit(amount),
            (_, Withdraw { amount }) => self.withdraw(amount),
            (_, Close) if self.balance > 0 => Err(AccountRejection::NotEmpty {
                balance: self.balance,
            }),
            (_, Close) => Ok(vec![Closed]),
        }
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            Opened { owner } => self.owner = Some(owner),
            // `handle` has made sure that neither overflows.
            Deposited { amount } => self.balance += amount,
            Withdrawn { amount } => self.balance -= amount,
            Closed => self.closed = true,
        }
    }

    fn view(&self) -> View {
        match &self.owner {
            Some(owner) if !self.closed => View::of(&json!({ "owner": owner, "balance": self.balance })),
            None => View::of(&json!({ "owner": null, "balance": self.balance })),
            Some(_) => View::ended(),
        }
    }
}

impl Account {
    fn deposit(&self, amount: u64) -> Result<Vec<AccountEvent>, AccountRejection> {
        let balance = self.balance;
        match balance.checked_add(amount) {
            _ if amount == 0 => Err(AccountRejection::ZeroAmount),
            None => Err(AccountRejection::BalanceTooLarge { balance, amount }),
            Some(_) => Ok(vec![Deposited { amount }]),
        }
    }

    fn withdraw(&self, amount: u64) -> Result<Vec<AccountEvent>, AccountRejection> {
        let balance = self.balance;
        match balance.checked_sub(amount) {
            _ if amount == 0 => Err(AccountRejection::ZeroAmount),
            None => Err(AccountRejection::InsufficientFunds {
                balance,
                requested: amount,
            }),
            Some(_) => Ok(vec![Withdrawn { amount }]),
        }
    }
}

export_aggregate!(Account);

#[cfg(test)]
mod tests;
