//! How long things may be, and what may not be left in.

use super::{
    Breach, Source,
    source::{closing, words},
};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 100;
const LEFTOVERS: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Files and functions that are too long. Tests do not count.
pub(super) fn lengths(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let code = source.product.trim_end();
    let lines = code.lines().count();
    if lines > FILE_LINES {
        breaches.push(Breach {
            file: source.name.clone(),
            line: lines,
            what: format!("{lines} lines without tests; at most {FILE_LINES}"),
            fix: "split it along its ideas".into(),
        });
    }
    let words = words(code);
    for pair in words.windows(2) {
        let [(at, "fn"), (_, name)] = pair else { continue };
        let rest = &code[*at..];
        let Some(open) = rest.find('{').filter(|open| !ends_before(rest, *open)) else {
            continue;
        };
        let length = code[*at..closing(code, at + open)].lines().count();
        if length > FUNCTION_LINES {
            breaches.push(Breach {
                file: source.name.clone(),
                line: source.line(*at),
                what: format!("the function `{name}` has {length} lines; at most {FUNCTION_LINES}"),
                fix: "name its parts and move them out".into(),
            });
        }
    }
    breaches
}

/// Whether a signature has ended, without a body, before `open`: a `;` outside of brackets.
fn ends_before(signature: &str, open: usize) -> bool {
    let mut depth = 0_i32;
    for byte in signature.bytes().take(open) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth <= 0 => return true,
            _ => {}
        }
    }
    false
}

/// Work that was not finished.
pub(super) fn leftovers(source: &Source) -> Vec<Breach> {
    LEFTOVERS
        .iter()
        .flat_map(|leftover| source.code.match_indices(leftover))
        .map(|(at, leftover)| Breach {
            file: source.name.clone(),
            line: source.line(at),
            what: format!("`{leftover}` is left in"),
            fix: "finish it, or take it out".into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("runtime/src/store/x.rs", text)
    }

    #[test]
    fn what_is_too_long_is_seen() {
        assert_eq!(lengths(&source(&"a;\n".repeat(601))).len(), 1);
        assert!(lengths(&source(&"a;\n".repeat(600))).is_empty());
        let tests = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            "a;\n".repeat(600),
            "b;\n".repeat(99)
        );
        assert!(lengths(&source(&tests)).is_empty());
        let function = |lines| format!("fn long(a: [u8; 2]) {{\n{}}}\n", "b;\n".repeat(lines));
        let found = lengths(&source(&function(99)));
        assert!(found[0].what.contains("`long` has 101 lines"), "{found:?}");
        assert!(lengths(&source(&function(98))).is_empty());
        let declared = format!("trait T {{ fn short();\n{}}}", "const A: u8 = 1;\n".repeat(200));
        assert!(lengths(&source(&declared)).is_empty());
    }

    #[test]
    fn leftovers_are_seen_in_code_only() {
        for leftover in LEFTOVERS {
            assert_eq!(
                leftovers(&source(&format!("fn a() {{ {leftover}() }}"))).len(),
                1,
                "{leftover}"
            );
            assert!(
                leftovers(&source(&format!("// {leftover}"))).is_empty(),
                "{leftover}"
            );
        }
    }
}
