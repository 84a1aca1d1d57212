use annals_sdk::prelude::*;

#[derive(Aggregate, Default, Serialize, Deserialize)]
struct Account {}

fn main() {}
