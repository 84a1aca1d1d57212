//! A filter that is changed means the same with and without a restart: what is behind the checkpoint, and neither
//! acknowledged nor parked nor leased, is judged by the new one. What was parked stays parked, whatever is wanted later.

use annals_tests::{
    guests,
    server::{Api, Process},
};
use serde_json::{Value, json};

use super::{add, at, leases, place, places, put};

/// As many as are remembered beside the one in force.
const EARLIER_FILTERS: usize = 16;

/// The events of `fa`, `fb` and `fc` in turn, three of each.
fn ground(data: &std::path::Path) -> Process {
    let server = Process::start(data);
    server.upload(&guests::counter()).ok();
    for _ in 0..3 {
        add(&server, &["fa", "fb", "fc"]);
    }
    server
}

/// Takes everything, and gives it sorted.
fn drain(server: &impl Api, name: &str) -> Vec<(String, u64)> {
    let mut taken = Vec::new();
    loop {
        let delivered = at(server, name, "fetch", &json!({})).ok();
        if leases(&delivered).is_empty() {
            taken.sort();
            return taken;
        }
        taken.extend(places(&delivered));
        at(server, name, "ack", &json!({ "leases": leases(&delivered) })).ok();
    }
}

fn all_of(ids: &[&str]) -> Vec<(String, u64)> {
    let places = ids
        .iter()
        .flat_map(|id| (1..=3).map(|version| place(id, version)));
    places.collect()
}

/// What comes in all when one filter follows another while a fetch is out, and the server is killed at that place.
fn across(first: &Value, second: &Value, killed: [bool; 2]) -> Vec<(String, u64)> {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let mut server = ground(&data);
    let restart = |server: Process, killed: bool| {
        if !killed {
            return server;
        }
        server.kill();
        Process::start(&data)
    };
    put(&server, "f", &json!({ "filter": first })).ok();
    let out = at(&server, "f", "fetch", &json!({})).ok();
    server = restart(server, killed[0]);
    put(&server, "f", &json!({ "filter": second })).ok();
    server = restart(server, killed[1]);
    // What a restart has taken back comes again, where it is wanted.
    let settled = at(&server, "f", "ack", &json!({ "leases": leases(&out) }));
    let mut taken = if settled.status == 200 {
        places(&out)
    } else {
        Vec::new()
    };
    taken.extend(drain(&server, "f"));
    taken.sort();
    let status = server.get("/v1/consumers/f").ok();
    assert_eq!(status["lag"]["events"], 0, "{status}");
    server.kill();
    taken
}

#[test]
fn a_filter_means_the_same_with_and_without_a_restart() {
    let (some, all) = (json!({ "id_prefix": "fa" }), json!({ "types": ["counter"] }));
    for killed in [[false, false], [true, false], [false, true]] {
        assert_eq!(
            across(&some, &all, killed),
            all_of(&["fa", "fb", "fc"]),
            "{killed:?}"
        );
        let narrowed = across(&all, &some, killed);
        // What was leased beside it is settled as ever, when there was no restart.
        let rest: Vec<_> = narrowed.iter().filter(|(id, _)| id != "fa").cloned().collect();
        let leased = [place("fb", 1), place("fc", 1)];
        assert_eq!(
            rest,
            if killed == [false, false] {
                &leased[..]
            } else {
                &[]
            },
            "{killed:?}"
        );
        let wanted: Vec<_> = narrowed.into_iter().filter(|(id, _)| id == "fa").collect();
        assert_eq!(wanted, all_of(&["fa"]), "{killed:?}");
    }
}

#[test]
fn what_was_parked_is_replayed_whatever_the_filter_is() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Process::start(&data);
    server.upload(&guests::counter()).ok();
    add(&server, &["f0", "f0", "f2", "f0"]);
    let retry = json!({ "attempts": 1 });
    put(
        &server,
        "h",
        &json!({ "filter": { "id_prefix": "f" }, "retry": retry }),
    )
    .ok();
    let out = at(&server, "h", "fetch", &json!({})).ok();
    let refused = json!({ "leases": leases(&out)[..1], "reason": "no such customer" });
    at(&server, "h", "nack", &refused).ok();
    at(&server, "h", "ack", &json!({ "leases": leases(&out)[1..] })).ok();
    assert_eq!(drain(&server, "h"), []);
    put(
        &server,
        "h",
        &json!({ "filter": { "id_prefix": "f2" }, "retry": retry }),
    )
    .ok();
    // What comes after the change is judged by the new filter, also of a parked aggregate.
    add(&server, &["f0", "f2"]);
    assert_eq!(drain(&server, "h"), [place("f2", 2)]);
    let parked = server.get("/v1/consumers/h/parked/counter/f0").ok();
    assert_eq!(parked["events"].as_array().unwrap().len(), 3);
    server.kill();
    let server = Process::start(&data);
    let replay = json!({ "type": "counter", "id": "f0" });
    assert_eq!(
        at(&server, "h", "replay", &replay).ok()["replaying_aggregates"],
        1
    );
    assert_eq!(drain(&server, "h"), all_of(&["f0"]));
    let status = server.get("/v1/consumers/h").ok();
    assert_eq!(status["parked"], json!({ "aggregates": 0, "events": 0 }));
    server.kill();
}

/// Each filter that came further than the checkpoint is remembered, and there is an end to that.
#[test]
fn a_filter_too_many_is_refused_until_the_checkpoint_moves() {
    let data = tempfile::tempdir().unwrap();
    let server = ground(data.path());
    let filter = |number: usize| json!({ "filter": { "types": ["counter", format!("other-{number}")] } });
    let mut out = Vec::new();
    for number in 0..=EARLIER_FILTERS {
        put(&server, "f", &filter(number)).ok();
        let delivered = at(&server, "f", "fetch", &json!({ "max": 1 })).ok();
        out.extend(leases(&delivered));
    }
    let problem = put(&server, "f", &filter(EARLIER_FILTERS + 1)).problem(409, "too-many-filters");
    assert_eq!(problem["limit"], EARLIER_FILTERS, "{problem}");
    // One that there was is none too many, and once what is out is acknowledged there is room.
    put(&server, "f", &filter(3)).ok();
    at(&server, "f", "ack", &json!({ "leases": out })).ok();
    drain(&server, "f");
    put(&server, "f", &filter(EARLIER_FILTERS + 1)).ok();
}
