//! Bytes on disk for each event.

use std::{collections::BTreeMap, fs, path::Path};

use annals_tests::guests;
use serde_json::{Value, json};

use crate::{
    deposits::{Accounts, Check, Requests, Template},
    facts::Facts,
    failed::Failed,
    format,
    load::{Span, drive},
    report::Section,
    service::{Bench, End},
};

/// The events' payload, bytes: the counter records the command's payload as it is.
const PAYLOAD_BYTES: usize = 100;
const AGGREGATES: u32 = 10_000;
/// With fewer, what files hold ahead counts for too much.
const TARGET_EVENTS: u32 = 200_000;
/// Connections, and the share of the events that is written with them: what one connection writes is a commit for each
/// event, which takes more time and more space.
const LOADS: [(usize, u32); 2] = [(512, 1), (1, 10)];

/// Writes events with 100 bytes of payload, stops the server, and adds up its files.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let counter = guests::counter();
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for (connections, share) in LOADS {
        let events = (bench.args.disk_events() / share).max(1);
        eprintln!(
            "disk: {} events over {}",
            format::count(u64::from(events)),
            format::connections(connections)
        );
        let name = format!("disk-{connections}");
        let service = bench.server(&name)?;
        service.upload(&counter)?;
        write(service.address, connections, events)?;
        service.end(End::Stopped)?;
        let files = Files::below(&bench.dir.join(&name))?;
        if share == 1 && events >= TARGET_EVENTS {
            // Its lengths are mostly the last doubling of redb's files, which counts for little in a large log.
            facts.put("disk", files.blocks_per_event(events));
        }
        rows.extend(files.rows(&format::connections(connections), events));
        all.push(files.json(connections, events));
    }
    Ok(Section {
        key: "disk",
        title: format!("Bytes on disk for each event with {PAYLOAD_BYTES} bytes of payload"),
        columns: vec!["", "events", "files", "bytes/event", "blocks, bytes/event"],
        rows,
        notes: vec![
            format!(
                "over {} aggregates, after a stop; `files` adds up their lengths, `blocks` what the filesystem has given \
                 them",
                format::count(u64::from(AGGREGATES))
            ),
            "log: each commit once: the command with its payload of 100 bytes, the event with its own 100, both names, \
             correlation and command id, time, checksum; then what redb's pages leave empty"
                .to_owned(),
            "index.redb: the events once more, ordered by aggregate, with the ids that a reader is shown; heads and \
             snapshots; it can be deleted and is built again"
                .to_owned(),
            "meta.redb: log id, modules, what consumers have reached, of whom there are none here; cache: the modules' \
             machine code; both are the same for any number of events"
                .to_owned(),
        ],
        json: json!(all),
    })
}

/// A number, and as much more as the payload needs.
pub(crate) fn payload() -> String {
    let start = "{\"by\":1,\"note\":\"";
    let end = "\"}";
    format!(
        "{start}{}{end}",
        "x".repeat(PAYLOAD_BYTES - start.len() - end.len())
    )
}

fn write(address: std::net::SocketAddr, connections: usize, events: u32) -> Result<(), Failed> {
    let template = Template::command("counter", "add", &payload());
    let aggregates = events.min(AGGREGATES);
    let accounts = Accounts::rounds(aggregates, events / aggregates);
    let scripts = Requests::connections(connections, 1, &template, &Check::Acknowledgement, |_| {
        accounts.clone()
    });
    let (seen, _) = drive(address, scripts, Span::ToTheEnd)?;
    seen.all_answered("writing events")
}

/// Lengths and allocated bytes by the first name below the data directory.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<String, (u64, u64)>);

impl Files {
    pub(crate) fn below(data: &Path) -> Result<Self, Failed> {
        let mut files = Self::default();
        let mut folders = vec![data.to_owned()];
        while let Some(folder) = folders.pop() {
            let failed = |error| Failed::io(&format!("list {}", folder.display()), &error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let metadata = fs::metadata(&path).map_err(failed)?;
                if metadata.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(data).ok().and_then(|path| path.iter().next());
                let name = name.unwrap_or_default().to_string_lossy().into_owned();
                let sums = files.0.entry(name).or_default();
                sums.0 += metadata.len();
                sums.1 += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
            }
        }
        Ok(files)
    }

    /// Lengths and allocated bytes of all of them.
    pub(crate) fn total(&self) -> (u64, u64) {
        self.0
            .values()
            .fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1))
    }

    /// Bytes of all files for each event.
    pub(crate) fn per_event(&self, events: u32) -> f64 {
        self.total().0 as f64 / f64::from(events)
    }

    /// What the filesystem has given them, for each event.
    fn blocks_per_event(&self, events: u32) -> f64 {
        self.total().1 as f64 / f64::from(events)
    }

    /// The sum, and below it each name.
    pub(crate) fn rows(&self, title: &str, events: u32) -> Vec<Vec<String>> {
        let row = |name: String, count: String, (bytes, blocks): (u64, u64)| {
            let each = |bytes| format!("{:.1}", bytes as f64 / f64::from(events));
            vec![name, count, format::bytes(bytes), each(bytes), each(blocks)]
        };
        let mut rows = vec![row(
            title.to_owned(),
            format::count(u64::from(events)),
            self.total(),
        )];
        rows.extend(
            self.0
                .iter()
                .map(|(name, sums)| row(format!("  {name}"), String::new(), *sums)),
        );
        rows
    }

    pub(crate) fn json(&self, connections: usize, events: u32) -> Value {
        let (bytes, blocks) = self.total();
        let files = self.0.iter();
        let files: serde_json::Map<_, _> = files
            .map(|(name, (bytes, blocks))| (name.clone(), json!({ "bytes": bytes, "block_bytes": blocks })))
            .collect();
        json!({
            "connections": connections,
            "events": events,
            "payload_bytes": PAYLOAD_BYTES,
            "bytes": bytes,
            "block_bytes": blocks,
            "bytes_per_event": bytes as f64 / f64::from(events),
            "files": files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_bytes_it_says() {
        assert_eq!(payload().len(), PAYLOAD_BYTES);
        let value: Value = serde_json::from_str(&payload()).unwrap();
        assert_eq!(value["by"], 1);
    }

    #[test]
    fn files_are_added_up_by_their_first_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("log/deep")).unwrap();
        for (path, bytes) in [("log/a", 10), ("log/deep/b", 20), ("index", 5)] {
            fs::write(dir.path().join(path), vec![1; bytes]).unwrap();
        }
        let files = Files::below(dir.path()).unwrap();
        assert_eq!(
            (files.0["log"].0, files.0["index"].0, files.total().0),
            (30, 5, 35)
        );
        let rows = files.rows("7 connections", 10);
        assert_eq!(rows[0][..4], ["7 connections", "10", "35 B", "3.5"]);
        assert_eq!(files.per_event(10), 3.5);
    }
}
