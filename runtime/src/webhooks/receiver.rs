//! Posting to a receiver: HTTP/1.1 on connections of our own, each to an address that was checked.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OnceCell, Semaphore},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{
    allowed::Allowed,
    answer::{Failure, judge},
    message::Message,
    target::Target,
    tls,
};
use crate::vocabulary::{Clock, Limits};

/// hyper's smallest buffer, bytes.
const LEAST_BUFFER_BYTES: usize = 8 * 1024;
const USER_AGENT: &str = concat!("annals/", env!("CARGO_PKG_VERSION"));

/// What all receivers share.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) allowed: Allowed,
    pub(super) limits: Arc<Limits>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tls: Tls,
}

/// How TLS is spoken, once somebody needed it.
#[derive(Default)]
pub(super) struct Tls(OnceCell<TlsConnector>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.initialized()).finish()
    }
}

impl Tls {
    async fn connector(&self) -> Result<&TlsConnector, String> {
        let load = || async {
            let loaded = tokio::task::spawn_blocking(tls::connector).await;
            loaded.unwrap_or_else(|error| Err(error.to_string()))
        };
        self.0.get_or_try_init(load).await
    }
}

/// A receiver with the connections to it.
#[derive(Debug)]
pub(super) struct Receiver {
    ground: Arc<Ground>,
    target: Target,
    timeout: Duration,
    /// Looking a name up takes a thread that may hang: one at a time.
    look_up: Arc<Semaphore>,
    idle: Mutex<Vec<(Link, Instant)>>,
}

/// A connection. Its socket is closed with it.
#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Receiver {
    pub(super) fn new(ground: &Arc<Ground>, target: Target, timeout: Duration) -> Self {
        Self {
            ground: Arc::clone(ground),
            target,
            timeout,
            look_up: Arc::new(Semaphore::new(1)),
            idle: Mutex::default(),
        }
    }

    /// Posts a message, within the receiver's time. Nothing but a 2xx is success; redirects are not followed.
    pub(super) async fn post(&self, message: &Message) -> Result<(), Failure> {
        let end = Instant::now() + self.timeout;
        let head = timeout_at(end, self.head(message)).await.unwrap_or_else(|_| {
            Err(format!(
                "the receiver did not answer within {} ms",
                self.timeout.as_millis()
            ))
        });
        let (link, response) = head.map_err(Failure::again)?;
        let (parts, body) = response.into_parts();
        let rest = end.min(Instant::now() + self.ground.limits.webhook_answer);
        let mut start = Vec::new();
        let read = read(body, &mut start, self.ground.limits.webhook_answer_bytes);
        // What was not read to its end is not waited for: the connection is closed instead.
        if timeout_at(rest, read).await == Ok(true) {
            self.keep(link);
        }
        judge(parts.status, &parts.headers, &start, self.ground.clock.now())
    }

    /// Sends a message and waits for the head of the answer. Receivers close connections that they find idle, also in the
    /// moment in which they are used again: then it is tried on a new one.
    async fn head(&self, message: &Message) -> Result<(Link, Response<Incoming>), String> {
        if let Some(link) = self.kept()
            && let Ok(answered) = self.ask(link, message).await
        {
            return Ok(answered);
        }
        let connecting = timeout(self.ground.limits.webhook_connect, self.connect());
        let link = connecting.await.unwrap_or_else(|_| {
            let within = self.ground.limits.webhook_connect.as_millis();
            Err(format!(
                "no connection to `{}` within {within} ms",
                self.target.host
            ))
        })?;
        self.ask(link, message).await
    }

    async fn ask(&self, mut link: Link, message: &Message) -> Result<(Link, Response<Incoming>), String> {
        let request = self.request(message).map_err(|error| error.to_string())?;
        let lost = |error: hyper::Error| {
            format!(
                "the connection to `{}` failed: {}",
                self.target.host,
                cause(&error)
            )
        };
        link.sender.ready().await.map_err(lost)?;
        let response = link.sender.send_request(request).await.map_err(lost)?;
        Ok((link, response))
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, http::Error> {
        Request::builder()
            .method(Method::POST)
            .uri(self.target.path.clone())
            .header(header::HOST, self.target.authority.clone())
            .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static(message.content_type),
            )
            .header("webhook-id", message.id.as_str())
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", message.signatures.as_str())
            .body(Full::new(message.body.clone()))
    }

    fn kept(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(link, since)| {
            !link.sender.is_closed() && since.elapsed() < self.ground.limits.webhook_idle
        });
        idle.pop().map(|(link, _)| link)
    }

    /// Keeps a connection for the next request. There are never more than requests at a time.
    fn keep(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((link, Instant::now()));
    }

    async fn connect(&self) -> Result<Link, String> {
        let mut failed = format!("`{}` has no address", self.target.host);
        for address in self.addresses().await? {
            // Here, so that what was looked up is what was checked.
            if let Err(refused) = self.ground.allowed.check_address(&self.target, address.ip()) {
                failed = format!("{refused}: {}", refused.fix());
                continue;
            }
            match self.connect_to(address).await {
                Ok(link) => return Ok(link),
                Err(error) => {
                    failed = format!("no connection to `{}` at {address}: {error}", self.target.host)
                }
            }
        }
        Err(failed)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let Target { host, port, .. } = &self.target;
        if let Some(address) = self.target.address() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        let turn = Arc::clone(&self.look_up)
            .acquire_owned()
            .await
            .map_err(|error| error.to_string())?;
        let named = (host.clone(), *port);
        let found = tokio::task::spawn_blocking(move || {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&named);
            // Held to here although nobody may wait any more.
            drop(turn);
            found
        });
        let found = found.await.map_err(|error| error.to_string())?;
        let addresses = found.map_err(|error| format!("`{host}` cannot be looked up: {error}"))?;
        Ok(addresses.collect())
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Link, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        // Without it a request may wait for an acknowledgement of the one before; it works all the same.
        drop(stream.set_nodelay(true));
        let stream: Box<dyn Stream> = if self.target.is_tls {
            let name = ServerName::try_from(self.target.host.clone()).map_err(|error| error.to_string())?;
            let connector = self.ground.tls.connector().await?;
            Box::new(
                connector
                    .connect(name, stream)
                    .await
                    .map_err(|error| error.to_string())?,
            )
        } else {
            Box::new(stream)
        };
        let buffer = self.ground.limits.webhook_answer_bytes.max(LEAST_BUFFER_BYTES);
        let speaking = http1::Builder::new()
            .max_buf_size(buffer)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = speaking.map_err(|error| cause(&error))?;
        // Its end is seen by whoever uses it.
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Link { sender, driver })
    }
}

/// Reads a body up to a limit. True when that was all of it.
async fn read(mut body: Incoming, start: &mut Vec<u8>, most: usize) -> bool {
    while start.len() < most {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let room = most - start.len();
                start.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
        }
    }
    false
}

/// An error with what caused it: the outer one often says only that there is a cause.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}
