//! The conformance suite over both engines, the embedded one also with sizes so small that every boundary is met.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::store::{
    EventStore, LocalStore, MemoryStore, StoreOptions,
    conformance::{CHECKS, Subject},
};

/// Small chunks, segments and runs, and merges in many small steps.
pub(super) fn tiny() -> StoreOptions {
    StoreOptions {
        chunk_bytes: 4 << 10,
        segment_bytes: 64 << 10,
        log_cache_bytes: 1 << 20,
        sealed_cache_bytes: 1 << 20,
        sealed_open: 2,
        index_cache_bytes: 1 << 20,
        index_block_cache_bytes: 64 << 10,
        index_block_bytes: 4 << 10,
        index_slice_bytes: 6 << 10,
        index_merge_runs: 3,
        index_stretch_events: 3,
        index_group_stretches: 2,
        overlay_bytes: 64 << 10,
        run_events: 5,
        run_bytes: 32 << 10,
        run_after: Duration::from_millis(5),
        batch_commits: 7,
        batch_bytes: 16 << 10,
        queue: 16,
        heads: 4,
        ..StoreOptions::default()
    }
}

fn check_local(options: &StoreOptions) {
    let root = tempfile::tempdir().unwrap();
    let places: Mutex<HashMap<usize, PathBuf>> = Mutex::default();
    let open = |path: PathBuf| -> Arc<dyn EventStore> {
        let store: Arc<dyn EventStore> = Arc::new(LocalStore::open(&path, options.clone()).unwrap());
        let address = Arc::as_ptr(&store).cast::<()>() as usize;
        places.lock().unwrap().insert(address, path);
        store
    };
    let create = || {
        let path = tempfile::tempdir_in(root.path()).unwrap().keep();
        open(path)
    };
    let reopen = |store: Arc<dyn EventStore>| {
        let address = Arc::as_ptr(&store).cast::<()>() as usize;
        let path = places.lock().unwrap().get(&address).unwrap().clone();
        store.close();
        drop(store);
        open(path)
    };
    let subject = Subject {
        create: &create,
        reopen: Some(&reopen),
    };
    for (name, check) in CHECKS {
        let started = std::time::Instant::now();
        check(&subject);
        println!("{name}: {:?}", started.elapsed());
    }
}

#[test]
fn the_memory_engine_conforms() {
    let create = || -> Arc<dyn EventStore> { Arc::new(MemoryStore::new()) };
    crate::store::conformance::run_all(&Subject {
        create: &create,
        reopen: None,
    });
}

#[test]
fn the_embedded_engine_conforms() {
    check_local(&StoreOptions::default());
}

#[test]
fn the_embedded_engine_conforms_with_tiny_sizes() {
    check_local(&tiny());
}
