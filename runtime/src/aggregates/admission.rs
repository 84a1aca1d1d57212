//! Admission: how many requests wait, and how many bytes are in flight. What is admitted is answered; what is not is
//! refused at once, so that no queue behind it can grow without a limit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A counter with a limit.
#[derive(Debug)]
pub(crate) struct Gauge {
    used: AtomicUsize,
    limit: usize,
}

impl Gauge {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes `amount` until the permit is dropped; none when that would exceed the limit.
    pub(crate) fn take(self: &Arc<Self>, amount: usize) -> Option<Permit> {
        let fits = |used: usize| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        Some(Permit {
            gauge: Arc::clone(self),
            amount,
        })
    }
}

/// A share of a [`Gauge`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gauge: Arc<Gauge>,
    amount: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.used.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact_and_permits_come_back() {
        let gauge = Gauge::new(3);
        let two = gauge.take(2).unwrap();
        assert!(gauge.take(2).is_none());
        let one = gauge.take(1).unwrap();
        assert!(gauge.take(1).is_none());
        drop((two, one));
        assert!(gauge.take(3).is_some());
        assert!(gauge.take(usize::MAX).is_none());
    }
}
