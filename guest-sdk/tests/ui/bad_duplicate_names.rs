use annals_sdk::prelude::*;

#[derive(Command)]
enum AccountCommand {
    Close,
    #[command(name = "close")]
    CloseForGood,
}

fn main() {}
