//! What a command can fail with, and how it is told.

use std::io;

use serde_json::Value;

use super::{
    exit::Exit,
    text::{compact, escape},
};
use crate::client::{ClientError, Problem};

/// Refused leases that people are shown; programs get all.
const REFUSED_SHOWN: usize = 20;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The server, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The arguments do not fit together, or name what is not there.
    #[error("{message}")]
    Usage {
        /// What is wrong with which value.
        message: String,
        /// What to write instead.
        fix: String,
    },
    /// Something on this machine failed.
    #[error("{message}")]
    Failed {
        /// What, with the value.
        message: String,
        /// What to do; the message may say it already.
        fix: Option<String>,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// It was all said already.
    #[error("the command ended with exit code {}", *.0 as u8)]
    Told(Exit),
}

impl CliError {
    /// A failure whose message says the fix.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            fix: None,
        }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// The exit code. A reader that stops reading is no failure.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => Exit::of_client(error),
            Self::Usage { .. } => Exit::Usage,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Failed { .. } | Self::Output(_) => Exit::Failed,
            Self::Told(exit) => *exit,
        }
    }

    /// What standard error says: for people, or with `json` one line with a problem document, which is the
    /// server's own when it sent one. Empty when there is nothing to say.
    #[must_use]
    pub fn report(&self, json: bool) -> String {
        match self {
            Self::Told(_) => String::new(),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => String::new(),
            Self::Client(ClientError::Problem(problem)) if json => {
                compact(&String::from_utf8_lossy(&problem.body))
            }
            Self::Client(ClientError::Problem(problem)) => told(problem),
            _ if json => self.document(),
            _ => {
                let mut report = format!("error: {self}");
                if let Some(fix) = self.fix() {
                    report.push_str(&format!("\n  fix: {fix}"));
                }
                report
            }
        }
    }

    fn fix(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.fix(),
            Self::Usage { fix, .. } => Some(fix.clone()),
            Self::Failed { fix, .. } => fix.clone(),
            Self::Output(_) | Self::Told(_) => None,
        }
    }

    /// A problem document of the command line's own.
    fn document(&self) -> String {
        let slug = match self.exit() {
            Exit::Usage => "usage",
            Exit::Unreachable => "unreachable",
            Exit::Busy => "no-answer",
            _ => "failed",
        };
        serde_json::json!({
            "type": format!("urn:annals:cli:{slug}"),
            "title": slug,
            "detail": self.to_string(),
            "fix": self.fix(),
        })
        .to_string()
    }
}

/// A server's problem for people. All of it may hold text of strangers, hence the escapes.
fn told(problem: &Problem) -> String {
    let mut report = match problem.rejection_code() {
        Some(code) => {
            let message = problem.member("message").unwrap_or(&problem.detail);
            format!("rejected: {}: {}", escape(code), escape(message))
        }
        None => format!("error: {}", escape(&problem.to_string())),
    };
    let mut line = |name: &str, value: &str| report.push_str(&format!("\n  {name}: {}", escape(value)));
    for name in ["details", "diagnosis"] {
        match problem.members.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => line(name, text),
            Some(value) => line(name, &value.to_string()),
        }
    }
    // What there is to choose from, or what was broken: `commands`, `supported`, `invariants`.
    for (name, value) in &problem.members {
        let Value::Array(entries) = value else {
            continue;
        };
        let names: Vec<&str> = entries.iter().filter_map(Value::as_str).collect();
        if !names.is_empty() && names.len() == entries.len() {
            line(name, &names.join(", "));
        }
    }
    for refused in refused_leases(problem) {
        line("refused", &refused);
    }
    if let Some(seconds) = problem.retry_after_seconds {
        line("try again in", &format!("{seconds} s"));
    }
    if let Some(fix) = &problem.fix {
        line("fix", fix);
    }
    report
}

/// The leases that a consumer refused, each with the reason.
fn refused_leases(problem: &Problem) -> Vec<String> {
    let refused = problem.members.get("refused").and_then(Value::as_array);
    let refused = refused.map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let shown = refused
        .iter()
        .filter(|entry| entry.is_object())
        .take(REFUSED_SHOWN);
    let mut lines: Vec<String> = shown
        .map(|entry| format!("{}: {}", text(entry, "lease"), text(entry, "detail")))
        .collect();
    if refused.len() > lines.len() && !lines.is_empty() {
        lines.push(format!("and {} more", refused.len() - lines.len()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(body: &str) -> CliError {
        let body = body.to_owned().into();
        let problem = Problem::read(422, Some(3), body).unwrap();
        ClientError::Problem(Box::new(problem)).into()
    }

    #[test]
    fn a_rejection_is_told_with_its_code_and_details() {
        let error = problem(
            r#"{"type":"urn:annals:problem:rejected","title":"Rejected","detail":"d","fix":"deposit first",
            "code":"insufficient-funds","message":"balance 10 is less than 11","details":{"balance":10}}"#,
        );
        assert_eq!(
            error.report(false),
            "rejected: insufficient-funds: balance 10 is less than 11\n  details: {\"balance\":10}\n  \
             try again in: 3 s\n  fix: deposit first"
        );
        assert_eq!(error.exit(), Exit::Rejected);
        let json = error.report(true);
        assert!(
            json.starts_with(r#"{"type":"urn:annals:problem:rejected""#) && !json.contains('\n'),
            "{json}"
        );
    }

    #[test]
    fn what_there_is_to_choose_from_is_listed() {
        let error = problem(
            r#"{"type":"urn:annals:problem:unknown-command","detail":"no `fly`","commands":["open","close"],
            "numbers":[1],"empty":[]}"#,
        );
        let report = error.report(false);
        assert!(report.contains("\n  commands: open, close\n"), "{report}");
        assert!(
            !report.contains("numbers") && !report.contains("empty"),
            "{report}"
        );
    }

    #[test]
    fn refused_leases_are_told_up_to_a_number() {
        let entry = r#"{"lease":"0a","reason":"expired","detail":"the lease has expired"}"#;
        let document = |count: usize| {
            let entries = vec![entry; count].join(",");
            format!(
                r#"{{"type":"urn:annals:problem:lease-refused","detail":"d","fix":"f","refused":[{entries}]}}"#
            )
        };
        let report = problem(&document(1)).report(false);
        assert!(
            report.contains("\n  refused: 0a: the lease has expired\n"),
            "{report}"
        );
        let report = problem(&document(22)).report(false);
        assert!(report.contains("\n  refused: and 2 more\n"), "{report}");
        assert_eq!(report.matches("0a").count(), REFUSED_SHOWN);
    }

    #[test]
    fn what_strangers_wrote_cannot_drive_the_terminal() {
        let error =
            problem("{\"type\":\"urn:annals:problem:x\",\"title\":\"t\",\"detail\":\"a\\u001b[2Jb\\nc\"}");
        let report = error.report(false);
        assert!(
            report.starts_with("error: a\\u{1b}[2Jb\\nc (422 x)"),
            "{report:?}"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.exit(), error.report(false)), (Exit::Ok, String::new()));
        let error = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.report(false).contains("standard output"));
    }

    #[test]
    fn own_errors_are_documents_too() {
        let error = CliError::usage("the value `x`", "write y");
        assert_eq!(error.report(false), "error: the value `x`\n  fix: write y");
        let document: Value = serde_json::from_str(&error.report(true)).unwrap();
        assert_eq!(document["type"], "urn:annals:cli:usage");
        assert_eq!(
            (&document["detail"], &document["fix"]),
            (&"the value `x`".into(), &"write y".into())
        );
    }
}
