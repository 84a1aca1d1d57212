//! A receiver of webhooks over plain sockets, which can misbehave in every way.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How long a test waits for a request before it fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Posted {
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, header lines, and a body.
    Status(u16, &'static str, &'static str),
    /// Nothing, until the sender gives up.
    Hang,
    /// The connection is reset.
    Reset,
    /// A status and so many bytes, as fast as they are taken.
    Endless(u16, usize),
}

/// Takes it.
pub const TAKEN: Answer = Answer::Status(204, "", "");

impl Posted {
    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The events in it, one or a batch.
    ///
    /// # Panics
    /// When the body is not JSON: a test's finding.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        match serde_json::from_slice(&self.body).expect("JSON") {
            Value::Array(events) => events,
            event => vec![event],
        }
    }

    /// Whether one of its signatures was made with a secret.
    ///
    /// # Panics
    /// When the secret is not one: a test's mistake.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let digits = secret.strip_prefix("whsec_").expect("a secret");
        let key = STANDARD.decode(digits).expect("base64");
        let mut signed = format!(
            "{}.{}.",
            self.header("webhook-id"),
            self.header("webhook-timestamp")
        )
        .into_bytes();
        signed.extend_from_slice(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)));
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| signature == expected)
    }
}

/// HMAC-SHA-256 (RFC 2104) for keys of up to 64 bytes, written anew so that the server's is not held against itself.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

type Behaviour = dyn Fn(usize, &Posted) -> Answer + Send + Sync;

/// A receiver on a free port of the loopback address. Its threads end with it, but for those that hang.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    requests: Mutex<Vec<Posted>>,
    begun: AtomicUsize,
    connections: AtomicUsize,
    over: AtomicBool,
    behaviour: Box<Behaviour>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// A receiver that does this with its requests, which are numbered from 0.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(behaviour: impl Fn(usize, &Posted) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            begun: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            behaviour: Box::new(behaviour),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, Ok(stream)) = (Arc::clone(&accepting), stream) else {
                    continue;
                };
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// One that takes everything.
    #[must_use]
    pub fn willing() -> Self {
        Self::start(|_, _| TAKEN)
    }

    /// `http://127.0.0.1:PORT` and a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens, as the operator allows it.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What has come so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Posted> {
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Connections that were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What has come, once it is so many requests.
    ///
    /// # Panics
    /// When they do not come: a test's finding.
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, requests: usize) -> Vec<Posted> {
        wait_until("requests", || self.requests().len() >= requests);
        self.requests()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes whoever accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::with_capacity(1, stream);
        while !self.over.load(Ordering::SeqCst) {
            let Some(posted) = read(&mut stream)? else {
                return Ok(());
            };
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            let answer = (self.behaviour)(number, &posted);
            self.requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(posted);
            self.answer(stream.get_mut(), answer)?;
        }
        Ok(())
    }

    fn answer(&self, stream: &mut TcpStream, answer: Answer) -> io::Result<()> {
        match answer {
            Answer::Status(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
                stream.write_all(format!("{head}{body}").as_bytes())
            }
            Answer::Hang => {
                // Ends when the sender closes the connection.
                let mut rest = [0; 1];
                let _ended = stream.read(&mut rest)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Answer::Reset => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Answer::Endless(status, bytes) => {
                stream.write_all(
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {bytes}\r\n\r\n").as_bytes(),
                )?;
                let chunk = vec![b'x'; 64 * 1024];
                for _ in 0..bytes / chunk.len() {
                    stream.write_all(&chunk)?;
                }
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

/// One request; none at the end of the connection.
fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Posted>> {
    let mut posted = Posted::default();
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    line.split(' ')
        .nth(1)
        .unwrap_or_default()
        .clone_into(&mut posted.path);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        posted
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = posted.header("content-length").parse().unwrap_or(0);
    posted.body.resize(length, 0);
    stream.read_exact(&mut posted.body)?;
    Ok(Some(posted))
}

/// Waits until something holds.
///
/// # Panics
/// When it does not come to hold: a test's finding.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
