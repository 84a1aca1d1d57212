use annals_sdk::prelude::*;

#[derive(Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "Bank_Account")]
struct Account {}

#[derive(Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "annals-module")]
struct Reserved {}

fn main() {}
