//! What a line says, and what it is answered with.

use super::*;

#[test]
fn a_line_gets_what_a_request_of_its_own_would_have_got() {
    let server = counter(Limits::default());
    let mut stream = Stream::open(&server, "");
    // One at a time: each is answered while the request goes on.
    stream.write(
        "{\"type\":\"counter\",\"id\":\"a/🦀\",\"command\":\"add\",\"payload\":{\"by\":2},\"key\":\"k\",\"tag\":{\"row\":7},\
         \"if_none_match\":\"*\",\"correlation_id\":\"c\",\"causation_id\":\"d\",\
         \"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}\n",
    );
    let first = stream.next().unwrap();
    assert_eq!(
        (&first["line"], &first["tag"], &first["status"]),
        (&json!(1), &json!({ "row": 7 }), &json!(200))
    );
    assert!(first.get("replayed").is_none(), "{first}");
    let outcome = server
        .get("/v1/aggregates/counter/a%2F%F0%9F%A6%80/outcomes/k")
        .ok();
    assert_eq!(first["body"], outcome["body"]);
    let event = &first["body"]["events"][0];
    assert_eq!(
        (&event["correlationid"], &event["causationid"]),
        (&json!("c"), &json!("d"))
    );
    assert!(
        event["traceparent"].as_str().unwrap().starts_with("00-0af"),
        "{event}"
    );

    let lines = [
        json!({ "type": "counter", "id": "a/🦀", "command": "add", "payload": { "by": 2 }, "key": "k" }),
        json!({ "type": "counter", "id": "a/🦀", "command": "add", "payload": { "by": 1 }, "if_match": 1 }),
        json!({ "type": "counter", "id": "a/🦀", "command": "add", "payload": { "by": 1 }, "if_match": [1, 7] }),
        json!({ "type": "counter", "id": "b", "command": "add", "payload": { "by": 1 }, "if_match": "*" }),
        json!({ "type": "counter", "id": "a/🦀", "command": "add", "payload": { "by": 1 }, "if_none_match": "*" }),
        json!({ "type": "counter", "id": "a/🦀", "command": "add", "payload_base64": "eyJieSI6NX0=" }),
        json!({ "type": "counter", "id": "a/🦀", "command": "spam" }),
        json!({ "type": "absent", "id": "a", "command": "add" }),
        json!({ "type": "counter", "id": "a", "command": "absent" }),
        json!({ "type": "counter", "id": "t", "command": "trap" }),
    ];
    // Blank lines are counted, but are no commands.
    stream.write("\n \r\n");
    for line in &lines {
        stream.write(&format!("{line}\n"));
    }
    stream.end();
    let answers = stream.rest();
    let numbers: Vec<u64> = answers
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (4..14).collect::<Vec<u64>>());
    assert_eq!(
        (&answers[0]["replayed"], &answers[0]["body"]),
        (&json!(true), &first["body"])
    );
    assert_eq!(
        (&answers[1]["status"], &answers[1]["body"]["version"]),
        (&json!(200), &json!(2))
    );
    problem(&answers[2], 412, "precondition-failed");
    problem(&answers[3], 412, "precondition-failed");
    problem(&answers[4], 412, "already-exists");
    assert_eq!(answers[5]["body"]["events"][0]["data"], json!({ "by": 5 }));
    assert_eq!(answers[6]["body"]["events"], json!([]));
    problem(&answers[7], 404, "unknown-type");
    problem(&answers[8], 404, "unknown-command");
    problem(&answers[9], 500, "module-trapped");
    assert_eq!(server.whole_feed().len(), 3);
}

#[test]
fn a_broken_line_is_its_own_error() {
    let server = counter(Limits {
        pipeline_line_bytes: 64 << 10,
        payload_bytes: 16 << 10,
        ..Limits::default()
    });
    let giant = format!("{{\"type\":\"{}\"}}", "x".repeat(1 << 20));
    let large = format!(
        "{{\"type\":\"counter\",\"id\":\"a\",\"command\":\"add\",\"payload\":\"{}\"}}",
        "x".repeat(17 << 10)
    );
    let with = |members: &str| format!("{{\"type\":\"counter\",\"id\":\"a\",\"command\":\"add\",{members}}}");
    let cases = [
        ("nonsense".to_owned(), 400, "malformed-request"),
        ("[]".to_owned(), 400, "malformed-request"),
        ("\u{0}\u{1}".to_owned(), 400, "malformed-request"),
        (giant, 413, "too-large"),
        (large, 413, "too-large"),
        (with("\"payloda\":1"), 400, "malformed-request"),
        (with("\"payload\":\"\\ud800\""), 400, "malformed-request"),
        (with("\"payload\":{}"), 400, "malformed-command"),
        (with("\"payload_base64\":\"=\""), 400, "malformed-request"),
        (
            with("\"payload\":1,\"payload_base64\":\"MQ==\""),
            400,
            "malformed-request",
        ),
        (with("\"if_match\":\"7\""), 400, "malformed-request"),
        (
            with("\"if_match\":7,\"if_none_match\":\"*\""),
            400,
            "malformed-request",
        ),
        (with("\"key\":\"\""), 400, "malformed-request"),
        (with("\"correlation_id\":\"\\n\""), 400, "malformed-request"),
        (
            "{\"type\":\"Counter\",\"id\":\"a\",\"command\":\"add\"}".into(),
            400,
            "malformed-request",
        ),
        (
            "{\"type\":\"counter\",\"id\":\"..\",\"command\":\"add\"}".into(),
            400,
            "malformed-request",
        ),
    ];
    let mut body = String::new();
    for (line, ..) in &cases {
        body.push_str(line);
        body.push('\n');
        body.push_str(&add("a"));
    }
    // What stands behind the last line end is a line.
    body.push_str(add("a").trim_end());
    let mut bytes = body.into_bytes();
    // Not even UTF-8.
    bytes.extend_from_slice(b"\n{\"type\":\"\xff\"}");
    // In pieces that care for nothing.
    let mut stream = Stream::open(&server, "");
    for piece in bytes.chunks(50_021) {
        stream
            .connection
            .send(format!("{:x}\r\n", piece.len()).as_bytes())
            .unwrap();
        stream.connection.send(piece).unwrap();
        stream.connection.send(b"\r\n").unwrap();
    }
    stream.end();
    let answers = stream.rest();
    assert_eq!(answers.len(), 2 * cases.len() + 2);
    for (at, (line, status, slug)) in cases.iter().enumerate() {
        let wrong = &answers[2 * at];
        assert_eq!(wrong["line"], 2 * at + 1, "{line:.80}");
        problem(wrong, *status, slug);
        let right = &answers[2 * at + 1];
        assert_eq!(
            (&right["status"], &right["body"]["version"]),
            (&json!(200), &json!(at + 1))
        );
    }
    assert!(answers[0]["body"]["found"] == "nonsense", "{}", answers[0]);
    assert_eq!(answers[6]["body"]["limit_bytes"], 64 << 10);
    problem(answers.last().unwrap(), 400, "malformed-request");
    assert_eq!(server.whole_feed().len(), cases.len() + 1);
}

#[test]
fn what_is_no_stream_is_refused_as_a_whole() {
    let server = counter(Limits {
        command_streams: 1,
        ..Limits::default()
    });
    let post = |query: &str, headers: &[(&str, &str)]| {
        server.request(
            "POST",
            &format!("/v1/commands{query}"),
            headers,
            add("a").as_bytes(),
        )
    };
    post("?order=odd", &[]).problem(400, "malformed-request");
    post("?oder=any", &[]).problem(400, "malformed-request");
    post("", &[("content-type", "application/json")]).problem(415, "unsupported-media-type");
    post("", &[("accept", "text/html")]).problem(406, "not-acceptable");
    server.get("/v1/commands").problem(405, "method-not-allowed");
    for name in ["application/x-ndjson", "application/ndjson", "application/jsonl"] {
        let answer = post("", &[("content-type", name), ("accept", name)]);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(name)));
    }
    assert_eq!(all(&server, "", ""), Vec::<Value>::new());
    let open = Stream::open(&server, "");
    let busy = post("", &[]);
    assert_eq!(busy.problem(429, "busy")["limit"], 1);
    assert!(busy.header("retry-after").is_some());
    drop(open);
}
