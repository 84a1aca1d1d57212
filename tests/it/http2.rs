//! HTTP/2 without TLS, by prior knowledge: frames by hand (RFC 9113), many requests under way on one connection.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    server::{Api, TestServer},
};
use serde_json::Value;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, the eighth entry of the static table.
const STATUS_200: u8 = 0x88;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(PREFACE).unwrap();
        let mut connection = Self(stream);
        connection.send(SETTINGS, 0, 0, &[]);
        connection
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Frame {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).unwrap();
        Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        }
    }

    fn post(&mut self, stream: u32, path: &str, body: &[u8]) {
        self.post_as("application/json", stream, path, body);
    }

    fn post_as(&mut self, media_type: &str, stream: u32, path: &str, body: &[u8]) {
        // `:method: POST`, `:scheme: http`, then path, authority and content type as literals that are not indexed.
        let mut block = vec![0x83, 0x86];
        for (name, value) in [(4, path), (1, "annals")] {
            block.extend([name, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        block.extend([0x0f, 0x10, u8::try_from(media_type.len()).unwrap()]);
        block.extend(media_type.as_bytes());
        self.send(HEADERS, END_HEADERS, stream, &block);
        for part in body.chunks(16 << 10) {
            self.send(DATA, 0, stream, part);
        }
        self.send(DATA, END_STREAM, stream, &[]);
    }

    /// Leaves room for so many bytes more on the whole connection.
    fn widen(&mut self, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
    }

    /// The next frame of this stream; what comes of others is passed over.
    fn receive_of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.receive();
            if frame.stream == stream {
                return frame;
            }
        }
    }
}

#[test]
fn many_commands_are_under_way_on_one_connection() {
    let server = TestServer::start();
    server.upload(&guests::counter()).ok();
    let mut connection = Connection::open(server.address());
    let streams: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        connection.post(*stream, "/v1/aggregates/counter/a/commands/add", b"{\"by\":1}");
    }
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut ended = 0;
    while ended < streams.len() {
        let frame = connection.receive();
        match frame.kind {
            HEADERS => assert_eq!(
                frame.payload.first(),
                Some(&STATUS_200),
                "stream {}",
                frame.stream
            ),
            DATA => bodies.entry(frame.stream).or_default().extend(&frame.payload),
            _ => {}
        }
        if frame.stream > 0 && frame.flags & END_STREAM != 0 {
            ended += 1;
        }
    }
    let mut versions: Vec<u64> = bodies
        .values()
        .map(|body| {
            serde_json::from_slice::<Value>(body).unwrap()["version"]
                .as_u64()
                .unwrap()
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=100).collect::<Vec<u64>>());
    assert_eq!(server.get("/v1/aggregates/counter/a").ok()["state"]["sum"], 100);
}

#[test]
fn a_pipelined_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let server = TestServer::with_limits(Limits {
        pipeline_answer_bytes: 64 << 10,
        pipeline_stall: Duration::from_millis(300),
        ..Limits::default()
    });
    server.upload(&guests::counter()).ok();
    let mut connection = Connection::open(server.address());
    // Room for everything on the connection, and for 64 KiB, as it is by default, on each stream.
    connection.widen(16 << 20);
    let line = "{\"type\":\"counter\",\"id\":\"a\",\"command\":\"add\",\"payload\":{\"by\":1}}\n";
    connection.post_as(
        "application/x-ndjson",
        1,
        "/v1/commands",
        line.repeat(900).as_bytes(),
    );
    let add = |connection: &mut Connection, stream| {
        connection.post(stream, "/v1/aggregates/counter/b/commands/add", b"{\"by\":1}");
        let answer = connection.receive_of(stream);
        assert_eq!(
            (answer.kind, answer.payload.first()),
            (HEADERS, Some(&STATUS_200))
        );
    };
    add(&mut connection, 3);
    let ended = loop {
        let frame = connection.receive_of(1);
        if frame.kind != DATA && frame.kind != HEADERS {
            break frame;
        }
        assert_eq!(frame.flags & END_STREAM, 0, "the answers do not fit");
    };
    assert_eq!(ended.kind, RESET);
    add(&mut connection, 5);
    let added = server.get("/v1/aggregates/counter/a").ok()["state"]["sum"].as_u64();
    assert!(added.is_some_and(|added| added < 900), "{added:?}");
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let mut server = TestServer::start();
    let _silent = TcpStream::connect(server.address()).unwrap();
    let mut half = TcpStream::connect(server.address()).unwrap();
    half.write_all(&PREFACE[..7]).unwrap();
    server.stop();
}
