//! What a line says: a command with its aggregate, payload, key and conditions.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::Visitor};
use serde_json::value::RawValue;

use crate::{
    aggregates::{CommandRequest, Preconditions},
    modules::Modules,
    vocabulary::{AggregateKey, Version, check_json, json_problem, shown, shown_chars},
};

use super::{
    super::{
        etag::{TAGS_MAX, contradiction, only_any},
        extract::{check_opaque_id, is_traceparent},
        problem::{Problem, unknown_type},
        routes::check_payload,
    },
    window::{Share, Weight},
};

/// Longest `tag`, bytes of JSON: it is held until the line is answered.
const TAG_BYTES_MAX: usize = 255;
/// Payloads from here on are borrowed from what the socket gave. Smaller ones are copied: one command that is kept would
/// else keep the 64 KiB around it, with all the other lines.
const BORROWED_PAYLOAD_BYTES_MIN: usize = 4 * 1024;

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(rename = "type", borrow)]
    aggregate_type: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    command: Text<'a>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload_base64: Option<Text<'a>>,
    #[serde(borrow, default)]
    key: Option<Text<'a>>,
    #[serde(borrow, default)]
    if_match: Option<&'a RawValue>,
    #[serde(borrow, default)]
    if_none_match: Option<Text<'a>>,
    #[serde(borrow, default)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    causation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    traceparent: Option<Text<'a>>,
    #[serde(borrow, default)]
    tag: Option<&'a RawValue>,
}

/// Text that is borrowed where nothing in it is escaped, also within an option.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// What a client wants back with the answer, as it wrote it.
pub(super) type Tag = Option<Box<str>>;

/// A line that has been read: what it takes of the window, and the command or what is wrong with it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) number: u64,
    pub(super) tag: Tag,
    pub(super) weight: Weight,
    pub(super) request: Result<CommandRequest, Problem>,
}

impl Prepared {
    /// Reads a line.
    pub(super) fn read(number: u64, line: &Bytes, modules: &Modules, payload_bytes_max: usize) -> Self {
        let (tag, request) = match written(line) {
            Ok(written) => match written.tag.map(tag).transpose() {
                Ok(tag) => (tag, written.request(line, modules, payload_bytes_max)),
                Err(problem) => (None, Err(problem)),
            },
            Err(problem) => (None, Err(problem)),
        };
        let weight = request.as_ref().map_or_else(
            |_| Weight::default(),
            |request| Weight {
                share: Some(Share::of(&request.key)),
                payload_bytes: request.payload.len(),
            },
        );
        Self {
            number,
            tag,
            weight,
            request,
        }
    }

    /// A line that is not looked at.
    pub(super) fn refused(number: u64, problem: Problem) -> Self {
        Self {
            number,
            tag: None,
            weight: Weight::default(),
            request: Err(problem),
        }
    }
}

impl Written<'_> {
    fn request(
        &self,
        line: &Bytes,
        modules: &Modules,
        payload_bytes_max: usize,
    ) -> Result<CommandRequest, Problem> {
        let key = AggregateKey::new(self.aggregate_type.0.parse()?, self.id.0.parse()?);
        let command = self.command.0.parse()?;
        let Some(active) = modules.active(&key.aggregate_type) else {
            return Err(unknown_type(key.aggregate_type.as_str()));
        };
        let encoding = active.module.manifest().payload_encoding.as_str();
        let payload = self.payload(line, encoding)?;
        if payload.len() > payload_bytes_max {
            return Err(Problem::too_large(
                "the payload of the command",
                payload_bytes_max,
            ));
        }
        if !payload.is_empty() {
            check_payload(encoding, &payload)?;
        }
        let opaque = |name, text: &Option<Text<'_>>| match text {
            Some(text) => check_opaque_id(name, &text.0).map(|()| Some(text.0.to_string())),
            None => Ok(None),
        };
        let traceparent = self.traceparent.as_ref().filter(|text| is_traceparent(&text.0));
        Ok(CommandRequest {
            key,
            command,
            payload,
            idempotency: self.key.as_ref().map(|key| key.0.parse()).transpose()?,
            preconditions: self.preconditions()?,
            actor: None,
            correlation_id: opaque("correlation_id", &self.correlation_id)?,
            causation_id: opaque("causation_id", &self.causation_id)?,
            traceparent: traceparent.map(|text| text.0.to_string()),
        })
    }

    fn payload(&self, line: &Bytes, encoding: &str) -> Result<Bytes, Problem> {
        match (self.payload, &self.payload_base64) {
            (None, None) => Ok(Bytes::new()),
            (Some(_), Some(_)) => Err(Problem::malformed(
                "`payload` and `payload_base64` are both given",
                "send one of them",
            )),
            (Some(payload), None) if crate::vocabulary::is_json(encoding) => {
                let text = payload.get().as_bytes();
                Ok(if text.len() < BORROWED_PAYLOAD_BYTES_MIN {
                    Bytes::copy_from_slice(text)
                } else {
                    line.slice_ref(text)
                })
            }
            (Some(_), None) => Err(Problem::malformed(
                format!("the module takes payloads in `{encoding}`, which `payload` is not"),
                "send the bytes as `payload_base64`",
            )),
            (None, Some(text)) => STANDARD
                .decode(text.0.as_bytes())
                .map(Bytes::from)
                .map_err(|error| {
                    Problem::malformed(
                        format!("`payload_base64` is not base64: {error}"),
                        "encode it with the standard alphabet and padding (RFC 4648, section 4)",
                    )
                }),
        }
    }

    fn preconditions(&self) -> Result<Preconditions, Problem> {
        let must_not_exist = match &self.if_none_match {
            None => false,
            Some(text) if text.0 == "*" => true,
            Some(_) => return Err(only_any("if_none_match")),
        };
        if must_not_exist && self.if_match.is_some() {
            return Err(contradiction("if_match", "if_none_match"));
        }
        let mut preconditions = Preconditions {
            must_not_exist,
            ..Preconditions::default()
        };
        let Some(if_match) = self.if_match else {
            return Ok(preconditions);
        };
        match serde_json::from_str(if_match.get()) {
            Ok(IfMatch::Any(text)) if text == "*" => preconditions.must_exist = true,
            Ok(IfMatch::Version(version)) => preconditions.any_of = Some(vec![Version(version)]),
            Ok(IfMatch::Versions(versions)) if (1..=TAGS_MAX).contains(&versions.len()) => {
                preconditions.any_of = Some(versions.into_iter().map(Version).collect());
            }
            _ => {
                let found = shown_bytes(if_match.get().as_bytes());
                let detail = format!("`if_match` is neither a version, nor 1 to {TAGS_MAX} of them, nor `*`");
                let fix = "send a number, `7`, an array, `[7,8]`, or `\"*\"`, which means: only when the aggregate exists";
                return Err(Problem::malformed(detail, fix).with("found", found));
            }
        }
        Ok(preconditions)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IfMatch {
    Version(u64),
    Versions(Vec<u64>),
    Any(String),
}

fn tag(tag: &RawValue) -> Result<Box<str>, Problem> {
    let text = tag.get();
    if text.len() > TAG_BYTES_MAX {
        let detail = format!("`tag` has {} bytes; the limit is {TAG_BYTES_MAX}", text.len());
        return Err(Problem::malformed(detail, "send a shorter one").with("limit_bytes", TAG_BYTES_MAX));
    }
    match check_json(text.as_bytes()) {
        // A carriage return between two values would end the line for some readers.
        Ok(()) => Ok(text.replace('\r', " ").into()),
        Err(problem) => Err(Problem::malformed(
            format!("`tag` is not JSON that every reader can read: {problem}"),
            "send a string or a number",
        )),
    }
}

fn written(line: &[u8]) -> Result<Written<'_>, Problem> {
    // serde would take an array for the members in their order.
    let begin = line.trim_ascii_start();
    if begin.first().is_some_and(|first| *first != b'{') {
        let found = String::from_utf8_lossy(begin.get(..4).unwrap_or(begin));
        let first = shown_chars(&found, 1);
        let at = line.len() - begin.len() + 1;
        return Err(unreadable(
            &format!("`{first}` stands where the `{{` of an object should (at byte {at})"),
            line,
        ));
    }
    serde_json::from_slice(line).map_err(|error| {
        let what = if error.is_data() { "" } else { "it is not JSON: " };
        unreadable(&format!("{what}{}", json_problem(&error, line)), line)
    })
}

fn unreadable(problem: &str, line: &[u8]) -> Problem {
    Problem::malformed(
        format!("the line is not a command: {problem}"),
        "write one JSON object with `type`, `id` and `command` on each line; docs/pipelining.md lists the other members",
    )
    .with("found", shown_bytes(line))
}

/// The beginning of what may not be text.
fn shown_bytes(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes.get(..320).unwrap_or(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preconditions(members: &str) -> Result<Preconditions, Problem> {
        let line = format!(r#"{{"type":"a","id":"x","command":"go",{members}}}"#);
        serde_json::from_str::<Written<'_>>(&line)
            .unwrap()
            .preconditions()
    }

    #[test]
    fn conditions_are_versions_or_any() {
        let versions = |versions: &[u64]| Preconditions {
            any_of: Some(versions.iter().copied().map(Version).collect()),
            ..Preconditions::default()
        };
        assert_eq!(preconditions(r#""if_match":7"#).unwrap(), versions(&[7]));
        assert_eq!(preconditions(r#""if_match":[7,8]"#).unwrap(), versions(&[7, 8]));
        assert!(preconditions(r#""if_match":"*""#).unwrap().must_exist);
        assert!(preconditions(r#""if_none_match":"*""#).unwrap().must_not_exist);
        assert_eq!(
            preconditions(r#""if_match":null"#).unwrap(),
            Preconditions::default()
        );
        for wrong in [
            r#""if_match":"7""#,
            r#""if_match":-1"#,
            r#""if_match":[]"#,
            r#""if_match":[1,"*"]"#,
            r#""if_match":{}"#,
            r#""if_none_match":"7""#,
            r#""if_match":7,"if_none_match":"*""#,
        ] {
            assert!(preconditions(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_is_borrowed_unless_it_is_escaped() {
        let line = r#"{"type":"a","id":"\u0078","command":"go","key":"k"}"#;
        let written: Written<'_> = serde_json::from_str(line).unwrap();
        assert!(matches!(written.key.unwrap().0, Cow::Borrowed("k")));
        assert!(matches!(written.id.0, Cow::Owned(id) if id == "x"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, part) in [
            (
                "nonsense",
                ": `n` stands where the `{` of an object should (at byte 1)",
            ),
            (
                r#" ["a","x","go"]"#,
                ": `[` stands where the `{` of an object should (at byte 2)",
            ),
            (
                r#"{"type":"a",id:"x"}"#,
                "not JSON: `id` stands where the name of a member should",
            ),
            (
                r#"{"type":"a","id":"x""#,
                "not JSON: it ends in the middle of an object",
            ),
            (r#"{"type":"a","id":"x"}"#, ": the member `command` is missing"),
            (
                r#"{"type":"a","id":"x","command":"go","payloda":{}}"#,
                ": `payloda` is no member; the members are `type`, ",
            ),
            (
                r#"{"type":"a","id":7,"command":"go"}"#,
                ": found integer `7` where a string should stand",
            ),
            (
                r#"{"type":"a","id":"x","id":"x","command":"go"}"#,
                ": the member `id` is there twice",
            ),
        ] {
            let document = written(line.as_bytes()).err().unwrap().document();
            assert!(document["detail"].as_str().unwrap().contains(part), "{document}");
            assert!(!document["found"].as_str().unwrap().is_empty(), "{document}");
        }
        assert!(tag(serde_json::from_str(&format!("\"{}\"", "x".repeat(254))).unwrap()).is_err());
        assert!(tag(serde_json::from_str(r#""\ud800""#).unwrap()).is_err());
    }
}
