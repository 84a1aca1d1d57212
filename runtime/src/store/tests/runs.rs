//! The index by itself, against a model: runs are written, merged step by step, closed, cut off and opened in any
//! order, and after each step it shows what it was given, or a prefix of it after a crash. FAULTS.md rows 1–3 and 14
//! for the index.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    disk::{Disk, Fate, Plan},
    engines::tiny,
    kinds,
};
use crate::{
    store::{
        Direction, Head, LogIdentity, PageLimit, StoreOptions,
        conformance::{Rng, commit, event, key},
        file::{Fault, Files},
        format::{CHUNK_HEADER_BYTES, ChunkBuilder, Hashing, Mark, Stored, record_of},
        index::{Index, Span},
        overlay::{Overlay, RunLimit, Segment},
    },
    vocabulary::{
        AggregateKey, AggregateType, Committed, Epoch, IdempotencyKey, LogId, Position, RecordedEvent,
        Version,
    },
};

pub(super) const IDENTITY: LogIdentity = LogIdentity {
    log_id: LogId([7; 16]),
    epoch: Epoch(1),
};

/// What was written, run by run, and where each commit lies.
pub(super) struct Story {
    hashing: Hashing,
    rng: Rng,
    pub(super) end: Mark,
    /// The mark behind each run, and the run.
    runs: Vec<(Mark, Arc<Segment>)>,
    /// Chunk, ordinal, commit.
    log: Vec<(u64, u32, Committed)>,
    versions: BTreeMap<AggregateKey, u64>,
}

impl Story {
    pub(super) fn new(seed: u64, hashing: Hashing) -> Self {
        Self {
            hashing,
            rng: Rng::new(seed),
            end: Mark::START,
            runs: Vec::new(),
            log: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Makes up the next run.
    pub(super) fn tell(&mut self, chunks: u64) -> Arc<Segment> {
        let limit = RunLimit {
            events: usize::MAX,
            bytes: usize::MAX,
            after: Duration::MAX,
        };
        let overlay = Overlay::new(self.hashing, limit);
        for _ in 0..chunks {
            let before = self.end;
            let mut builder = ChunkBuilder::new(IDENTITY.log_id, IDENTITY.epoch, before, 0);
            let mut position = before.position;
            for ordinal in 0..1 + self.rng.below(6) as u32 {
                let commit = self.commit();
                builder.push(Stored::of(&commit, &record_of(&commit)), commit.events.len());
                let first_position = Position(position);
                position += commit.events.len() as u64;
                self.log.push((
                    before.chunk,
                    ordinal,
                    Committed {
                        commit,
                        first_position,
                    },
                ));
            }
            let (bytes, after) = builder.finish();
            let body = bytes::Bytes::from(bytes).slice(CHUNK_HEADER_BYTES..);
            overlay.add(vec![overlay.fresh(before, after, body).unwrap()]);
            self.end = after;
        }
        let segment = overlay.oldest(true).unwrap();
        self.runs.push((self.end, Arc::clone(&segment)));
        segment
    }

    fn commit(&mut self) -> crate::vocabulary::Commit {
        let kind = ["account", "account", "order"][self.rng.below(3) as usize];
        let name = match self.rng.below(5) {
            0 => "hot".to_owned(),
            1 => format!("0190f3e2-7b5c-7000-8000-{:012x}", self.rng.below(20)),
            _ => format!("a{}", self.rng.below(40)),
        };
        let target = key(kind, &name);
        let version = self.versions.entry(target.clone()).or_default();
        let size = if self.rng.one_in(30) { 9_000 } else { 300 };
        let count = if self.rng.one_in(20) {
            40
        } else {
            self.rng.below(4)
        };
        let events: Vec<_> = (0..count)
            .map(|_| event(self.rng.number(), self.rng.below(size) as usize))
            .collect();
        let idempotency = self.rng.one_in(2).then(|| format!("k-{}", self.rng.number()));
        let made = commit(&target, *version, idempotency.as_deref(), events);
        *version += count;
        made
    }

    /// Compares an index that has got as far as a mark with what was told until there.
    fn check(&self, index: &Index, reached: Mark, rng: &mut Rng) {
        let until = |found: &&(u64, u32, Committed)| found.0 < reached.chunk;
        let mut expected: BTreeMap<AggregateKey, Vec<RecordedEvent>> = BTreeMap::new();
        for (chunk, ordinal, committed) in self.log.iter().take_while(until) {
            let key = &committed.commit.key;
            let wanted = self.overlay().wanted(key);
            expected
                .entry(key.clone())
                .or_default()
                .extend(committed.recorded_events());
            if let Some(record) = &committed.commit.idempotency {
                let hash = self.overlay().outcome_hash(&wanted, &record.key);
                let place = (*chunk, *ordinal, committed.first_position.0);
                assert!(
                    index.outcomes(key, hash).unwrap().contains(&place),
                    "{key}: {}",
                    record.key
                );
                let unknown = IdempotencyKey::parse(&format!("{}-not", record.key)).unwrap();
                let hash = self.overlay().outcome_hash(&wanted, &unknown);
                let found = index.outcomes(key, hash).unwrap();
                assert!(
                    self.is_weak() || found.is_empty(),
                    "{unknown} of {key}: {hash:x} {found:?} {place:?}"
                );
            }
        }
        expected.entry(key("account", "nobody")).or_default();
        for (key, events) in &expected {
            self.check_history(index, key, events, rng);
        }
        kinds::check(index, &self.events(reached), reached, rng).unwrap();
        for kind in ["account", "order", "other"] {
            let of_kind = expected
                .iter()
                .filter(|(key, events)| key.aggregate_type.as_str() == kind && !events.is_empty());
            let of_kind: Vec<_> = of_kind
                .map(|(key, events)| (key.aggregate_id.clone(), head(events)))
                .collect();
            let limit = 1 + rng.below(60) as usize;
            let skip = rng.below(of_kind.len() as u64 + 1) as usize;
            let after = skip.checked_sub(1).map(|last| of_kind[last].0.clone());
            let found = index
                .aggregates(&AggregateType::parse(kind).unwrap(), after.as_ref(), limit)
                .unwrap();
            let expected: Vec<_> = of_kind.into_iter().skip(skip).take(limit).collect();
            assert_eq!(found, expected);
        }
    }

    /// What was told until a mark, with the chunk of each event.
    pub(super) fn events(&self, reached: Mark) -> Vec<(u64, RecordedEvent)> {
        let told = self.log.iter().take_while(|(chunk, ..)| *chunk < reached.chunk);
        let events = told.flat_map(|(chunk, _, committed)| {
            let events = committed.recorded_events();
            events.map(|event| (*chunk, event)).collect::<Vec<_>>()
        });
        events.collect()
    }

    fn check_history(&self, index: &Index, key: &AggregateKey, events: &[RecordedEvent], rng: &mut Rng) {
        let wanted = self.overlay().wanted(key);
        assert_eq!(index.head(key, &wanted).unwrap(), head(events), "{key}");
        let last = events.len() as u64;
        let low = 1 + rng.below(last + 2);
        let high = low.saturating_sub(1) + rng.below((last + 2).saturating_sub(low));
        let limit = PageLimit {
            events: 1 + rng.below(30) as usize,
            bytes: 100 + rng.below(20_000) as usize,
        };
        for direction in [Direction::Forward, Direction::Backward] {
            for certain in [true, false] {
                let (low, high) = if certain {
                    (low, high.min(last))
                } else {
                    (low, u64::MAX - 1)
                };
                if low > high {
                    continue;
                }
                let span = Span {
                    low: Version(low),
                    high: Version(high),
                    certain,
                    direction,
                };
                let page = index.history(key, &wanted, span, limit).unwrap();
                let mut all: Vec<_> = events
                    .iter()
                    .filter(|event| span.low <= event.version && event.version <= span.high)
                    .collect();
                if direction == Direction::Backward {
                    all.reverse();
                }
                let found: Vec<_> = page.events.iter().collect();
                assert_eq!(found, all[..found.len()], "{key}, {span:?}");
                assert!(
                    page.full || found.len() == all.len(),
                    "{key}, {span:?}: {} of {}",
                    found.len(),
                    all.len()
                );
                assert!(!found.is_empty() || all.is_empty(), "{key}: one always fits");
            }
        }
    }

    fn overlay(&self) -> Overlay {
        let limit = RunLimit {
            events: 1,
            bytes: 1,
            after: Duration::MAX,
        };
        Overlay::new(self.hashing, limit)
    }

    fn is_weak(&self) -> bool {
        self.hashing != Hashing::of(IDENTITY.log_id)
    }

    /// Writes what an index lacks.
    fn catch_up(&self, index: &Index, reached: Mark) -> Result<(), Fault> {
        for (end, run) in &self.runs {
            if end.chunk > reached.chunk {
                index.write_run(run)?;
            }
        }
        Ok(())
    }
}

fn head(events: &[RecordedEvent]) -> Head {
    events.last().map_or(Head::default(), |last| Head {
        version: last.version,
        recorded_at: last.recorded_at,
        position: last.position,
    })
}

pub(super) fn files(disk: &Disk) -> Arc<dyn Files> {
    Arc::new(disk.clone())
}

/// Opens an index that is expected to be good.
fn open(disk: &Disk, options: &StoreOptions) -> (Index, Mark) {
    let (index, reached, problem) = Index::open(&files(disk), IDENTITY, options).unwrap();
    assert!(problem.is_none() || reached == Mark::START, "{problem:?}");
    (index, reached)
}

#[test]
fn any_order_of_runs_merges_and_reopenings_shows_the_same() {
    let mut merged = 0;
    for seed in 0..25 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut story = Story::new(seed, Hashing::of(IDENTITY.log_id));
        let options = StoreOptions {
            index_slice_bytes: [1, 6 << 10, 40 << 10][seed as usize % 3],
            index_merge_runs: 2 + seed as usize % 3,
            ..tiny()
        };
        let disk = Disk::new(seed);
        let (mut index, _) = open(&disk, &options);
        for _ in 0..60 {
            match rng.below(8) {
                0 | 1 => {
                    let chunks = 1 + rng.below(12);
                    index.write_run(&story.tell(chunks)).unwrap();
                }
                2 => {
                    index.shut();
                    index = open(&disk, &options).0;
                }
                _ => merged += u32::from(index.merge_step().unwrap()),
            }
            if rng.one_in(4) {
                story.check(&index, story.end, &mut rng);
            }
        }
        while index.merge_step().unwrap() {}
        story.check(&index, story.end, &mut rng);
        assert!(
            index.runs() < 2 * options.index_merge_runs,
            "{} runs are left",
            index.runs()
        );
    }
    println!("{merged} steps of merges");
    assert!(merged > 300);
}

#[test]
fn aggregates_that_share_a_hash_stay_apart() {
    for seed in 0..5 {
        let mut rng = Rng::new(seed);
        let mut story = Story::new(seed, Hashing::weak(IDENTITY.log_id));
        let (index, _) = open(&Disk::new(seed), &tiny());
        for _ in 0..3 {
            index.write_run(&story.tell(20)).unwrap();
            story.check(&index, story.end, &mut rng);
        }
    }
}

/// Two runs and the merge of them into one with what was there, cut off at every single operation.
#[test]
fn wherever_the_machine_stops_the_index_goes_on() {
    let options = StoreOptions {
        index_merge_runs: 2,
        index_slice_bytes: 5 << 10,
        ..tiny()
    };
    let mut story = Story::new(3, Hashing::of(IDENTITY.log_id));
    for chunks in [4, 3, 4] {
        story.tell(chunks);
    }
    let script = |disk: &Disk| -> Result<u64, Fault> {
        let (index, mut reached, _) = Index::open(&files(disk), IDENTITY, &options)?;
        for (end, run) in &story.runs {
            index.write_run(run)?;
            reached = *end;
            while index.merge_step()? {}
        }
        assert_eq!(reached, story.end);
        let operations = disk.operations();
        index.shut();
        Ok(operations)
    };
    let operations = script(&Disk::new(0)).unwrap();
    let (mut cut_merges, mut images) = (0, 0);
    for stop in 1..=operations {
        let disk = Disk::new(stop);
        disk.plan(Plan {
            stop_at: Some(stop),
            ..Plan::default()
        });
        assert!(script(&disk).is_err(), "stopped at {stop} of {operations}");
        for fate in [Fate::Lost, Fate::Kept, Fate::Torn(stop)] {
            let mut rng = Rng::new(stop);
            let image = disk.after_power_loss(fate);
            let (index, reached) = open(&image, &options);
            let whole = reached == Mark::START || story.runs.iter().any(|(end, _)| *end == reached);
            assert!(whole, "stopped at {stop}, {fate:?}: a run is there in part");
            story.check(&index, reached, &mut rng);
            cut_merges += u32::from(index.merge_step().unwrap());
            story.check(&index, reached, &mut rng);
            story.catch_up(&index, reached).unwrap();
            while index.merge_step().unwrap() {}
            story.check(&index, story.end, &mut rng);
            images += 1;
        }
    }
    println!("{operations} operations, {images} images, {cut_merges} of them with a merge to go on with");
    assert!(cut_merges > 50);
}

/// A failed write leaves open what is on the disk; the index looks, and goes on from there.
#[test]
fn a_failed_write_is_made_again() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut story = Story::new(seed, Hashing::of(IDENTITY.log_id));
        let options = StoreOptions {
            index_merge_runs: 2,
            ..tiny()
        };
        let disk = Disk::new(seed);
        let (index, _) = open(&disk, &options);
        let mut failures = 0;
        for _ in 0..6 {
            let run = story.tell(4);
            disk.plan(Plan {
                failing_fsyncs: 1,
                fsyncs_before_failure: rng.below(12),
                ..Plan::default()
            });
            while index.write_run(&run).is_err() {
                failures += 1;
            }
            story.check(&index, story.end, &mut rng);
            loop {
                match index.merge_step() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => failures += 1,
                }
                story.check(&index, story.end, &mut rng);
            }
        }
        assert!(failures > 0, "seed {seed}: nothing failed");
        assert!(
            !index.is_suspect(),
            "seed {seed}: a disk that refuses is no damage"
        );
    }
}

/// A row that a damaged page hides is missed, and named as damage.
#[test]
fn a_hidden_row_is_noticed() {
    const TABLES: [&str; 4] = ["blocks", "directories", "filters", "names"];
    for name in TABLES {
        let directory = tempfile::tempdir().unwrap();
        let data = crate::store::file::DataDirectory::open(directory.path()).unwrap();
        let mut story = Story::new(1, Hashing::of(IDENTITY.log_id));
        let (index, _, _) = Index::open(&data.files, IDENTITY, &tiny()).unwrap();
        index.write_run(&story.tell(10)).unwrap();
        index.shut();
        let file = redb::Database::open(directory.path().join("index.redb")).unwrap();
        let transaction = file.begin_write().unwrap();
        {
            let table: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new(name);
            let mut table = transaction.open_table(table).unwrap();
            assert!(table.pop_last().unwrap().is_some(), "{name} holds something");
        }
        transaction.commit().unwrap();
        drop(file);
        let (index, reached, problem) = Index::open(&data.files, IDENTITY, &tiny()).unwrap();
        if name == "blocks" {
            assert_eq!(reached, story.end);
            let errors = story.log.iter().filter(|(_, _, committed)| {
                let key = &committed.commit.key;
                let wanted = story.overlay().wanted(key);
                let record = committed.commit.idempotency.as_ref();
                record.is_some_and(|record| {
                    index
                        .outcomes(key, story.overlay().outcome_hash(&wanted, &record.key))
                        .is_err()
                })
            });
            assert!(errors.count() > 0 && index.is_suspect());
        } else {
            assert_eq!(reached, Mark::START, "{name}");
            assert!(problem.is_some(), "{name}");
        }
    }
}
