//! What is wrong with a text that should be JSON, for its author and not for the reader's: what stands where, and what
//! should stand there instead.

use std::borrow::Cow;

use super::shown::SHOWN_CHARS;

/// As much of a word within the text is shown as this, in characters.
const WORD_CHARS: usize = 24;

/// Says in words why serde_json could not read `text`.
#[must_use]
pub fn json_problem(error: &serde_json::Error, text: &[u8]) -> String {
    let full = error.to_string();
    let problem = full
        .rsplit_once(" at line ")
        .map_or(full.as_str(), |(problem, _)| problem);
    if error.is_data() {
        return mismatch(problem, &place(error));
    }
    let at = offset(error, text);
    if problem.starts_with("EOF while parsing") {
        return ends_early(problem, text);
    }
    let (found, place) = (shown(rest(text, at)), place(error));
    match problem {
        "expected ident" => {
            let word = shown(rest(text, begin_of_word(text, at)));
            format!(
                "{word} is none of `true`, `false` and `null`, and text stands in double quotes ({place})"
            )
        }
        "expected value" => format!("{found} stands where a value should begin ({place})"),
        "expected `\"`" | "key must be a string" => {
            format!("{found} stands where the name of a member should, in double quotes ({place})")
        }
        "trailing comma" => format!("a comma stands before {found}, with nothing in between ({place})"),
        "trailing characters" => format!("{found} stands behind the value, where nothing more may ({place})"),
        "invalid escape" => format!("a string has an escape that JSON does not know ({place})"),
        "invalid number" => format!("{found} does not go on as a number may ({place})"),
        "number out of range" => format!("a number is too large for a double ({place})"),
        "recursion limit exceeded" => format!("it is nested more than 127 deep ({place})"),
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            format!(
                "a string has half of a surrogate pair: two `\\u` escapes make one character there ({place})"
            )
        }
        "invalid unicode code point" => format!("a string is not Unicode in UTF-8 ({place})"),
        _ if problem.starts_with("control character") => {
            format!("a string has a control character, which must be escaped, as in `\\n` ({place})")
        }
        _ => match problem.strip_prefix("expected ") {
            Some(expected) => format!("{found} stands where {expected} should ({place})"),
            None => format!("{problem} ({place})"),
        },
    }
}

/// JSON, and not what it should describe.
fn mismatch(problem: &str, place: &str) -> String {
    if let Some(member) = problem.strip_prefix("missing field ") {
        return format!("the member {member} is missing");
    }
    if let Some(member) = problem.strip_prefix("duplicate field ") {
        return format!("the member {member} is there twice ({place})");
    }
    if let Some(unknown) = problem.strip_prefix("unknown field `") {
        // The name is the sender's, the members are ours.
        return match unknown.rsplit_once("`, expected ") {
            Some((found, members)) => {
                let found = super::shown(found);
                let members = members.strip_prefix("one of ").unwrap_or(members);
                format!("`{found}` is no member; the members are {members} ({place})")
            }
            None => {
                let found = unknown.strip_suffix("`, there are no fields").unwrap_or(unknown);
                let found = super::shown(found);
                format!("`{found}` is no member, of which there are none ({place})")
            }
        };
    }
    let found = problem
        .strip_prefix("invalid type: ")
        .or_else(|| problem.strip_prefix("invalid value: "));
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let (found, expected) = (begun(in_words(found)), in_words(expected));
            format!("found {found} where {expected} should stand ({place})")
        }
        None => format!("{} ({place})", begun(problem)),
    }
}

/// As much of it as is shown; what of it was sent has its escapes already.
fn begun(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// What serde calls by the names of Rust.
fn in_words(kind: &str) -> &str {
    match kind {
        "sequence" | "a sequence" => "a list",
        "map" | "a map" => "an object",
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number of at least 0",
        _ if kind.starts_with("struct ") => "an object",
        _ => kind,
    }
}

fn ends_early(problem: &str, text: &[u8]) -> String {
    if text.trim_ascii().is_empty() {
        return "it is empty".to_owned();
    }
    let what = problem.rsplit(' ').next().unwrap_or_default();
    let article = if what == "object" { "an" } else { "a" };
    let length = text.len();
    format!("it ends in the middle of {article} {what}, after {length} bytes")
}

fn place(error: &serde_json::Error) -> String {
    match error.line() {
        0 | 1 => format!("at byte {}", error.column()),
        line => format!("at line {line}, byte {}", error.column()),
    }
}

/// Where it is in the text; serde counts lines and bytes from 1.
fn offset(error: &serde_json::Error, text: &[u8]) -> usize {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

fn rest(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

/// serde says where a word stops to be one that it knows; what is told is the whole word.
fn begin_of_word(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    let letters = before
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric());
    at - letters.count()
}

/// The beginning of what stands there: a word, or one sign.
fn shown(rest: &[u8]) -> String {
    let first = rest.get(..4 * WORD_CHARS).unwrap_or(rest);
    let text = String::from_utf8_lossy(first);
    let is_word = |letter: &char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let word: String = text.chars().take_while(is_word).take(WORD_CHARS).collect();
    match text.chars().next() {
        None => "the end".to_owned(),
        Some(_) if !word.is_empty() => format!("`{word}`"),
        Some('`') => "a backtick".to_owned(),
        Some(sign) if sign.is_control() => format!("`{}`", sign.escape_debug()),
        Some(sign) => format!("`{sign}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::check_json;
    use super::*;

    #[test]
    fn what_stands_where_is_told_and_what_should() {
        for (text, told) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            (
                "nonsense",
                "`nonsense` is none of `true`, `false` and `null`, and text stands in double quotes (at byte 2)",
            ),
            ("x", "`x` stands where a value should begin (at byte 1)"),
            (
                "{\"a\":hello}",
                "`hello` stands where a value should begin (at byte 6)",
            ),
            ("{\"a\" 1}", "`1` stands where `:` should (at byte 6)"),
            (
                "{\"a\":1 \"b\":2}",
                "`\"` stands where `,` or `}` should (at byte 8)",
            ),
            ("[1;2]", "`;` stands where `,` or `]` should (at byte 3)"),
            (
                "{a:1}",
                "`a` stands where the name of a member should, in double quotes (at byte 2)",
            ),
            (
                "{'a':1}",
                "`'` stands where the name of a member should, in double quotes (at byte 2)",
            ),
            (
                "{\"a\":1,}",
                "a comma stands before `}`, with nothing in between (at byte 8)",
            ),
            (
                "{\"a\":1}}",
                "`}` stands behind the value, where nothing more may (at byte 8)",
            ),
            (
                "{\"a\":1} {\"a\":2}",
                "`{` stands behind the value, where nothing more may (at byte 9)",
            ),
            (
                "{\n\"a\":01}",
                "`1` does not go on as a number may (at line 2, byte 6)",
            ),
            ("{\"a\":", "it ends in the middle of a value, after 5 bytes"),
            ("{\"a\":1", "it ends in the middle of an object, after 6 bytes"),
            ("[1", "it ends in the middle of a list, after 2 bytes"),
            ("\"a", "it ends in the middle of a string, after 2 bytes"),
            ("1e999", "a number is too large for a double (at byte 5)"),
            (
                "\"\\q\"",
                "a string has an escape that JSON does not know (at byte 3)",
            ),
            (
                "\"a\u{1}\"",
                "a string has a control character, which must be escaped, as in `\\n` (at byte 3)",
            ),
        ] {
            assert_eq!(check_json(text.as_bytes()).unwrap_err(), told, "{text}");
        }
        for (text, part) in [
            (&b"\"\xff\""[..], "not Unicode"),
            (br#""\ud800""#, "surrogate pair"),
            ("[".repeat(200).as_bytes(), "127 deep"),
        ] {
            let told = check_json(text).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn members_are_named() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Pair {
            #[expect(dead_code, reason = "read only")]
            a: u8,
            #[expect(dead_code, reason = "read only")]
            b: String,
        }
        for (text, told) in [
            ("{\"a\":1}", "the member `b` is missing"),
            ("{\"a\":1,\"a\":2}", "the member `a` is there twice (at byte 10)"),
            (
                "{\"c\":1}",
                "`c` is no member; the members are `a` or `b` (at byte 4)",
            ),
            (
                "{\"b\":7}",
                "found integer `7` where a string should stand (at byte 6)",
            ),
            (
                "{\"a\":700}",
                "found integer `700` where a whole number from 0 to 255 should stand (at byte 8)",
            ),
            (
                "{\"a\":[]}",
                "found a list where a whole number from 0 to 255 should stand (at byte 5)",
            ),
            ("7", "found integer `7` where an object should stand (at byte 1)"),
            (
                "{\"`, expected \\n\":7}",
                "``, expected \\n` is no member; the members are `a` or `b` (at byte 17)",
            ),
            (
                "{\"a\":\", expected u8\"}",
                "found string \", expected u8\" where a whole number from 0 to 255 should stand (at byte 20)",
            ),
        ] {
            let error = serde_json::from_str::<Pair>(text).unwrap_err();
            assert_eq!(json_problem(&error, text.as_bytes()), told, "{text}");
        }
        let long = "é".repeat(100_000);
        for text in [format!("{{\"{long}\":7}}"), format!("{{\"a\":\"{long}\"}}")] {
            let error = serde_json::from_str::<Pair>(&text).unwrap_err();
            let told = json_problem(&error, text.as_bytes());
            assert!(told.contains("éé") && told.chars().count() < 250, "{told}");
        }
    }
}
