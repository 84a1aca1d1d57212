//! The commands of the binary: arguments in, text or JSON and an exit code out.
//!
//! Each command is a file with its arguments and a `run`. What a person reads is made in `text`, what can go
//! wrong and which exit code it has is in [`CliError`] and [`Exit`]. Everything but `serve`, `build`, `demo`
//! and `bench` is a client of a server over HTTP.

mod args;
mod bench;
mod build;
mod consumers;
mod demo;
mod deploy;
mod error;
mod events;
mod exit;
mod filter;
mod lists;
mod load;
mod output;
mod process;
mod send;
mod serve;
mod state;
mod text;

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;

pub use args::{Cli, Command, GlobalArgs};
pub use error::CliError;
pub use exit::Exit;
use output::Out;

/// Runs the command line and gives the process's exit code. Errors are on standard error by then.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where the message cannot be written the exit code still says it.
            drop(error.print());
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return exit.into();
        }
    };
    let json = cli.global.json;
    let mut stdout = std::io::BufWriter::new(std::io::stdout());
    let mut out = Out::new(json, &mut stdout);
    let result = run(cli, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            // What was printed before the error comes first; the reader may be gone.
            drop(out.flush());
            let report = error.report(json);
            if !report.is_empty() {
                drop(writeln!(std::io::stderr(), "{report}"));
            }
            error.exit().into()
        }
    }
}

fn run(cli: Cli, out: &mut Out<'_>) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(args) => serve::run(&args, out),
        Command::Build(args) => build::run(&args, out),
        Command::Deploy(args) => {
            let module = deploy::module(&args)?;
            block_on(deploy::run(&global.client(), &args, module, out))
        }
        Command::Send(args) => {
            let payload = send::payload(&args)?;
            block_on(send::run(&global.client(), &args, payload.as_deref(), out))
        }
        Command::State(args) => block_on(state::run(&global.client(), &args, out)),
        Command::Events(args) => block_on(events::run(&global.client(), &args, out)),
        Command::Types(args) => block_on(lists::types(&global.client(), &args, out)),
        Command::Consumers(args) => {
            let given = args.given()?;
            block_on(consumers::run(&global.client(), &args, &given, out))
        }
        Command::Modules => block_on(lists::modules(&global.client(), out)),
        Command::Demo(args) => demo::run(&args, out),
        Command::Bench(args) => bench::run(&args, out),
        Command::Load(args) => block_on(load::run(global.client(), &args, out)),
    }
}

/// A client needs one thread; what waits for the disk or the terminal runs beside it.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // A read of standard input that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    result
}
