//! The way from a crate to a component, as far as it goes without compiling: that is the business of the
//! integration tests, which build the examples.

use super::*;

fn refusal(request: &BuildRequest) -> BuildError {
    build(request, &mut |_| {}).unwrap_err()
}

#[test]
fn a_folder_without_a_crate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let problem = refusal(&BuildRequest::new(&path));
        assert!(
            matches!(&problem, BuildError::NotACrate { path: p } if *p == path),
            "{problem}"
        );
    }
}

#[test]
fn a_manifest_that_cargo_refuses_is_shown_in_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Cargo.toml"), "[package]\nname = 1\n").unwrap();
    let message = refusal(&BuildRequest::new(dir.path())).to_string();
    assert!(message.contains("cargo metadata"), "{message}");
    assert!(message.contains("expected a string"), "{message}");
}

#[test]
fn a_crate_without_a_cdylib_is_refused_before_anything_is_built() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("src/lib.rs"), "").unwrap();
    std::fs::write(
        dir.path().join("Cargo.toml"),
        "[package]\nname = \"plain\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    let problem = refusal(&BuildRequest::new(dir.path().join("Cargo.toml")));
    assert!(
        matches!(&problem, BuildError::NotACdylib { package } if package == "plain"),
        "{problem}"
    );
    assert!(!dir.path().join("target").exists());
}
