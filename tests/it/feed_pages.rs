//! Pages: cursors in every form, waiting for the first event, waiting for a position, and which pages may be kept.

use std::{
    thread,
    time::{Duration, Instant},
};

use annals::vocabulary::Limits;
use annals_tests::{
    cursors::{later, of_another_branch, of_another_log},
    guests,
    http::Response,
    server::{Api, TestServer, next_link},
};
use serde_json::{Value, json};

const HISTORY: &str = "/v1/aggregates/counter/a/events";
const STATE: &str = "/v1/aggregates/counter/a";
const KEEP: &str = "private, max-age=31536000, immutable";

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

fn add(server: &TestServer, times: usize) -> Value {
    let mut last = Value::Null;
    for _ in 0..times {
        last = server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    }
    last
}

fn length(page: &Response) -> usize {
    page.ok().as_array().unwrap().len()
}

/// Cursors that lead nowhere, with the status, the kind and a word of the answer.
fn bad_cursors(good: &str) -> [(String, u16, &'static str, &'static str); 5] {
    [
        ("nonsense".into(), 400, "bad-cursor", "is not a cursor"),
        (format!("{good}g"), 400, "bad-cursor", "is not a cursor"),
        (of_another_log(good), 400, "bad-cursor", "another log"),
        (of_another_branch(good), 410, "dead-branch", "branch"),
        (later(good, 1_000_000), 400, "bad-cursor", "beyond the end"),
    ]
}

#[test]
fn bad_cursors_are_told_in_every_form() {
    let server = counter(Limits::default());
    let good = add(&server, 3)["position"].as_str().unwrap().to_owned();
    for (bad, status, slug, says) in bad_cursors(&good) {
        for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
            let accept = [("accept", accept)];
            let mut answers = vec![server.request("GET", &format!("/v1/events?after={bad}"), &accept, &[])];
            if accept[0].1 != "application/json" {
                let resume = [accept[0], ("last-event-id", bad.as_str())];
                answers.push(server.request("GET", &format!("{HISTORY}?after={bad}"), &accept, &[]));
                answers.push(server.request("GET", "/v1/events", &resume, &[]));
                answers.push(server.request("GET", HISTORY, &resume, &[]));
            }
            for answer in answers {
                let problem = answer.problem(status, slug);
                assert!(
                    problem["detail"].as_str().unwrap().contains(says),
                    "{bad}: {problem}"
                );
            }
        }
    }
}

#[test]
fn the_position_of_every_answer_can_be_waited_for() {
    let server = counter(Limits::default());
    let key = [("idempotency-key", "k")];
    let accepted = server.post(&format!("{STATE}/commands/add"), &key, &json!({ "by": 1 }));
    let replayed = server.post(&format!("{STATE}/commands/add"), &key, &json!({ "by": 1 }));
    assert_eq!(accepted.ok()["position"], replayed.ok()["position"]);
    server.command("counter/a", "close", &json!({ "at": 1 })).ok();
    let key = [("idempotency-key", "no")];
    let rejected = server.post(&format!("{STATE}/commands/add"), &key, &json!({ "by": 1 }));
    let again = server.post(&format!("{STATE}/commands/add"), &key, &json!({ "by": 1 }));
    assert_eq!(rejected.text(), again.text());
    let unrecorded = server.command("counter/a", "add", &json!({ "by": 1 }));
    let line = b"{\"type\":\"counter\",\"id\":\"b\",\"command\":\"add\",\"payload\":{\"by\":1}}\n\
        {\"type\":\"counter\",\"id\":\"a\",\"command\":\"add\",\"payload\":{\"by\":1}}\n";
    let piped = server.request(
        "POST",
        "/v1/commands",
        &[("content-type", "application/x-ndjson")],
        line,
    );
    let lines: Vec<Value> = piped
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answers = [
        (200, accepted.json()),
        (422, rejected.json()),
        (422, unrecorded.json()),
        (200, lines[0]["body"].clone()),
        (422, lines[1]["body"].clone()),
    ];
    assert_eq!(lines[1]["status"], 422, "{lines:?}");
    for (status, answer) in answers {
        let position = answer["position"]
            .as_str()
            .unwrap_or_else(|| panic!("{status}: {answer}"));
        let waited = server.get(&format!("/v1/aggregates/counter/b?wait_for={position}"));
        assert_eq!(waited.ok()["version"], 1);
        server
            .get(&format!("/v1/events?wait_for={position}&timeout=0"))
            .ok();
    }
}

#[test]
fn reads_wait_for_a_position() {
    let server = counter(Limits::default());
    let now = add(&server, 2)["position"].as_str().unwrap().to_owned();
    let soon = later(&now, 2);
    let paths = [STATE, HISTORY, "/v1/events"];
    // It does not come.
    for path in paths {
        let begun = Instant::now();
        let answer = server.get(&format!("{path}?wait_for={soon}&timeout=0.2"));
        let problem = answer.problem(504, "not-reached");
        assert!(begun.elapsed() >= Duration::from_millis(200), "{path}");
        assert_eq!(
            (&problem["cursor"], &problem["position"]),
            (&json!(soon), &json!(now))
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        // What can never come is told at once.
        for (bad, status, slug, says) in bad_cursors(&now).into_iter().take(4) {
            let answer = server
                .get(&format!("{path}?wait_for={bad}"))
                .problem(status, slug);
            assert!(
                answer["detail"].as_str().unwrap().contains(says),
                "{bad}: {answer}"
            );
        }
        for timeout in ["61", "-1", "x", "", "1e1"] {
            let answer = server.get(&format!("{path}?wait_for={now}&timeout={timeout}"));
            let problem = answer.problem(400, "malformed-request");
            assert!(problem["detail"].as_str().unwrap().contains("60"), "{problem}");
        }
    }
    // It comes.
    thread::scope(|scope| {
        let waiting: Vec<_> = paths
            .into_iter()
            .flat_map(|path| ["application/json", "application/x-ndjson"].map(|accept| (path, accept)))
            .filter(|case| *case != (STATE, "application/x-ndjson"))
            .map(|(path, accept)| {
                let (server, soon) = (&server, &soon);
                scope.spawn(move || {
                    let path = format!("{path}?wait_for={soon}");
                    (
                        path.clone(),
                        server.request("GET", &path, &[("accept", accept)], &[]),
                    )
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        add(&server, 2);
        for waiter in waiting {
            let (path, answer) = waiter.join().unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let text = answer.text();
            let is_seen = text.contains(&soon) || text.contains("\"version\":4");
            assert!(is_seen, "{path}: {text}");
        }
    });
}

#[test]
fn an_empty_page_waits_for_its_first_event() {
    let server = counter(Limits::default());
    add(&server, 2);
    let wait = [("prefer", "respond-async, wait=20")];
    let paths = [
        "/v1/events?after=now",
        "/v1/events?after=now&event_type=added",
        "/v1/aggregates/counter/a/events?from=3",
        "/v1/aggregates/counter/new/events",
    ];
    thread::scope(|scope| {
        let begun = Instant::now();
        let waiting = paths.map(|path| {
            let server = &server;
            scope.spawn(move || server.request("GET", path, &wait, &[]))
        });
        thread::sleep(Duration::from_millis(150));
        // Not wanted by anybody but the feed as a whole.
        server.command("counter/a", "close", &json!({ "at": 1 })).ok();
        thread::sleep(Duration::from_millis(50));
        server.command("counter/new", "add", &json!({ "by": 1 })).ok();
        let expected = ["closed", "added", "closed", "added"];
        for ((path, waiter), expected) in paths.into_iter().zip(waiting).zip(expected) {
            let page = waiter.join().unwrap();
            assert_eq!(page.ok()[0]["type"], expected, "{path}");
            assert_eq!(page.header("preference-applied"), Some("wait=20"), "{path}");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "nobody waits longer than needed"
        );
    });
    // What has something is answered at once, and what gets nothing after the time.
    let begun = Instant::now();
    assert_eq!(length(&server.request("GET", HISTORY, &wait, &[])), 3);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let begun = Instant::now();
    let empty = server.request("GET", "/v1/events?event_type=armed", &[("prefer", "wait=1")], &[]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((empty.ok(), empty.header("caught-up")), (json!([]), Some("true")));
    server
        .request(
            "GET",
            "/v1/aggregates/counter/none/events",
            &[("prefer", "wait=1")],
            &[],
        )
        .problem(404, "unknown-aggregate");
    let without = server.request("GET", HISTORY, &[("prefer", "wait=soon")], &[]);
    assert_eq!(
        (length(&without), without.header("preference-applied")),
        (3, None)
    );
}

#[test]
fn a_page_is_kept_for_ever_only_when_it_can_never_be_another() {
    let server = counter(Limits::default());
    let first = add(&server, 1)["position"].as_str().unwrap().to_owned();
    add(&server, 9);
    let cache = |path: &str| {
        let page = server.get(path);
        page.ok();
        assert_eq!(page.header("vary"), Some("accept"), "{path}");
        page.header("cache-control").unwrap().to_owned()
    };
    let kept = [
        format!("/v1/events?after={first}&limit=3"),
        format!("/v1/events?after={first}&limit=3&event_type=added"),
        format!("/v1/events?wait_for={first}&limit=3"),
        format!("{HISTORY}?limit=3&wait_for={first}"),
        format!("{HISTORY}?from=4&limit=3&wait_for={first}"),
    ];
    let open = [
        // No branch is named.
        "/v1/events?limit=3".to_owned(),
        format!("{HISTORY}?limit=3"),
        // Not full, or nothing behind it.
        format!("/v1/events?after={first}"),
        format!("/v1/events?after={first}&limit=9"),
        format!("{HISTORY}?limit=10&wait_for={first}"),
        // The place moves.
        format!("/v1/events?after=now&wait_for={first}&limit=1"),
        format!("{HISTORY}?direction=backward&limit=3&wait_for={first}"),
    ];
    let pages: Vec<Response> = kept.iter().map(|path| server.get(path)).collect();
    for path in &kept {
        assert_eq!(cache(path), KEEP, "{path}");
    }
    for path in &open {
        assert_eq!(cache(path), "no-cache", "{path}");
    }
    add(&server, 5);
    server.command("counter/a", "close", &json!({ "at": 1 })).ok();
    for (path, before) in kept.iter().zip(pages) {
        let after = server.get(path);
        assert_eq!(
            (&after.body, &after.headers.len()),
            (&before.body, &before.headers.len()),
            "{path}"
        );
        for name in ["etag", "link", "cache-control", "caught-up", "content-type"] {
            assert_eq!(after.header(name), before.header(name), "{path}: {name}");
        }
        assert_eq!(after.header("aggregate-version"), None, "{path}");
    }
    // The next pages of a history name the branch by themselves.
    let next = next_link(&server.get(&format!("{HISTORY}?limit=3"))).unwrap();
    assert_eq!(cache(&next), KEEP, "{next}");
}

/// Without a `limit`, an address is of as many events as the server's limit says: another one, another page.
#[test]
fn a_page_whose_size_is_the_servers_is_not_kept() {
    let server = counter(Limits {
        page_events: 3,
        ..Limits::default()
    });
    let first = add(&server, 1)["position"].as_str().unwrap().to_owned();
    add(&server, 9);
    for path in [
        format!("/v1/events?after={first}"),
        format!("{HISTORY}?wait_for={first}"),
    ] {
        let page = server.get(&path);
        assert_eq!(length(&page), 3, "{path}");
        assert_eq!(page.header("cache-control"), Some("no-cache"), "{path}");
        // The next one names its size.
        let next = server.get(&next_link(&page).unwrap());
        assert_eq!(next.header("cache-control"), Some(KEEP), "{path}");
    }
}

#[test]
fn streams_say_that_they_depend_on_what_is_accepted() {
    let server = counter(Limits::default());
    add(&server, 1);
    for path in ["/v1/events", HISTORY] {
        let lines = server.request("GET", path, &[("accept", "application/x-ndjson")], &[]);
        assert_eq!(
            (lines.status, lines.header("vary")),
            (200, Some("accept")),
            "{path}"
        );
    }
}

#[test]
fn a_page_that_one_has_is_not_sent_again() {
    let server = counter(Limits::default());
    add(&server, 4);
    for path in [
        "/v1/events",
        "/v1/events?limit=2",
        HISTORY,
        &format!("{HISTORY}?direction=backward&limit=2"),
    ] {
        let page = server.get(path);
        let etag = page.header("etag").unwrap();
        for known in [etag, "*", &format!("W/{etag}, \"x\""), &format!("\"x\",{etag}")] {
            let same = server.request("GET", path, &[("if-none-match", known)], &[]);
            assert_eq!(
                (same.status, same.header("etag")),
                (304, Some(etag)),
                "{path} {known}"
            );
            assert_eq!(same.header("link"), page.header("link"), "{path}");
        }
        let other_form = server.request("GET", path, &[("accept", "application/json")], &[]);
        assert_ne!(other_form.header("etag"), Some(etag), "{path}");
        let is_first = path.ends_with("events?limit=2");
        add(&server, 1);
        let later = server.request("GET", path, &[("if-none-match", etag)], &[]);
        assert_eq!(later.status, if is_first { 304 } else { 200 }, "{path}");
    }
}
