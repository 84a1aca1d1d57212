//! `annals build`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{error::CliError, output::Out};
use crate::toolchain::{self, BuildRequest, Built};

/// Arguments of `annals build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The folder of the aggregate's crate
    #[arg(value_name = "CRATE", default_value = ".")]
    pub crate_dir: PathBuf,
    /// Where compiled code goes; by default a folder in the crate's own target directory
    #[arg(long, value_name = "DIR")]
    pub target_dir: Option<PathBuf>,
    /// Show what cargo does
    #[arg(long, short)]
    pub verbose: bool,
}

pub(crate) fn run(args: &BuildArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let request = BuildRequest {
        crate_dir: args.crate_dir.clone(),
        target_dir: args.target_dir.clone(),
        verbose: args.verbose,
    };
    let built = build(&request)?;
    if out.is_json() {
        let summary = serde_json::json!({
            "component": path_text(&built.component)?,
            "size_bytes": built.size_bytes,
            "digest": built.digest.to_string(),
        });
        return Ok(out.line(&summary.to_string())?);
    }
    Ok(out.line(path_text(&built.component)?)?)
}

/// Builds, and tells on standard error what is being done, also when a program reads the result.
pub(crate) fn build(request: &BuildRequest) -> Result<Built, CliError> {
    let built = toolchain::build(request, &mut |line| eprintln!("{line}"));
    built.map_err(|error| CliError::failed(error.to_string()))
}

fn path_text(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| {
        CliError::failed(format!(
            "the path `{}` is not UTF-8, so it cannot be printed; use a target directory with a plain name",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let args = BuildArgs {
            crate_dir: folder.path().to_owned(),
            target_dir: None,
            verbose: false,
        };
        let mut bytes = Vec::new();
        let error = run(&args, &mut Out::new(false, &mut bytes)).unwrap_err();
        assert!(
            error.to_string().contains(folder.path().to_str().unwrap()),
            "{error}"
        );
        assert_eq!((error.exit() as u8, bytes.len()), (1, 0));
    }
}
