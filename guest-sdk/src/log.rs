//! Structured logging: the only thing that a module may do beside deciding.
//!
//! ```
//! use annals_sdk::log;
//!
//! let (amount, who) = (5, "ann");
//! let ((), lines) = log::capture(|| log::info!("deposited for {who}"; amount = amount, to = who));
//! assert_eq!(lines[0].level, log::Level::Info);
//! assert_eq!(lines[0].message, "deposited for ann");
//! assert_eq!(lines[0].fields, [("amount".to_owned(), "5".to_owned()), ("to".to_owned(), "ann".to_owned())]);
//! ```
//!
//! Inside the server the lines appear under the module's name; lines beyond the server's limit per call are dropped
//! and counted. In native tests they go to standard error, or to [`capture`].

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// How serious a line is.
///
/// ```
/// use annals_sdk::log::Level;
///
/// assert!(Level::Warn > Level::Info);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a bug.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Wrong.
    Error,
}

/// One line.
///
/// ```
/// use annals_sdk::log;
///
/// let ((), lines) = log::capture(|| log::warn!("low"; balance = 3));
/// assert_eq!(lines[0].to_string(), "warn: low balance=3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How serious it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// The values that matter, in the order given.
    pub fields: Vec<(String, String)>,
}

impl std::fmt::Display for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = format!("{:?}", self.level).to_lowercase();
        write!(formatter, "{level}: {}", self.message)?;
        self.fields
            .iter()
            .try_for_each(|(name, value)| write!(formatter, " {name}={value}"))
    }
}

/// Writes one line; the macros are the short form.
///
/// ```
/// use annals_sdk::log::{self, Level};
///
/// let ((), lines) = log::capture(|| log::write(Level::Info, "hello".to_owned(), Vec::new()));
/// assert_eq!(lines.len(), 1);
/// ```
pub fn write(level: Level, message: String, fields: Vec<(String, String)>) {
    sink::write(Line {
        level,
        message,
        fields,
    });
}

#[cfg(not(target_arch = "wasm32"))]
pub use sink::capture;

#[cfg(target_arch = "wasm32")]
mod sink {
    use super::{Level, Line};
    use crate::bindings::annals::aggregate::log;

    pub(super) fn write(line: Line) {
        let level = match line.level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, &line.message, &line.fields);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod sink {
    use std::cell::RefCell;

    use super::Line;

    thread_local! {
        static CAPTURED: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
    }

    pub(super) fn write(line: Line) {
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(lines) => lines.push(line),
            None => eprintln!("{line}"),
        });
    }

    /// Runs `work` and gives back the lines that it wrote on this thread, for tests. Native builds only.
    ///
    /// ```
    /// use annals_sdk::log;
    ///
    /// let (sum, lines) = log::capture(|| { log::debug!("adding"); 1 + 1 });
    /// assert_eq!((sum, lines.len()), (2, 1));
    /// ```
    pub fn capture<R>(work: impl FnOnce() -> R) -> (R, Vec<Line>) {
        let outer = CAPTURED.replace(Some(Vec::new()));
        let result = work();
        let lines = CAPTURED.replace(outer).unwrap_or_default();
        (result, lines)
    }
}

/// Sends the message and the place of a panic through the log: the trap that follows says neither.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install_panic_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info
                .payload_as_str()
                .unwrap_or("a panic without a message")
                .to_owned();
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            write(Level::Error, message, vec![("panic".to_owned(), place)]);
        }));
    });
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn install_panic_hook() {}

/// Writes a line at a level: `__log!(Level, "message {captured} {}", argument; name = value, …)`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $message:literal $(, $argument:expr)* $(,)? $(; $($name:ident = $value:expr),* $(,)?)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            ::std::format!($message $(, $argument)*),
            ::std::vec![$($((::std::stringify!($name).to_owned(), ::std::string::ToString::to_string(&$value))),*)?],
        )
    };
}

/// Writes a line at level `trace`: a format string with its arguments, then `;` and fields.
///
/// ```
/// annals_sdk::log::trace!("seen {}", 7; count = 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($line:tt)*) => { $crate::__log!(Trace, $($line)*) };
}

/// Writes a line at level `debug`: a format string with its arguments, then `;` and fields.
///
/// ```
/// annals_sdk::log::debug!("seen {}", 7; count = 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($line:tt)*) => { $crate::__log!(Debug, $($line)*) };
}

/// Writes a line at level `info`: a format string with its arguments, then `;` and fields.
///
/// ```
/// annals_sdk::log::info!("seen {}", 7; count = 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($line:tt)*) => { $crate::__log!(Info, $($line)*) };
}

/// Writes a line at level `warn`: a format string with its arguments, then `;` and fields.
///
/// ```
/// annals_sdk::log::warn!("seen {}", 7; count = 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($line:tt)*) => { $crate::__log!(Warn, $($line)*) };
}

/// Writes a line at level `error`: a format string with its arguments, then `;` and fields.
///
/// ```
/// annals_sdk::log::error!("seen {}", 7; count = 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($line:tt)*) => { $crate::__log!(Error, $($line)*) };
}
