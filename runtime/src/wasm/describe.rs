//! What a module says of itself, checked before anything depends on it.

use std::collections::HashSet;

use super::bindings::exports::annals::aggregate::manifest as wit;
use crate::vocabulary::{
    AggregateType, CommandName, CommandSchema, EventSchema, EventType, InvalidName, Manifest, json_problem,
};

/// Entries of one list in a manifest.
const ENTRIES_MAX: usize = 1_000;
/// Bytes of one attribute, name and value together.
const ATTRIBUTE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a module version or media type.
const WORD_BYTES_MAX: usize = 255;

/// A manifest that contradicts itself or the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestProblem {
    /// A name is not acceptable.
    #[error("{place}: {problem}")]
    Name {
        /// Where in the manifest.
        place: String,
        /// What is wrong with it.
        problem: InvalidName,
    },
    /// The type's name belongs to the server.
    #[error("`aggregate-type` is `{found}`: names that begin with `annals-` are the server's own")]
    ReservedType {
        /// The name.
        found: AggregateType,
    },
    /// Not a version.
    #[error("`module-version` is `{found}`, which is not a semantic version such as `1.4.0`: {problem}")]
    Version {
        /// What was found.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Not a media type.
    #[error("`payload-encoding` is `{found}`, which is not a media type such as `application/json`")]
    Encoding {
        /// What was found.
        found: String,
    },
    /// A schema is not JSON.
    #[error("the JSON Schema of {place} is {problem}")]
    Schema {
        /// Whose schema.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A schema version of 0.
    #[error("{place} has schema version 0; versions count from 1")]
    SchemaVersion {
        /// Which event.
        place: String,
    },
    /// Something is listed twice.
    #[error("{what} `{name}` is listed twice")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// The module could write what it cannot read.
    #[error(
        "`records` lists `{event_type}` in schema {schema}, but `reads` does not: the module must read what it records"
    )]
    Unreadable {
        /// The event.
        event_type: EventType,
        /// Its schema.
        schema: u32,
    },
    /// A list or text is too long.
    #[error("{what} has {found} {unit}; the limit is {limit}")]
    TooLong {
        /// What is too long.
        what: String,
        /// How long it is.
        found: usize,
        /// In what unit.
        unit: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// Two calls gave two answers.
    #[error("`describe` answered differently when it was asked again; it must always give the same answer")]
    Unstable,
}

/// Checks a manifest.
pub(super) fn check(found: wit::Descriptor) -> Result<Manifest, ManifestProblem> {
    let aggregate_type =
        AggregateType::parse(&found.aggregate_type).map_err(|problem| ManifestProblem::Name {
            place: "`aggregate-type`".into(),
            problem,
        })?;
    if aggregate_type.is_system() {
        return Err(ManifestProblem::ReservedType {
            found: aggregate_type,
        });
    }
    word("`module-version`", &found.module_version)?;
    if let Err(problem) = semver::Version::parse(&found.module_version) {
        return Err(ManifestProblem::Version {
            problem: problem.to_string(),
            found: found.module_version,
        });
    }
    word("`payload-encoding`", &found.payload_encoding)?;
    if !is_media_type(&found.payload_encoding) {
        return Err(ManifestProblem::Encoding {
            found: found.payload_encoding,
        });
    }
    let commands = commands(found.commands)?;
    let records = records(found.records)?;
    let reads = reads(found.reads)?;
    for event in &records {
        if !reads.contains(&(event.event_type.clone(), event.schema)) {
            return Err(ManifestProblem::Unreadable {
                event_type: event.event_type.clone(),
                schema: event.schema,
            });
        }
    }
    check_attributes(&found.attributes)?;
    Ok(Manifest {
        aggregate_type,
        module_version: found.module_version,
        payload_encoding: found.payload_encoding,
        commands,
        records,
        reads,
        state_version: found.state_version,
        attributes: found.attributes,
    })
}

fn commands(found: Vec<wit::CommandSchema>) -> Result<Vec<CommandSchema>, ManifestProblem> {
    entries("`commands`", found.len())?;
    let mut seen = HashSet::new();
    found
        .into_iter()
        .map(|command| {
            let name = CommandName::parse(&command.name).map_err(|problem| ManifestProblem::Name {
                place: "`commands`".into(),
                problem,
            })?;
            once(&mut seen, "the command", name.as_str())?;
            schema(|| format!("the command `{name}`"), &command.json_schema)?;
            Ok(CommandSchema {
                name,
                json_schema: command.json_schema,
            })
        })
        .collect()
}

fn records(found: Vec<wit::EventSchema>) -> Result<Vec<EventSchema>, ManifestProblem> {
    entries("`records`", found.len())?;
    let mut seen = HashSet::new();
    found
        .into_iter()
        .map(|event| {
            let event_type = event_type("`records`", &event.event_type, event.schema)?;
            once(&mut seen, "under `records`, the event", event_type.as_str())?;
            schema(|| format!("the event `{event_type}`"), &event.json_schema)?;
            Ok(EventSchema {
                event_type,
                schema: event.schema,
                json_schema: event.json_schema,
            })
        })
        .collect()
}

fn reads(found: Vec<(String, u32)>) -> Result<Vec<(EventType, u32)>, ManifestProblem> {
    entries("`reads`", found.len())?;
    let mut seen = HashSet::new();
    found
        .into_iter()
        .map(|(name, version)| {
            let event_type = event_type("`reads`", &name, version)?;
            once(
                &mut seen,
                "under `reads`, the event and schema",
                &format!("{name}, {version}"),
            )?;
            Ok((event_type, version))
        })
        .collect()
}

fn event_type(place: &str, name: &str, schema: u32) -> Result<EventType, ManifestProblem> {
    let event_type = EventType::parse(name).map_err(|problem| ManifestProblem::Name {
        place: place.to_owned(),
        problem,
    })?;
    if schema == 0 {
        return Err(ManifestProblem::SchemaVersion {
            place: format!("{place}: the event `{event_type}`"),
        });
    }
    Ok(event_type)
}

fn check_attributes(found: &[(String, String)]) -> Result<(), ManifestProblem> {
    entries("`attributes`", found.len())?;
    let mut seen = HashSet::new();
    for (name, value) in found {
        once(&mut seen, "the attribute", name)?;
        let bytes = name.len().saturating_add(value.len());
        if bytes > ATTRIBUTE_BYTES_MAX {
            return Err(ManifestProblem::TooLong {
                what: format!("the attribute `{}`", name.chars().take(80).collect::<String>()),
                found: bytes,
                unit: "bytes",
                limit: ATTRIBUTE_BYTES_MAX,
            });
        }
    }
    Ok(())
}

fn schema(place: impl Fn() -> String, text: &str) -> Result<(), ManifestProblem> {
    let wrong = |problem: String| ManifestProblem::Schema {
        place: place(),
        problem,
    };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Bool(_)) => Ok(()),
        Ok(_) => Err(wrong("JSON, but neither an object nor a boolean".into())),
        Err(error) => Err(wrong(format!(
            "not JSON: {}",
            json_problem(&error, text.as_bytes())
        ))),
    }
}

fn once(seen: &mut HashSet<String>, what: &'static str, name: &str) -> Result<(), ManifestProblem> {
    if seen.insert(name.to_owned()) {
        return Ok(());
    }
    Err(ManifestProblem::Twice {
        what,
        name: name.to_owned(),
    })
}

fn entries(what: &str, found: usize) -> Result<(), ManifestProblem> {
    long(what, found, "entries", ENTRIES_MAX)
}

fn word(what: &str, text: &str) -> Result<(), ManifestProblem> {
    long(what, text.len(), "bytes", WORD_BYTES_MAX)
}

fn long(what: &str, found: usize, unit: &'static str, limit: usize) -> Result<(), ManifestProblem> {
    if found <= limit {
        return Ok(());
    }
    Err(ManifestProblem::TooLong {
        what: what.to_owned(),
        found,
        unit,
        limit,
    })
}

fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    !text.chars().any(char::is_control)
        && essence
            .split_once('/')
            .is_some_and(|(kind, sub)| token(kind) && token(sub))
}
