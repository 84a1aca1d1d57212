//! Many commands on one connection, byte by byte: what is wrong with a line is that line's, order holds, nobody waits for
//! ever, and what was taken is decided and said.

mod ends;
mod lines;
mod order;

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
