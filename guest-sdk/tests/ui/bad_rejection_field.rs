use annals_sdk::prelude::*;

#[derive(Rejection)]
enum AccountRejection {
    #[rejection("balance {balance} is less than {amount}")]
    InsufficientFunds { balance: u64 },
}

fn main() {}
