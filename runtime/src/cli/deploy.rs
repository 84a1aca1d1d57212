//! `annals deploy`

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;

use super::{
    build::build,
    error::CliError,
    output::Out,
    text::{count, escape},
};
use crate::{
    client::{Client, Uploaded},
    toolchain::BuildRequest,
    vocabulary::Limits,
};

/// Arguments of `annals deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A module (.wasm), or the folder of a crate, which is built first
    #[arg(value_name = "FILE-OR-CRATE")]
    pub source: PathBuf,
    /// Make it the active module also when another one serves its type already
    #[arg(long)]
    pub activate: bool,
}

/// The module's bytes, built or read.
pub(crate) fn module(args: &DeployArgs) -> Result<Bytes, CliError> {
    let shown = args.source.display();
    let metadata = std::fs::metadata(&args.source).map_err(|error| {
        CliError::usage(
            format!("cannot read `{shown}`: {error}"),
            "name a .wasm file or the folder of an aggregate's crate",
        )
    })?;
    let (path, size) = if metadata.is_dir() {
        let built = build(&BuildRequest::new(&args.source))?;
        (built.component, built.size_bytes)
    } else {
        (args.source.clone(), metadata.len())
    };
    let limit = Limits::default().module_bytes as u64;
    if size > limit {
        return Err(CliError::usage(
            format!(
                "`{}` has {size} bytes; the limit of a module is {limit}",
                path.display()
            ),
            "build it without debug information, or leave dependencies out",
        ));
    }
    let bytes = std::fs::read(&path);
    let bytes =
        bytes.map_err(|error| CliError::failed(format!("cannot read `{}`: {error}", path.display())))?;
    Ok(bytes.into())
}

pub(crate) async fn run(
    client: &Client,
    args: &DeployArgs,
    module: Bytes,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let answer = client.upload(module, args.activate).await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    out.line(&uploaded(&answer.value))?;
    if !answer.value.active {
        out.note(&format!(
            "to make it the active module: annals deploy {} --activate",
            args.source.display()
        ));
    }
    Ok(())
}

/// An upload for people.
pub(crate) fn uploaded(module: &Uploaded) -> String {
    let status = match (module.active, module.activated) {
        (true, true) => "active now",
        (true, false) => "active already",
        (false, _) => "uploaded, not active",
    };
    let mut text = format!(
        "{}  {status}\n  digest  {}\n  size    {} bytes",
        escape(&module.aggregate_type),
        escape(&module.digest),
        count(module.size_bytes)
    );
    if let Some(notice) = &module.notice {
        text.push_str(&format!("\n  notice  {}", escape(notice)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    #[test]
    fn what_is_not_there_is_named() {
        let args = DeployArgs {
            source: "no/such.wasm".into(),
            activate: false,
        };
        let error = module(&args).unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_string().contains("no/such.wasm"), "{error}");
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("big.wasm");
        std::fs::File::create(&source).unwrap().set_len(40 << 20).unwrap();
        let error = module(&DeployArgs {
            source,
            activate: false,
        })
        .unwrap_err();
        assert!(
            error.to_string().contains("41943040") && error.to_string().contains("33554432"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_upload_is_told_with_its_notice() {
        let body = r#"{"digest":"ab","type":"account","size_bytes":1234,"uploaded_at":"t","active":true,
            "activated":true,"notice":"nothing checks the history yet"}"#;
        let server = FakeServer::start(move |_| Reply::json(body)).await;
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.wasm");
        std::fs::write(&source, "\0asm").unwrap();
        let args = DeployArgs {
            source,
            activate: true,
        };
        let mut bytes = Vec::new();
        let module = module(&args).unwrap();
        run(&server.client(), &args, module, &mut Out::new(false, &mut bytes))
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "account  active now\n  digest  ab\n  size    1,234 bytes\n  notice  nothing checks the history yet\n"
        );
        assert_eq!(server.requests()[0].line, "POST /v1/modules?activate=true");
    }
}
