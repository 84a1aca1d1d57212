//! The kinds of events: what the index says of them is right, or it is noticed that it is not. FAULTS.md rows 14, 15 and 34.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    disk::Disk,
    engines::tiny,
    ledger::{Ledger, open},
    runs::{IDENTITY, Story, files},
};
use crate::{
    store::{
        EventStore as _, FeedFilter, LocalStore, PageLimit, Progress, Step, StoreOptions,
        conformance::{Rng, appended, commit, event, key, wait_until},
        format::{Hashing, Mark, checksum},
        index::{Index, IndexError, Seeking},
        log::CHUNK_READS,
    },
    vocabulary::{AggregateType, EventType, NewEvent, Position, RecordedEvent},
};

const TABLES: [&str; 2] = ["kinds", "kind-groups"];
const PLENTY: PageLimit = PageLimit {
    events: 10_000,
    bytes: 1 << 30,
};

fn some_filter(rng: &mut Rng) -> FeedFilter {
    let types = ["account", "order", "other"][rng.below(3) as usize];
    let name = ["deposited", "withdrawn", "Closed.v2"][rng.below(3) as usize];
    FeedFilter {
        aggregate_types: rng
            .one_in(2)
            .then(|| AggregateType::parse(types).unwrap())
            .into_iter()
            .collect(),
        event_types: rng
            .one_in(2)
            .then(|| EventType::parse(name).unwrap())
            .into_iter()
            .collect(),
        ..FeedFilter::default()
    }
}

/// Compares what an index that has got as far as a mark says of kinds with the events until there, given with their chunks.
pub(super) fn check(
    index: &Index,
    events: &[(u64, RecordedEvent)],
    reached: Mark,
    rng: &mut Rng,
) -> Result<(), IndexError> {
    for _ in 0..4 {
        let filter = some_filter(rng);
        let from = 1 + rng.below(reached.position + 3);
        check_count(index, events, reached, from, &filter)?;
        check_stretches(index, events, reached, from, &filter)?;
    }
    Ok(())
}

/// How many events at positions from one up to another a filter wants.
fn wanted(events: &[(u64, RecordedEvent)], from: u64, until: u64, filter: &FeedFilter) -> u64 {
    let until = (until - 1).min(events.len() as u64);
    let between = &events[(from - 1).min(until) as usize..until as usize];
    between.iter().filter(|(_, event)| filter.wants(event)).count() as u64
}

fn check_count(
    index: &Index,
    events: &[(u64, RecordedEvent)],
    reached: Mark,
    from: u64,
    filter: &FeedFilter,
) -> Result<(), IndexError> {
    let counted = index.count(from, filter, u64::MAX)?;
    assert_eq!(counted.reached, reached.position);
    assert!(
        counted.parts.len() <= 1 && counted.unread == 0,
        "all but the first stretch is known: {counted:?}"
    );
    let unknown = counted.parts.iter().map(|part| {
        let found = wanted(events, part.positions.start, part.positions.end, filter);
        assert!(found <= part.at_most, "from {from}: {part:?}");
        found
    });
    let found = counted.events + unknown.sum::<u64>();
    assert_eq!(
        found,
        wanted(events, from, reached.position, filter),
        "from {from}: {filter:?}"
    );
    Ok(())
}

fn check_stretches(
    index: &Index,
    events: &[(u64, RecordedEvent)],
    reached: Mark,
    from: u64,
    filter: &FeedFilter,
) -> Result<(), IndexError> {
    let seeking = Seeking::new(filter);
    let mut at = from;
    while at < reached.position {
        let stretch = index.stretch(at, &seeking)?;
        assert!(
            at <= stretch.from && stretch.from < stretch.until,
            "{at}: {stretch:?}"
        );
        assert_eq!(
            wanted(events, at, stretch.from, filter),
            0,
            "{at}: {stretch:?} {filter:?}"
        );
        if stretch.from >= reached.position {
            assert_eq!(
                (stretch.from, stretch.chunk),
                (reached.position, Some(reached.chunk))
            );
            break;
        }
        let chunk = events[stretch.from as usize - 1].0;
        assert!(stretch.chunk == Some(chunk) || stretch.chunk.is_none() && stretch.from == at);
        assert!(stretch.until <= reached.position);
        at = stretch.until;
    }
    Ok(())
}

/// All that can be asked of the rows; each answer is right. Whether any was refused.
fn is_noticed(index: &Index, events: &[(u64, RecordedEvent)], reached: Mark) -> bool {
    let filters = [
        FeedFilter::default(),
        FeedFilter::of_type(AggregateType::parse("order").unwrap()),
    ];
    let from = 1..=reached.position;
    let refused = from
        .flat_map(|from| filters.iter().map(move |filter| (from, filter)))
        .filter(|(from, filter)| {
            let count = check_count(index, events, reached, *from, filter);
            count
                .and(check_stretches(index, events, reached, *from, filter))
                .is_err()
        });
    refused.count() > 0
}

/// An index of some runs, as the file is after each, without the check of all pages on opening.
struct Written {
    story: Story,
    disk: Disk,
    options: StoreOptions,
    after: Vec<Vec<u8>>,
}

fn written(runs: &[u64]) -> Written {
    let options = StoreOptions {
        index_check_bytes: 0,
        ..tiny()
    };
    let mut story = Story::new(5, Hashing::of(IDENTITY.log_id));
    let disk = Disk::new(5);
    let mut after = Vec::new();
    for chunks in runs {
        let (index, ..) = Index::open(&files(&disk), IDENTITY, &options).unwrap();
        index.write_run(&story.tell(*chunks)).unwrap();
        index.shut();
        after.push(disk.bytes("index.redb"));
    }
    Written {
        story,
        disk,
        options,
        after,
    }
}

impl Written {
    /// Whether an index of these bytes gives itself away, on opening or when it is asked. What it says is right.
    fn gives_itself_away(&self, bytes: Vec<u8>) -> bool {
        let image = self.disk.copy_with("index.redb", Some(bytes));
        let (index, reached, problem) = Index::open(&files(&image), IDENTITY, &self.options).unwrap();
        let refused = is_noticed(&index, &self.story.events(reached), reached);
        assert!(!refused || index.is_suspect(), "whoever refuses is rebuilt");
        refused || problem.is_some()
    }
}

/// So many events there are, and no fewer.
fn exactly(store: &LocalStore, after: Position, filter: &FeedFilter) -> u64 {
    let found = store.count(after, filter).unwrap();
    assert!(found.is_exact, "{found:?}");
    found.events
}

type Rows = BTreeMap<(&'static str, u64), Vec<u8>>;

/// Changes the rows of the kinds in a file by hand.
fn edited(bytes: &[u8], edit: impl FnOnce(&mut Rows)) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.redb");
    std::fs::write(&path, bytes).unwrap();
    let file = redb::Database::open(&path).unwrap();
    let transaction = file.begin_write().unwrap();
    {
        use redb::ReadableTable as _;
        let mut rows = Rows::new();
        for name in TABLES {
            let table = transaction
                .open_table(redb::TableDefinition::<u64, &[u8]>::new(name))
                .unwrap();
            for row in table.iter().unwrap() {
                let (number, value) = row.unwrap();
                rows.insert((name, number.value()), value.value().to_vec());
            }
        }
        edit(&mut rows);
        for name in TABLES {
            let mut table = transaction
                .open_table(redb::TableDefinition::<u64, &[u8]>::new(name))
                .unwrap();
            table.retain(|_, _| false).unwrap();
            for ((_, number), value) in rows.iter().filter(|((of, _), _)| *of == name) {
                table.insert(number, value.as_slice()).unwrap();
            }
        }
    }
    transaction.commit().unwrap();
    drop(file);
    std::fs::read(path).unwrap()
}

fn rows_of(bytes: &[u8]) -> Rows {
    let mut found = Rows::new();
    edited(bytes, |rows| found.clone_from(rows));
    found
}

#[test]
fn flipped_bits_and_hidden_rows_of_the_kinds_are_noticed() {
    let written = written(&[3, 2]);
    let bytes = written.after.last().unwrap();
    let rows = rows_of(bytes);
    let groups = rows.keys().filter(|(table, _)| *table == "kind-groups").count();
    assert!(groups > 2 && rows.len() >= 3 * groups, "{rows:?}");
    assert!(
        !written.gives_itself_away(edited(bytes, |_| {})),
        "it is good as it is"
    );
    let mut rng = Rng::new(1);
    for (slot, value) in &rows {
        let hidden = edited(bytes, |rows| drop(rows.remove(slot)));
        assert!(written.gives_itself_away(hidden), "{slot:?} is missing");
        for at in 0..value.len() {
            let bit = rng.below(8);
            let flipped = edited(bytes, |rows| rows.get_mut(slot).unwrap()[at] ^= 1 << bit);
            assert!(
                written.gives_itself_away(flipped),
                "{slot:?}, byte {at}, bit {bit}"
            );
        }
    }
}

/// An older form of a row, and the row of another place, have a good checksum of their own.
#[test]
fn stale_and_misplaced_rows_of_the_kinds_are_noticed() {
    let written = written(&[3, 1, 1, 1, 2]);
    let newest = written.after.last().unwrap();
    let rows = rows_of(newest);
    let mut stale = 0;
    for older in &written.after {
        for (slot, value) in &rows_of(older) {
            if rows.get(slot) == Some(value) {
                continue;
            }
            let changed = edited(newest, |rows| drop(rows.insert(*slot, value.clone())));
            assert!(written.gives_itself_away(changed), "an older {slot:?}");
            stale += 1;
        }
    }
    assert!(stale > 0, "a row was written again");
    let first = rows.keys().next().unwrap();
    for (slot, value) in rows
        .iter()
        .filter(|(slot, _)| slot.0 == first.0 && *slot != first)
    {
        let changed = edited(newest, |rows| drop(rows.insert(*first, value.clone())));
        assert!(
            written.gives_itself_away(changed),
            "{slot:?} in the place of {first:?}"
        );
    }
}

#[test]
fn stale_pages_of_the_index_never_hide_an_event() {
    let written = written(&[4, 3, 3]);
    let (mut pages, mut noticed) = (0, 0);
    let newest = written.after.last().unwrap();
    for older in &written.after {
        for start in (0..newest.len().min(older.len())).step_by(4096) {
            let page = start..(start + 4096).min(newest.len()).min(older.len());
            if newest[page.clone()] == older[page.clone()] {
                continue;
            }
            let mut stale = newest.clone();
            stale[page.clone()].copy_from_slice(&older[page]);
            pages += 1;
            noticed += u32::from(written.gives_itself_away(stale));
        }
    }
    println!("{pages} stale pages, {noticed} noticed; the others are not in use");
    assert!(pages > 5 && noticed > 0);
}

#[test]
fn an_index_of_the_format_before_is_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    let rare = key("rare", "one");
    let store = LocalStore::open(directory.path(), tiny()).unwrap();
    for number in 0..20 {
        let target = if number == 13 {
            rare.clone()
        } else {
            key("account", &format!("a{number}"))
        };
        appended(&store, &target, vec![event(number, 50)]);
    }
    let log_id = store.identity().log_id;
    store.close();
    drop(store);
    let file = redb::Database::open(directory.path().join("index.redb")).unwrap();
    let transaction = file.begin_write().unwrap();
    {
        use redb::ReadableTable as _;
        let mut table = transaction
            .open_table(redb::TableDefinition::<&[u8], &[u8]>::new("manifest"))
            .unwrap();
        let mut value = table.get(&b"manifest"[..]).unwrap().unwrap().value().to_vec();
        value.truncate(value.len() - 4);
        value[0] -= 1;
        let crc = checksum([&value[..], b"manifest", &log_id.0]);
        value.extend_from_slice(&crc.to_be_bytes());
        table.insert(&b"manifest"[..], value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(file);
    let steps: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = Arc::clone(&steps);
    let options = StoreOptions {
        progress: Some(Arc::new(move |progress: Progress| {
            noted.lock().unwrap().push(progress.step)
        })),
        ..tiny()
    };
    let store = LocalStore::open(directory.path(), options).unwrap();
    assert!(steps.lock().unwrap().contains(&Step::Rebuilding));
    let of_rare = FeedFilter::of_type(rare.aggregate_type);
    assert_eq!(store.feed(Position(0), &of_rare, PLENTY).unwrap().events.len(), 1);
    assert_eq!(exactly(&store, Position(0), &of_rare), 1);
    assert_eq!(exactly(&store, Position(3), &FeedFilter::default()), 17);
}

/// A feed does not need the index, and does not wait until it is whole again.
#[test]
fn a_feed_goes_on_beside_a_damaged_index() {
    let options = StoreOptions {
        index_check_bytes: 0,
        segment_bytes: 64 << 20,
        ..tiny()
    };
    let disk = Disk::new(1);
    let mut ledger = Ledger::default();
    let store = open(&disk, &options).unwrap();
    for number in 0..40 {
        let kind = if number % 13 == 5 { "rare" } else { "account" };
        let target = key(kind, &format!("a{number}"));
        ledger.send(
            &store,
            vec![commit(
                &target,
                0,
                Some(&format!("k-{number}")),
                vec![event(number, 50)],
            )],
        );
    }
    store.close();
    drop(store);
    let damaged = edited(&disk.bytes("index.redb"), |rows| {
        // A row of a full group: nobody looks at it before somebody asks.
        *rows.get_mut(&("kinds", 1)).unwrap().last_mut().unwrap() ^= 1;
    });
    let disk = disk.copy_with("index.redb", Some(damaged));
    let store = open(&disk, &options).unwrap();
    let of_rare = FeedFilter::of_type(AggregateType::parse("rare").unwrap());
    let page = store.feed(Position(0), &of_rare, PLENTY).unwrap();
    let positions: Vec<_> = page.events.iter().map(|event| event.position.0).collect();
    assert!(positions == [6, 19, 32] && page.at_head);
    wait_until("the index is rebuilt", || store.index_rebuilds() == 1);
    assert_eq!(exactly(&store, Position(0), &of_rare), 3);
    ledger.check(&store).unwrap();
}

/// FAULTS.md row 34: a million events that nobody wants are gone past.
#[test]
fn a_feed_of_a_rare_kind_reads_few_chunks() {
    const COMMITS: u64 = 1_000;
    const RARE: [u64; 4] = [200, 201, 700, 999];
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), StoreOptions::default()).unwrap();
    let rare = key("rare", "one");
    for number in 0..COMMITS {
        let target = key("account", &format!("a{}", number % 10));
        let events = (0..1_000).map(|_| event(0, 40)).collect();
        appended(&store, &target, events);
        if RARE.contains(&number) {
            appended(&store, &rare, vec![event(0, 40)]);
        }
    }
    store.close();
    drop(store);
    let store = LocalStore::open(directory.path(), StoreOptions::default()).unwrap();
    let filter = FeedFilter::of_type(rare.aggregate_type);
    let before = CHUNK_READS.get();
    let (mut found, mut pages, mut after) = (0, 0, Position(0));
    loop {
        let page = store.feed(after, &filter, PLENTY).unwrap();
        found += page.events.len();
        pages += 1;
        after = page.scanned;
        if page.at_head {
            break;
        }
    }
    let reads = CHUNK_READS.get() - before;
    assert_eq!((found, pages), (RARE.len(), 1));
    assert!(reads <= 4 * RARE.len() as u64, "{reads} chunks were read");
    let before = CHUNK_READS.get();
    assert_eq!(exactly(&store, Position(0), &filter), RARE.len() as u64);
    assert_eq!(
        exactly(&store, Position(0), &FeedFilter::default()),
        COMMITS * 1_000 + 4
    );
    assert_eq!(
        CHUNK_READS.get(),
        before,
        "counting all of it reads nothing of the log"
    );
    assert_eq!(exactly(&store, Position(200_500), &filter), RARE.len() as u64);
    assert!(CHUNK_READS.get() - before < 20, "a part of a stretch is read");
}

/// Names have numbers up to a limit; what is beyond it is looked for in the log.
#[test]
fn kinds_without_a_number_are_found_all_the_same() {
    const TYPES: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), StoreOptions::default()).unwrap();
    let target = key("account", "a");
    for first in (0..TYPES).step_by(500) {
        let named = |number| NewEvent {
            event_type: EventType::parse(&format!("e{number}")).unwrap(),
            ..event(0, 10)
        };
        appended(&store, &target, (first..first + 500).map(named).collect());
    }
    store.close();
    drop(store);
    let store = LocalStore::open(directory.path(), StoreOptions::default()).unwrap();
    for number in [0, 5_000, TYPES - 1] {
        let filter = FeedFilter {
            event_types: vec![EventType::parse(&format!("e{number}")).unwrap()],
            ..FeedFilter::default()
        };
        let page = store.feed(Position(0), &filter, PLENTY).unwrap();
        let positions: Vec<_> = page.events.iter().map(|event| event.position.0).collect();
        assert!(positions == [number + 1] && page.at_head);
        let before = CHUNK_READS.get();
        assert_eq!(exactly(&store, Position(0), &filter), 1);
        // The last eight chunks hold all events without a number.
        let reads = CHUNK_READS.get() - before;
        assert!(
            reads <= 8,
            "e{number}: {reads} chunks were read, some of them twice"
        );
        assert_eq!(exactly(&store, Position(number + 1), &filter), 0);
    }
    assert_eq!(exactly(&store, Position(0), &FeedFilter::default()), TYPES);
}
