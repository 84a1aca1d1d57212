//! The three ways, on machines that are made of shell scripts.

use std::fs;

use super::*;

/// A machine in a folder: `bin` is its PATH, `usr` its distribution.
struct Toy {
    root: tempfile::TempDir,
    machine: Machine,
}

impl Toy {
    fn new(os: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "usr/bin", "usr/lib/rustlib/src/rust/library/std"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("os-release"), format!("ID={os}\n")).unwrap();
        let machine = Machine {
            search_path: root.path().join("bin").into(),
            usr: root.path().join("usr"),
            os_release: root.path().join("os-release"),
            is_root: false,
            rustup_limit: Duration::from_secs(20),
        };
        let toy = Self { root, machine };
        // The compiler says where the target would be; whether it is there is for each test to say.
        toy.program("bin/cargo", "exit 9");
        toy.program("bin/rustc", "echo $TOY/libdir");
        toy
    }

    fn program(&self, path: &str, script: &str) {
        let path = self.root.path().join(path);
        let script = script.replace("$TOY", &self.root.path().display().to_string());
        // Written by a child: a file that this process has open for writing cannot be executed, and a fork of
        // another test may carry the open file along.
        let status = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
                "sh",
                &script,
            ])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn debian_rust(&self) {
        for program in ["usr/bin/rustc", "usr/bin/cargo", "bin/wasm-ld"] {
            self.program(program, "exit 9");
        }
        fs::write(
            self.root
                .path()
                .join("usr/lib/rustlib/src/rust/library/std/Cargo.toml"),
            "",
        )
        .unwrap();
    }

    fn find(&self) -> (Result<Toolchain, BuildError>, String) {
        let mut said = String::new();
        let found = find(&self.machine, self.root.path(), &mut |line| {
            said.push_str(line);
            said.push('\n');
        });
        (found, said)
    }
}

const ADD_TARGET: &str = "/bin/mkdir -p $TOY/libdir && : > $TOY/libdir/libcore.rlib";

#[test]
fn a_target_that_is_there_is_used_without_a_word() {
    let toy = Toy::new("debian");
    toy.program("bin/rustup", "exit 9");
    fs::create_dir(toy.root.path().join("libdir")).unwrap();
    fs::write(toy.root.path().join("libdir/libcore.rlib"), "").unwrap();
    let (found, said) = toy.find();
    assert!(matches!(found, Ok(Toolchain::Ready { .. })), "{found:?}");
    assert_eq!(said, "");
}

#[test]
fn rustup_is_asked_first() {
    let toy = Toy::new("debian");
    toy.debian_rust();
    toy.program("bin/rustup", ADD_TARGET);
    let (found, said) = toy.find();
    assert!(matches!(found, Ok(Toolchain::Ready { .. })), "{found:?}");
    assert!(said.contains("running `rustup target add"), "{said}");
}

#[test]
fn the_distribution_is_used_when_rustup_fails() {
    let toy = Toy::new("debian");
    toy.debian_rust();
    toy.program("bin/rustup", "echo 'error: could not download file' >&2; exit 1");
    let (found, said) = toy.find();
    assert!(matches!(found, Ok(Toolchain::BuildStd { .. })), "{found:?}");
    assert!(said.contains("could not download file"), "{said}");
    assert!(said.contains("compiling the standard library"), "{said}");
}

#[test]
fn a_rustup_that_hangs_is_given_up() {
    let mut toy = Toy::new("debian");
    toy.debian_rust();
    toy.program("bin/rustup", "exec /bin/sleep 600");
    toy.machine.rustup_limit = Duration::from_millis(100);
    let started = Instant::now();
    let (found, said) = toy.find();
    assert!(matches!(found, Ok(Toolchain::BuildStd { .. })), "{found:?}");
    assert!(said.contains("had not finished after 0.1 s"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn root_on_debian_installs_the_packages_and_says_so() {
    let mut toy = Toy::new("debian");
    toy.machine.is_root = true;
    toy.program(
        "bin/apt-get",
        "echo \"$@\" >> $TOY/apt.log\n\
         [ $1 = update ] && exit 0\n\
         cd $TOY && : > usr/bin/rustc && : > usr/bin/cargo && : > bin/wasm-ld\n\
         : > usr/lib/rustlib/src/rust/library/std/Cargo.toml",
    );
    let (found, said) = toy.find();
    assert!(matches!(found, Ok(Toolchain::BuildStd { .. })), "{found:?}");
    assert_eq!(
        fs::read_to_string(toy.root.path().join("apt.log")).unwrap(),
        "update\ninstall --yes --no-install-recommends --no-remove rustc-web cargo-web rust-web-src lld\n"
    );
    assert!(
        said.contains("there is no rustup on the PATH") && said.contains("running `apt-get install"),
        "{said}"
    );
}

#[test]
fn an_apt_get_that_fails_is_named() {
    let mut toy = Toy::new("debian");
    toy.machine.is_root = true;
    toy.program("bin/apt-get", "exit 100");
    let message = toy.find().0.unwrap_err().to_string();
    assert!(message.contains("`apt-get update` failed"), "{message}");
}

#[test]
fn everybody_else_is_told_the_commands() {
    for (os, expected) in [("debian", "only root can install"), ("fedora", "not a Debian")] {
        let message = Toy::new(os).find().0.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(
            message.contains("rustup target add wasm32-unknown-unknown")
                && message.contains("apt-get install rustc-web cargo-web rust-web-src lld"),
            "{message}"
        );
    }
}
