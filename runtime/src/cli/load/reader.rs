//! The input, line by line, on a thread of its own.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{LoadArgs, line::LoadCommand, progress::Progress};
use crate::cli::error::CliError;

/// Longest line, bytes: a payload of 1 MiB with what stands around it.
const LINE_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Malformed lines that are shown; the rest is counted.
const SHOWN_MAX: usize = 20;

/// What reading the input has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read_ {
    pub(crate) lines: u64,
    pub(crate) malformed: u64,
    /// Line and problem of the first of them.
    pub(crate) shown: Vec<(u64, String)>,
    /// Why the input could not be read to its end.
    pub(crate) broken_off: Option<String>,
}

/// Where commands come from.
pub(crate) struct Source {
    reader: Box<dyn BufRead + Send>,
    size_bytes: Option<u64>,
    hash: Option<String>,
}
