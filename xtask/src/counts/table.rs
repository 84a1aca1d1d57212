//! The expected counts: a table in a document, which is read by people and by the check, so that the two cannot differ.

use std::collections::BTreeMap;

/// What stands before and after what [`Table::put_into`] writes.
const BEGIN: &str = "<!-- counts: written by `cargo xtask counts --bless`; the last column is kept -->\n";
const END: &str = "<!-- end of counts -->\n";

/// By what the counts were made: with another compiler they are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// As `rustc --version` has it, with the machine: `rustc 1.95.0 (…) for x86_64-unknown-linux-gnu`.
    pub(super) compiler: String,
    /// Instructions of each operation.
    pub(super) counts: BTreeMap<String, u64>,
}

impl Table {
    /// Finds the table in its document.
    pub(super) fn find(document: &str) -> Result<Self, String> {
        let (_, section, _) = around(document)?;
        let compiler = section
            .lines()
            .find_map(|line| line.strip_prefix("Counted with `")?.strip_suffix("`."))
            .ok_or("it does not say which compiler it was counted with")?;
        let mut counts = BTreeMap::new();
        for (operation, count, _) in rows(section) {
            let digits: String = count.chars().filter(char::is_ascii_digit).collect();
            let count = digits
                .parse()
                .map_err(|_| format!("`{count}`, the count of `{operation}`, is not a number"))?;
            counts.insert(operation.to_owned(), count);
        }
        Ok(Self {
            compiler: compiler.to_owned(),
            counts,
        })
    }

    /// The document with this table in place of the one that it has.
    pub(super) fn put_into(&self, document: &str) -> Result<String, String> {
        let (before, section, after) = around(document)?;
        let words: BTreeMap<&str, &str> = rows(section)
            .map(|(operation, _, what)| (operation, what))
            .collect();
        let mut table = format!(
            "Counted with `{}`.\n\n| operation | instructions | what it is |\n|---|---:|---|\n",
            self.compiler
        );
        for (operation, count) in &self.counts {
            let what = words.get(operation.as_str()).copied().unwrap_or("");
            table += &format!("| {operation} | {} | {what} |\n", grouped(*count));
        }
        Ok(format!("{before}{BEGIN}{table}{END}{after}"))
    }
}

/// What is before the table, the table, and what is after it.
fn around(document: &str) -> Result<(&str, &str, &str), String> {
    let (before, rest) = document
        .split_once(BEGIN)
        .ok_or_else(|| format!("it has no line `{}`", BEGIN.trim()))?;
    let (section, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("it has no line `{}`", END.trim()))?;
    Ok((before, section, after))
}

/// Operation, count, words.
fn rows(section: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .filter_map(|line| {
            let mut cells = line
                .strip_prefix('|')?
                .strip_suffix('|')?
                .splitn(3, '|')
                .map(str::trim);
            Some((cells.next()?, cells.next()?, cells.next()?))
        })
}

/// A number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_and_found_again_and_words_are_kept() {
        let empty = format!("# Title\n\n{BEGIN}{END}\nThe end.\n");
        assert!(Table::find(&empty).unwrap_err().contains("which compiler"));
        let mut table = Table {
            compiler: "rustc 1.95.0 for x".to_owned(),
            counts: [("one", 7), ("another", 1_234_567)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
        };
        let document = table.put_into(&empty).unwrap();
        assert!(
            document.contains("| another | 1,234,567 |  |\n| one | 7 |  |\n"),
            "{document}"
        );
        assert!(document.starts_with("# Title\n") && document.ends_with("\nThe end.\n"));
        assert_eq!(Table::find(&document).unwrap(), table);

        let document = document.replace("| 7 |  |", "| 7 | a look-up |");
        table.counts.insert("one".to_owned(), 1_000);
        let document = table.put_into(&document).unwrap();
        assert!(document.contains("| one | 1,000 | a look-up |\n"), "{document}");
        assert_eq!(Table::find(&document).unwrap(), table);
    }

    #[test]
    fn a_document_that_is_not_as_expected_is_said_to_be_so() {
        assert!(
            Table::find("# Title\n")
                .unwrap_err()
                .contains("no line `<!-- counts")
        );
        let broken = format!("{BEGIN}Counted with `x`.\n|---|---|---|\n| one | many | |\n{END}");
        let problem = Table::find(&broken).unwrap_err();
        assert_eq!(problem, "`many`, the count of `one`, is not a number");
    }
}
