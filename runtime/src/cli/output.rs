//! Standard output: for people or for programs.

use std::io::{self, Write};

/// Where a command writes its result.
pub(crate) struct Out<'a> {
    json: bool,
    writer: &'a mut dyn Write,
}

impl<'a> Out<'a> {
    pub(crate) fn new(json: bool, writer: &'a mut dyn Write) -> Self {
        Self { json, writer }
    }

    /// Whether a program reads it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One line, or several at once.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(line.as_bytes())?;
        self.writer.write_all(b"\n")
    }

    /// Bytes as they are, and the end of the line.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.writer.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Says something beside the result, on standard error; nothing when a program reads.
    pub(crate) fn note(&self, note: &str) {
        if !self.json {
            // A note that cannot be written is not missed.
            drop(writeln!(io::stderr(), "{note}"));
        }
    }
}
