//! What became of events that were fetched: `ack`, `nack` and `extend`.

use std::io::{BufRead, BufReader, Read};

use clap::Args;

use super::{
    super::{
        error::CliError,
        output::Out,
        text::{escape, plural},
    },
    words,
};
use crate::{
    client::{Answer, Client, EVENT_BYTES_MAX, Leases, Nack, Settled},
    vocabulary::{ConsumerName, Millis},
};

/// No consumer lets more be out at a time, so more cannot be meant.
const LEASES_MAX: usize = 10_000;
/// Longest line on standard input, bytes: a delivery with an event of the largest size, and its last error.
const LINE_BYTES_MAX: u64 = EVENT_BYTES_MAX as u64 + 64 * 1024;
const FIX: &str = "write one lease on a line, or what `annals consumers fetch --json` printed";

/// Arguments of `annals consumers ack` and `extend`.
#[derive(Debug, Args)]
pub struct LeasesArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// The leases of the events, or - to read them from standard input: one on a line, or the lines that `fetch --json` prints
    #[arg(value_name = "LEASE", required = true)]
    pub leases: Vec<String>,
    /// Whose leases they are, as it was said when they were fetched
    #[arg(long)]
    pub member: Option<String>,
}

/// Arguments of `annals consumers nack`.
#[derive(Debug, Args)]
pub struct NackArgs {
    /// Which leases.
    #[command(flatten)]
    pub of: LeasesArgs,
    /// Why they could not be handled: it is shown with the next delivery and with what is parked
    #[arg(long)]
    pub reason: String,
    /// Seconds until they are delivered again; without it the consumer's own pause
    #[arg(long, value_name = "SECONDS", conflicts_with = "park", value_parser = words::seconds)]
    pub delay: Option<Millis>,
    /// Do not try again: park them, with the later events of their aggregates behind them
    #[arg(long)]
    pub park: bool,
}

impl LeasesArgs {
    fn leases<'a>(&'a self, named: &'a [String]) -> Leases<'a> {
        Leases {
            member: self.member.as_deref(),
            leases: named,
        }
    }
}

pub(super) async fn ack(
    client: &Client,
    args: &LeasesArgs,
    named: &[String],
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let answer = client.ack(args.name.as_str(), args.leases(named)).await?;
    print(&answer, "acknowledged", out)
}

pub(super) async fn extend(
    client: &Client,
    args: &LeasesArgs,
    named: &[String],
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let answer = client.extend(args.name.as_str(), args.leases(named)).await?;
    print(&answer, "with more time", out)
}

pub(super) async fn nack(
    client: &Client,
    args: &NackArgs,
    named: &[String],
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let nack = Nack {
        reason: args.reason.clone(),
        delay_ms: args.delay,
        park: args.park,
    };
    let answer = client
        .nack(args.of.name.as_str(), args.of.leases(named), &nack)
        .await?;
    print(&answer, if args.park { "parked" } else { "given back" }, out)
}

fn print(answer: &Answer<Settled>, done: &str, out: &mut Out<'_>) -> Result<(), CliError> {
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    let settled = &answer.value;
    let mut text = format!("{} {done}", plural(settled.done, "event"));
    if settled.already > 0 {
        text.push_str(&format!(", {} before", plural(settled.already, "event")));
    }
    Ok(out.line(&text)?)
}

/// The leases that are named, with those on standard input for a `-`.
pub(super) fn named(arguments: &[String]) -> Result<Vec<String>, CliError> {
    let mut leases = Vec::new();
    for argument in arguments {
        if argument == "-" {
            read(BufReader::new(std::io::stdin().lock()), &mut leases)?;
        } else {
            leases.push(argument.clone());
        }
    }
    if leases.is_empty() {
        return Err(CliError::usage("standard input names no lease", FIX));
    }
    if leases.len() > LEASES_MAX {
        return Err(too_many());
    }
    Ok(leases)
}

fn too_many() -> CliError {
    CliError::usage(
        format!("there are more than {LEASES_MAX} leases, the most that a consumer gives out at a time"),
        "name fewer at a time",
    )
}

fn read(mut input: impl BufRead, leases: &mut Vec<String>) -> Result<(), CliError> {
    let mut number = 0_u64;
    loop {
        let mut line = Vec::new();
        number += 1;
        let taken = input
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line);
        let taken =
            taken.map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
        if taken == 0 {
            return Ok(());
        }
        if taken as u64 > LINE_BYTES_MAX {
            let problem = format!("line {number} of standard input has more than {LINE_BYTES_MAX} bytes");
            return Err(CliError::usage(problem, FIX));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        leases.push(lease_of(line).ok_or_else(|| {
            let shown: String = line.chars().take(80).collect();
            CliError::usage(
                format!(
                    "line {number} of standard input names no lease: `{}`",
                    escape(&shown)
                ),
                FIX,
            )
        })?);
        if leases.len() > LEASES_MAX {
            return Err(too_many());
        }
    }
}

/// The lease in a delivery as JSON, or alone.
fn lease_of(line: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Fetched {
        lease: String,
    }
    if line.starts_with('{') {
        let fetched: Fetched = serde_json::from_str(line).ok()?;
        return Some(fetched.lease);
    }
    (!line.contains(char::is_whitespace)).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::delivery;

    fn read_all(text: &str) -> Result<Vec<String>, CliError> {
        let mut leases = Vec::new();
        read(text.as_bytes(), &mut leases).map(|()| leases)
    }

    #[test]
    fn leases_come_alone_or_as_they_were_fetched() {
        let text = format!("0a\n\n  0b \r\n{}\n0d", delivery("0c", "alice", 1));
        assert_eq!(read_all(&text).unwrap(), ["0a", "0b", "0c", "0d"]);
        assert_eq!(named(&["0a".into(), "0b".into()]).unwrap(), ["0a", "0b"]);
    }

    #[test]
    fn a_delivery_with_the_largest_payload_is_read() {
        // 16 MiB, which `payload-bytes` can be raised to, in base64.
        let data = "A".repeat((16 * 1024 * 1024_usize).div_ceil(3) * 4);
        let text = format!(r#"{{"lease":"0a","attempt":1,"event":{{"data_base64":"{data}"}}}}"#);
        assert_eq!(read_all(&format!("{text}\n0b\n")).unwrap(), ["0a", "0b"]);
        let endless = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap() + 1);
        let error = read_all(&endless).unwrap_err().to_string();
        assert!(
            error.contains("line 1") && error.contains(&LINE_BYTES_MAX.to_string()),
            "{error}"
        );
    }

    #[test]
    fn other_lines_are_named() {
        for text in ["0a\n0b 0c\n", "0a\n{\"x\":1}\n", "0a\n{\n"] {
            let error = read_all(text).unwrap_err();
            assert_eq!(error.exit() as u8, 2);
            let report = error.report(false);
            assert!(
                report.contains("line 2") && report.contains("fetch --json"),
                "{report}"
            );
        }
        let many = "0a\n".repeat(LEASES_MAX + 1);
        assert!(read_all(&many).unwrap_err().to_string().contains("10000"));
        assert!(named(&[]).unwrap_err().to_string().contains("no lease"));
    }
}
