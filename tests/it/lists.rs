//! Lists and pages: histories, the feed, types and aggregates, whole at any page size; and the server's description of itself.

use std::collections::BTreeSet;

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::Response,
    server::{Api, TestServer, next_link},
    shapes::{is_rfc3339, members},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

#[track_caller]
/// Follows `next` links to the end and gives all items; each page has at most `limit`.
fn pages(
    server: &TestServer,
    path: &str,
    limit: usize,
    items: impl Fn(&Response) -> Vec<Value>,
) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = Some(format!(
        "{path}{}limit={limit}",
        if path.contains('?') { '&' } else { '?' }
    ));
    while let Some(path) = next {
        let page = server.get(&path);
        let found = items(&page);
        assert!(
            !found.is_empty() && found.len() <= limit,
            "{path}: {}",
            found.len()
        );
        all.extend(found);
        next = next_link(&page);
        assert!(all.len() < 10_000, "paging does not end");
    }
    all
}

fn array(page: &Response) -> Vec<Value> {
    page.ok().as_array().unwrap().clone()
}

#[test]
fn pages_put_together_are_the_whole() {
    let server = counter(Limits {
        page_bytes: 300,
        ..Limits::default()
    });
    for number in 0..23 {
        server
            .command("counter/a%2Fb", "add", &json!({ "by": number }))
            .ok();
        server
            .command("counter/other", "add", &json!({ "by": number }))
            .ok();
    }
    let history = "/v1/aggregates/counter/a%2Fb/events";
    let versions = |events: &[Value]| -> Vec<u64> {
        events
            .iter()
            .map(|event| event["sequence"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    let whole: Vec<Value> = server
        .whole_feed()
        .into_iter()
        .filter(|event| event["subject"] == "a/b")
        .collect();
    assert_eq!(versions(&whole), (1..=23).collect::<Vec<_>>());
    for limit in [1, 2, 3, 7, 22, 23, 24, 1000] {
        assert_eq!(pages(&server, history, limit, array), whole, "{limit}");
        let backward = pages(&server, &format!("{history}?direction=backward"), limit, array);
        assert!(backward.iter().rev().eq(&whole), "{limit}");
        for from in [1, 2, 12, 23] {
            let forward = pages(&server, &format!("{history}?from={from}"), limit, array);
            assert_eq!(versions(&forward), (from..=23).collect::<Vec<_>>());
            let backward = pages(
                &server,
                &format!("{history}?from={from}&direction=backward"),
                limit,
                array,
            );
            assert_eq!(versions(&backward), (1..=from).rev().collect::<Vec<_>>());
        }
    }
    let beyond = server.get(&format!("{history}?from=24"));
    assert_eq!(
        (
            beyond.ok(),
            next_link(&beyond),
            beyond.header("aggregate-version")
        ),
        (json!([]), None, Some("23"))
    );
    let far = server.get(&format!(
        "{history}?from=18446744073709551615&direction=backward&limit=1"
    ));
    assert_eq!(versions(&array(&far)), [23]);
    for (accept, content_type) in [
        (
            "application/cloudevents-batch+json",
            "application/cloudevents-batch+json",
        ),
        ("application/json", "application/json"),
        ("*/*", "application/cloudevents-batch+json"),
        (
            "application/json;q=0.1, application/*;q=0.5",
            "application/cloudevents-batch+json",
        ),
    ] {
        let page = server.request("GET", history, &[("accept", accept)], &[]);
        assert_eq!(page.header("content-type"), Some(content_type), "{accept}");
        let page = server.request("GET", "/v1/events", &[("accept", accept)], &[]);
        assert_eq!(page.header("content-type"), Some(content_type), "{accept}");
    }
    // The feed: at any limit, and with a next link also at the end.
    let feed = server.whole_feed();
    assert_eq!(feed.len(), 46);
    for limit in [1, 5, 46, 1000] {
        let (mut all, mut path) = (Vec::new(), format!("/v1/events?limit={limit}"));
        loop {
            let page = server.get(&path);
            all.extend(array(&page));
            path = next_link(&page).unwrap();
            if page.header("caught-up") == Some("true") {
                break;
            }
        }
        assert_eq!(all, feed, "{limit}");
        assert_eq!(server.get(&path).ok(), json!([]));
    }
    let ids: BTreeSet<&str> = feed.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 46);
}

#[test]
fn types_and_aggregates_are_listed() {
    let server = TestServer::start();
    assert_eq!(server.get("/v1/aggregates").ok(), json!({ "types": [] }));
    let digest = server.upload(&guests::counter()).ok()["digest"].clone();
    let types = server.get("/v1/aggregates").ok();
    let counter = &types["types"][0];
    members(
        counter,
        &[
            "type",
            "module",
            "module_version",
            "deployed_at",
            "commands",
            "events",
        ],
    );
    assert_eq!(
        (&counter["type"], &counter["module"], &counter["module_version"]),
        (&json!("counter"), &digest, &json!("1.0.0"))
    );
    assert_eq!(
        (counter["commands"].as_array().unwrap().len(), &counter["events"]),
        (16, &json!(["added", "closed", "armed", "hurt"]))
    );
    is_rfc3339(&counter["deployed_at"]);

    let empty = server.get("/v1/aggregates/counter");
    assert_eq!(
        (empty.ok(), next_link(&empty)),
        (json!({ "aggregates": [] }), None)
    );
    let mut ids = vec![
        "a".to_owned(),
        "a/b".into(),
        "a b".into(),
        "..a".into(),
        "🦀".into(),
        "é&x=1".into(),
        "%41".into(),
        "+".into(),
        "z".repeat(255),
    ];
    for (number, id) in ids.iter().enumerate() {
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for _ in 0..=number {
            server
                .command(&format!("counter/{encoded}"), "add", &json!({ "by": 1 }))
                .ok();
        }
    }
    let count = |id: &str| ids.iter().position(|known| known == id).unwrap() + 1;
    let aggregates = |page: &Response| page.ok()["aggregates"].as_array().unwrap().clone();
    let whole = aggregates(&server.get("/v1/aggregates/counter"));
    for found in &whole {
        members(found, &["id", "version", "recorded_at"]);
        assert_eq!(found["version"], count(found["id"].as_str().unwrap()));
        is_rfc3339(&found["recorded_at"]);
    }
    for limit in 1..=10 {
        assert_eq!(
            pages(&server, "/v1/aggregates/counter", limit, aggregates),
            whole,
            "{limit}"
        );
    }
    ids.sort();
    let listed: Vec<&str> = whole.iter().map(|found| found["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    // The server's own aggregates can be read, under their reserved type.
    let own = server.get("/v1/aggregates/annals-deployment").ok();
    assert_eq!(
        (
            &own["aggregates"][0]["id"],
            own["aggregates"].as_array().unwrap().len()
        ),
        (&json!("counter"), 1)
    );
    let activated = array(&server.get("/v1/aggregates/annals-deployment/counter/events"));
    assert_eq!(
        (&activated[0]["type"], &activated[0]["data"]["digest"]),
        (&json!("activated"), &digest)
    );
}

#[test]
fn openapi_describes_the_commands_of_active_modules() {
    let server = TestServer::start();
    let command = "/v1/aggregates/counter/{id}/commands/add";
    assert!(server.get("/openapi.json").ok()["paths"].get(command).is_none());
    server.upload(&guests::counter()).ok();
    let answer = server.get("/openapi.json");
    let document = answer.ok();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(document["openapi"], "3.1.0");
    for member in ["title", "version"] {
        assert!(document["info"][member].is_string(), "{member}");
    }
    let schema =
        document["paths"][command]["post"]["requestBody"]["content"]["application/json"]["schema"].clone();
    assert_eq!(
        schema,
        json!({ "type": "object", "$id": "urn:annals:schema:counter:command:add" })
    );
    assert_eq!(
        document["components"]["schemas"]["counter.added.1"]["$id"],
        "urn:annals:schema:counter:added:1"
    );
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'), "{path}");
        let wanted: BTreeSet<&str> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        for (method, operation) in methods.as_object().unwrap() {
            assert!(
                operations.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{method} {path}"
            );
            assert!(
                !operation["responses"].as_object().unwrap().is_empty(),
                "{method} {path}"
            );
            // Every parameter of the path is described, and no other.
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let resolved = parameters
                .iter()
                .map(|parameter| match parameter["$ref"].as_str() {
                    Some(reference) => document
                        .pointer(reference.strip_prefix('#').unwrap())
                        .unwrap()
                        .clone(),
                    None => parameter.clone(),
                });
            let in_path: Vec<Value> = resolved.filter(|parameter| parameter["in"] == "path").collect();
            let found: BTreeSet<&str> = in_path
                .iter()
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(found, wanted, "{method} {path}");
        }
    }
}

#[test]
fn operations_answer_in_their_shapes() {
    let server = counter(Limits::default());
    assert_eq!(server.get("/livez").ok(), json!({ "status": "live" }));
    let ready = server.get("/readyz").ok();
    members(&ready, &["status", "log_id", "position", "types"]);
    assert_eq!((&ready["status"], &ready["types"]), (&json!("ready"), &json!(1)));
    let root = server.get("/").ok();
    for member in ["types", "events", "modules", "openapi"] {
        server.get(root[member].as_str().unwrap()).ok();
    }
    for path in [
        "/",
        "/v1/aggregates",
        "/v1/aggregates/counter",
        "/v1/events",
        "/v1/modules",
        "/livez",
        "/readyz",
        "/openapi.json",
    ] {
        let (get, head) = (server.get(path), server.request("HEAD", path, &[], &[]));
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, get.header("content-type")),
            "{path}"
        );
        assert!(head.body.is_empty(), "{path}");
    }
}
