//! Which room may name what.

use super::{Breach, Source, source::words};

/// A foreign crate, and the rooms that may name it.
const FOREIGN: &[(&str, &[&str])] = &[
    ("redb", &["store"]),
    ("wasmtime", &["wasm"]),
    ("axum", &["http"]),
    ("tower_http", &["http"]),
    ("wasmparser", &["wasm", "toolchain", "modules"]),
    ("wit_component", &["wasm", "toolchain", "modules"]),
    (
        "tokio",
        &[
            "bus",
            "consumers",
            "webhooks",
            "http",
            "client",
            "cli",
            "server",
            "aggregates",
            "modules",
            "webhooks",
            "main",
        ],
    ),
    ("tokio_rustls", &["webhooks"]),
    ("rustls_native_certs", &["webhooks"]),
    ("ring", &["webhooks"]),
    ("clap", &["cli", "main"]),
    ("indicatif", &["cli"]),
];

const GROUND: &[&str] = &["vocabulary"];
const ENGINES: &[&str] = &["vocabulary", "store", "wasm"];
const SERVICES: &[&str] = &[
    "vocabulary",
    "store",
    "wasm",
    "aggregates",
    "modules",
    "bus",
    "consumers",
    "webhooks",
];

/// A room, and the rooms that it may name beside itself. `store` and `wasm` never see each other; nothing below the
/// wiring sees the wiring.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("vocabulary", &[]),
    ("store", GROUND),
    ("wasm", GROUND),
    ("toolchain", GROUND),
    ("telemetry", GROUND),
    ("client", GROUND),
    ("bus", &["vocabulary", "store"]),
    ("consumers", &["vocabulary", "store", "aggregates", "bus"]),
    ("webhooks", &["vocabulary", "consumers"]),
    ("aggregates", ENGINES),
    ("modules", &["vocabulary", "store", "wasm", "aggregates"]),
    ("http", SERVICES),
    (
        "server",
        &[
            "vocabulary",
            "store",
            "wasm",
            "aggregates",
            "modules",
            "bus",
            "consumers",
            "webhooks",
            "http",
            "telemetry",
        ],
    ),
    (
        "cli",
        &["vocabulary", "client", "server", "toolchain", "telemetry"],
    ),
    ("main", &["cli", "telemetry"]),
];

/// The room of a file of `runtime/src`: its first folder, or its own name at the top. `lib.rs` has none.
fn room(name: &str) -> Option<&str> {
    let path = name.strip_prefix("runtime/src/")?;
    let first = path.split('/').next()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (room != "lib").then_some(room)
}

/// A foreign crate named outside of its room, tests included.
pub(super) fn foreign_crates(source: &Source) -> Vec<Breach> {
    let room = room(&source.name).unwrap_or("lib");
    let mut breaches = Vec::new();
    for (at, word) in words(&source.code) {
        let Some((_, rooms)) = FOREIGN.iter().find(|(foreign, _)| *foreign == word) else {
            continue;
        };
        // A field or a module of our own may have the name; the crate is what a path begins with.
        let rest = &source.code[at + word.len()..];
        let before = source.code[..at].trim_end();
        let leading = before.strip_suffix("::").unwrap_or(before);
        let follows_name = leading.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>');
        let is_inner = leading.len() < before.len() && follows_name && !leading.ends_with("use");
        let begins_path = rest.starts_with("::") && !is_inner;
        let is_used = before.ends_with("use") || before.ends_with("extern crate");
        if (begins_path || is_used) && !rooms.contains(&room) {
            breaches.push(Breach {
                file: source.name.clone(),
                line: source.line(at),
                what: format!("`{room}` names the crate `{word}`, which belongs to {rooms:?}"),
                fix: "give that room a function or type that does what is needed here, and call it".into(),
            });
        }
    }
    breaches
}

/// A room that names one above or beside it. Tests may wire rooms together.
pub(super) fn directions(source: &Source) -> Vec<Breach> {
    let Some(room) = room(&source.name) else {
        return Vec::new();
    };
    let breach = |at, what, fix: &str| Breach {
        file: source.name.clone(),
        line: source.line(at),
        what,
        fix: fix.into(),
    };
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == room) else {
        let what = format!("the room `{room}` has no place in the table of directions");
        return vec![breach(
            0,
            what,
            "add it to DIRECTIONS in tests/it/tidy/rooms.rs, with what it may name",
        )];
    };
    rooms_named(source, room)
        .into_iter()
        .filter(|(_, named)| *named != room && !allowed.contains(named))
        .map(|(at, named)| {
            let what = format!("`{room}` names the room `{named}`; it may name only {allowed:?}");
            breach(
                at,
                what,
                "move what both need into a room below both, or turn the call around",
            )
        })
        .collect()
}

/// The rooms that the code names from the crate's root: `crate::a`, `crate::{a, b}`, `annals::a` in the binary, and
/// as many `super::` as lead to the root.
fn rooms_named<'a>(source: &'a Source, room: &str) -> Vec<(usize, &'a str)> {
    let code = source.product.as_str();
    let path = source
        .name
        .trim_start_matches("runtime/src/")
        .trim_end_matches(".rs");
    let depth = path.split('/').filter(|part| *part != "mod").count();
    let up = "super::".repeat(depth);
    let root = if room == "main" { "annals" } else { "crate" };
    let is_room = |name: &str| DIRECTIONS.iter().any(|(room, _)| *room == name);
    let mut named = Vec::new();
    for (at, word) in words(code) {
        let after = if word == root && code[at + word.len()..].starts_with("::") {
            at + word.len() + 2
        } else if word == "super" && code[at..].starts_with(&up) && !code[..at].ends_with("super::") {
            at + up.len()
        } else {
            continue;
        };
        named.extend(
            heads(code, after)
                .into_iter()
                .filter(|(_, name)| word == root || is_room(name)),
        );
    }
    // Macros and types at the root itself are not rooms.
    named.retain(|(_, name)| name.starts_with(|c: char| c.is_ascii_lowercase()));
    named
}

/// The first names after `crate::`: one, or those of a group.
fn heads(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        return words(&code[at..])
            .into_iter()
            .take(1)
            .map(|(offset, word)| (at + offset, word))
            .collect();
    }
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut expecting = false;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ if byte.is_ascii_alphabetic() && expecting => {
                heads.extend(words(&code[offset..]).first().map(|(_, word)| (offset, *word)));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        expecting = depth == 1 && (matches!(byte, b'{' | b',') || (expecting && byte.is_ascii_whitespace()));
    }
    heads
}

/// The wall clock read outside of the clock, tests included.
pub(super) fn wall_clock(source: &Source) -> Vec<Breach> {
    if source.name == "runtime/src/vocabulary/clock.rs" {
        return Vec::new();
    }
    source
        .code
        .match_indices("SystemTime::now")
        .map(|(at, _)| Breach {
            file: source.name.clone(),
            line: source.line(at),
            what: "reads the wall clock".into(),
            fix: "take a `vocabulary::Clock`, so that time is data".into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(rule: fn(&Source) -> Vec<Breach>, file: &str, text: &str) -> Vec<String> {
        rule(&Source::new(file, text))
            .into_iter()
            .map(|breach| format!("{}: {}", breach.line, breach.what))
            .collect()
    }

    #[test]
    fn foreign_crates_outside_of_their_room_are_seen() {
        for text in [
            "use redb::Database;",
            "fn a() -> redb::Error {}",
            "use ::redb::X;",
            "\nextern crate redb;",
        ] {
            let found = named(foreign_crates, "runtime/src/http/x.rs", text);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].contains("`http` names the crate `redb`"), "{found:?}");
            assert!(
                named(foreign_crates, "runtime/src/store/x.rs", text).is_empty(),
                "{text}"
            );
        }
        for room in ["store", "wasm"] {
            let file = format!("runtime/src/{room}/x.rs");
            assert_eq!(
                named(foreign_crates, &file, "use tokio::sync::mpsc;").len(),
                1,
                "{room}"
            );
        }
        assert_eq!(
            named(foreign_crates, "runtime/src/main.rs", "use axum::Router;").len(),
            1
        );
        assert!(
            named(
                foreign_crates,
                "runtime/src/http/x.rs",
                "// redb::X\nlet a = \"redb::X\";"
            )
            .is_empty()
        );
    }

    #[test]
    fn edges_against_the_direction_are_seen() {
        for (file, text) in [
            ("store/x.rs", "use crate::wasm::Cell;"),
            ("wasm/x.rs", "\nfn a() -> crate::store::Proposal {}"),
            (
                "store/x.rs",
                "use crate::{vocabulary::{ids, Version}, aggregates::Lane};",
            ),
            ("vocabulary/ids.rs", "use super::super::store::X;"),
            ("bus/mod.rs", "use super::http;"),
            ("aggregates/x.rs", "use crate::{\n    http,\n};"),
            ("http/routes/x.rs", "use crate::server::Server;"),
            ("main.rs", "use annals::store::Store;"),
            ("attic/mod.rs", ""),
        ] {
            let found = named(directions, &format!("runtime/src/{file}"), text);
            assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
        }
        for (file, text) in [
            (
                "store/x.rs",
                "use crate::{store::api, vocabulary::{Version, wasm}};",
            ),
            ("store/log/x.rs", "use super::super::wasm;"),
            ("store/x.rs", "#[cfg(test)]\nmod tests { use crate::wasm::X; }"),
            ("server/mod.rs", "use crate::{http::serve, store, wasm};"),
            ("main.rs", "annals::cli::run()"),
        ] {
            assert!(
                named(directions, &format!("runtime/src/{file}"), text).is_empty(),
                "{file}: {text}"
            );
        }
    }

    #[test]
    fn the_wall_clock_is_seen() {
        let text = "let a = std::time::SystemTime::now();";
        assert_eq!(named(wall_clock, "runtime/src/store/x.rs", text).len(), 1);
        assert!(named(wall_clock, "runtime/src/vocabulary/clock.rs", text).is_empty());
    }
}
