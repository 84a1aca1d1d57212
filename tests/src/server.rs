//! Real servers: in this process with limits of the test's choosing, or a process of its own that can be killed.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

use annals::{
    server::{Allowed, Server, ServerConfig},
    vocabulary::{Cursor, Limits},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{
    artifacts,
    http::{Connection, Response},
};

/// What tests ask of any server.
pub trait Api {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// One request on a connection of its own.
    #[track_caller]
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut connection = Connection::open(self.address()).expect("the server is listening");
        connection
            .request(method, path, headers, body)
            .expect("the server answers")
    }

    /// `GET`.
    #[track_caller]
    fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], &[])
    }

    /// `POST` of JSON.
    #[track_caller]
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.request("POST", path, &all, body.to_string().as_bytes())
    }

    /// Sends a command.
    #[track_caller]
    fn command(&self, aggregate: &str, command: &str, body: &Value) -> Response {
        self.post(
            &format!("/v1/aggregates/{aggregate}/commands/{command}"),
            &[],
            body,
        )
    }

    /// Uploads a module.
    #[track_caller]
    fn upload(&self, module: &[u8]) -> Response {
        self.request(
            "POST",
            "/v1/modules",
            &[("content-type", "application/wasm")],
            module,
        )
    }

    /// Where the log ends.
    #[track_caller]
    fn position(&self) -> u64 {
        let end = log_end(&self.get("/readyz"));
        end.expect("the server is ready and says where its log ends")
            .position
            .0
    }

    /// Everything in the feed, by pages.
    #[track_caller]
    fn whole_feed(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut path = "/v1/events".to_owned();
        loop {
            let page = self.get(&path);
            let body = page.ok();
            events.extend(body.as_array().expect("an array").iter().cloned());
            if page.header("caught-up") == Some("true") {
                return events;
            }
            path = next_link(&page).expect("the feed always goes on");
        }
    }
}

/// Where the log ends, by an answer of `/readyz`.
#[must_use]
pub fn log_end(ready: &Response) -> Option<Cursor> {
    let ready: Value = serde_json::from_slice(&ready.body).ok()?;
    ready["position"].as_str()?.parse().ok()
}

/// A number of bytes that the system knows of a process: `VmRSS`, `VmHWM`.
///
/// # Panics
/// When the system does not know it: a test's finding.
#[must_use]
pub fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs");
    let mut lines = status.lines();
    let kilobytes = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.strip_suffix(" kB"));
    let kilobytes = kilobytes.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("no {name} in {status}")) * 1_024
}

/// The target of `Link: <…>; rel="next"`.
#[must_use]
pub fn next_link(response: &Response) -> Option<String> {
    let link = response.header("link")?;
    link.strip_prefix('<')?
        .strip_suffix(">; rel=\"next\"")
        .map(str::to_owned)
}

/// A server in this process.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    data: Option<TempDir>,
    path: PathBuf,
}

impl Api for TestServer {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl TestServer {
    /// A fresh server with the default limits.
    #[must_use]
    pub fn start() -> Self {
        Self::with_limits(Limits::default())
    }

    /// A fresh server.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let path = data.path().join("data");
        let mut server = Self::open(&path, limits);
        server.data = Some(data);
        server
    }

    /// A fresh server that may send webhooks to these hosts, also to private addresses.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn with_webhooks(limits: Limits, hosts: &[String]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let path = data.path().join("data");
        let allowed = Allowed {
            hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
            private: true,
        };
        let mut server = Self::open_with(&path, limits, allowed);
        server.data = Some(data);
        server
    }

    /// A server on a data directory that the test looks after.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn open(data: &Path, limits: Limits) -> Self {
        Self::open_with(data, limits, Allowed::default())
    }

    /// The same with the places that webhooks may go to.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn open_with(data: &Path, limits: Limits, webhooks: Allowed) -> Self {
        let config = ServerConfig {
            limits,
            webhooks,
            ..ServerConfig::local(data)
        };
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(async {
                    let server = Server::bind(config).await.expect("a free port");
                    let shutdown = async { drop(stopped.await) };
                    server
                        .run(
                            move |address| ready.send(address).expect("the test waits"),
                            shutdown,
                        )
                        .await
                })
                .expect("the server starts");
        });
        let address = is_ready.recv().expect("the server is ready");
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
            data: None,
            path: data.to_owned(),
        }
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.path
    }

    /// Stops it and starts another on the same data, after `between`.
    #[must_use]
    pub fn restart(mut self, between: impl FnOnce(&Path)) -> Self {
        self.stop();
        between(&self.path);
        let mut next = Self::open(&self.path, Limits::default());
        next.data = self.data.take();
        next
    }

    /// Stops it gracefully.
    ///
    /// # Panics
    /// When its thread panicked: a test's finding.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server stops without a panic");
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Any port that nobody listens on.
const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An address that nobody listens on at the moment, for a server that is to come back under the same.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(FREE_PORT).expect("a free port");
    listener.local_addr().expect("its address")
}

/// A server as a process of its own.
#[derive(Debug)]
pub struct Process {
    address: SocketAddr,
    child: Child,
}

impl Api for Process {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Process {
    /// Starts `annals serve` and waits until it says where it listens.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn start(data: &Path) -> Self {
        Self::spawn(Command::new(artifacts::binary()), data)
    }

    /// Starts it with some limits set, `name=value` each.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn with_limits(data: &Path, limits: &[&str]) -> Self {
        Self::launch(Command::new(artifacts::binary()), data, FREE_PORT, limits)
    }

    /// Starts it on an address that is known before, so that clients find the next one after a kill.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn start_at(data: &Path, listen: SocketAddr) -> Self {
        Self::launch(Command::new(artifacts::binary()), data, listen, &[])
    }

    /// Starts it under another program, such as a tracer, which takes the command line as its last arguments.
    ///
    /// # Panics
    /// When it does not start: a test's finding.
    #[must_use]
    pub fn spawn(command: Command, data: &Path) -> Self {
        Self::launch(command, data, FREE_PORT, &[])
    }

    fn launch(mut command: Command, data: &Path, listen: SocketAddr, limits: &[&str]) -> Self {
        let mut child = command
            .args(["--json", "serve", "--listen", &listen.to_string(), "--data"])
            .arg(data)
            .args(limits.iter().flat_map(|limit| ["--limit", limit]))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("annals starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let ready: Value = serde_json::from_str(&first).unwrap_or_else(|_| json!({ "line": first }));
        let url = ready["server"]
            .as_str()
            .unwrap_or_else(|| panic!("not a ready line: {ready}"));
        let address = url
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .expect("an address");
        Self { address, child }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop, as an operator does, and waits until it has.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn terminate(mut self) {
        let id = self.server_id().to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill(1)");
        assert!(asked.success(), "the server {id} can be asked to stop");
        drop(self.child.wait());
    }

    /// The server's own process id: under another program, that of its child.
    fn server_id(&self) -> u32 {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .next()
            .and_then(|child| child.parse().ok())
            .unwrap_or(id)
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When the process cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a process of ours");
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
