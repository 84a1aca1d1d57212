use annals_sdk::prelude::*;

#[derive(Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "account", snapshots = 5)]
struct Account {}

#[derive(Event)]
enum AccountEvent {
    #[event(schema = 0)]
    Opened,
}

fn main() {}
