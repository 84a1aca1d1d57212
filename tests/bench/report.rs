//! The result: a table for people, JSON for programs.

use serde_json::{Map, Value, json};

use crate::machine::Machine;

/// One table with its notes.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name in the JSON.
    pub(crate) key: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Sentences below the table.
    pub(crate) notes: Vec<String>,
    /// Every number of it.
    pub(crate) json: Value,
}

/// Everything that one run has found.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    sections: Vec<Section>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            sections: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// What it was measured on, in words.
    pub(crate) fn machine(&self) -> String {
        self.machine.text()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = self.machine.text();
        for section in &self.sections {
            text.push_str(&format!("\n{}\n", section.title));
            text.push_str(&aligned(&section.columns, &section.rows));
            for note in &section.notes {
                text.push_str(&format!("  {note}\n"));
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("machine".into(), json!(self.machine));
        for section in &self.sections {
            all.insert(section.key.into(), section.json.clone());
        }
        Value::Object(all)
    }
}

/// The first column to the left, all others, which are numbers, to the right.
fn aligned(columns: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let longest = cells.map(|cell| cell.chars().count()).max();
        longest.max(columns.get(at).map(|name| name.chars().count()))
    };
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| width(at).unwrap_or_default())
        .collect();
    let heads: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at == 0 {
                line.push_str(&format!("  {cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_below_each_other() {
        let rows = [["µs", "1"], ["longer name", "12,345"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "               per second\n  µs                    1\n  longer name      12,345\n";
        assert_eq!(aligned(&["", "per second"], &rows), expected);
    }
}
