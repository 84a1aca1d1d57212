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

    /// Notes that something was left out. It is said at once and again at the end.
    pub(crate) fn skipped(&mut self, step: &str, why: &str) {
        eprintln!("xtask: !!! SKIPPED `{step}`: {why}");
        self.done.push((step.to_owned(), format!("SKIPPED: {why}")));
    }

    /// One line per step.
    pub(crate) fn summarise(&self) {
        for (step, how) in &self.done {
            eprintln!("xtask: {how:>9}  {step}");
        }
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
    fn the_output_of_a_step_is_given() {
        let mut steps = Steps::default();
        let output = steps
            .output("say", Command::new("sh").args(["-c", "echo one; echo two"]))
            .unwrap();
        assert_eq!(output, "one\ntwo\n");
    }
}
