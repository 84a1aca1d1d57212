//! Compiled code on disk: used when it is intact, made again when it is not, and never executed then.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

fn host_at(directory: &Path, key: u8) -> Host {
    Host::new(HostOptions {
        limits: limits(),
        cache_dir: Some(directory.to_owned()),
        cache_key: [key; 32],
    })
    .unwrap()
}

fn origin(directory: &Path, key: u8) -> CodeOrigin {
    let host = host_at(directory, key);
    let module = load(&host, &guests::counter());
    let mut cell = Cell::new(&module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    send(&mut cell, &live, 0, "add", "{\"amount\":3}").unwrap();
    assert_eq!(state(&mut cell, &live), sum(3));
    module.code_origin()
}

fn the_file(directory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

#[test]
fn code_is_compiled_once_and_kept_for_this_user_only() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    assert_eq!(origin(&cache, 1), CodeOrigin::Compiled);
    assert_eq!(origin(&cache, 1), CodeOrigin::Cache);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let file = the_file(&cache);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let digest = host_at(&cache, 1)
        .inspect(&guests::counter())
        .unwrap()
        .digest
        .to_string();
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with(&digest));
}

#[test]
fn damaged_code_is_compiled_again_and_never_executed() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(origin(directory.path(), 1), CodeOrigin::Compiled);
    let file = the_file(directory.path());
    let good = fs::read(&file).unwrap();
    let flipped = |position: usize| {
        let mut bytes = good.clone();
        bytes[position] ^= 1;
        bytes
    };
    let damaged = [
        flipped(0),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        good[..good.len() / 2].to_vec(),
        good[..10].to_vec(),
        Vec::new(),
    ];
    for (case, bytes) in damaged.iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        assert_eq!(origin(directory.path(), 1), CodeOrigin::Compiled, "{case}");
        assert_eq!(
            origin(directory.path(), 1),
            CodeOrigin::Cache,
            "{case}: not repaired"
        );
    }
}

#[test]
fn code_that_another_server_signed_is_not_executed() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(origin(directory.path(), 1), CodeOrigin::Compiled);
    assert_eq!(origin(directory.path(), 2), CodeOrigin::Compiled);
}

#[test]
fn another_modules_code_under_this_name_is_not_executed() {
    let directory = tempfile::tempdir().unwrap();
    let host = host_at(directory.path(), 1);
    let other = host
        .inspect(&guests::counter_with(&[("describe", "nop")]))
        .unwrap();
    host.load(&other).unwrap();
    let foreign = fs::read(the_file(directory.path())).unwrap();
    fs::remove_file(the_file(directory.path())).unwrap();
    let own = host.inspect(&guests::counter()).unwrap();
    host.load(&own).unwrap();
    fs::write(the_file(directory.path()), foreign).unwrap();
    assert_eq!(host.load(&own).unwrap().code_origin(), CodeOrigin::Compiled);
}

#[test]
fn leftovers_of_other_engines_and_of_crashes_are_removed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["00-11.cwasm", "x.1-2.tmp", "README"] {
        fs::write(directory.path().join(name), b"x").unwrap();
    }
    let _host = host_at(directory.path(), 1);
    assert!(the_file(directory.path()).ends_with("README"));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Host::new(HostOptions {
        limits: limits(),
        cache_dir: Some(file.path().to_owned()),
        cache_key: [0; 32],
    })
    .unwrap_err();
    assert!(
        error.to_string().contains(&*file.path().to_string_lossy()),
        "{error}"
    );
}

/// The seam for compiling elsewhere: what another compiler with the same configuration makes is taken.
#[test]
fn another_compiler_can_be_put_in() {
    #[derive(Debug)]
    struct Elsewhere(wasmtime::Engine, AtomicUsize);
    impl Compiler for Arc<Elsewhere> {
        fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0
                .precompile_component(component)
                .map_err(|error| CompileError {
                    problem: error.to_string(),
                })
        }
    }
    let other = host_with(limits());
    let compiler = Arc::new(Elsewhere(other.engine().clone(), AtomicUsize::new(0)));
    let options = HostOptions {
        limits: limits(),
        cache_dir: None,
        cache_key: [0; 32],
    };
    let host = Host::with_compiler(options, Box::new(Arc::clone(&compiler))).unwrap();
    let module = load(&host, &guests::counter());
    let mut cell = Cell::new(&module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    assert_eq!(state(&mut cell, &live), sum(0));
    assert_eq!(compiler.1.load(Ordering::SeqCst), 1);
}
