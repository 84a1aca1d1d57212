//! What can go wrong inside a call into a module.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use super::{budget::Budget, limiter::CellData};

/// A call into a module that did not come back with an answer. Nothing of it counts: no event, no change of state.
/// The cell that it came from is retired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The call used up its fuel. Deterministic: the same call does it again.
    #[error("the module used up its fuel: the limit is {limit} units for this call")]
    OutOfFuel {
        /// Units of wasmtime's fuel.
        limit: u64,
    },
    /// The call took too much wall time. Not deterministic: it may succeed on a less busy machine.
    #[error("the module did not finish within {} ms", limit.as_millis())]
    Deadline {
        /// The time that it was given.
        limit: Duration,
    },
    /// The call stack was used up, most likely by unbounded recursion.
    #[error("the module used up its call stack, most likely by unbounded recursion")]
    StackOverflow,
    /// The module's code panicked; its SDK said where.
    #[error("the module panicked at {place}: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
        /// `file:line:column` in the module's source.
        place: String,
    },
    /// The module trapped without saying why.
    #[error("the module trapped: {what}")]
    Trapped {
        /// The kind of trap.
        what: String,
        /// Functions on the module's stack, innermost first, one per line; empty when unknown.
        backtrace: String,
    },
    /// The module asked for more memory than its cell may have, and then trapped. The cell is shared, so
    /// neighbours may have filled it: worth one more try in a fresh cell.
    #[error("the module ran out of memory: the limit is {limit} bytes for all aggregates of its cell")]
    MemoryLimit {
        /// Bytes of linear memory per cell.
        limit: usize,
    },
    /// The module answered with something that is not an answer: a fault of its code or of its SDK.
    #[error("the module's answer is not usable: {what}")]
    BadOutput {
        /// What is wrong, and with which part.
        what: String,
    },
    /// The module answered with more than is allowed.
    #[error("the module's answer is too large: {what}, {found} or more; the limit is {limit}")]
    TooLarge {
        /// What is too large, with its unit: `bytes of events`.
        what: &'static str,
        /// How much was found, at least.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// The cell has no room for another live aggregate: a mistake of placement, not of the module.
    #[error("the cell has no room for another aggregate: the limit is {limit} per cell")]
    HandleLimit {
        /// Live aggregates per cell.
        limit: usize,
    },
    /// The process has no room for another cell.
    #[error("there is no room for another cell: the limit is {limit} in the process")]
    CellLimit {
        /// Cells in the process.
        limit: usize,
    },
    /// An earlier fault ended this cell; the aggregate has to be rebuilt in another.
    #[error("the cell was retired by an earlier fault; rebuild the aggregate in another cell")]
    Retired,
    /// The host itself failed: a defect of this server, not of the module.
    #[error("the Wasm host failed: {what}")]
    Host {
        /// What happened.
        what: String,
    },
}

impl Fault {
    /// A stable name for programs, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::Deadline { .. } => "deadline",
            Self::StackOverflow => "stack-overflow",
            Self::Panicked { .. } => "panicked",
            Self::Trapped { .. } => "trapped",
            Self::MemoryLimit { .. } => "memory-limit",
            Self::BadOutput { .. } => "bad-output",
            Self::TooLarge { .. } => "too-large",
            Self::HandleLimit { .. } => "handle-limit",
            Self::CellLimit { .. } => "cell-limit",
            Self::Retired => "retired",
            Self::Host { .. } => "host",
        }
    }

    pub(super) fn host(what: impl Into<String>) -> Self {
        Self::Host { what: what.into() }
    }

    pub(super) fn bad_output(what: impl Into<String>) -> Self {
        Self::BadOutput { what: what.into() }
    }
}

/// Names what ended a call. It decides the report only: the cell is retired whatever it was.
pub(super) fn classify(error: &wasmtime::Error, data: &CellData, budget: Budget) -> Fault {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => budget.fuel.map_or_else(
            || Fault::host("a call without a fuel limit ran out of fuel"),
            |limit| Fault::OutOfFuel { limit },
        ),
        Some(Trap::Interrupt) => Fault::Deadline { limit: budget.wall },
        Some(Trap::StackOverflow) => Fault::StackOverflow,
        Some(trap) => trapped(*trap, error, data),
        None => not_a_trap(error, data, budget),
    }
}

fn trapped(trap: Trap, error: &wasmtime::Error, data: &CellData) -> Fault {
    if let (Trap::UnreachableCodeReached, Some(panic)) = (trap, data.log.panic()) {
        return Fault::Panicked {
            message: panic.message.clone(),
            place: panic.place.clone(),
        };
    }
    if data.limiter.was_denied() {
        return Fault::MemoryLimit {
            limit: data.limiter.limit(),
        };
    }
    let what = trap.to_string();
    Fault::Trapped {
        what: what.strip_prefix("wasm trap: ").unwrap_or(&what).to_owned(),
        backtrace: backtrace(error),
    }
}

/// wasmtime has no types for these, so its texts are matched; tests pin them.
fn not_a_trap(error: &wasmtime::Error, data: &CellData, budget: Budget) -> Fault {
    let text = error.root_cause().to_string();
    if text.contains("fuel allocated for hostcalls") {
        return Fault::TooLarge {
            what: budget.lifted,
            found: budget.lift_bytes.saturating_add(1),
            limit: budget.lift_bytes,
        };
    }
    if text.contains("store handle limit exceeded") {
        return Fault::HandleLimit {
            limit: data.aggregates_max,
        };
    }
    if data.limiter.was_denied() {
        return Fault::MemoryLimit {
            limit: data.limiter.limit(),
        };
    }
    Fault::bad_output(text)
}

fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let mut text = String::new();
    for frame in backtrace.frames() {
        if !text.is_empty() {
            text.push('\n');
        }
        match frame.func_name() {
            Some(name) => text.push_str(name),
            None => text.push_str(&format!("function {}", frame.func_index())),
        }
        if let Some(offset) = frame.module_offset() {
            text.push_str(&format!(" at offset {offset:#x}"));
        }
    }
    text
}
