//! What modules write becomes `tracing` events, as many as are allowed.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while `body` runs, line by line.
fn logged(body: impl FnOnce()) -> Vec<String> {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, body);
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn lines_carry_the_modules_name_and_stop_at_the_limit() {
    let module = counter();
    let lines = logged(|| {
        let mut cell = Cell::new(&module).unwrap();
        let live = cell.create(&id("a")).unwrap();
        cell.handle(&live, &context(0), &command("spam", "{}")).unwrap();
    });
    let (last, spam) = lines.split_last().unwrap();
    assert_eq!(spam.len(), 64, "{lines:?}");
    for line in spam {
        assert!(
            line.contains(" INFO guest: spam module=counter version=1.0.0 digest="),
            "{line}"
        );
    }
    assert!(
        last.contains("WARN guest: log lines dropped") && last.contains("dropped=936 limit=64"),
        "{last}"
    );
}

#[test]
fn the_line_before_a_trap_is_not_lost() {
    let module = counter();
    let lines = logged(|| {
        let mut cell = Cell::new(&module).unwrap();
        let live = cell.create(&id("a")).unwrap();
        cell.handle(&live, &context(0), &command("panic", "{}"))
            .unwrap_err();
    });
    assert!(lines[0].contains("ERROR guest: a test panic"), "{lines:?}");
    assert!(lines[0].contains("panic=src/lib.rs:7:9"), "{lines:?}");
}
