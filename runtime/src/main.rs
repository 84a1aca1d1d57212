//! The `annals` command.

use std::process::ExitCode;

/// Commands are made on one thread and let go on another, which the system's allocator makes expensive
/// (docs/decisions/process-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    annals::cli::main(std::env::args_os())
}
