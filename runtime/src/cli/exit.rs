//! The exit codes: for scripts, as stable as the HTTP interface.

use std::process::ExitCode;

use crate::client::{ClientError, Problem};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// An unexpected failure.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The domain said no.
    Rejected = 3,
    /// There is none, or no longer.
    NotFound = 4,
    /// A precondition failed.
    Precondition = 5,
    /// No server answers.
    Unreachable = 6,
    /// The server refused the input.
    Refused = 7,
    /// The server cannot take it now.
    Busy = 8,
    /// `load` could not deliver everything.
    Partial = 9,
}

impl Exit {
    /// All of them with their meaning, as `annals help` and the documentation show them.
    pub const TABLE: [(Self, &'static str); 10] = [
        (Self::Ok, "it did what was asked"),
        (
            Self::Failed,
            "an unexpected failure: of a file, of a build, of the server (500)",
        ),
        (Self::Usage, "the command line is wrong"),
        (Self::Rejected, "the domain rejected the command (422 rejected)"),
        (Self::NotFound, "not found, or ended (404, 410)"),
        (
            Self::Precondition,
            "a precondition failed: --if-match, --create (412)",
        ),
        (
            Self::Unreachable,
            "the server cannot be reached, or the connection was lost",
        ),
        (
            Self::Refused,
            "the server refused the input (400, 403, 409, 413, 415, other 422)",
        ),
        (
            Self::Busy,
            "the server is busy, unavailable or out of disk, or did not answer in time (429, 503, 504, 507)",
        ),
        (
            Self::Partial,
            "load: some lines failed, were malformed or were not sent",
        ),
    ];

    /// The code of a problem.
    #[must_use]
    pub fn of_problem(problem: &Problem) -> Self {
        match (problem.status, problem.slug.as_str()) {
            (422, "rejected") => Self::Rejected,
            (404 | 410, _) => Self::NotFound,
            (412, _) => Self::Precondition,
            (429 | 503 | 504 | 507, _) => Self::Busy,
            (400..500, _) => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// The code of an error of the client.
    #[must_use]
    pub fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } => Self::Unreachable,
            ClientError::TimedOut { .. } => Self::Busy,
            ClientError::Problem(problem) => Self::of_problem(problem),
            ClientError::Request(_) => Self::Usage,
            ClientError::Unexpected { .. } => Self::Failed,
        }
    }

    /// The table as text, one line for each code.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::from("Exit codes:\n");
        for (exit, meaning) in Self::TABLE {
            help.push_str(&format!("  {}  {meaning}\n", exit as u8));
        }
        help
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_problem_has_its_code() {
        let cases = [
            (400, "malformed-request", 7),
            (400, "malformed-command", 7),
            (400, "bad-cursor", 7),
            (400, "oversized-filter", 7),
            (403, "webhook-not-allowed", 7),
            (404, "unknown-type", 4),
            (404, "unknown-command", 4),
            (405, "method-not-allowed", 7),
            (406, "not-acceptable", 7),
            (404, "unknown-consumer", 4),
            (404, "not-parked", 4),
            (409, "lease-refused", 7),
            (410, "ended", 4),
            (410, "dead-branch", 4),
            (412, "precondition-failed", 5),
            (412, "already-exists", 5),
            (413, "too-large", 7),
            (415, "unsupported-media-type", 7),
            (422, "rejected", 3),
            (422, "invariant-broken", 7),
            (422, "key-reused", 7),
            (422, "out-of-fuel", 7),
            (422, "module-refused", 7),
            (429, "busy", 8),
            (500, "module-trapped", 1),
            (500, "damaged", 1),
            (503, "unavailable", 8),
            (503, "outcome-unknown", 8),
            (504, "not-reached", 8),
            (507, "disk-full", 8),
        ];
        for (status, slug, code) in cases {
            let body = format!(r#"{{"type":"urn:annals:problem:{slug}"}}"#);
            let problem = Problem::read(status, None, body.into()).unwrap();
            assert_eq!(Exit::of_problem(&problem) as u8, code, "{status} {slug}");
        }
    }

    #[test]
    fn errors_without_an_answer_have_theirs() {
        let (address, cause) = (String::new(), String::new());
        let limit = Duration::from_secs(1);
        let cases = [
            (
                ClientError::Unreachable {
                    address: address.clone(),
                    cause: cause.clone(),
                },
                6,
            ),
            (
                ClientError::Lost {
                    address: address.clone(),
                    cause,
                },
                6,
            ),
            (ClientError::TimedOut { address, limit }, 8),
            (ClientError::Request(String::new()), 2),
        ];
        for (error, code) in cases {
            assert_eq!(Exit::of_client(&error) as u8, code, "{error:?}");
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let documentation = include_str!("../../../docs/cli.md");
        for (place, (exit, meaning)) in Exit::TABLE.into_iter().enumerate() {
            assert_eq!(exit as usize, place);
            let line = format!("| {place} | {meaning} |");
            assert!(documentation.contains(&line), "docs/cli.md lacks `{line}`");
        }
    }
}
