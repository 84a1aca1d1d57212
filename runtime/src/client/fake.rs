//! A server on a port of its own whose answers a test decides; it keeps the requests it got.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Client;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct FakeRequest {
    /// Method and target.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Which connection it came over, from 0.
    pub(crate) connection: usize,
}

impl FakeRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<String>,
    ends: bool,
    hangs_up: bool,
}

impl Reply {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            pieces: vec![body.to_owned()],
            ends: true,
            hangs_up: false,
        }
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::text(200, body).header("Content-Type", "application/json")
    }

    pub(crate) fn problem(status: u16, slug: &str) -> Self {
        Self::text(status, &problem(status, slug)).header("Content-Type", "application/problem+json")
    }

    pub(crate) fn stream(media_type: &str, pieces: Vec<String>) -> Self {
        Self {
            pieces,
            ..Self::text(200, "").header("Content-Type", media_type)
        }
    }

    /// The connection is closed without an answer.
    pub(crate) fn hang_up() -> Self {
        Self {
            hangs_up: true,
            ..Self::text(200, "")
        }
    }

    /// After its pieces the body stays open.
    pub(crate) fn never_ending(mut self) -> Self {
        self.ends = false;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As the answer to a line of a pipelined stream.
    fn into_line(self, number: u64) -> io::Result<Bytes> {
        if self.hangs_up {
            return Err(io::Error::other("hanging up"));
        }
        let header = |wanted: &str| {
            self.headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let replayed = header("idempotency-replayed").is_some();
        let retry_after = header("retry-after").map(|(_, value)| format!(",\"retry_after\":{value}"));
        let line = format!(
            "{{\"line\":{number},\"status\":{},\"replayed\":{replayed}{},\"body\":{}}}\n",
            self.status,
            retry_after.unwrap_or_default(),
            self.pieces.concat()
        );
        Ok(line.into())
    }

    fn into_response(self) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
        if self.hangs_up {
            return Err(io::Error::other("hanging up"));
        }
        let pieces = self
            .pieces
            .into_iter()
            .map(|piece| Ok(Frame::data(Bytes::from(piece))));
        let pieces = stream::iter(pieces);
        let body = if self.ends {
            BodyExt::boxed(StreamBody::new(pieces))
        } else {
            BodyExt::boxed(StreamBody::new(pieces.chain(stream::pending())))
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(body).unwrap())
    }
}

/// A running fake server.
pub(crate) struct FakeServer {
    address: String,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
    streams: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeServer {
    pub(crate) async fn start(answer: impl Fn(&FakeRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let streams = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(serve(
            listener,
            requests.clone(),
            streams.clone(),
            Arc::new(answer),
        ));
        Self {
            address,
            requests,
            streams,
            task,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address.parse().unwrap())
    }

    /// From now on it answers a pipelined stream as a whole, at once.
    pub(crate) fn knows_no_streams(&self) {
        self.streams.store(false, Ordering::Release);
    }

    /// The requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().unwrap().clone()
    }
}

type Answer = dyn Fn(&FakeRequest) -> Reply + Send + Sync;

/// Answers a pipelined stream line by line, each as if it were a request whose body is the line.
fn pipelined(
    first: FakeRequest,
    body: Incoming,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
    answer: Arc<Answer>,
) -> Response<BoxBody<Bytes, io::Error>> {
    let start = (body, BytesMut::new(), 0_u64);
    let frames = stream::unfold(start, move |(mut body, mut buffer, mut number)| {
        let (first, requests, answer) = (first.clone(), requests.clone(), answer.clone());
        async move {
            loop {
                if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line = buffer.split_to(end + 1);
                    number += 1;
                    let request = FakeRequest {
                        body: String::from_utf8(line.to_vec()).unwrap().trim_end().to_owned(),
                        ..first
                    };
                    requests.lock().unwrap().push(request.clone());
                    let frame = answer(&request).into_line(number).map(Frame::data);
                    return Some((frame, (body, buffer, number)));
                }
                match body.frame().await? {
                    Ok(frame) => buffer.extend_from_slice(&frame.into_data().unwrap()),
                    Err(error) => return Some((Err(io::Error::other(error)), (body, buffer, number))),
                }
            }
        }
    });
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

async fn serve(
    listener: TcpListener,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
    streams: Arc<AtomicBool>,
    answer: Arc<Answer>,
) {
    for connection in 0.. {
        let (socket, _) = listener.accept().await.unwrap();
        let (requests, streams, answer) = (requests.clone(), streams.clone(), answer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let is_stream = request.uri().path() == "/v1/commands";
            let knows_streams = streams.load(Ordering::Acquire);
            let (requests, answer) = (requests.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                if is_stream {
                    let first = FakeRequest {
                        line: format!("{} {}", parts.method, parts.uri),
                        headers: parts.headers,
                        body: String::new(),
                        connection,
                    };
                    // A server that knows of none answers without looking at the body.
                    return if knows_streams {
                        Ok(pipelined(first, body, requests, answer))
                    } else {
                        answer(&first).into_response()
                    };
                }
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                let request = FakeRequest {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    connection,
                };
                requests.lock().unwrap().push(request.clone());
                answer(&request).into_response()
            }
        });
        // A connection that a test breaks off is no failure of the fake.
        tokio::spawn(async move {
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

/// A problem document, on one line.
pub(crate) fn problem(status: u16, slug: &str) -> String {
    let document = serde_json::json!({
        "type": format!("urn:annals:problem:{slug}"), "title": slug, "status": status,
        "detail": format!("the detail of {slug}"), "fix": format!("the fix of {slug}"),
    });
    document.to_string()
}

/// An `opened` event of an account at a version; its cursor is `c` and the version.
pub(crate) fn event(id: &str, version: u64) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"0a/account/{id}/{version}","source":"/v1/aggregates/account","subject":"{id}","type":"opened","time":"2026-01-02T03:04:05.678Z","datacontenttype":"application/json","data":{{"z":{version},"a":1.10}},"sequence":"{version:020}","position":"c{version}","module":"ab"}}"#
    )
}

/// A consumer with some of everything.
pub(crate) fn consumer(name: &str) -> String {
    format!(
        r#"{{"filter":{{"types":["account","order"],"event_types":[],"id_prefix":"a","actor":null,"since":null,"until":null,"include_system":false}},"batch":100,"ack_deadline_ms":30000,"retry":{{"attempts":5,"first_pause_ms":500,"longest_pause_ms":60000}},"concurrency":1000,"ordering":"aggregate","name":"{name}","paused":false,"changed_at":"t","checkpoint":"c7","leased":3,"members":{{"worker-1":2,"worker-2":1}},"parked":{{"aggregates":2,"events":5}},"lag":{{"events":12,"exact":true,"seconds":3.42}}}}"#
    )
}

/// The delivery of an [`event`], the first attempt.
pub(crate) fn delivery(lease: &str, id: &str, version: u64) -> String {
    format!(
        r#"{{"lease":"{lease}","attempt":1,"event":{}}}"#,
        event(id, version)
    )
}

/// A parked account: all its events, or the one with a version.
pub(crate) fn parked(id: &str, alone: &str) -> String {
    format!(
        r#"{{"type":"account","id":"{id}","alone":{alone},"first_version":1,"events":3,"attempts":5,"last_error":"no such customer","parked_at":"t","replaying":false}}"#
    )
}
