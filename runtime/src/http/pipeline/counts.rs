//! What `cargo xtask counts` counts of pipelined commands: a line as it is read.

use std::hint::black_box;

use bytes::Bytes;

use super::{super::counts, line::Prepared};
use crate::modules::Modules;

#[inline(never)]
fn count_line_of_a_command(number: u64, line: &Bytes, modules: &Modules) -> Prepared {
    Prepared::read(number, line, modules, 1 << 20)
}

#[test]
fn lines_are_read() {
    let running = counts::running(&counts::limits());
    for number in 0..200 {
        let line = format!(
            r#"{{"type":"counter","id":"counter-{number:06}","command":"add","payload":{{"by":7}},"key":"k-{number:012x}"}}"#
        );
        let prepared = count_line_of_a_command(number, black_box(&Bytes::from(line)), &running.modules);
        assert!(prepared.request.is_ok());
    }
    running.aggregates.stop();
}
