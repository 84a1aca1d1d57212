//! How streams end: clients that do not read, do not write, or go away, and a server that stops.

use super::*;

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
