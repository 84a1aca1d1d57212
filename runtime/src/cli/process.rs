//! A server in a process of its own: this same program, told to serve. For the demo and the benchmark.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::error::CliError;

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    address: SocketAddr,
    start_time: Duration,
}

impl ServerProcess {
    /// Starts a server and waits until it serves requests.
    pub(crate) fn start(data: &Path, listen: SocketAddr) -> Result<Self, CliError> {
        let failed = |what: &str| CliError::failed(format!("the server did not start: {what}"));
        let started = Instant::now();
        let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
        let mut child = Command::new(program)
            .args(["--json", "serve", "--log-filter", "warn", "--listen"])
            .arg(listen.to_string())
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let address = child
            .stdout
            .take()
            .and_then(|stdout| ready(BufReader::new(stdout)));
        match address {
            Some(address) => Ok(Self {
                child,
                address,
                start_time: started.elapsed(),
            }),
            None => {
                // It has said why on standard error.
                drop(child.kill());
                let ended = child.wait().map_err(|error| failed(&error.to_string()))?;
                Err(failed(&ended.to_string()))
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long it took until it served requests.
    pub(crate) fn start_time(&self) -> Duration {
        self.start_time
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<(), CliError> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed
            .map(|_| ())
            .map_err(|error| CliError::failed(format!("the server cannot be killed: {error}")))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<(), CliError> {
        let failed =
            |error: std::io::Error| CliError::failed(format!("the server cannot be stopped: {error}"));
        // After Ctrl-C it may have ended already: the terminal tells both of us.
        if self.child.try_wait().map_err(failed)?.is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM).map_err(|error| failed(error.into()))?;
        }
        let ended = self.child.wait().map_err(failed)?;
        if ended.success() {
            Ok(())
        } else {
            Err(CliError::failed(format!("the server ended badly: {ended}")))
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Ended ones cannot be killed again, which is no loss.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address in the first line that a server writes with `--json`.
fn ready(mut stdout: impl BufRead) -> Option<SocketAddr> {
    #[derive(serde::Deserialize)]
    struct Ready {
        server: String,
    }
    let mut line = String::new();
    stdout.read_line(&mut line).ok()?;
    let ready: Ready = serde_json::from_str(&line).ok()?;
    ready.server.strip_prefix("http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_address() {
        let line = "{\"data\":\"d\",\"server\":\"http://127.0.0.1:7\"}\nmore";
        assert_eq!(ready(line.as_bytes()), Some("127.0.0.1:7".parse().unwrap()));
        assert_eq!(ready("".as_bytes()), None);
        assert_eq!(ready("serving http://127.0.0.1:7".as_bytes()), None);
    }
}
