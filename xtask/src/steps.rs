//! Running one thing after the other, and saying how long each took.

use std::{
    fmt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The step that ended a task.
#[derive(Debug)]
pub(crate) struct Failed {
    step: String,
    why: String,
}

impl Failed {
    pub(crate) fn new(step: &str, why: impl Into<String>) -> Self {
        Self {
            step: step.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED at `{}`: {}", self.step, self.why)
    }
}

/// What was done, and how long it took.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, String)>,
    /// What was left out, and why.
    skipped: Vec<(String, String)>,
}

impl Steps {
    /// Runs a program that must succeed; it writes to our own output.
    pub(crate) fn run(&mut self, step: &str, command: &mut Command) -> Result<(), Failed> {
        self.timed(step, command, |command| {
            command.status().map(|status| (status, Vec::new()))
        })
        .map(drop)
    }

    /// Runs a program that must succeed, and gives its standard output.
    pub(crate) fn output(&mut self, step: &str, command: &mut Command) -> Result<String, Failed> {
        let bytes = self.timed(step, command.stderr(Stdio::inherit()), |command| {
            command.output().map(|output| (output.status, output.stdout))
        })?;
        String::from_utf8(bytes).map_err(|_| Failed::new(step, "its output is not UTF-8"))
    }

    /// Notes that something was left out. It is said at once, once, and again at the end.
    pub(crate) fn skipped(&mut self, step: &str, why: &str) {
        if self.skipped.iter().any(|(known, _)| known == step) {
            return;
        }
        eprintln!("xtask: !!! SKIPPED `{step}`: {why}");
        self.skipped.push((step.to_owned(), why.to_owned()));
    }

    /// One line per step, and behind them what this run says nothing about.
    pub(crate) fn summarise(&self) {
        eprint!("{}", self.summary());
    }

    fn summary(&self) -> String {
        let done = self.done.iter();
        let mut text: String = done
            .map(|(step, how)| format!("xtask: {how:>9}  {step}\n"))
            .collect();
        for (step, why) in &self.skipped {
            text.push_str(&format!("xtask:   SKIPPED  {step}: {why}\n"));
        }
        match self.skipped.len() {
            0 => {}
            1 => text.push_str("xtask: !!! the step above was SKIPPED: this run does not show that it would succeed\n"),
            count => text.push_str(&format!(
                "xtask: !!! the {count} steps above were SKIPPED: this run does not show that they would succeed\n"
            )),
        }
        text
    }

    fn timed(
        &mut self,
        step: &str,
        command: &mut Command,
        run: impl FnOnce(&mut Command) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)>,
    ) -> Result<Vec<u8>, Failed> {
        eprintln!("xtask: === {step}");
        let started = Instant::now();
        let result = run(command);
        let took = started.elapsed();
        match result {
            Ok((status, output)) if status.success() => {
                self.done.push((step.to_owned(), seconds(took)));
                Ok(output)
            }
            Ok((status, _)) => {
                self.done
                    .push((format!("{step} ({status})"), "FAILED".to_owned()));
                Err(Failed::new(
                    step,
                    format!("{status} after {}; its own output is above", seconds(took)),
                ))
            }
            Err(problem) => Err(Failed::new(
                step,
                format!("could not start `{}`: {problem}", command.get_program().display()),
            )),
        }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_is_named_with_its_status() {
        let mut steps = Steps::default();
        let failed = steps
            .run("the step", Command::new("sh").args(["-c", "exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            failed.contains("FAILED at `the step`: exit status: 3"),
            "{failed}"
        );
        let failed = steps
            .run("another", &mut Command::new("/nowhere/at-all"))
            .unwrap_err()
            .to_string();
        assert!(failed.contains("could not start `/nowhere/at-all`"), "{failed}");
    }

    #[test]
    fn what_was_skipped_stands_at_the_end_once() {
        let mut steps = Steps::default();
        steps.run("a step", &mut Command::new("true")).unwrap();
        assert_eq!(steps.summary().lines().count(), 1);
        steps.skipped("one thing", "there is no Node");
        steps.run("another step", &mut Command::new("true")).unwrap();
        steps.skipped("one thing", "it is said again");
        let summary = steps.summary();
        let last: Vec<&str> = summary.lines().skip(2).collect();
        assert_eq!(last[0], "xtask:   SKIPPED  one thing: there is no Node");
        assert!(
            last.len() == 2 && last[1].contains("!!! the step above"),
            "{summary}"
        );
        steps.skipped("another thing", "there is no Python");
        assert!(
            steps.summary().contains("!!! the 2 steps above"),
            "{}",
            steps.summary()
        );
    }

    #[test]
    fn the_output_of_a_step_is_given() {
        let mut steps = Steps::default();
        let output = steps
            .output("say", Command::new("sh").args(["-c", "echo one; echo two"]))
            .unwrap();
        assert_eq!(output, "one\ntwo\n");
    }
}
