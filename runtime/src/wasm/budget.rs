//! What one call into a module may cost, by kind of call.

use std::time::Duration;

use super::scan::Class;
use crate::vocabulary::Limits;

/// Bytes beside the payloads that an answer may take: names, list headers, messages.
pub(super) const OVERHEAD_BYTES: usize = 1 << 20;
/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// What one call into a module may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Units of fuel; none where a verdict by fuel is not allowed.
    pub(super) fuel: Option<u64>,
    /// Wall time: the net under the fuel.
    pub(super) wall: Duration,
    /// Bytes that the host copies out of the module, for the answer and for each import call.
    pub(super) lift_bytes: usize,
    /// What is copied, for the report.
    pub(super) lifted: &'static str,
}

impl Budget {
    /// For making an instance.
    pub(super) fn start(class: Class, limits: &Limits) -> Self {
        Self {
            fuel: Some(class.scaled(limits.describe_fuel)),
            wall: limits.describe_wall,
            lift_bytes: OVERHEAD_BYTES,
            lifted: "bytes logged while starting",
        }
    }

    /// For `describe`.
    pub(super) fn describe(class: Class, limits: &Limits) -> Self {
        Self {
            lift_bytes: MANIFEST_BYTES_MAX,
            lifted: "bytes of the manifest",
            ..Self::start(class, limits)
        }
    }

    /// For what belongs to a command but answers little: constructor, destructor, apply before the commit, invariants.
    pub(super) fn command(class: Class, limits: &Limits, lifted: &'static str) -> Self {
        Self {
            fuel: Some(class.scaled(limits.handle_fuel)),
            wall: limits.handle_wall,
            lift_bytes: OVERHEAD_BYTES,
            lifted,
        }
    }

    /// For `handle`: events with their names and headers, and the reply.
    pub(super) fn decision(class: Class, limits: &Limits) -> Self {
        let payloads = limits
            .events_per_command_bytes
            .saturating_add(limits.payload_bytes);
        Self {
            lift_bytes: payloads.saturating_add(OVERHEAD_BYTES),
            ..Self::command(class, limits, "bytes of the decision")
        }
    }

    /// For a whole turn, which answers with what is broken as well.
    pub(super) fn turn(class: Class, limits: &Limits) -> Self {
        let decision = Self::decision(class, limits);
        Self {
            lift_bytes: decision.lift_bytes.saturating_add(OVERHEAD_BYTES),
            ..decision
        }
    }

    /// For `apply` from the log, with what is left of the time for the rebuild.
    pub(super) fn replay(left: Duration) -> Self {
        Self {
            fuel: None,
            wall: left,
            lift_bytes: OVERHEAD_BYTES,
            lifted: "bytes of the refusal",
        }
    }

    /// For `save`. It may answer with more than the limit, so that a state which slowly outgrows it costs its snapshot
    /// and not its cell.
    pub(super) fn save(class: Class, limits: &Limits) -> Self {
        let bytes = limits
            .snapshot_bytes
            .saturating_mul(2)
            .saturating_add(OVERHEAD_BYTES);
        Self::whole_state(class, limits, "bytes of the saved state", bytes)
    }

    /// For `restore`, which answers only with a refusal.
    pub(super) fn restore(class: Class, limits: &Limits) -> Self {
        Self::whole_state(class, limits, "bytes of the refusal", OVERHEAD_BYTES)
    }

    /// For `render`.
    pub(super) fn render(class: Class, limits: &Limits) -> Self {
        let bytes = limits.view_bytes.saturating_add(OVERHEAD_BYTES);
        Self::whole_state(class, limits, "bytes of the rendered state", bytes)
    }

    /// Going over a whole state takes longer than one decision on it; the time is that for describing a module.
    fn whole_state(class: Class, limits: &Limits, lifted: &'static str, lift_bytes: usize) -> Self {
        Self {
            fuel: Some(class.scaled(limits.snapshot_fuel)),
            wall: limits.describe_wall,
            lift_bytes,
            lifted,
        }
    }
}
