//! The one import that modules have: `log`. Its lines become `tracing` events under the target `guest`.
//!
//! Lines cost fuel and are limited per call in count and length, so that a module cannot drown the server's log. What
//! was dropped is counted and said once, at the end of the call.

use wasmtime::{StoreContextMut, Trap, component::Linker};

use super::{bindings::annals::aggregate::log::Level, contract, limiter::CellData, module::Identity};
use crate::vocabulary::Limits;

/// Fuel for a line: about what formatting and writing it costs the host.
const FUEL_PER_LINE: u64 = 2_000;
/// Fuel for a byte of a line.
const FUEL_PER_BYTE: u64 = 4;
/// The field by which an SDK's panic hook says where the panic happened.
const PANIC_FIELD: &str = "panic";

/// What a panic hook reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panic {
    pub(super) message: String,
    pub(super) place: String,
}

/// The log of one call: limits and what is left of them.
#[derive(Debug)]
pub(super) struct CallLog {
    lines_max: usize,
    line_bytes_max: usize,
    written: usize,
    dropped: usize,
    panic: Option<Panic>,
}

impl CallLog {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            lines_max: limits.log_lines_per_call,
            line_bytes_max: limits.log_line_bytes,
            written: 0,
            dropped: 0,
            panic: None,
        }
    }

    pub(super) fn begin(&mut self) {
        self.written = 0;
        self.dropped = 0;
        self.panic = None;
    }

    /// The last panic that was reported during the current call.
    pub(super) fn panic(&self) -> Option<&Panic> {
        self.panic.as_ref()
    }

    /// Says how many lines were dropped, if any.
    pub(super) fn end(&self, identity: &Identity) {
        if self.dropped > 0 {
            tracing::warn!(
                target: "guest",
                module = %identity.name,
                version = %identity.version,
                digest = %identity.digest,
                dropped = self.dropped,
                limit = self.lines_max,
                "log lines dropped: the module wrote more than the limit in one call"
            );
        }
    }

    fn write(&mut self, identity: &Identity, level: Level, message: &str, fields: &[(String, String)]) {
        if level == Level::Error
            && let Some((_, place)) = fields.iter().find(|(name, _)| name == PANIC_FIELD)
        {
            self.panic = Some(Panic {
                message: shorten(message, self.line_bytes_max).to_owned(),
                place: shorten(place, self.line_bytes_max).to_owned(),
            });
        }
        if self.written == self.lines_max {
            self.dropped += 1;
            return;
        }
        self.written += 1;
        emit(identity, level, message, fields, self.line_bytes_max);
    }
}

/// Makes `log` known to the modules.
pub(super) fn add_to_linker(linker: &mut Linker<CellData>) -> wasmtime::Result<()> {
    linker.instance(&contract::interface("types"))?;
    linker.instance(&contract::interface("log"))?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, CellData>,
         (level, message, fields): (Level, String, Vec<(String, String)>)| {
            charge(&mut store, &message, &fields)?;
            let data = store.data_mut();
            data.log.write(&data.identity, level, &message, &fields);
            Ok(())
        },
    )
}

/// Takes the price of a line from the call's fuel.
fn charge(
    store: &mut StoreContextMut<'_, CellData>,
    message: &str,
    fields: &[(String, String)],
) -> wasmtime::Result<()> {
    let bytes = fields
        .iter()
        .fold(message.len(), |sum, (name, value)| sum + name.len() + value.len());
    let price = FUEL_PER_LINE.saturating_add(FUEL_PER_BYTE.saturating_mul(bytes as u64));
    match store.get_fuel()?.checked_sub(price) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

fn emit(identity: &Identity, level: Level, message: &str, fields: &[(String, String)], bytes_max: usize) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "guest",
                tracing::Level::$level,
                module = %identity.name,
                version = %identity.version,
                digest = %identity.digest,
                fields = %rendered(fields, bytes_max.saturating_sub(message.len())),
                "{}",
                shorten(message, bytes_max)
            )
        };
    }
    match level {
        Level::Trace => event!(TRACE),
        Level::Debug => event!(DEBUG),
        Level::Info => event!(INFO),
        Level::Warn => event!(WARN),
        Level::Error => event!(ERROR),
    }
}

/// `name=value` pairs, as many as fit.
fn rendered(fields: &[(String, String)], bytes_max: usize) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if text.len() >= bytes_max {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(shorten(name, bytes_max.saturating_sub(text.len())));
        text.push('=');
        text.push_str(shorten(value, bytes_max.saturating_sub(text.len())));
    }
    text
}

/// The longest prefix of at most `bytes_max` bytes.
fn shorten(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shorten("aé", 2), "a");
        assert_eq!(shorten("aé", 3), "aé");
        assert_eq!(shorten("abc", 0), "");
    }

    #[test]
    fn fields_stop_at_the_limit() {
        let fields = vec![
            ("a".to_owned(), "x".repeat(100)),
            ("b".to_owned(), "y".to_owned()),
        ];
        assert!(rendered(&fields, 10).len() <= 12);
        assert_eq!(rendered(&fields, 200).len(), 106);
    }
}
