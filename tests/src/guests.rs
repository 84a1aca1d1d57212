//! Guests for tests, written as WebAssembly text: they need no Wasm toolchain, and can misbehave in every way.

use std::path::Path;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap, WorldId};

/// Text of the counter with all its misbehaviour; its first lines say what it can do.
pub const COUNTER: &str = include_str!("../guests/counter.wat");

/// What the counter exports beyond the minimal world.
pub const COUNTER_EXPORTS: [&str; 3] = ["snapshots", "view", "invariants"];

/// The counter, as a core module ready to be uploaded.
#[must_use]
pub fn counter() -> Vec<u8> {
    counter_with(&[])
}

/// The counter with text put in place of some of its `;;@name` lines: `("start", "(start $spin)")`.
///
/// # Panics
/// When there is no such line, or the text that results is not a module: a mistake of the test.
#[must_use]
pub fn counter_with(replacements: &[(&str, &str)]) -> Vec<u8> {
    let text = replacements
        .iter()
        .fold(COUNTER.to_owned(), |text, (name, replacement)| {
            let marker = format!(";;@{name}\n");
            assert!(text.contains(&marker), "the counter has no line {marker}");
            text.replace(&marker, &format!("{replacement}\n"))
        });
    module(&text, &COUNTER_EXPORTS)
}

/// A core module from text, with the minimal world and some of the optional interfaces as its contract.
///
/// # Panics
/// When the text is not a module or an interface does not exist: a mistake of the test.
#[must_use]
pub fn module(text: &str, optional: &[&str]) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let (resolve, world) = world(optional);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap_or_else(|error| panic!("{error:#}"));
    module
}

/// The contract of this repository, and in it a world with the minimal and some optional interfaces.
fn world(optional: &[&str]) -> (Resolve, WorldId) {
    let exports: String = optional.iter().map(|name| format!("export {name}; ")).collect();
    let mut sources = SourceMap::new();
    sources
        .push_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit"))
        .unwrap_or_else(|error| panic!("{error:#}"));
    sources.push_str(
        "guest.wit",
        format!("package annals:aggregate@0.1.0;\nworld guest {{ include minimal-module; {exports}}}"),
    );
    let mut resolve = Resolve::default();
    let package = sources.parse().unwrap_or_else(|(_, error)| panic!("{error}"));
    let package = resolve
        .push_group(package)
        .unwrap_or_else(|error| panic!("{error:?}"));
    let world = resolve
        .select_world(&[package], Some("guest"))
        .unwrap_or_else(|error| panic!("{error:#}"));
    (resolve, world)
}
