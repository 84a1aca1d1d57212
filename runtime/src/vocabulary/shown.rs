//! Text of somebody else's in messages of ours.

/// As much of a text is shown as this, characters.
pub const SHOWN_CHARS: usize = 80;

/// The beginning of a text, with what does not print escaped as Rust does it, and quotation marks as they are.
#[must_use]
pub fn shown(text: &str) -> String {
    shown_chars(text, SHOWN_CHARS)
}

/// The same with another length, in characters.
#[must_use]
pub fn shown_chars(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for sign in text.chars().take(most) {
        match sign {
            '"' | '\'' => shown.push(sign),
            _ => shown.extend(sign.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped_and_quotation_marks_are_not() {
        assert_eq!(
            shown("{\"a\": 'b'}\n\u{7f}\\é🦀"),
            "{\"a\": 'b'}\\n\\u{7f}\\\\é🦀"
        );
        assert_eq!(shown(&"é".repeat(81)), "é".repeat(80));
        assert_eq!(shown_chars("abc", 1), "a");
    }
}
