//! Processes that are measured: starting them, what processor time they took, and ending them.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use annals_tests::http::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{args::Args, failed::Failed, format};

/// How long a server may take to stop before that counts as a failure.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What every measurement needs: what was asked for, the binary, and a folder of this run's own.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) args: &'a Args,
    pub(crate) annals: PathBuf,
    pub(crate) dir: PathBuf,
}

impl<'a> Bench<'a> {
    pub(crate) fn prepare(args: &'a Args) -> Result<Self, Failed> {
        let program = std::env::current_exe().map_err(|error| Failed::io("find this program", &error))?;
        let beside = program.parent().unwrap_or(Path::new("."));
        let annals = args.annals.clone().unwrap_or_else(|| beside.join("annals"));
        if !annals.is_file() {
            return Err(Failed::new(format!(
                "{} is missing: `cargo xtask bench` builds it, --annals names another one",
                annals.display()
            )));
        }
        let parent = args
            .dir
            .clone()
            .unwrap_or_else(|| beside.parent().unwrap_or(beside).join("bench"));
        let dir = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| Failed::io(&format!("create {}", dir.display()), &error))?;
        Ok(Self { args, annals, dir })
    }

    /// A server with default settings on the data of this name, which is new unless something was written there.
    pub(crate) fn server(&self, name: &str) -> Result<Service, Failed> {
        self.server_with(name, &[])
    }

    /// A server with some limits set, `name=value` each.
    pub(crate) fn server_with(&self, name: &str, limits: &[&str]) -> Result<Service, Failed> {
        self.server_on(&self.dir.join(name), limits)
    }

    /// A server with more flags, and some limits set.
    pub(crate) fn server_as(&self, name: &str, flags: &[&str], limits: &[&str]) -> Result<Service, Failed> {
        self.start(&self.dir.join(name), flags, limits)
    }

    fn server_on(&self, data: &Path, limits: &[&str]) -> Result<Service, Failed> {
        self.start(data, &[], limits)
    }

    fn start(&self, data: &Path, flags: &[&str], limits: &[&str]) -> Result<Service, Failed> {
        let mut command = Command::new(&self.annals);
        command
            .args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags);
        for limit in limits {
            command.args(["--limit", limit]);
        }
        Service::start(command, &data.with_extension("log"), Some(data))
    }

    /// The same data in another process, with default settings. Without restarts: the same process, for stores that keep
    /// nothing.
    pub(crate) fn restart(&self, service: Service, how: End) -> Result<Service, Failed> {
        if self.args.no_restart {
            return Ok(service);
        }
        let data = service.data.clone().unwrap_or_default();
        service.end(how)?;
        self.server_on(&data, &[])
    }

    /// This program in another process, as a server of another kind.
    pub(crate) fn rival(&self, name: &str, flags: &[&std::ffi::OsStr]) -> Result<Service, Failed> {
        let mut command = Self::itself()?;
        command.args(flags);
        Service::start(command, &self.dir.join(name).with_extension("log"), None)
    }

    /// This program.
    pub(crate) fn itself() -> Result<Command, Failed> {
        std::env::current_exe()
            .map(Command::new)
            .map_err(|error| Failed::io("find this program", &error))
    }

    /// The component that was named, or the one that `annals build` makes of an example.
    pub(crate) fn component(&self, given: Option<&Path>, example: &str) -> Result<Vec<u8>, Failed> {
        let path = self.component_path(given, example)?;
        fs::read(&path).map_err(|error| Failed::io(&format!("read {}", path.display()), &error))
    }

    /// Where it is.
    pub(crate) fn component_path(&self, given: Option<&Path>, example: &str) -> Result<PathBuf, Failed> {
        match given {
            Some(path) => Ok(path.to_owned()),
            None => self.build(&format!("examples/{example}")),
        }
    }

    /// The component that `annals build` makes of a folder of this checkout.
    pub(crate) fn build(&self, folder: &str) -> Result<PathBuf, Failed> {
        let folder = checkout().join(folder);
        let output = Command::new(&self.annals)
            .arg("build")
            .arg(&folder)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failed::io(&format!("run {}", self.annals.display()), &error))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        match printed.lines().last() {
            Some(path) if output.status.success() => Ok(path.into()),
            _ => Err(Failed::new(format!(
                "annals build {}: {}",
                folder.display(),
                output.status
            ))),
        }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if self.args.keep {
            eprintln!("the data is in {}", self.dir.display());
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!(
                "{}",
                Failed::io(&format!("remove {}", self.dir.display()), &error)
            );
        }
    }
}

/// The root of the checkout that this program was built from.
pub(crate) fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It finishes what it does (SIGTERM).
    Stopped,
    /// It is given no time (SIGKILL).
    Killed,
}

/// A process that listens.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// From its start until it answered.
    pub(crate) started_in: Duration,
    child: Child,
    data: Option<PathBuf>,
    log: PathBuf,
}

impl Service {
    /// Starts a process whose first line says where it listens; what it logs goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path, data: Option<&Path>) -> Result<Self, Failed> {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|error| Failed::io(&format!("write {}", log.display()), &error))?;
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| Failed::io(&format!("start {}", command.get_program().display()), &error))?;
        let first = child
            .stdout
            .take()
            .and_then(|output| BufReader::new(output).lines().next());
        let first = first.and_then(Result::ok).unwrap_or_default();
        let address = address_of(&first);
        let mut service = Self {
            // Replaced below, or dropped with the process.
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            started_in: started.elapsed(),
            child,
            data: data.map(Path::to_owned),
            log: log.to_owned(),
        };
        match address {
            Some(address) => service.address = address,
            None => return Err(service.failed(&format!("did not start; its first line is `{first}`"))),
        }
        Ok(service)
    }

    /// A connection for what is not measured.
    pub(crate) fn connect(&self) -> Result<Connection, Failed> {
        Connection::open(self.address).map_err(|error| Failed::io("connect to the server", &error))
    }

    /// Uploads a module, which becomes the active one of its type.
    pub(crate) fn upload(&self, module: &[u8]) -> Result<(), Failed> {
        let headers = [("content-type", "application/wasm")];
        let answer = self.connect()?.request("POST", "/v1/modules", &headers, module);
        let answer = answer.map_err(|error| Failed::io("upload a module", &error))?;
        if (200..300).contains(&answer.status) {
            Ok(())
        } else {
            Err(Failed::new(format!(
                "upload: {} {}",
                answer.status,
                answer.text()
            )))
        }
    }

    /// Processor time that it has taken so far.
    pub(crate) fn processor_time(&self) -> Result<Duration, Failed> {
        processor_time(&self.child.id().to_string())
    }

    /// The same of one of its threads, by its name.
    pub(crate) fn thread_time(&self, name: &str) -> Result<Duration, Failed> {
        let process = self.child.id();
        let folder = format!("/proc/{process}/task");
        let failed = |error| Failed::io(&format!("read {folder}"), &error);
        for task in fs::read_dir(&folder).map_err(failed)? {
            let task = task.map_err(failed)?.path();
            // One that has ended meanwhile has no name.
            if fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim_end() == name) {
                let id = task.file_name().unwrap_or_default().to_string_lossy();
                return processor_time(&format!("{process}/task/{id}"));
            }
        }
        Err(Failed::new(format!("the server has no thread `{name}`")))
    }

    /// The memory that it has, and the most that it had at any time.
    pub(crate) fn memory(&self) -> Result<Memory, Failed> {
        Memory::of(&self.child.id().to_string())
    }

    /// Ends it, and waits until it is gone.
    pub(crate) fn end(mut self, how: End) -> Result<(), Failed> {
        if how == End::Killed {
            self.child
                .kill()
                .map_err(|error| Failed::io("kill the server", &error))?;
            self.child
                .wait()
                .map_err(|error| Failed::io("wait for the server", &error))?;
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| Failed::io("stop the server", &error.into()))?;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(&format!("ended with {status}"))),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    return Err(self.failed(&format!("did not stop within {}", format::seconds(STOP_LIMIT))));
                }
                Err(error) => return Err(Failed::io("wait for the server", &error)),
            }
        }
    }

    /// A failure of this process, with the end of its log.
    fn failed(&self, what: &str) -> Failed {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Failed::new(format!(
            "the server {what}. The end of its log:\n{}",
            last.join("\n")
        ))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already; then both say so, and nothing is to be done.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn address_of(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let url = line.get("server")?.as_str()?;
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The most that was resident at any time.
    pub(crate) peak: u64,
}

impl Memory {
    /// From `/proc/<pid>/status`; `self` is this process.
    pub(crate) fn of(process: &str) -> Result<Self, Failed> {
        let path = format!("/proc/{process}/status");
        let status =
            fs::read_to_string(&path).map_err(|error| Failed::io(&format!("read {path}"), &error))?;
        Self::parse(&status).ok_or_else(|| Failed::new(format!("{path} has no VmRSS or no VmHWM")))
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some(Self {
            resident: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

/// Processor time of this process so far.
pub(crate) fn own_processor_time() -> Result<Duration, Failed> {
    processor_time("self")
}

/// User and system time of all threads, from `/proc/<pid>/stat`: the same source for every process. Of one thread, from
/// `/proc/<pid>/task/<tid>/stat`.
pub(crate) fn processor_time(process: &str) -> Result<Duration, Failed> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| Failed::io(&format!("read {path}"), &error))?;
    let ticks = ticks(&stat).ok_or_else(|| Failed::new(format!("{path} is not understood: {stat}")))?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// `utime` + `stime`, the fields 14 and 15; the name, field 2, may contain anything, but ends with the last bracket.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system) = (
        fields.next()?.parse::<u64>().ok()?,
        fields.next()?.parse::<u64>().ok()?,
    );
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_have_an_address() {
        let ready = "{\"server\":\"http://127.0.0.1:4711\",\"data\":\"d\"}";
        assert_eq!(address_of(ready), "127.0.0.1:4711".parse().ok());
        assert_eq!(address_of("serving http://127.0.0.1:4711"), None);
    }

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(ticks(stat), Some(300));
        assert!(own_processor_time().is_ok());
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let memory = Memory::parse(status).unwrap();
        assert_eq!((memory.resident, memory.peak), (1 << 20, 2 << 20));
        assert_eq!(Memory::parse("VmRSS: 1 kB"), None);
    }

    #[test]
    fn a_process_that_does_not_start_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason >&2; echo nonsense"]);
        let failed = Service::start(command, &dir.path().join("log"), None)
            .unwrap_err()
            .to_string();
        assert!(
            failed.contains("`nonsense`") && failed.contains("the reason"),
            "{failed}"
        );
    }
}
