use annals_sdk::prelude::*;

#[derive(Rejection)]
enum AccountRejection {
    NotOpen,
}

fn main() {}
