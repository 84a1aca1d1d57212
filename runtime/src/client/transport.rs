//! Requests and answers over kept-alive connections.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use super::{address::BaseUrl, answer::Answer, error::ClientError, problem::Problem};

/// A connection that is not there by then is not coming.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than a server may take for a rebuild from the log (60 s).
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(90);
/// Longer than a server may take to compile an upload (180 s).
pub(crate) const UPLOAD_LIMIT: Duration = Duration::from_secs(240);
/// A connection unused for this long is closed, before the server closes it (after 30 s).
const IDLE_LIMIT: Duration = Duration::from_secs(15);
/// Largest answer, bytes: the largest that a server can be set to send, 64 MiB of events from one command and a reply of
/// 16 MiB, as base64, with the rest of 10,000 events around them. Only a fetch may be larger, with `consumer-bytes`
/// raised, and it can ask for fewer events.
pub(crate) const ANSWER_BYTES_MAX: usize = 192 * 1024 * 1024;
/// How much of an answer that is not understood is shown, characters.
pub(crate) const EXCERPT_CHARS: usize = 200;

/// A client of one server. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    base: BaseUrl,
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// One request, before it is sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query below the base address.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) limit: Duration,
}

impl Call {
    pub(crate) fn get(target: String) -> Self {
        Self::new(Method::GET, target, Bytes::new())
    }

    pub(crate) fn new(method: Method, target: String, body: Bytes) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body,
            limit: ANSWER_LIMIT,
        }
    }

    /// With a body of JSON.
    pub(crate) fn json(
        method: Method,
        target: String,
        body: &impl serde::Serialize,
    ) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
        let mut call = Self::new(method, target, body.into());
        call.headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(call)
    }
}

impl Client {
    /// A client of the server at an address. Nothing is sent yet.
    #[must_use]
    pub fn new(base: BaseUrl) -> Self {
        let connections = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector());
        Self { base, connections }
    }

    /// The address of the server.
    #[must_use]
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// Sends a request and takes the whole answer, which must be 2xx.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer<()>, ClientError> {
        let limit = call.limit;
        let whole = async {
            let response = self.open(call).await?;
            let (parts, body) = response.into_parts();
            let body = self.collect(body).await?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
                value: (),
            })
        };
        timeout(limit, whole).await.map_err(|_| self.timed_out(limit))?
    }

    /// Sends a request and returns the answer, which must be 2xx, as soon as its head is there.
    pub(crate) async fn open(&self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let limit = call.limit;
        let what = format!("{} {}{}", call.method, self.base, call.target);
        let request = self.request(call)?;
        let response = timeout(limit, self.connections.request(request))
            .await
            .map_err(|_| self.timed_out(limit))?
            .map_err(|error| self.failure(&error))?;
        self.successful(&what, response, limit).await
    }

    /// An answer that is 2xx, or else the problem that it tells.
    pub(crate) async fn successful(
        &self,
        what: &str,
        response: Response<Incoming>,
        limit: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = timeout(limit, self.collect(body))
            .await
            .map_err(|_| self.timed_out(limit))??;
        Err(not_successful(
            what.to_owned(),
            parts.status,
            &parts.headers,
            body,
        ))
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let unwritable = |error: http::Error| ClientError::Request(error.to_string());
        let mut request = Request::builder()
            .method(call.method)
            .uri(self.base.join(&call.target).map_err(unwritable)?)
            .body(Full::new(call.body))
            .map_err(unwritable)?;
        *request.headers_mut() = call.headers;
        Ok(request)
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ClientError> {
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::Unexpected {
                what: format!("the answer of {}", self.base),
                problem: format!(
                    "it has more than {ANSWER_BYTES_MAX} bytes, the most this client takes: ask for fewer events at \
                     a time"
                ),
            }),
            Err(error) => Err(self.lost(root_cause(error.as_ref()))),
        }
    }

    pub(crate) fn failure(&self, error: &legacy::Error) -> ClientError {
        let cause = error.source().map_or_else(|| error.to_string(), root_cause);
        if error.is_connect() {
            ClientError::Unreachable {
                address: self.base.to_string(),
                cause,
            }
        } else {
            self.lost(cause)
        }
    }

    pub(crate) fn lost(&self, cause: String) -> ClientError {
        ClientError::Lost {
            address: self.base.to_string(),
            cause,
        }
    }

    pub(crate) fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::TimedOut {
            address: self.base.to_string(),
            limit,
        }
    }
}

/// How connections are made.
pub(crate) fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    connector
}

/// The innermost cause: the outer ones only say that there is one.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn not_successful(what: String, status: StatusCode, headers: &HeaderMap, body: Bytes) -> ClientError {
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|seconds| seconds.trim().parse().ok());
    if let Some(mut problem) = Problem::read(status.as_u16(), retry_after, body.clone()) {
        problem.is_replayed = headers
            .get("idempotency-replayed")
            .is_some_and(|value| value == "true");
        return ClientError::Problem(Box::new(problem));
    }
    let excerpt: String = String::from_utf8_lossy(&body)
        .chars()
        .take(EXCERPT_CHARS)
        .collect();
    ClientError::Unexpected {
        what,
        problem: format!(
            "answered {status} without a problem document: `{}`",
            excerpt.escape_debug()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    #[tokio::test]
    async fn nobody_listening_is_unreachable_and_names_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(format!("http://{address}").parse().unwrap());
        let error = client.live().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(error.fix().unwrap().contains("annals serve"), "{error}");
        assert!(error.nothing_happened());
    }

    #[tokio::test]
    async fn a_connection_that_breaks_leaves_the_outcome_open() {
        let server = FakeServer::start(|_| Reply::hang_up()).await;
        let error = server.client().live().await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
        assert!(!error.nothing_happened());
    }

    #[tokio::test]
    async fn a_problem_is_read_with_its_retry_after() {
        let server =
            FakeServer::start(|_| Reply::problem(503, "unavailable").header("Retry-After", "7")).await;
        match server.client().live().await.unwrap_err() {
            ClientError::Problem(problem) => {
                assert_eq!((problem.status, problem.retry_after_seconds), (503, Some(7)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn another_kind_of_server_is_told_apart() {
        let server = FakeServer::start(|_| Reply::text(404, "<h1>\u{1b}[31mnot here</h1>")).await;
        let error = server.client().live().await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("/livez") && message.contains("404") && message.contains("not here"),
            "{message}"
        );
        assert!(!message.contains('\u{1b}'), "{message:?}");
        assert!(error.fix().unwrap().contains("annals server"));
    }
}
