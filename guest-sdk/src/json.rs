//! Payloads as JSON: what does not decode is answered with the place and with what was expected there.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment, Track};

/// The longest problem text, in bytes: a found value is echoed, and may be as long as the payload.
const PROBLEM_LENGTH_MAX: usize = 400;

/// Why a payload does not decode.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Command)]
/// enum AccountCommand { Deposit { amount: u64 } }
///
/// let error = AccountCommand::decode("deposit", br#"{"amount": "ten"}"#).err();
/// let Some(CommandError::Malformed(malformed)) = error else { panic!("it decoded") };
/// assert_eq!(malformed.pointer, "/amount");
/// assert!(malformed.problem.contains(r#"found string "ten""#));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// JSON pointer (RFC 6901) to the offending value; empty for the whole payload.
    pub pointer: String,
    /// What was expected and what was found, in words for the caller; at most about 400 bytes.
    pub problem: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() {
            "the payload"
        } else {
            &self.pointer
        };
        write!(formatter, "{place}: {}", self.problem)
    }
}

impl std::error::Error for Malformed {}

/// Encodes a payload or the details of a rejection.
///
/// # Panics
/// When the value has no JSON form, for example a map whose keys are not text. That is a bug in the module, so it
/// traps with a message that says which one.
pub fn encode<T: Serialize + ?Sized>(name: &str, value: &T) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("`{name}` has no JSON form: {error}"),
    }
}

/// The JSON Schema (2020-12) of a payload, as text.
#[must_use]
pub fn json_schema<T: JsonSchema>() -> String {
    schemars::schema_for!(T).as_value().to_string()
}

/// Decodes a payload that is a JSON object. An empty payload is the empty object.
///
/// # Errors
/// The place and what was expected there.
pub fn decode_object<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Malformed> {
    let trimmed = payload.trim_ascii_start();
    let payload = match trimmed.first() {
        None => b"{}",
        Some(b'{') => payload,
        Some(first) => return Err(not_an_object(*first)),
    };
    decode_any(payload)
}

/// Decodes a payload of any JSON form.
///
/// # Errors
/// The place and what was expected there.
pub fn decode_any<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Malformed> {
    // Nearly every payload decodes. Keeping track of the place costs more than decoding, so it is done only to explain.
    serde_json::from_slice(payload).or_else(|_| decode_with_track(payload))
}

/// Decodes once more, and says where it failed.
#[cold]
fn decode_with_track<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let value = T::deserialize(tracked).map_err(|error| malformed(&track.path(), &error))?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_an_object(first: u8) -> Malformed {
    let found = match first {
        b'[' => "an array",
        b'"' => "a string",
        b'-' | b'0'..=b'9' => "a number",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "text that is not JSON",
    };
    Malformed {
        pointer: String::new(),
        problem: format!("expected a JSON object, found {found}"),
    }
}

fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed {
        pointer: String::new(),
        problem: shortened(format!("not JSON: {error}")),
    }
}

fn malformed(path: &Path, error: &serde_json::Error) -> Malformed {
    if error.classify() != Category::Data {
        return not_json(error);
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let (field, problem) = explain(text);
    Malformed {
        pointer: pointer(path, field),
        problem: shortened(problem),
    }
}

/// Turns a message of serde into words for the caller, and names the field that it is about, if it is about one.
fn explain(text: &str) -> (Option<&str>, String) {
    if let Some(field) = quoted(text, "missing field `") {
        return (Some(field), "required, and not there".to_owned());
    }
    if let Some(field) = quoted(text, "duplicate field `") {
        return (Some(field), "given twice".to_owned());
    }
    if let Some(field) = quoted(text, "unknown field `") {
        return (Some(field), unknown_field(field, text));
    }
    for kind in ["invalid type: ", "invalid value: ", "invalid length: "] {
        let found_and_expected = text
            .strip_prefix(kind)
            .and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((found, expected)) = found_and_expected {
            return (None, format!("expected {}, found {found}", in_words(expected)));
        }
    }
    (None, text.to_owned())
}

fn quoted<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.split('`').next()
}

fn unknown_field(field: &str, text: &str) -> String {
    let known: Vec<&str> = match text.split_once("`, expected ") {
        Some((_, expected)) => expected.split('`').skip(1).step_by(2).collect(),
        None => Vec::new(),
    };
    if known.is_empty() {
        return "unknown field: expected no fields here".to_owned();
    }
    let list = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(field, &known) {
        Some(name) => format!("unknown field: did you mean `{name}`? The fields are {list}"),
        None => format!("unknown field: the fields are {list}"),
    }
}

/// What serde calls a Rust type, said for somebody who writes JSON.
fn in_words(expected: &str) -> String {
    let bounds: (i128, i128) = match expected {
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" | "usize" => (0, u64::MAX.into()),
        "i8" => (i8::MIN.into(), i8::MAX.into()),
        "i16" => (i16::MIN.into(), i16::MAX.into()),
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => (i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => return "a number".to_owned(),
        "a sequence" => return "an array".to_owned(),
        "a map" => return "an object".to_owned(),
        "unit" => return "null".to_owned(),
        other => {
            let record = other.strip_prefix("struct ").map(|_| "an object".to_owned());
            return record.unwrap_or_else(|| other.to_owned());
        }
    };
    format!("a whole number from {} to {}", bounds.0, bounds.1)
}

fn pointer(path: &Path, field: Option<&str>) -> String {
    let mut pointer = String::new();
    let mut last = None;
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push_str(&format!("/{index}"));
                last = None;
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push_str(&format!("/{}", escaped(key)));
                last = Some(key.as_str());
            }
            // Where an enum is told by its content, the path is not known further.
            Segment::Unknown => break,
        }
    }
    // Whether the path ends with the field depends on where the error was found.
    if let Some(field) = field
        && last != Some(field)
    {
        pointer.push_str(&format!("/{}", escaped(field)));
    }
    pointer
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The known name that a mistyped one most likely meant, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let near_enough = name.chars().count().div_ceil(2).min(4);
    known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= near_enough)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, letter) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_right = None;
        for (column, other) in right.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&last, column) + usize::from(letter != *other);
            let mut cost = replaced
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if previous_left == Some(*other) && previous_right == Some(letter) && column > 0 {
                cost = cost.min(at(&before_last, column - 1) + 1);
            }
            current.push(cost);
            previous_right = Some(*other);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_left = Some(letter);
    }
    last.last().copied().unwrap_or_default()
}

fn shortened(mut text: String) -> String {
    if text.len() > PROBLEM_LENGTH_MAX {
        let cut = (0..=PROBLEM_LENGTH_MAX)
            .rev()
            .find(|index| text.is_char_boundary(*index))
            .unwrap_or_default();
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
