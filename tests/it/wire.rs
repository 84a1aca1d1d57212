//! What is hardly HTTP, comes in halves or in the wrong order: it gets an answer where one can be given, and harms nobody.

use std::{io::Read, net::Shutdown, time::Duration};

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Sends bytes and reads until the server closes.
fn raw(server: &TestServer, bytes: &[u8]) -> String {
    let connection = Connection::open(server.address()).unwrap();
    let mut socket = connection.socket();
    std::io::Write::write_all(&mut socket, bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is the server's way to say that it reads no more.
    drop(socket.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

fn parsed(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        line.split_once(": ")
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
    };
    Some(Response {
        status,
        headers: lines.filter_map(header).collect(),
        body: body.as_bytes().to_vec(),
    })
}

#[test]
fn what_is_hardly_http_gets_an_answer_and_harms_nobody() {
    let server = counter(Limits {
        request_read: Duration::from_millis(300),
        ..Limits::default()
    });
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    let close = "host: a\r\nconnection: close\r\n";
    let head = format!("GET /livez HTTP/1.1\r\n{close}");
    let post = "POST /v1/aggregates/counter/a/commands/add HTTP/1.1\r\n";
    let large = format!("{head}x: {}\r\n\r\n", "x".repeat(33 << 10));
    let huge = format!("{head}x: {}\r\n\r\n", "x".repeat(200 << 10));
    let many = format!("{head}{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\n{close}\r\n", "x".repeat(33 << 10));
    // Statuses that would do; 0 for a connection that is closed, or reset, without an answer.
    let cases: [(&str, &str, &[u16], Option<&str>); 20] = [
        (
            "headers over the limit",
            &large,
            &[431],
            Some("headers-too-large"),
        ),
        ("headers far over the limit", &huge, &[0, 431], None),
        ("too many headers", &many, &[431], None),
        ("a long path", &long, &[414], Some("uri-too-long")),
        ("garbage", "hello\r\n\r\n", &[400], None),
        ("binary garbage", "\u{16}\u{3}\u{1}\0\r\n\r\n", &[400], None),
        ("another protocol", "GET / HTTP/9.9\r\n\r\n", &[400, 505], None),
        (
            "a space in the path",
            &format!("GET /a b HTTP/1.1\r\n{close}\r\n"),
            &[400],
            None,
        ),
        (
            "a header without a colon",
            &format!("{head}oops\r\n\r\n"),
            &[400],
            None,
        ),
        (
            "a control character in a header",
            &format!("{head}x: a\u{1}b\r\n\r\n"),
            &[400],
            None,
        ),
        (
            "a length that is no number",
            &format!("{post}{close}content-length: x\r\n\r\n"),
            &[400],
            None,
        ),
        (
            "two lengths",
            &format!("{post}{close}content-length: 1\r\ncontent-length: 2\r\n\r\nx"),
            &[400],
            None,
        ),
        (
            "an unknown transfer coding",
            &format!("{post}{close}transfer-encoding: gzip\r\n\r\n"),
            &[400, 501],
            None,
        ),
        (
            "a chunk size that is no number",
            &format!("{post}{close}transfer-encoding: chunked\r\n\r\nzz\r\n"),
            &[400],
            Some("malformed-request"),
        ),
        (
            "a body that does not come",
            &format!("{post}{close}content-length: 9\r\n\r\n{{"),
            &[408],
            Some("request-timeout"),
        ),
        (
            "headers that do not come",
            &format!("{post}{close}"),
            &[0, 408],
            None,
        ),
        (
            "an absolute target",
            &format!("GET http://elsewhere/livez HTTP/1.1\r\n{close}\r\n"),
            &[200],
            None,
        ),
        (
            "a target for the whole server",
            &format!("OPTIONS * HTTP/1.1\r\n{close}\r\n"),
            &[404],
            Some("not-found"),
        ),
        (
            "a tunnel",
            &format!("CONNECT a:1 HTTP/1.1\r\n{close}\r\n"),
            &[400, 404],
            None,
        ),
        ("HTTP/1.0", "GET /livez HTTP/1.0\r\n\r\n", &[200], None),
    ];
    for (what, bytes, statuses, slug) in cases {
        let text = raw(&server, bytes.as_bytes());
        let answer = parsed(&text);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        assert!(statuses.contains(&status), "{what}: {text}");
        if let Some(answer) = answer.filter(|answer| answer.status >= 400) {
            match slug {
                Some(slug) => drop(answer.problem(status, slug)),
                // No error is a bare string: a document, or nothing when HTTP itself was not understood.
                None => assert!(
                    answer.body.is_empty() || answer.json()["fix"].is_string(),
                    "{what}: {text}"
                ),
            }
        }
        assert_eq!(server.get("/livez").ok(), json!({ "status": "live" }), "{what}");
    }
    assert_eq!(server.whole_feed().len(), 1);
}

#[test]
fn requests_that_are_half_sent_have_no_effect() {
    let server = counter(Limits::default());
    let whole = "POST /v1/aggregates/counter/a/commands/add HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n{\"by\":1}";
    for cut in [4, 30, 60, 90, whole.len() - 8, whole.len() - 1] {
        let connection = Connection::open(server.address()).unwrap();
        std::io::Write::write_all(&mut connection.socket(), &whole.as_bytes()[..cut]).unwrap();
        connection.socket().shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        drop(connection.socket().read_to_string(&mut answer));
        assert!(!answer.contains(" 200 "), "{cut}: {answer}");
        if let Some(answer) = parsed(&answer).filter(|answer| !answer.body.is_empty()) {
            answer.problem(400, "malformed-request");
        }
    }
    server
        .get("/v1/aggregates/counter/a")
        .problem(404, "unknown-aggregate");
    // One connection goes on after an error that leaves it in order.
    let mut connection = Connection::open(server.address()).unwrap();
    let mut post = |body: &[u8]| {
        connection
            .request("POST", "/v1/aggregates/counter/a/commands/add", &[], body)
            .unwrap()
    };
    post(b"{").problem(400, "malformed-request");
    post(b"{}").problem(400, "malformed-command");
    let answer: Value = post(b"{\"by\":1}").ok();
    assert_eq!(answer["version"], 1);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_writing() {
    let server = counter(Limits::default());
    let large = vec![b' '; 8 << 20];
    let text = [("content-type", "text/plain")];
    for (path, headers, status, slug) in [
        ("/v1/aggregates/counter/a/commands/add", &[][..], 413, "too-large"),
        ("/v1/aggregates/absent/a/commands/add", &[], 404, "unknown-type"),
        (
            "/v1/aggregates/counter/../commands/add",
            &[],
            400,
            "malformed-request",
        ),
        ("/v1/modules?surprise=1", &[], 400, "malformed-request"),
        ("/v1/modules", &text, 415, "unsupported-media-type"),
        ("/v1/events", &[], 405, "method-not-allowed"),
        ("/nothing", &[], 404, "not-found"),
    ] {
        let mut connection = Connection::open(server.address()).unwrap();
        // The connection goes on: the rest of the body was read.
        for _ in 0..2 {
            let answer = connection.request("POST", path, headers, &large).unwrap();
            answer.problem(status, slug);
        }
        connection.request("GET", "/livez", &[], &[]).unwrap().ok();
    }
}

#[test]
fn a_client_that_asks_first_is_told_before_it_sends() {
    let server = counter(Limits::default());
    let ask = |length: usize| {
        let mut connection = Connection::open(server.address()).unwrap();
        let head =
            "POST /v1/aggregates/counter/a/commands/add HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n";
        connection
            .send(format!("{head}content-length: {length}\r\n\r\n").as_bytes())
            .unwrap();
        connection
    };
    let mut refused = ask((1 << 20) + 1);
    refused.response(false).unwrap().problem(413, "too-large");
    let mut welcome = ask(8);
    assert_eq!(welcome.head().unwrap().0, 100);
    welcome.send(b"{\"by\":1}").unwrap();
    assert_eq!(welcome.response(false).unwrap().ok()["version"], 1);
}
