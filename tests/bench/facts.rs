//! The numbers that targets are held against, by name.

use std::collections::BTreeMap;

use crate::rates::Rate;

/// What one run has measured: rates per second, times in microseconds, sizes in bytes.
#[derive(Debug, Default)]
pub(crate) struct Facts(BTreeMap<String, f64>);

impl Facts {
    /// Keeps a number.
    pub(crate) fn put(&mut self, name: impl Into<String>, value: f64) {
        self.0.insert(name.into(), value);
    }

    /// A number, when it was measured.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Keeps the rate and the latencies of a line: `NAME`, `NAME.p50`, `NAME.p99`.
    pub(crate) fn put_rate(&mut self, name: &str, rate: &Rate) {
        self.put(name, rate.per_second());
        self.put(format!("{name}.p50"), rate.latency.p50_us);
        self.put(format!("{name}.p99"), rate.latency.p99_us);
    }
}
