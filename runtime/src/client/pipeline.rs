//! Many commands on one connection: lines out, answers in.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::timeout};

use super::{
    error::ClientError,
    problem::Problem,
    transport::{ANSWER_BYTES_MAX, ANSWER_LIMIT, Client, connector, root_cause},
};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Batches of lines between the writer and the socket.
const BATCHES: usize = 2;

/// The sending side of a pipelined stream. Dropped, it ends the request.
#[derive(Debug)]
pub struct PipelineWriter {
    batches: mpsc::Sender<Bytes>,
}

/// The receiving side of a pipelined stream.
#[derive(Debug)]
pub struct PipelineReader {
    client: Client,
    body: Incoming,
    buffer: BytesMut,
    arrived: VecDeque<PipelineAnswer>,
}

/// One line that came back.
#[derive(Debug, Clone)]
pub enum PipelineAnswer {
    /// The answer to a line.
    Line(LineAnswer),
    /// The server ended the stream before its time.
    End {
        /// The last line that was taken: all up to it were answered, and nothing happened to those behind it.
        lines: u64,
        /// Why.
        problem: Box<Problem>,
    },
}

/// The answer to one line.
#[derive(Debug, Clone)]
pub struct LineAnswer {
    /// Which line of the stream, from 1.
    pub line: u64,
    /// The status that a request of its own would have got.
    pub status: u16,
    /// Whether this is the recorded answer to an earlier command with the same key.
    pub is_replayed: bool,
    retry_after_seconds: Option<u64>,
    body: Bytes,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    lines: Option<u64>,
    status: u16,
    #[serde(default)]
    replayed: bool,
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl LineAnswer {
    /// How many events an accepted command recorded; any other answer as the error that it is.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn events(&self) -> Result<u64, ClientError> {
        #[derive(Deserialize)]
        struct Accepted {
            events: Vec<serde::de::IgnoredAny>,
        }
        if (200..300).contains(&self.status) {
            let accepted: Accepted =
                serde_json::from_slice(&self.body).map_err(|error| unexpected(error.to_string()))?;
            return Ok(accepted.events.len() as u64);
        }
        let problem = problem(self.status, self.retry_after_seconds, &self.body)?;
        Err(ClientError::Problem(Box::new(Problem {
            is_replayed: self.is_replayed,
            ..problem
        })))
    }
}

fn problem(status: u16, retry_after_seconds: Option<u64>, body: &Bytes) -> Result<Problem, ClientError> {
    Problem::read(status, retry_after_seconds, body.clone())
        .ok_or_else(|| unexpected(format!("status {status} came without a problem document")))
}

fn unexpected(problem: String) -> ClientError {
    ClientError::Unexpected {
        what: "a line of the answers".to_owned(),
        problem,
    }
}

impl Client {
    /// Opens a stream of commands on a connection of its own, whose answers come as they finish. Returns once the server
    /// has agreed, before any line is sent.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `not-found` when the server knows no such streams.
    pub async fn pipeline(&self) -> Result<(PipelineWriter, PipelineReader), ClientError> {
        let (batches, lines) = mpsc::channel(BATCHES);
        let unwritable = |error: http::Error| ClientError::Request(error.to_string());
        let uri = self.base().join("/v1/commands?order=any").map_err(unwritable)?;
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, NDJSON)
            .header(header::ACCEPT, NDJSON)
            .body(LinesBody(lines))
            .map_err(unwritable)?;
        let connection: legacy::Client<_, LinesBody> = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector());
        let response = timeout(ANSWER_LIMIT, connection.request(request))
            .await
            .map_err(|_| self.timed_out(ANSWER_LIMIT))?
            .map_err(|error| self.failure(&error))?;
        let response = self
            .successful("POST /v1/commands", response, ANSWER_LIMIT)
            .await?;
        let reader = PipelineReader {
            client: self.clone(),
            body: response.into_body(),
            buffer: BytesMut::new(),
            arrived: VecDeque::new(),
        };
        Ok((PipelineWriter { batches }, reader))
    }
}

impl PipelineWriter {
    /// A place for some lines, each with its end; waits until the server has taken earlier ones. None when it takes no
    /// more: the reader knows why.
    pub async fn place(&self) -> Option<mpsc::Permit<'_, Bytes>> {
        self.batches.reserve().await.ok()
    }
}

impl PipelineReader {
    /// The next answer; waits for it for at most so long. None at the end of the stream.
    ///
    /// # Errors
    /// [`ClientError::Lost`] and [`ClientError::TimedOut`]: nothing is known about the lines that have no answer.
    pub async fn next(&mut self, within: Duration) -> Result<Option<PipelineAnswer>, ClientError> {
        loop {
            if let Some(answer) = self.arrived.pop_front() {
                return Ok(Some(answer));
            }
            let frame = timeout(within, self.body.frame()).await;
            match frame.map_err(|_| self.client.timed_out(within))? {
                Some(Ok(frame)) => self.take(&frame.into_data().unwrap_or_default())?,
                Some(Err(error)) => return Err(self.client.lost(root_cause(&error))),
                None => return Ok(None),
            }
        }
    }

    /// An answer that has arrived already.
    pub fn arrived(&mut self) -> Option<PipelineAnswer> {
        self.arrived.pop_front()
    }

    fn take(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.buffer.extend_from_slice(data);
        let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') else {
            return if self.buffer.len() > ANSWER_BYTES_MAX {
                Err(unexpected(format!("it has more than {ANSWER_BYTES_MAX} bytes")))
            } else {
                Ok(())
            };
        };
        let lines = self.buffer.split_to(end + 1).freeze();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.arrived.push_back(read(&lines, line)?);
        }
        Ok(())
    }
}

fn read(lines: &Bytes, line: &[u8]) -> Result<PipelineAnswer, ClientError> {
    let written: Written<'_> = serde_json::from_slice(line).map_err(|error| unexpected(error.to_string()))?;
    let body = lines.slice_ref(written.body.get().as_bytes());
    match (written.line, written.lines) {
        (Some(line), _) => Ok(PipelineAnswer::Line(LineAnswer {
            line,
            status: written.status,
            is_replayed: written.replayed,
            retry_after_seconds: written.retry_after,
            body,
        })),
        (None, Some(lines)) => Ok(PipelineAnswer::End {
            lines,
            problem: Box::new(problem(written.status, written.retry_after, &body)?),
        }),
        (None, None) => Err(unexpected("it names no line".to_owned())),
    }
}

/// The body of the request: what the writer gives, as it comes.
#[derive(Debug)]
struct LinesBody(mpsc::Receiver<Bytes>);

impl Body for LinesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|batch| batch.map(|batch| Ok(Frame::data(batch))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn lines_go_out_and_answers_come_in() {
        let server = FakeServer::start(|request| match request.body.as_str() {
            "1" => Reply::json(r#"{"events":[{},{}]}"#).header("Idempotency-Replayed", "true"),
            "2" => Reply::problem(429, "busy").header("Retry-After", "7"),
            _ => Reply::text(422, r#"{"type":"urn:annals:problem:rejected","code":"no"}"#),
        })
        .await;
        let (writer, mut reader) = server.client().pipeline().await.unwrap();
        writer.place().await.unwrap().send(Bytes::from_static(b"1\n2"));
        writer.place().await.unwrap().send(Bytes::from_static(b"\n3\n"));
        let mut answers = Vec::new();
        while answers.len() < 3 {
            match reader.next(LIMIT).await.unwrap() {
                Some(PipelineAnswer::Line(answer)) => answers.push(answer),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            (
                answers[0].line,
                answers[0].is_replayed,
                answers[0].events().unwrap()
            ),
            (1, true, 2)
        );
        match answers[1].events() {
            Err(ClientError::Problem(problem)) => {
                assert_eq!(
                    (problem.slug.as_str(), problem.retry_after_seconds),
                    ("busy", Some(7))
                );
            }
            other => panic!("{other:?}"),
        }
        match answers[2].events() {
            Err(ClientError::Problem(problem)) => assert_eq!(problem.rejection_code(), Some("no")),
            other => panic!("{other:?}"),
        }
        drop(writer);
        assert!(reader.next(LIMIT).await.unwrap().is_none());
        assert_eq!(
            server.requests()[0].header("content-type"),
            Some("application/x-ndjson".as_bytes())
        );
    }

    #[tokio::test]
    async fn a_stream_that_breaks_is_lost() {
        let server = FakeServer::start(|_| Reply::hang_up()).await;
        let (writer, mut reader) = server.client().pipeline().await.unwrap();
        writer.place().await.unwrap().send(Bytes::from_static(b"1\n"));
        let error = reader.next(LIMIT).await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    }

    #[test]
    fn answers_are_read() {
        let end = Bytes::from_static(
            br#"{"end":true,"lines":7,"status":503,"retry_after":1,"body":{"type":"urn:annals:problem:unavailable"}}"#,
        );
        match read(&end, &end).unwrap() {
            PipelineAnswer::End { lines, problem } => {
                assert_eq!(
                    (lines, problem.status, problem.retry_after_seconds),
                    (7, 503, Some(1))
                );
                assert!(problem.is_temporary());
            }
            other => panic!("{other:?}"),
        }
        for wrong in [
            "{}",
            "nonsense",
            r#"{"status":200,"body":{}}"#,
            r#"{"end":true,"lines":1,"status":500,"body":7}"#,
        ] {
            let wrong = Bytes::from_static(wrong.as_bytes());
            assert!(read(&wrong, &wrong).is_err());
        }
    }
}
