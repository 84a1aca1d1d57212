//! Text for people: calm, aligned, and harmless whatever it shows.

/// The text with everything escaped that could move the cursor or turn the direction of reading.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        let turns =
            matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns {
            escaped.extend(char.escape_unicode());
        } else if char.is_control() {
            escaped.extend(char.escape_debug());
        } else {
            escaped.push(char);
        }
    }
    escaped
}

/// JSON on one line: whitespace between tokens removed, nothing else touched. Meant for valid JSON.
pub(crate) fn compact(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let mut in_string = false;
    let mut is_escaped = false;
    for char in json.chars() {
        if in_string {
            in_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
        } else if char.is_ascii_whitespace() {
            continue;
        } else {
            in_string = char == '"';
        }
        line.push(char);
    }
    line
}

/// JSON indented for people: numbers, names and their order as they were written.
pub(crate) fn indent(json: &str) -> String {
    let line = compact(json);
    let mut chars = line.chars().peekable();
    let mut text = String::with_capacity(line.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut is_escaped = false;
    while let Some(char) = chars.next() {
        if in_string {
            in_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            text.push(char);
            continue;
        }
        match char {
            '{' | '[' => {
                text.push(char);
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(char);
            }
            ',' => {
                text.push(char);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = char == '"';
                text.push(char);
            }
        }
    }
    let lines: Vec<String> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Rows in columns as wide as their widest cell, two spaces apart. The last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let padding = width - cell.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', padding));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// A count with thousands set apart: `336,776`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A digest cut to what tells it from the others.
pub(crate) fn short(digest: &str) -> String {
    escape(&digest.chars().take(12).collect::<String>())
}

/// `count` things: `1 event`, `2 events`.
pub(crate) fn plural(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_passes() {
        assert_eq!(
            escape("a\u{1b}[31m\r\n\u{7f}\u{9b}é\u{202e}x"),
            "a\\u{1b}[31m\\r\\n\\u{7f}\\u{9b}é\\u{202e}x"
        );
    }

    #[test]
    fn json_is_compacted_and_indented_without_touching_values() {
        let json = "{ \"b\" : 1.10 ,\n \"a\":[ ],\"s\":\"x: \\\"{,\\\\\" , \"n\":[1,{\"y\":null}]}";
        assert_eq!(
            compact(json),
            r#"{"b":1.10,"a":[],"s":"x: \"{,\\","n":[1,{"y":null}]}"#
        );
        assert_eq!(
            indent(json),
            "{\n  \"b\": 1.10,\n  \"a\": [],\n  \"s\": \"x: \\\"{,\\\\\",\n  \"n\": [\n    1,\n    {\n      \
             \"y\": null\n    }\n  ]\n}"
        );
        assert_eq!(indent("\"\u{9b}\""), "\"\\u{9b}\"");
        assert_eq!(indent("7"), "7");
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [
            vec!["é".into(), "b".into()],
            vec!["long".into(), "c".into()],
            vec!["x".into()],
        ];
        assert_eq!(table(&rows), "é     b\nlong  c\nx");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (336_776, "336,776"),
            (1_000_000, "1,000,000"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!(
            (plural(1, "event"), plural(2, "event")),
            ("1 event".into(), "2 events".into())
        );
    }
}
