//! How far a load has got, on a terminal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::text::count;

const TICK: Duration = Duration::from_millis(200);

/// Counts what is done, and shows it when standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bytes_read: AtomicU64,
    answered: AtomicU64,
    started: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// With a known size as a bar, without one as a count. Shows nothing when `is_quiet`.
    pub(crate) fn new(size_bytes: Option<u64>, is_quiet: bool) -> Arc<Self> {
        // Indicatif draws nothing where there is no terminal.
        let target = if is_quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let (bar, template) = match size_bytes {
            Some(size) => (
                ProgressBar::with_draw_target(Some(size), target),
                "{wide_bar} {percent:>3} %  {msg}  {eta} left",
            ),
            None => (ProgressBar::with_draw_target(None, target), "{msg}  {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Arc::new(Self {
            bytes_read: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            started: Instant::now(),
            bar,
        })
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Draws again and again, until it is aborted.
    pub(crate) async fn tick(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            let answered = self.answered.load(Ordering::Relaxed);
            let per_second = rate(answered, self.started.elapsed());
            self.bar
                .set_message(format!("{} commands, {}/s", count(answered), count(per_second)));
            self.bar.set_position(self.bytes_read.load(Ordering::Relaxed));
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many a second.
pub(crate) fn rate(number: u64, elapsed: Duration) -> u64 {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    number.saturating_mul(1_000) / milliseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(500, Duration::from_millis(250)), 2_000);
        assert_eq!(rate(5, Duration::ZERO), 5_000);
        assert_eq!(rate(0, Duration::from_secs(1)), 0);
    }
}
