use annals_sdk::prelude::*;

#[derive(Command)]
enum AccountCommand {
    Transfer(u64, String),
}

fn main() {}
