//! Many commands on one connection: NDJSON to `POST /v1/commands`, answers read while lines are written.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    deposits::{Accounts, COMMAND_DIGITS, ID_DIGITS, account_id, first_command, put},
    failed::Failed,
    ledger::Acknowledged,
    lines::Lines,
    load::{Clock, Seen, Span},
};

/// Lines that may be without an answer.
pub(crate) const WINDOW: usize = 4_096;
/// Lines in one chunk: what is written at once.
const CHUNK_LINES: usize = 256;
const READ_BYTES: usize = 256 * 1024;

/// What one connection did.
#[derive(Debug)]
pub(crate) enum Piped {
    Answered(Seen, Vec<Acknowledged>),
    /// The server has no such path, or does not take it; its status and text.
    Refused(u16, String),
}

/// One line of the answer. The body of the single answer is either within it or beside the status.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    status: u16,
    version: Option<u32>,
    #[serde(borrow)]
    body: Option<Body<'a>>,
    #[serde(borrow)]
    id: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Body<'a> {
    version: Option<u32>,
    #[serde(borrow)]
    id: Option<&'a str>,
}

/// A command without an answer.
#[derive(Debug)]
struct Asked {
    account: u32,
    command: u64,
    at: Instant,
}

/// A connection that is being measured.
struct Pipeline {
    accounts: Accounts,
    command: u64,
    asked: VecDeque<Asked>,
    out: Vec<u8>,
    written: usize,
    is_ended: bool,
    clock: Clock,
    seen: Seen,
    acknowledged: Vec<Acknowledged>,
}

/// Sends deposits for the time, and reads every answer.
pub(crate) fn drive(address: SocketAddr, accounts: Accounts, run: u64, span: Span) -> Result<Piped, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::io("start the load generator", &error))?;
    runtime.block_on(async {
        tokio::time::timeout(span.limit(), converse(address, accounts, run, span))
            .await
            .map_err(|_| Failed::new("pipelined: some answers have not come in time"))?
    })
}

async fn converse(address: SocketAddr, accounts: Accounts, run: u64, span: Span) -> Result<Piped, Failed> {
    let failed = |error| Failed::io("speak to the server", &error);
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (mut reading, mut writing) = stream.split();
    let mut pipeline = Pipeline {
        accounts,
        command: first_command(run, 0),
        asked: VecDeque::with_capacity(WINDOW),
        out: head(),
        written: 0,
        is_ended: false,
        clock: Clock::start(span),
        seen: Seen::default(),
        acknowledged: Vec::new(),
    };
    let mut lines = Lines::default();
    let mut input = Vec::with_capacity(READ_BYTES);
    // Also when no answer wakes this task up: the window may be full.
    let over = tokio::time::sleep(span.length());
    tokio::pin!(over);
    loop {
        pipeline.fill();
        let has_output = pipeline.written < pipeline.out.len();
        tokio::select! {
            read = reading.read_buf(&mut input) => {
                if read.map_err(failed)? == 0 {
                    return Err(Failed::new("pipelined: the server closed the connection before its answer was whole"));
                }
                lines.take(&input)?;
                input.clear();
            }
            written = writing.write(pipeline.rest()), if has_output => {
                pipeline.written += written.map_err(failed)?;
            }
            () = &mut over, if !over.is_elapsed() => {}
        }
        if let Some(status) = lines.status().filter(|status| *status != 200) {
            // Its text may still be on the way; what is there says enough.
            return Ok(Piped::Refused(status, lines.text()));
        }
        while let Some(line) = lines.line() {
            pipeline.answered(&line)?;
        }
        if lines.is_ended() {
            return pipeline.end();
        }
    }
}

fn head() -> Vec<u8> {
    b"POST /v1/commands HTTP/1.1\r\nhost: annals\r\ncontent-type: application/x-ndjson\r\n\
      accept: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec()
}

/// A deposit as a line, with places for an account and a command.
fn line() -> (Vec<u8>, usize, usize) {
    let start = "{\"type\":\"account\",\"id\":\"a";
    let middle = "\",\"command\":\"deposit\",\"payload\":{\"amount\":1},\"correlation_id\":\"";
    let text = format!("{start}{:0ID_DIGITS$}{middle}{:0COMMAND_DIGITS$}\"}}\n", 0, 0);
    (
        text.into_bytes(),
        start.len(),
        start.len() + ID_DIGITS + middle.len(),
    )
}

impl Pipeline {
    /// Puts lines into the empty output while the window is open; the end of the body once the time is over.
    fn fill(&mut self) {
        if self.written < self.out.len() || self.is_ended {
            return;
        }
        self.out.clear();
        self.written = 0;
        if self.clock.is_over() {
            self.out.extend_from_slice(b"0\r\n\r\n");
            self.is_ended = true;
            return;
        }
        // Not one by one: a write for each answer would measure system calls.
        let room = WINDOW - self.asked.len();
        if room < CHUNK_LINES && !self.asked.is_empty() {
            return;
        }
        let (template, id_at, command_at) = line();
        let lines = room.min(CHUNK_LINES);
        self.out
            .extend_from_slice(format!("{:x}\r\n", lines * template.len()).as_bytes());
        let at = Instant::now();
        for _ in 0..lines {
            let account = self.accounts.next().unwrap_or_default();
            self.command += 1;
            let start = self.out.len();
            self.out.extend_from_slice(&template);
            put(&mut self.out, start + id_at, ID_DIGITS, 10, u64::from(account));
            put(
                &mut self.out,
                start + command_at,
                COMMAND_DIGITS,
                16,
                self.command,
            );
            let command = self.command;
            self.asked.push_back(Asked { account, command, at });
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn rest(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    fn answered(&mut self, line: &[u8]) -> Result<(), Failed> {
        let text = || String::from_utf8_lossy(line).into_owned();
        let answer: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            Failed::new(format!(
                "pipelined: an answer is not understood ({error}): {}",
                text()
            ))
        })?;
        let asked = self
            .asked
            .pop_front()
            .ok_or_else(|| Failed::new(format!("pipelined: an answer that nothing asked for: {}", text())))?;
        if !(200..300).contains(&answer.status) {
            self.seen.refuse(answer.status, text);
            return Ok(());
        }
        let id = answer.id.or(answer.body.as_ref().and_then(|body| body.id));
        let version = answer
            .version
            .or(answer.body.as_ref().and_then(|body| body.version));
        let (Some(version), true) = (version, id.is_none_or(|id| id == account_id(asked.account))) else {
            return Err(Failed::new(format!(
                "pipelined: {} was asked, and answered {}",
                account_id(asked.account),
                text()
            )));
        };
        self.seen.success(&self.clock, asked.at, Instant::now());
        self.acknowledged.push(Acknowledged {
            account: asked.account,
            version,
            command: asked.command,
        });
        Ok(())
    }

    fn end(mut self) -> Result<Piped, Failed> {
        if !self.asked.is_empty() {
            return Err(Failed::new(format!(
                "pipelined: the answer ended with {} lines unanswered",
                self.asked.len()
            )));
        }
        self.seen.end(&self.clock);
        Ok(Piped::Answered(self.seen, self.acknowledged))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        time::Duration,
    };

    use super::*;

    /// Answers each line, as `answer` says, with the version that the account has by then.
    fn server(answer: impl Fn(&str, u32) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .unwrap();
            let mut version = 0;
            loop {
                line.clear();
                // A client that gives up is none of this test's business.
                if reader.read_line(&mut line).is_err() {
                    return;
                }
                let Ok(bytes) = usize::from_str_radix(line.trim(), 16) else {
                    return;
                };
                let mut body = vec![0; bytes + 2];
                if reader.read_exact(&mut body).is_err() {
                    return;
                }
                let mut answers = String::new();
                for line in String::from_utf8(body).unwrap().trim().lines() {
                    version += 1;
                    answers.push_str(&answer(line, version));
                }
                if !answers.is_empty() || bytes == 0 {
                    drop(write!(stream, "{:x}\r\n{answers}\r\n", answers.len()));
                }
                if bytes == 0 {
                    return;
                }
            }
        });
        address
    }

    fn piped(answer: impl Fn(&str, u32) -> String + Send + 'static) -> Result<Piped, Failed> {
        let span = Span::Timed {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(100),
        };
        drive(server(answer), Accounts::random(1, 7), 3, span)
    }

    #[test]
    fn every_line_is_answered_and_kept() {
        for nested in [false, true] {
            let answer = move |line: &str, version| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(
                    (&line["id"], &line["payload"]["amount"]),
                    (&"a000000".into(), &1.into())
                );
                if nested {
                    format!("{{\"status\":200,\"body\":{{\"id\":\"a000000\",\"version\":{version}}}}}\n")
                } else {
                    format!("{{\"status\":200,\"id\":\"a000000\",\"version\":{version}}}\n")
                }
            };
            let Piped::Answered(seen, acknowledged) = piped(answer).unwrap() else {
                panic!("refused");
            };
            assert!(seen.answered() > 0 && seen.refused.is_empty(), "{seen:?}");
            let first = acknowledged[0];
            assert_eq!((first.version, first.command), (1, first_command(3, 0) + 1));
            assert!(
                acknowledged
                    .iter()
                    .zip(1..)
                    .all(|(ack, version)| ack.version == version)
            );
        }
    }

    #[test]
    fn refusals_are_counted_and_nonsense_ends_it() {
        let Piped::Answered(seen, acknowledged) = piped(|_, _| "{\"status\":429}\n".to_owned()).unwrap()
        else {
            panic!("refused");
        };
        assert!(seen.refused[&429] > 0 && acknowledged.is_empty());
        for (answer, says) in [
            ("what\n", "not understood"),
            ("{\"status\":200}\n", "a000000 was asked"),
            (
                "{\"status\":200,\"id\":\"b\",\"version\":1}\n",
                "a000000 was asked",
            ),
            ("", "unanswered"),
        ] {
            let failed = piped(move |_, _| answer.to_owned()).unwrap_err().to_string();
            assert!(failed.contains(says), "{failed}");
        }
    }
}
