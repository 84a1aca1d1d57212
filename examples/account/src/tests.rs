//! The rules of an account, one test each.

use super::*;

fn opened() -> AccountEvent {
    Opened { owner: "ann".into() }
}

#[test]
fn an_account_is_opened_once() {
    given_nothing::<Account>()
        .when(Open { owner: "ann".into() })
        .then_events([opened()])
        .then_view(json!({ "owner": "ann", "balance": 0 }))
        .and_when(Open { owner: "bob".into() })
        .then_rejected("already-open")
        .then_details(json!({ "owner": "ann" }));
    given_nothing::<Account>()
        .when(Open { owner: "  ".into() })
        .then_rejected("no-owner");
}

#[test]
fn nothing_can_be_done_before_it_is_open() {
    for command in [Deposit { amount: 1 }, Withdraw { amount: 1 }, Close] {
        given_nothing::<Account>().when(command).then_rejected("not-open");
    }
}

#[test]
fn money_comes_and_goes() {
    given::<Account>([opened()])
        .when(Deposit { amount: 10 })
        .then_events([Deposited { amount: 10 }])
        .and_when(Withdraw { amount: 4 })
        .then_events([Withdrawn { amount: 4 }])
        .then_state(|account| account.balance == 6);
}

#[test]
fn cannot_overdraw() {
    given::<Account>([opened(), Deposited { amount: 10 }])
        .when(Withdraw { amount: 11 })
        .then_rejected("insufficient-funds")
        .then_message("balance 10 is less than 11")
        .then_details(json!({ "balance": 10, "requested": 11 }));
}

#[test]
fn a_balance_cannot_overflow() {
    given::<Account>([opened(), Deposited { amount: u64::MAX }])
        .when(Deposit { amount: 1 })
        .then_rejected("balance-too-large")
        .and_when(Withdraw { amount: u64::MAX })
        .then_state(|account| account.balance == 0);
}

#[test]
fn moving_nothing_is_refused() {
    given::<Account>([opened()])
        .when(Deposit { amount: 0 })
        .then_rejected("zero-amount")
        .and_when(Withdraw { amount: 0 })
        .then_rejected("zero-amount");
}

#[test]
fn a_closed_account_has_ended() {
    given::<Account>([opened(), Deposited { amount: 5 }])
        .when(Close)
        .then_rejected("not-empty")
        .and_when(Withdraw { amount: 5 })
        .then_accepted()
        .and_when(Close)
        .then_events([Closed])
        .then_ended();
    let commands = [
        Open { owner: "bob".into() },
        Deposit { amount: 1 },
        Withdraw { amount: 1 },
        Close,
    ];
    for command in commands {
        given::<Account>([opened(), Closed])
            .when(command)
            .then_rejected("closed");
    }
}

#[test]
fn wrong_payloads_are_told_where() {
    let account = || given::<Account>([opened()]);
    account()
        .when_sent("deposit", r#"{"amount":"ten"}"#)
        .then_malformed("/amount");
    account()
        .when_sent("deposit", r#"{"amuont":10}"#)
        .then_malformed("/amuont");
    account().when_sent("deposit", "").then_malformed("/amount");
    account()
        .when_sent("close", r#"{"really":true}"#)
        .then_malformed("/really");
    account().when_sent("close", "").then_events([Closed]);
    account().when_sent("steal", "{}").then_unknown_command();
}

#[test]
fn the_wire_names_are_these() {
    let manifest = Manifest::of::<Account>();
    assert_eq!(manifest.aggregate_type, "account");
    assert_eq!(manifest.command_names(), ["open", "deposit", "withdraw", "close"]);
    assert_eq!(
        manifest.event_types(),
        [("opened", 1), ("deposited", 1), ("withdrawn", 1), ("closed", 1)]
    );
    assert_eq!(
        AccountRejection::CODES,
        [
            "not-open",
            "already-open",
            "no-owner",
            "closed",
            "zero-amount",
            "insufficient-funds",
            "balance-too-large",
            "not-empty"
        ]
    );
}
