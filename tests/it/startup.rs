//! What a server says when it cannot start.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use annals_tests::{
    artifacts, guests,
    server::{Api, Process, TestServer},
};

fn serve(data: &Path, listen: &str) -> Output {
    let serve = ["serve", "--listen", listen, "--data"];
    Command::new(artifacts::binary())
        .args(serve)
        .arg(data)
        .output()
        .unwrap()
}

/// Checks that a server does not start, and that it says why and what to do.
#[track_caller]
fn refuses(data: &Path, listen: &str, says: &[&str]) {
    let output = serve(data, listen);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for word in says {
        assert!(told.contains(word), "`{word}` is missing: {told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let address = server.address().to_string();
    refuses(&folder.path().join("data"), &address, &[&address, "--listen"]);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Process::start(&data);
    first.upload(&guests::counter()).ok();
    refuses(
        &data,
        "127.0.0.1:0",
        &[&data.display().to_string(), "in use by process"],
    );
    first.get("/readyz").ok();
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    refuses(
        folder.path(),
        "127.0.0.1:0",
        &[&folder.path().display().to_string(), "not"],
    );
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["letter.txt"]);
    refuses(&folder.path().join("letter.txt"), "127.0.0.1:0", &["letter.txt"]);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("locked").join("data");
    fs::create_dir(folder.path().join("locked")).unwrap();
    fs::set_permissions(folder.path().join("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("locked").join("probe"), "").is_ok() {
        // Permissions do not bind root: a path below a file cannot be written by anybody.
        refuses(
            Path::new("/proc/annals/data"),
            "127.0.0.1:0",
            &["/proc/annals/data"],
        );
        return;
    }
    refuses(&data, "127.0.0.1:0", &[&data.display().to_string()]);
}

/// Each page of 2 MiB is zeroed while somebody waits (docs/decisions/process-allocator.md).
#[test]
#[cfg(target_os = "linux")]
fn a_server_takes_no_large_pages_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path());
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    assert!(status.contains("THP_enabled:\t0"), "{status}");
    server.kill();
}
