//! Uploads: what is no module is refused with the reason, many equal ones at once are one, and one that was cut short has
//! no effect.

use std::{
    collections::HashMap,
    sync::Barrier,
    time::{Duration, Instant},
};

use annals::vocabulary::{Limits, hex};
use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The activations in the log.
fn activations(server: &TestServer) -> usize {
    let events = server
        .get("/v1/events?include_system=true&type=annals-deployment")
        .ok();
    events.as_array().unwrap().len()
}

#[track_caller]
fn nothing_is_kept(server: &TestServer) {
    assert_eq!(server.get("/v1/modules").ok(), json!({ "modules": [] }));
    assert_eq!(server.get("/v1/aggregates").ok(), json!({ "types": [] }));
    assert_eq!(activations(server), 0);
}

#[test]
fn what_is_no_module_of_this_contract_is_refused_with_the_reason() {
    let server = TestServer::start();
    let counter = guests::counter();
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let mut flipped = counter.clone();
    flipped[4] = 9;
    let imports_wasi = guests::counter_with(&[(
        "import",
        "(import \"wasi_snapshot_preview1\" \"clock_time_get\" (func (param i32 i64 i32) (result i32)))",
    )]);
    let imports_unknown = guests::counter_with(&[("import", "(import \"env\" \"magic\" (func))")]);
    let cases: [(&str, Vec<u8>, &str, &str); 15] = [
        ("nothing", Vec::new(), "empty", "empty"),
        ("text", b"(module)".to_vec(), "text", "(module)"),
        (
            "more text",
            b"#!/bin/sh\necho hello\n".to_vec(),
            "text",
            "#!/bin/sh",
        ),
        (
            "a zip",
            b"PK\x03\x04\0\0\0\0\xff\xfe".to_vec(),
            "not-wasm",
            "50 4b 03 04",
        ),
        ("the magic alone", b"\0asm".to_vec(), "damaged", "cut off"),
        (
            "a version to come",
            flipped,
            "unknown-wasm-version",
            "09 00 00 00",
        ),
        (
            "half a module",
            counter[..counter.len() / 2].to_vec(),
            "damaged",
            "cut off",
        ),
        (
            "a module without its last byte",
            counter[..counter.len() - 1].to_vec(),
            "damaged",
            "cut off",
        ),
        (
            "a core module without a contract",
            wat("(module)"),
            "no-contract",
            "component-type",
        ),
        (
            "an empty component",
            wat("(component)"),
            "missing-export",
            "annals:aggregate/manifest",
        ),
        (
            "a component of another world",
            wat("(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))"),
            "another-world",
            "wasi:http/incoming-handler@0.2.0",
        ),
        (
            "a component that imports WASI",
            wat("(component (import \"wasi:clocks/wall-clock@0.2.0\" (instance)))"),
            "wasi",
            "wasi:clocks/wall-clock@0.2.0",
        ),
        (
            "a module that imports WASI",
            imports_wasi,
            "wasi",
            "wasi_snapshot_preview1",
        ),
        (
            "a module that imports magic",
            imports_unknown,
            "unknown-import",
            "env",
        ),
        (
            "a module of a reserved type",
            guests::counter_with(&[("data", "(data (i32.const 1600) \"annals-\")")]),
            "bad-manifest",
            "annals-",
        ),
    ];
    for (what, bytes, reason, says) in cases {
        for path in ["/v1/modules", "/v1/modules?activate=true"] {
            let problem = server
                .request("POST", path, &[], &bytes)
                .problem(422, "module-refused");
            assert_eq!(problem["reason"], reason, "{what}: {problem}");
            assert!(
                problem["detail"].as_str().unwrap().contains(says),
                "{what}: {problem}"
            );
        }
    }
    nothing_is_kept(&server);
    // And nothing of it stands in the way of a good one.
    assert_eq!(server.upload(&counter).ok()["active"], true);
}

#[test]
fn uploads_over_the_limit_are_refused_before_they_are_read() {
    let counter = guests::counter();
    let server = TestServer::with_limits(Limits {
        module_bytes: counter.len(),
        ..Limits::default()
    });
    let mut larger = counter.clone();
    larger.push(0);
    let problem = server.upload(&larger).problem(413, "too-large");
    assert_eq!(problem["limit_bytes"], counter.len());
    let mut connection = Connection::open(server.address()).unwrap();
    connection
        .send(b"POST /v1/modules HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n")
        .unwrap();
    connection.response(false).unwrap().problem(413, "too-large");
    nothing_is_kept(&server);
    assert_eq!(server.upload(&counter).status, 201);
}

#[test]
fn many_equal_uploads_at_once_are_one() {
    let server = TestServer::start();
    let (address, counter) = (server.address(), guests::counter());
    let start = Barrier::new(16);
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..16)
            .map(|number| {
                let (counter, start) = (&counter, &start);
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    let path = if number % 2 == 0 {
                        "/v1/modules"
                    } else {
                        "/v1/modules?activate=true"
                    };
                    start.wait();
                    connection.request("POST", path, &[], counter).unwrap()
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 15);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.ok()["activated"] == true)
            .count(),
        1
    );
    assert!(answers.iter().all(|answer| answer.ok()["active"] == true));
    assert_eq!(activations(&server), 1);
    assert_eq!(
        server.get("/v1/modules").ok()["modules"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn modules_are_listed_with_their_manifests() {
    let server = TestServer::start();
    let counter = guests::counter();
    let uploaded = server.upload(&counter).ok();
    let modules = server.get("/v1/modules").ok();
    let listed = &modules["modules"][0];
    let digest = uploaded["digest"].as_str().unwrap();
    let one = server.get(&format!("/v1/modules/{digest}")).ok();
    for member in [
        "digest",
        "type",
        "module_version",
        "size_bytes",
        "uploaded_at",
        "active",
    ] {
        assert_eq!(listed[member], uploaded[member], "{member}");
        assert_eq!(one[member], uploaded[member], "{member}");
    }
    assert_eq!(
        (&listed["type"], &listed["module_version"]),
        (&json!("counter"), &json!("1.0.0"))
    );
    assert_eq!(
        (&listed["size_bytes"], &listed["active"]),
        (&json!(counter.len()), &json!(true))
    );
    assert_eq!(one["manifest"], uploaded["manifest"]);
    let manifest = &one["manifest"];
    assert_eq!(
        manifest["commands"][0],
        json!({ "name": "add", "schema": { "type": "object" } })
    );
    assert_eq!(
        manifest["records"][0],
        json!({ "type": "added", "schema_version": 1, "schema": { "type": "object" } })
    );
    assert_eq!(
        manifest["reads"][0],
        json!({ "type": "added", "schema_version": 1 })
    );
    assert_eq!(
        (&manifest["state_version"], &manifest["attributes"]),
        (&json!(1), &json!({ "sdk": "wat" }))
    );
    assert!(listed.get("manifest").is_none());
}

#[test]
fn an_upload_whose_client_goes_away_completes_or_has_no_effect() {
    let server = TestServer::start();
    let counter = guests::counter();
    let head = format!(
        "POST /v1/modules HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        counter.len()
    );
    for cut in [0, 1, counter.len() / 2, counter.len() - 1] {
        let mut connection = Connection::open(server.address()).unwrap();
        connection.send(head.as_bytes()).unwrap();
        connection.send(&counter[..cut]).unwrap();
        drop(connection);
        std::thread::sleep(Duration::from_millis(50));
        nothing_is_kept(&server);
    }
    let mut connection = Connection::open(server.address()).unwrap();
    connection.send(head.as_bytes()).unwrap();
    connection.send(&counter).unwrap();
    drop(connection);
    // All of it has been sent: whatever came of it, it came whole.
    let begun = Instant::now();
    while server.get("/v1/modules").ok()["modules"] == json!([]) && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = server.upload(&counter);
    assert_eq!(answer.ok()["active"], true);
    assert_eq!((activations(&server), server.whole_feed().len()), (1, 0));
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
}

/// The counter with a number in a custom section, and its digest.
fn numbered(counter: &[u8], number: u32) -> (Vec<u8>, String) {
    let mut module = counter.to_vec();
    // Section 0 of six bytes: a name of one byte, and the number.
    module.extend_from_slice(&[0, 6, 1, b'n']);
    module.extend_from_slice(&number.to_be_bytes());
    let digest = hex(&Sha256::digest(&module));
    (module, digest)
}

/// Two modules whose digests begin with the same eight digits, of which there are two among some hundred thousand.
fn alike() -> [(Vec<u8>, String); 2] {
    let counter = guests::counter();
    let mut seen = HashMap::new();
    let twice = (0_u32..).find_map(|number| {
        let (_, digest) = numbered(&counter, number);
        let other = seen.insert(digest[..8].to_owned(), number)?;
        Some([other, number])
    });
    twice.unwrap().map(|number| numbered(&counter, number))
}

#[test]
fn a_module_is_found_by_as_much_of_its_digest_as_no_other_has() {
    let server = TestServer::start();
    let [one, other] = alike();
    for (module, digest) in [&one, &other] {
        assert_eq!(server.upload(module).ok()["digest"], *digest);
    }
    let common = one
        .1
        .bytes()
        .zip(other.1.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let problem = server
        .get(&format!("/v1/modules/{}", &one.1[..common]))
        .problem(400, "malformed-request");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&one.1) && detail.contains(&other.1), "{problem}");
    assert_eq!(problem["fix"], "send more digits");
    let found = server.get(&format!("/v1/modules/{}", &one.1[..=common])).ok();
    assert_eq!(found["digest"], one.1);
}
