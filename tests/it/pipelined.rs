//! Many commands on one connection, byte by byte: what is wrong with a line is that line's, order holds, nobody waits for
//! ever, and what was taken is decided and said.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    time::Duration,
};

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::Connection,
    server::{Api, TestServer},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// A line that adds one to a counter.
fn add(id: &str) -> String {
    format!("{{\"type\":\"counter\",\"id\":\"{id}\",\"command\":\"add\",\"payload\":{{\"by\":1}}}}\n")
}

/// A stream whose request is being written while its answers are read.
struct Stream {
    connection: Connection,
    buffer: Vec<u8>,
    has_ended: bool,
}

impl Stream {
    fn open(server: &TestServer, query: &str) -> Self {
        let mut stream = Self::request(server, query, "transfer-encoding: chunked\r\n");
        stream.head();
        stream
    }

    fn request(server: &TestServer, query: &str, headers: &str) -> Self {
        let mut connection = Connection::open(server.address()).unwrap();
        let head = format!("POST /v1/commands{query} HTTP/1.1\r\nhost: annals\r\n{headers}\r\n");
        connection.send(head.as_bytes()).unwrap();
        Self {
            connection,
            buffer: Vec::new(),
            has_ended: false,
        }
    }

    /// The answer begins before the request has ended, or even a line has been sent.
    fn head(&mut self) {
        let (status, headers) = self.connection.head().unwrap();
        assert_eq!(status, 200, "{headers:?}");
        let content_type = headers.iter().find(|(name, _)| name == "content-type").unwrap();
        assert_eq!(content_type.1, "application/x-ndjson");
    }

    /// Writes a chunk.
    fn write(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.connection.send(chunk.as_bytes()).unwrap();
    }

    /// The last chunk.
    fn end(&mut self) {
        self.connection.send(b"0\r\n\r\n").unwrap();
    }

    /// The next line; none at the proper end of the answer.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            if self.has_ended {
                assert!(self.buffer.is_empty(), "a line that is cut off");
                return None;
            }
            match self.connection.chunk().unwrap() {
                Some(chunk) => self.buffer.extend(chunk),
                None => self.has_ended = true,
            }
        }
    }

    fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Sends a whole body and gives the answers.
fn all(server: &TestServer, query: &str, body: &str) -> Vec<Value> {
    let answer = server.request("POST", &format!("/v1/commands{query}"), &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn problem(line: &Value, status: u16, slug: &str) {
    assert_eq!(line["status"], status, "{line}");
    let body = &line["body"];
    assert_eq!(body["type"], format!("urn:annals:problem:{slug}"), "{line}");
    assert_eq!(body["status"], status, "{line}");
    for member in ["title", "detail", "fix"] {
        assert!(!body[member].as_str().unwrap_or_default().is_empty(), "{line}");
    }
}

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
fn answers_come_in_the_order_of_lines_or_as_they_finish() {
    let server = counter(Limits {
        handle_wall: Duration::from_millis(300),
        handle_fuel: u64::MAX / 2,
        ..Limits::default()
    });
    let mut body =
        String::from("{\"type\":\"counter\",\"id\":\"slow\",\"command\":\"loop\",\"payload\":{\"by\":1}}\n");
    // Some of them are on another shard than the slow one.
    (0..32).for_each(|id| body.push_str(&add(&format!("x{id}"))));
    let numbers = |query: &str| -> Vec<u64> {
        let answers = all(&server, query, &body);
        let slow = answers.iter().find(|line| line["line"] == 1).unwrap();
        problem(slow, 503, "deadline");
        assert!(slow["retry_after"].as_u64().unwrap() >= 1, "{slow}");
        answers
            .iter()
            .map(|line| line["line"].as_u64().unwrap())
            .collect()
    };
    let sorted: Vec<u64> = (1..=33).collect();
    assert_eq!(numbers(""), sorted);
    assert_eq!(numbers("?order=lines"), sorted);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let mut numbers = numbers("?order=any");
        assert_ne!(numbers, sorted);
        numbers.sort_unstable();
        assert_eq!(numbers, sorted);
    }
}

#[test]
fn a_stream_waits_for_room_and_keeps_the_order_of_an_aggregate() {
    // The smallest queues there are: none of the stream's own lines is ever refused.
    let server = counter(Limits {
        lane_queue: 2,
        shard_queue: 4,
        in_flight_bytes: 64,
        ..Limits::default()
    });
    let body: String = (0..200).map(|_| add("hot")).collect();
    let answers = all(&server, "", &body);
    for (at, line) in answers.iter().enumerate() {
        assert_eq!(
            (&line["status"], &line["body"]["version"]),
            (&json!(200), &json!(at + 1)),
            "{line}"
        );
    }
    assert_eq!(answers.len(), 200);
    let body: String = (0..200).map(|at| add(&format!("x{}", at % 50))).collect();
    for query in ["", "?order=any"] {
        assert!(
            all(&server, query, &body)
                .iter()
                .all(|line| line["status"] == 200)
        );
    }
    // As they finish, those of one aggregate still finish in their order.
    let answers = all(
        &server,
        "?order=any",
        &(0..200)
            .map(|at| add(&format!("y{}", at % 5)))
            .collect::<String>(),
    );
    for id in 0..5 {
        let versions = answers
            .iter()
            .filter(|line| line["body"]["id"] == format!("y{id}"));
        let places: Vec<(u64, u64)> = versions
            .map(|line| {
                (
                    line["line"].as_u64().unwrap(),
                    line["body"]["version"].as_u64().unwrap(),
                )
            })
            .collect();
        assert!(places.len() == 40 && places.is_sorted(), "{places:?}");
    }
}

#[test]
fn the_same_key_twice_in_flight_is_decided_once() {
    let server = counter(Limits::default());
    let line = add("a").replace("}}\n", "},\"key\":\"k\"}\n");
    let other = line.replace("\"by\":1", "\"by\":2");
    for query in ["", "?order=any"] {
        let answers = all(&server, query, &format!("{}{other}{line}", line.repeat(50)));
        assert_eq!(answers.len(), 52);
        let (reused, same): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["line"] == 51);
        problem(reused[0], 422, "key-reused");
        assert!(
            same.iter()
                .all(|answer| answer["body"] == same[0]["body"] && answer["status"] == 200)
        );
        let first = same
            .iter()
            .filter(|answer| answer.get("replayed").is_none())
            .count();
        assert_eq!(first, usize::from(query.is_empty()));
    }
    assert_eq!(server.whole_feed().len(), 1);
}

#[test]
fn who_writes_everything_before_reading_is_served_within_the_bound_or_told() {
    const LINES: usize = 60_000;
    const EVERY: usize = 20;
    let server = counter(Limits {
        pipeline_stall: Duration::from_millis(500),
        ..Limits::default()
    });
    // Within the bound: 4 MiB hold the answers to 3,000 lines.
    let few: String = (0..3_000).map(|at| add(&format!("x{at}"))).collect();
    assert!(all(&server, "", &few).iter().all(|line| line["status"] == 200));
    let before = server.whole_feed().len();

    // 40 MB to write and 20 MB to read are more than sockets hold. Most lines are refused, which is quick.
    let padding = " ".repeat(700);
    let line = |at: usize| match at % EVERY {
        0 => add(&format!("y{at}")),
        _ => format!("{{\"type\":\"absent\",\"id\":\"x\",\"command\":\"add\"}}{padding}\n"),
    };
    let lines: String = (0..LINES).map(line).collect();
    let mut stream = Stream::request(&server, "", &format!("content-length: {}\r\n", lines.len()));
    // All of it can be written, although nothing is being read.
    stream.connection.send(lines.as_bytes()).unwrap();
    stream.head();
    let mut answers = stream.rest();
    let end = answers.pop().unwrap();
    assert_eq!(end["end"], true, "{end}");
    problem(&end, 408, "answers-not-read");
    let taken = usize::try_from(end["lines"].as_u64().unwrap()).unwrap();
    assert!((3_000..LINES).contains(&taken), "{taken}");
    assert_eq!(answers.len(), taken, "each line that was taken is answered");
    for (at, line) in answers.iter().enumerate() {
        let status = if at % EVERY == 0 { 200 } else { 404 };
        assert_eq!((&line["line"], &line["status"]), (&json!(at + 1), &json!(status)));
    }
    let decided = server.whole_feed().len() - before;
    assert_eq!(decided, taken.div_ceil(EVERY), "no other was decided");
}

#[test]
fn who_never_reads_is_cut_off_and_holds_nothing() {
    let server = counter(Limits {
        pipeline_stall: Duration::from_millis(200),
        command_streams: 1,
        ..Limits::default()
    });
    let stream = Stream::request(&server, "", "transfer-encoding: chunked\r\n");
    let text = "{\"type\":\"absent\",\"id\":\"a\",\"command\":\"add\"}\n".repeat(500);
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    let mut socket = stream.connection.socket();
    let error = loop {
        if let Err(error) = socket.write_all(chunk.as_bytes()) {
            break error;
        }
    };
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "not cut, but {error}"
    );
    assert_eq!(all(&server, "", &add("b"))[0]["status"], 200);
}

#[test]
fn a_client_may_shut_down_its_side_and_read_on() {
    let server = counter(Limits::default());
    let body: String = (0..2_000).map(|at| add(&format!("x{}", at % 100))).collect();
    let read = |bytes: &[u8]| {
        let mut stream = Stream::open(&server, "");
        stream.connection.send(bytes).unwrap();
        stream.connection.socket().shutdown(Shutdown::Write).unwrap();
        // It is slow, too.
        std::thread::sleep(Duration::from_millis(100));
        let answers = stream.rest();
        let mut nothing = Vec::new();
        stream.connection.socket().read_to_end(&mut nothing).unwrap();
        assert!(nothing.is_empty(), "after the end the server closes");
        answers
    };
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    let whole = read(format!("{chunk}0\r\n\r\n").as_bytes());
    assert_eq!(whole.len(), 2_000);
    assert!(whole.iter().all(|line| line["status"] == 200));
    // The last chunk is missing, or half of a line is: what stood before is answered, and the rest named.
    let half = add("half");
    let half = &half[..half.len() / 2];
    let cut = [
        chunk.clone(),
        format!("{chunk}{:x}\r\n{half}\r\n", half.len()),
        format!("{chunk}{:x}\r\n{half}", half.len() + 1),
    ];
    for bytes in &cut {
        let mut answers = read(bytes.as_bytes());
        let end = answers.pop().unwrap();
        assert_eq!((&end["end"], &end["lines"]), (&json!(true), &json!(2_000)));
        problem(&end, 400, "malformed-request");
        assert_eq!(answers.len(), 2_000);
        assert!(answers.iter().all(|line| line["status"] == 200));
    }
    assert_eq!(server.whole_feed().len(), 8_000);
    server
        .get("/v1/aggregates/counter/half")
        .problem(404, "unknown-aggregate");
}

#[test]
fn who_goes_away_leaves_nothing_behind_and_what_was_taken_is_decided() {
    let server = counter(Limits {
        command_streams: 1,
        ..Limits::default()
    });
    for round in 1..=5 {
        let mut stream = Stream::open(&server, "");
        stream.write(&add("a").repeat(100));
        // The last line is answered: all were taken. Then it goes, in the middle of a line.
        for _ in 0..100 {
            assert_eq!(stream.next().unwrap()["status"], 200);
        }
        stream.write(&add("a").repeat(20));
        stream.write("{\"type\":");
        // Half of the time with a reset, as something has come that it has not read.
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
        // The place of the only stream comes back.
        let again = || {
            server
                .request("POST", "/v1/commands", &[], add("b").as_bytes())
                .status
                == 200
        };
        let came_back = (0..500).any(|_| {
            again() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(came_back, "round {round}");
    }
    let version = server.get("/v1/aggregates/counter/a").ok()["version"]
        .as_u64()
        .unwrap();
    assert!((500..=600).contains(&version), "{version}");
}

#[test]
fn a_silent_client_is_told_and_a_slow_one_is_not() {
    let server = counter(Limits {
        pipeline_idle: Duration::from_millis(400),
        ..Limits::default()
    });
    let mut stream = Stream::open(&server, "");
    // A line takes much longer than the limit, but it moves.
    for byte in add("a").chars().take(40) {
        stream.write(&byte.to_string());
        std::thread::sleep(Duration::from_millis(30));
    }
    stream.write(&add("a")[40..]);
    assert_eq!(stream.next().unwrap()["status"], 200);
    let end = stream.next().unwrap();
    assert_eq!((&end["end"], &end["lines"]), (&json!(true), &json!(1)));
    problem(&end, 408, "request-timeout");
    assert_eq!(stream.next(), None);
}

#[test]
fn a_server_that_stops_answers_what_it_took_and_says_so() {
    let mut server = counter(Limits {
        handle_wall: Duration::from_millis(600),
        handle_fuel: u64::MAX / 2,
        ..Limits::default()
    });
    let mut idle = Stream::open(&server, "");
    idle.write(&add("a"));
    assert_eq!(idle.next().unwrap()["status"], 200);
    let mut busy = Stream::open(&server, "");
    busy.write("{\"type\":\"counter\",\"id\":\"slow\",\"command\":\"loop\",\"payload\":{\"by\":1}}\n");
    // It was taken once this has been answered, which came behind it on another connection.
    std::thread::sleep(Duration::from_millis(100));
    std::thread::scope(|scope| {
        scope.spawn(|| server.stop());
        problem(&busy.next().unwrap(), 503, "deadline");
        for (stream, lines) in [(&mut idle, 1), (&mut busy, 1)] {
            let end = stream.next().unwrap();
            assert_eq!(
                (&end["end"], &end["lines"]),
                (&json!(true), &json!(lines)),
                "{end}"
            );
            problem(&end, 503, "unavailable");
            assert_eq!(end["retry_after"], 1);
            assert_eq!(stream.next(), None, "a proper end");
        }
    });
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

#[test]
fn the_connection_serves_on_after_a_stream() {
    let server = counter(Limits::default());
    let mut connection = Connection::open(server.address()).unwrap();
    for version in 1..=3 {
        let body = add("a");
        let answer = connection
            .request("POST", "/v1/commands", &[], body.as_bytes())
            .unwrap();
        let line: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(line["body"]["version"], version);
        connection.request("GET", "/livez", &[], &[]).unwrap().ok();
    }
    // A client that asks first gets leave before the answer begins.
    let body = add("a");
    let head = format!(
        "POST /v1/commands HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.head().unwrap().0, 100);
    connection.send(body.as_bytes()).unwrap();
    let answer = connection.response(false).unwrap();
    let line: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(line["body"]["version"], 4);
}
