//! Another secret for a webhook: `rotate-secret`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;

use super::super::{error::CliError, output::Out, text::escape};
use crate::{client::Client, vocabulary::ConsumerName};

/// Largest file with a secret, bytes: the longest secret has 94.
const FILE_BYTES_MAX: u64 = 1_024;
const FIX: &str = "write the secret into it, whsec_ and 24 to 64 bytes in base64, or leave --secret-file out: the server makes one";

/// Arguments of `annals consumers rotate-secret`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// A file with the secret to be used, or - to read it from standard input; without it the server makes one and it is shown, once
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// The secret that was given. It may wait for standard input.
pub(super) fn given(args: &RotateArgs) -> Result<Option<String>, CliError> {
    let Some(path) = &args.secret_file else {
        return Ok(None);
    };
    let (what, read) = if path == Path::new("-") {
        ("standard input".to_owned(), read(io::stdin().lock()))
    } else {
        let what = format!("`{}`", escape(&path.to_string_lossy()));
        (what, File::open(path).and_then(read))
    };
    let bytes =
        read.map_err(|error| CliError::failed(format!("cannot read the secret from {what}: {error}")))?;
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(secret) if !secret.is_empty() && bytes.len() as u64 <= FILE_BYTES_MAX => {
            Ok(Some(secret.to_owned()))
        }
        _ => Err(CliError::usage(format!("{what} holds no secret"), FIX)),
    }
}

/// One byte more than there may be tells that there is too much.
fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) async fn rotate(
    client: &Client,
    args: &RotateArgs,
    given: Option<&str>,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let name = args.name.as_str();
    let answer = client.rotate_secret(name, given).await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    if given.is_some() {
        // Whoever gave it knows it.
        out.line(&format!("{}  signs with the given secret", escape(name)))?;
    } else {
        out.line(&escape(&answer.value.secret))?;
        out.note(&format!(
            "-- {} signs with it from now on; it is not shown again",
            escape(name)
        ));
    }
    out.note("-- the secret before signs beside it for as long as the limit webhook-secret-overlap says, by default a day");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_in(bytes: &[u8]) -> Result<Option<String>, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        given(&RotateArgs {
            name: ConsumerName::parse("billing").unwrap(),
            secret_file: Some(file.path().to_owned()),
        })
    }

    #[test]
    fn a_secret_is_read_from_a_file() {
        assert_eq!(given_in(b" whsec_x\r\n").unwrap().as_deref(), Some("whsec_x"));
        for wrong in [&b""[..], b"\n", &[b'a'; 1_025], b"\xff"] {
            let error = given_in(wrong).unwrap_err();
            assert_eq!(error.exit() as u8, 2);
            assert!(error.report(false).contains("whsec_"), "{}", error.report(false));
        }
        let error = given(&RotateArgs {
            name: ConsumerName::parse("billing").unwrap(),
            secret_file: Some("/nowhere/s\u{1b}".into()),
        });
        let error = error.unwrap_err();
        let report = error.report(false);
        assert_eq!(error.exit() as u8, 1);
        assert!(report.contains("`/nowhere/s\\u{1b}`"), "{report}");
    }
}
