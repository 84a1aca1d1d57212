//! Throughput and latency over the number of connections, for annals, the echo and the day's work.

use crate::{
    commands::{Lines, race},
    failed::Failed,
    rates,
    report::Section,
    service::Bench,
};

const CONNECTIONS: [usize; 7] = [1, 4, 16, 64, 256, 512, 1_024];

/// One run each. The log is checked as after every other line.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<(Section, Lines), Failed> {
    let (lines, notes, _) = race(bench, "sweep", &CONNECTIONS, 1, false)?;
    let all = [&lines.echo, &lines.native, &lines.annals];
    let mut section = rates::section("sweep", "Over connections, one run each", &[]);
    for rates in all {
        let part = rates::section("sweep", "", rates);
        section.rows.extend(part.rows);
        section.notes.extend(part.notes);
        if let (Some(sum), Some(part)) = (section.json.as_array_mut(), part.json.as_array()) {
            sum.extend(part.iter().cloned());
        }
    }
    section.notes.extend(notes);
    Ok((section, lines))
}
