//! One line of the input.

use std::{
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::BytesMut;
use serde::Deserialize;

use crate::{
    client::RawJson,
    vocabulary::{AggregateId, AggregateType, CommandName, IdempotencyKey, json_problem},
};

/// A command as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    aggregate_type: AggregateType,
    id: AggregateId,
    command: CommandName,
    #[serde(default)]
    payload: Option<RawJson>,
    #[serde(default)]
    key: Option<IdempotencyKey>,
    #[serde(default)]
    if_match: Option<u64>,
}

/// A command to deliver.
#[derive(Debug)]
pub(crate) struct LoadCommand {
    /// Where it stands in the input, from 1.
    pub(crate) line: u64,
    pub(crate) aggregate_type: AggregateType,
    pub(crate) id: AggregateId,
    pub(crate) command: CommandName,
    pub(crate) payload: Option<RawJson>,
    pub(crate) key: Option<String>,
    pub(crate) if_match: Option<u64>,
}

impl LoadCommand {
    /// Reads a line. With the input's hash a command without a key gets one.
    pub(crate) fn read(line: u64, text: &[u8], input_hash: Option<&str>) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(text).map_err(|error| json_problem(&error, text))?;
        let key = written.key.map(String::from);
        Ok(Self {
            line,
            aggregate_type: written.aggregate_type,
            id: written.id,
            command: written.command,
            payload: written.payload,
            key: key.or_else(|| input_hash.map(|hash| format!("load-{hash}-{line}"))),
            if_match: written.if_match,
        })
    }

    /// Its memory, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.as_ref().map_or(0, |payload| payload.get().len())
    }

    /// Writes it as a line of a stream, with its end.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        // Names need no escapes; ids and keys may.
        let id = serde_json::Value::from(self.id.as_str());
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "{{\"type\":\"{}\",\"id\":{id},\"command\":\"{}\"",
            self.aggregate_type, self.command
        );
        if let Some(payload) = &self.payload {
            let _ = write!(out, ",\"payload\":{payload}");
        }
        if let Some(key) = &self.key {
            let _ = write!(out, ",\"key\":{}", serde_json::Value::from(key.as_str()));
        }
        if let Some(version) = self.if_match {
            let _ = write!(out, ",\"if_match\":{version}");
        }
        out.extend_from_slice(b"}\n");
    }

    /// Which of so many workers takes it: always the same for one aggregate.
    pub(crate) fn worker(&self, workers: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.aggregate_type.as_str(), self.id.as_str()).hash(&mut hasher);
        let place = hasher.finish() % workers.max(1) as u64;
        usize::try_from(place).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_payload_as_it_stands() {
        let text = br#"{"type":"a","id":"x y","command":"go","payload":{"n":1.10},"key":"k","if_match":7}"#;
        let command = LoadCommand::read(3, text, Some("hash")).unwrap();
        assert_eq!(
            (command.line, command.id.as_str(), command.if_match),
            (3, "x y", Some(7))
        );
        assert_eq!(command.payload.unwrap().get(), r#"{"n":1.10}"#);
        assert_eq!(command.key.as_deref(), Some("k"));
    }

    #[test]
    fn a_command_is_written_as_it_was_read() {
        for text in [
            r#"{"type":"a","id":"x \"y\\","command":"go","payload":{"n":1.10},"key":"\u0041é","if_match":7}"#,
            r#"{"type":"a","id":"x","command":"go"}"#,
        ] {
            let mut out = BytesMut::new();
            LoadCommand::read(3, text.as_bytes(), None)
                .unwrap()
                .write(&mut out);
            let expected = text.replace("\\u0041", "A") + "\n";
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_key_is_made_of_hash_and_line() {
        let text = br#"{"type":"a","id":"x","command":"go"}"#;
        let key = |line, hash| LoadCommand::read(line, text, hash).unwrap().key;
        assert_eq!(key(3, None), None);
        assert_eq!(key(3, Some("ab")).as_deref(), Some("load-ab-3"));
        assert_ne!(key(3, Some("ab")), key(4, Some("ab")));
    }

    #[test]
    fn malformed_lines_say_what_is_wrong() {
        let cases: [(&str, &str); 6] = [
            ("nonsense", "`nonsense` is none of"),
            (r#"{"type":"a","id":"x"}"#, "command"),
            (r#"{"type":"A","id":"x","command":"go"}"#, "[a-z]"),
            (r#"{"type":"a","id":"..","command":"go"}"#, "proxies"),
            (r#"{"type":"a","id":"x","command":"go","payloda":{}}"#, "payloda"),
            (r#"{"type":"a","id":"x","command":"go","if_match":-1}"#, "-1"),
        ];
        for (text, part) in cases {
            let problem = LoadCommand::read(1, text.as_bytes(), None).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn an_aggregate_keeps_its_worker_and_aggregates_spread() {
        let worker = |id: usize, workers| {
            let text = format!(r#"{{"type":"a","id":"x{id}","command":"go"}}"#);
            LoadCommand::read(1, text.as_bytes(), None)
                .unwrap()
                .worker(workers)
        };
        let mut taken = [0; 8];
        for id in 0..1_000 {
            assert_eq!(worker(id, 8), worker(id, 8));
            taken[worker(id, 8)] += 1;
        }
        assert!(taken.iter().all(|&count| count > 60), "{taken:?}");
        assert_eq!(worker(1, 1), 0);
    }
}
