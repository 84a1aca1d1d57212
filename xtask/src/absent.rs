//! What tests left out because a program of others is missing: Node.js, Python, the CloudEvents SDK. A test cannot say so in
//! its result, so it notes it in a file, and the steps have it at their end.

use std::{fs, io, path::Path, process::Command};

use crate::{
    steps::{Failed, Steps},
    workspace::Workspace,
};

/// Where tests find the name of the file; each line of it is a check, a tab, and why.
const NOTED_IN: &str = "ANNALS_TEST_SKIPPED";
const STEP: &str = "tests";

/// Runs the tests, and takes over what they skipped, also when one of them fails.
pub(crate) fn run_tests(workspace: &Workspace, steps: &mut Steps, tests: &mut Command) -> Result<(), Failed> {
    let noted = workspace.target_dir.join("skipped-tests");
    let failed = |problem: io::Error| Failed::new(STEP, format!("{}: {problem}", noted.display()));
    // Of a run before.
    match fs::remove_file(&noted) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(failed(problem)),
        _ => {}
    }
    let tested = steps.run(STEP, tests.env(NOTED_IN, &noted));
    for (check, why) in read(&noted).map_err(failed)? {
        steps.skipped(&check, &why);
    }
    tested
}

/// There is no file when nothing was skipped.
fn read(noted: &Path) -> io::Result<Vec<(String, String)>> {
    let text = match fs::read_to_string(noted) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let split = |line: &str| {
        let (check, why) = line.split_once('\t').unwrap_or((line, ""));
        (check.to_owned(), why.to_owned())
    };
    Ok(text.lines().map(split).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_noted_is_read() {
        let noted = std::env::temp_dir().join(format!("annals-skipped-{}", std::process::id()));
        assert!(read(&noted).unwrap().is_empty());
        fs::write(&noted, "a check\tthere is no Node\nanother\tno Python\n").unwrap();
        let read = read(&noted);
        fs::remove_file(&noted).unwrap();
        let expected = [("a check", "there is no Node"), ("another", "no Python")];
        assert_eq!(
            read.unwrap(),
            expected.map(|(check, why)| (check.to_owned(), why.to_owned()))
        );
    }
}
