//! More aggregates and types than there is room for in memory: the ones that are asked for find room, the others give way.

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts, guests,
    server::{Api, TestServer},
};
use serde_json::json;

#[test]
fn when_cells_run_out_idle_aggregates_give_way() {
    let limits = Limits {
        cells: 4,
        aggregates_per_cell: 4,
        ..Limits::default()
    };
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server.upload(&artifacts::module("account")).ok();
    server.upload(&artifacts::module("hasher")).ok();
    for round in 1..=3_u64 {
        for number in 0..60_u64 {
            server
                .command(&format!("counter/c{number}"), "add", &json!({ "by": 1 }))
                .ok();
            if round == 1 {
                server
                    .command(&format!("account/a{number}"), "open", &json!({ "owner": "A" }))
                    .ok();
            }
            server
                .command(&format!("account/a{number}"), "deposit", &json!({ "amount": 2 }))
                .ok();
            server
                .command(&format!("hasher/h{number}"), "draw", &json!({ "names": ["n"] }))
                .ok();
        }
        for number in 0..60_u64 {
            let counter = server.get(&format!("/v1/aggregates/counter/c{number}")).ok();
            assert_eq!(counter["state"], json!({ "sum": round }));
            let account = server.get(&format!("/v1/aggregates/account/a{number}")).ok();
            assert_eq!(account["state"]["balance"], 2 * round);
        }
    }
}

#[test]
fn when_lanes_run_out_the_longest_idle_give_way() {
    let server = TestServer::with_limits(Limits {
        live_per_shard: 10,
        ..Limits::default()
    });
    server.upload(&guests::counter()).ok();
    for round in 1..=3_u64 {
        for number in 0..100_u64 {
            server
                .command(&format!("counter/c{number}"), "add", &json!({ "by": 1 }))
                .ok();
        }
        let state = server.get("/v1/aggregates/counter/c0").ok();
        assert_eq!(
            (&state["version"], &state["state"]),
            (&json!(round), &json!({ "sum": round }))
        );
    }
}
