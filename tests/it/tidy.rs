//! The rules of the house that no compiler knows: which room may name what, how long things may be, what may not be
//! left in, and that links lead somewhere. Each rule is first shown, on a snippet, to be able to fail.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, and says where"
)]

mod links;
mod rooms;
mod shape;
mod source;

use std::path::{Path, PathBuf};

use source::Source;

/// A breach of a rule: where, what, which rule, and the fix.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    file: String,
    line: usize,
    what: String,
    fix: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            what,
            fix,
        } = self;
        write!(f, "{file}:{line}: {what}\n    fix: {fix}")
    }
}

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file with this extension below `dir`, in order, without what is built or fetched.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let is_room = path.join("tests.rs").is_file();
                let built = ["target", "node_modules", ".git", "__pycache__"].contains(&name.as_str());
                if !built || is_room {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let sources: Vec<Source> = folders
        .iter()
        .map(|folder| root().join(folder))
        .filter(|folder| folder.is_dir())
        .flat_map(|folder| files(&folder, "rs"))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            Source::new(&name, &std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(
        !sources.is_empty(),
        "no sources below {folders:?}: the rule would pass for nothing"
    );
    sources
}

fn none(breaches: Vec<Breach>) {
    let list: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(list.is_empty(), "{} breaches:\n{}", list.len(), list.join("\n"));
}

/// What is shipped.
const PRODUCT: &[&str] = &[
    "runtime/src",
    "guest-sdk/src",
    "guest-sdk/macros/src",
    "xtask/src",
    "examples",
];

#[test]
fn each_foreign_crate_is_named_in_its_room_only() {
    none(
        sources(&["runtime/src"])
            .iter()
            .flat_map(rooms::foreign_crates)
            .collect(),
    );
}

#[test]
fn dependencies_between_rooms_point_one_way() {
    none(
        sources(&["runtime/src"])
            .iter()
            .flat_map(rooms::directions)
            .collect(),
    );
}

#[test]
fn time_comes_from_the_clock_only() {
    none(
        sources(&["runtime/src"])
            .iter()
            .flat_map(rooms::wall_clock)
            .collect(),
    );
}

#[test]
fn files_and_functions_are_short() {
    none(sources(PRODUCT).iter().flat_map(shape::lengths).collect());
}

#[test]
fn nothing_unfinished_is_left_in() {
    let mut all = sources(PRODUCT);
    all.extend(sources(&["tests"]));
    none(all.iter().flat_map(shape::leftovers).collect());
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = files(root(), "md");
    assert!(!documents.is_empty());
    none(
        documents
            .iter()
            .flat_map(|path| links::dead(root(), path))
            .collect(),
    );
}
