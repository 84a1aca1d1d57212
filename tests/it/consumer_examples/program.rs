//! The examples as processes.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use annals_tests::absent::{skip, works};

use super::bank::Balances;

/// How long an example may take for what is left to do.
const FINISH: Duration = Duration::from_secs(90);

/// What an example keeps beside the balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    WithItsPlace,
    WithWhatItSaw,
    /// It is another member of a consumer, with the same database.
    OfAnother,
}

#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) store: Store,
    pub(super) consumer: &'static str,
    interpreter: &'static str,
    script: PathBuf,
    database: PathBuf,
    log: PathBuf,
}

/// An example at work.
#[derive(Debug)]
pub(super) struct Running<'a> {
    program: &'a Program,
    child: Child,
}

/// What examples of one language need.
pub(super) struct Interpreter {
    pub(super) program: &'static str,
    /// What ends well when it is new enough.
    check: &'static [&'static str],
    folder: &'static str,
    missing: &'static str,
}

pub(super) const PYTHON: Interpreter = Interpreter {
    program: "python3",
    check: &["-c", "import sqlite3, sys; sys.exit(sys.version_info < (3, 11))"],
    folder: "python",
    missing: "there is no Python 3.11 or newer with sqlite3",
};

pub(super) const NODE: Interpreter = Interpreter {
    program: "node",
    check: &[
        "-e",
        "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)",
    ],
    folder: "javascript",
    missing: "there is no Node.js 20 or newer",
};

impl Interpreter {
    /// Whether it is there; when not, that is said aloud.
    pub(super) fn is_there(&self) -> bool {
        let works = works(self.program, self.check);
        if !works {
            let check = format!("examples/consumers/{}", self.folder);
            skip(&check, self.missing, "ANNALS_CONSUMER_EXAMPLES");
        }
        works
    }

    /// Where the examples are.
    pub(super) fn folder(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/consumers");
        root.join(self.folder)
    }

    fn program(&self, folder: &Path, name: &'static str, files: [&str; 2], store: Store) -> Program {
        let [script, database] = files;
        Program {
            name,
            store,
            consumer: self.folder,
            interpreter: self.program,
            script: self.folder().join(script),
            database: folder.join(database),
            log: folder.join(format!("{name}.log")),
        }
    }
}

/// Those whose interpreters are there; the others are skipped aloud.
pub(super) fn all(folder: &Path) -> Vec<Program> {
    let mut programs = Vec::new();
    if PYTHON.is_there() {
        let durable = ["durable_consumer.py", "durable.sqlite"];
        programs.extend([
            PYTHON.program(
                folder,
                "py-own",
                ["own_checkpoint.py", "own.sqlite"],
                Store::WithItsPlace,
            ),
            PYTHON.program(folder, "py-durable", durable, Store::WithWhatItSaw),
            PYTHON.program(folder, "py-member", durable, Store::OfAnother),
        ]);
    }
    if NODE.is_there() {
        let durable = ["durable-consumer.mjs", "durable.json"];
        programs.extend([
            NODE.program(
                folder,
                "js-own",
                ["own-checkpoint.mjs", "own.json"],
                Store::WithItsPlace,
            ),
            NODE.program(folder, "js-durable", durable, Store::WithWhatItSaw),
        ]);
    }
    programs
}

impl Program {
    fn spawn(&self, server: SocketAddr, arguments: &[&str], variables: &[(&str, &str)]) -> Running<'_> {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(self.interpreter)
            .arg(&self.script)
            .arg(&self.database)
            .args(arguments)
            .env("ANNALS_SERVER", format!("http://{server}"))
            .env("CONSUMER", self.consumer)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(self.answer()).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { program: self, child }
    }

    /// Starts it for as long as it lives.
    pub(super) fn start(&self, server: SocketAddr) -> Running<'_> {
        self.spawn(server, &[], &[])
    }

    /// Lets it do what is left to do, and gives the balances in its database.
    pub(super) fn balances(&self, server: SocketAddr, variables: &[(&str, &str)]) -> Balances {
        let succeeded = self.spawn(server, &["--once"], variables).ends();
        assert!(succeeded, "{}: {}", self.name, self.said());
        let printed = std::fs::read(self.answer()).unwrap();
        let balances: BTreeMap<String, i64> = serde_json::from_slice(&printed)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.name, String::from_utf8_lossy(&printed)));
        balances
    }

    /// Lets it do what it can, and gives why it stopped.
    pub(super) fn fails(&self, server: SocketAddr, variables: &[(&str, &str)]) -> String {
        let succeeded = self.spawn(server, &["--once"], variables).ends();
        assert!(!succeeded, "{}: {}", self.name, self.said());
        self.said().lines().last().unwrap_or_default().to_owned()
    }

    fn answer(&self) -> PathBuf {
        self.log.with_extension("out")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Running<'_> {
    /// `kill -9`, in the middle of its work.
    pub(super) fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        let Program { name, .. } = self.program;
        assert!(ended.is_none(), "{name} ended by itself: {}", self.program.said());
        self.child.kill().unwrap();
        drop(self.child.wait());
    }

    /// Waits for its end: whether it was a good one.
    fn ends(mut self) -> bool {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            let Program { name, .. } = self.program;
            assert!(
                begun.elapsed() < FINISH,
                "{name} does not finish: {}",
                self.program.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
