//! A source file with comments and the inside of literals blanked, so that rules see code only.

/// A file of Rust.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path from the root of the checkout.
    pub(super) name: String,
    /// The code: byte for byte as long as the file and with the same lines.
    pub(super) code: String,
    /// The same without its unit tests.
    pub(super) product: String,
}

/// A word of the code and where it begins.
pub(super) type Word<'a> = (usize, &'a str);

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let code = blank(text);
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/") || name.starts_with("tests/");
        let product = if is_test {
            String::new()
        } else {
            without_tests(&code)
        };
        Self {
            name: name.to_owned(),
            code,
            product,
        }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// The identifiers of `code`.
pub(super) fn words(code: &str) -> Vec<Word<'_>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in code.char_indices().chain([(code.len(), ' ')]) {
        match (start, is_part(c)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push((from, &code[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// The byte after the brace that closes the one at `open`.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn spaces(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|byte| if byte == b'\n' { byte } else { b' ' })
}

/// Replaces comments and the inside of strings and characters by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            length
        } else if rest.starts_with('"') {
            string(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            out.extend(
                rest.as_bytes()[..length]
                    .iter()
                    .map(|b| if b.is_ascii() { *b } else { b'_' }),
            );
            at += length;
            continue;
        };
        out.extend(spaces(&rest[..length]));
        at += length;
    }
    String::from_utf8(out).unwrap()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character, which is not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let skipped = escape.chars().next()?.len_utf8();
        return escape[skipped..].find('\'').map(|end| 2 + skipped + end + 1);
    }
    let first = body.chars().next()?;
    body[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8() + 2)
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let rest = &out[start..];
        let end = match (rest.find('{'), rest.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|s| open < s) => closing(&out, start + open),
            (_, Some(semicolon)) => start + semicolon + 1,
            _ => out.len(),
        };
        let blanked = String::from_utf8(spaces(&out[start..end]).collect()).unwrap();
        out.replace_range(start..end, &blanked);
    }
    out
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text =
        "a /* b */ \"c \\\" d\" 'e' '\\'' r#\"f \" g\"# // h\n&'life x é\n#[cfg(test)]\nmod tests { i }\nj";
    let source = Source::new("runtime/src/x.rs", text);
    let words_of = |code| words(code).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
    assert_eq!(
        words_of(&source.code),
        ["a", "life", "x", "__", "cfg", "test", "mod", "tests", "i", "j"]
    );
    assert_eq!(words_of(&source.product), ["a", "life", "x", "__", "j"]);
    assert_eq!(source.code.len(), text.len());
    assert_eq!(source.line(source.code.find('j').unwrap()), 5);
}
