//! A server on a port of its own whose answers a test decides; it keeps the requests it got.

use std::{
    convert::Infallible,
    fmt, io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
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
        let body = serde_json::json!({
            "type": format!("urn:annals:problem:{slug}"), "title": slug, "status": status,
            "detail": format!("the detail of {slug}"), "fix": format!("the fix of {slug}"),
        });
        Self::text(status, &body.to_string()).header("Content-Type", "application/problem+json")
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

    fn into_response(self) -> io::Result<Response<BoxBody<Bytes, Infallible>>> {
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
        let task = tokio::spawn(serve(listener, requests.clone(), Arc::new(answer)));
        Self {
            address,
            requests,
            task,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address.parse().unwrap())
    }

    /// The requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
    answer: Arc<impl Fn(&FakeRequest) -> Reply + Send + Sync + 'static>,
) {
    for connection in 0.. {
        let (socket, _) = listener.accept().await.unwrap();
        let (requests, answer) = (requests.clone(), answer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (requests, answer) = (requests.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
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

/// An `opened` event of an account at a version; its cursor is `c` and the version.
pub(crate) fn event(id: &str, version: u64) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"0a/account/{id}/{version}","source":"/v1/aggregates/account","subject":"{id}","type":"opened","time":"2026-01-02T03:04:05.678Z","datacontenttype":"application/json","data":{{"z":{version},"a":1.10}},"sequence":"{version:020}","position":"c{version}","module":"ab"}}"#
    )
}
