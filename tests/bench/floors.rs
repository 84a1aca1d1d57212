//! What the disk and redb take by themselves.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use crate::{
    facts::Facts,
    failed::Failed,
    format,
    numbers::{Latency, nanos, rate},
    report::Section,
    service::Bench,
};

const BLOCK_BYTES: usize = 4 * 1024;

/// The smallest durable thing: 4 KiB appended to a file, and flushed.
pub(crate) fn fdatasync(bench: &Bench<'_>) -> Result<Section, Failed> {
    eprintln!("floor: append + fdatasync");
    let path = bench.dir.join("fdatasync");
    let failed = |error| Failed::io("append and flush", &error);
    let file = File::create(&path).map_err(failed)?;
    let block = [0xa5; BLOCK_BYTES];
    let mut offset = 0;
    let loops = repeat(bench, || {
        file.write_all_at(&block, offset).map_err(failed)?;
        offset += BLOCK_BYTES as u64;
        file.sync_data().map_err(failed)
    })?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(Section {
        key: "fdatasync",
        title: "Floor: append 4 KiB + fdatasync".to_owned(),
        columns: vec!["", "per second", "p50 ms", "p99 ms", "p99.9 ms", "max ms"],
        rows: vec![loops.row("one after the other")],
        notes: Vec::new(),
        json: loops.json(),
    })
}

const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");
/// About what one deposit takes in the log, with its command and context.
const COMMIT_BYTES: usize = 400;
const CACHE_BYTES: usize = 16 << 20;

/// A durable redb transaction with one row of as many bytes as so many commands take.
pub(crate) fn redb(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for commands in [1, 64, 512] {
        eprintln!("floor: redb, {commands} commands a chunk");
        let path = bench.dir.join("floor.redb");
        let loops = commit_chunks(bench, &path, commands * COMMIT_BYTES)
            .map_err(|error| Failed::new(format!("redb: {error}")))?;
        std::fs::remove_file(&path).map_err(|error| Failed::io("remove a file", &error))?;
        facts.put(format!("redb-{commands}.p50"), loops.latency.p50_us);
        let mut row = loops.row(&format!("{commands} × {COMMIT_BYTES} B"));
        row.insert(2, format::rate(loops.per_second() * commands as f64));
        rows.push(row);
        let mut json = loops.json();
        if let Some(object) = json.as_object_mut() {
            object.insert("chunk_bytes".into(), json!(commands * COMMIT_BYTES));
            object.insert("commands".into(), json!(commands));
        }
        all.push(json);
    }
    Ok(Section {
        key: "redb",
        title: "Floor: one row in a redb transaction".to_owned(),
        columns: vec![
            "bytes in a chunk",
            "per second",
            "commands/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
        ],
        rows,
        notes: Vec::new(),
        json: json!(all),
    })
}

fn commit_chunks(
    bench: &Bench<'_>,
    path: &std::path::Path,
    bytes: usize,
) -> Result<Loops, Box<dyn std::error::Error>> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let chunk = vec![0xa5_u8; bytes];
    let mut number = 0;
    repeat(bench, || {
        let transaction = database.begin_write()?;
        transaction.open_table(CHUNKS)?.insert(number, chunk.as_slice())?;
        transaction.commit()?;
        number += 1;
        Ok(())
    })
}

/// Something done one time after the other.
struct Loops {
    times: u64,
    time: Duration,
    latency: Latency,
}

/// Does it for the warm-up, and then for the measured time.
fn repeat<E>(bench: &Bench<'_>, mut step: impl FnMut() -> Result<(), E>) -> Result<Loops, E> {
    let warm = Instant::now() + bench.args.warm_up();
    while Instant::now() < warm {
        step()?;
    }
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < bench.args.measured() {
        let before = Instant::now();
        step()?;
        latencies.push(nanos(before.elapsed()));
    }
    Ok(Loops {
        times: latencies.len() as u64,
        time: started.elapsed(),
        latency: Latency::of(latencies),
    })
}

impl Loops {
    fn per_second(&self) -> f64 {
        rate(self.times, self.time)
    }

    fn row(&self, name: &str) -> Vec<String> {
        let Latency {
            p50_us,
            p99_us,
            p999_us,
            max_us,
        } = self.latency;
        let mut row = vec![name.to_owned(), format::rate(self.per_second())];
        row.extend([p50_us, p99_us, p999_us, max_us].map(format::millis));
        row
    }

    fn json(&self) -> Value {
        json!({ "per_second": self.per_second(), "times": self.times, "latency": self.latency })
    }
}
