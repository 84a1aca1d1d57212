//! `annals bench`: how fast a module is on this machine. A server of its own on a new data directory, commands over HTTP
//! on the loopback address, and at the end every acknowledged command looked for in the log.

mod books;
mod connection;
mod disk;
mod drive;
mod report;
mod request;

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    deploy::{self, DeployArgs},
    error::CliError,
    exit::Exit,
    output::Out,
    process::ServerProcess,
    serve::shutdown_signal,
};
use crate::{client::Client, vocabulary::CommandName};
use books::Books;
use disk::BenchDir;
use drive::{Driven, Span, drive};
use report::Report;
use request::{Opening, Template};

/// More would measure the sockets of this machine.
const CONNECTIONS_MAX: u32 = 4_096;
/// The digits of an id allow no more.
const IDS_MAX: u32 = 1_000_000;
/// A day.
const SECONDS_MAX: u32 = 86_400;
/// Connections that open the aggregates.
const OPENING_CONNECTIONS: usize = 64;
/// The beginning of each run, in which connections are made and code is warmed up.
const WARM_UP: Duration = Duration::from_secs(1);

/// Arguments of `annals bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A module (.wasm), or the folder of a crate, which is built first
    #[arg(value_name = "FILE-OR-CRATE")]
    pub module: PathBuf,
    /// The command that is measured, for example deposit
    #[arg(long, value_name = "NAME")]
    pub command: CommandName,
    /// Its payload as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = request::json, allow_hyphen_values = true)]
    pub payload: String,
    /// A command that each aggregate gets once, before: NAME or NAME:JSON, for example 'open:{"owner":"x"}'
    #[arg(long, value_name = "NAME:JSON")]
    pub open: Option<Opening>,
    /// Aggregates that commands are spread over, uniformly at random
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = within::<IDS_MAX>)]
    pub ids: u32,
    /// Keep-alive connections, each with one command under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = within::<CONNECTIONS_MAX>)]
    pub connections: u32,
    /// Measured seconds, after one that is not
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = within::<SECONDS_MAX>)]
    pub seconds: u32,
    /// A new or empty folder for the data, on the disk that is to be measured; by default one in the current folder that is
    /// removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

fn within<const MAX: u32>(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (1..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from 1 to {MAX}")),
    }
}

pub(crate) fn run(args: &BenchArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let module = deploy::module(&DeployArgs {
        source: args.module.clone(),
        activate: false,
    })?;
    let dir = BenchDir::open(args.data.as_deref())?;
    out.note("flush the disk");
    let floor = disk::flushes(dir.path())?;
    let mut server = ServerProcess::start(dir.path(), ([127, 0, 0, 1], 0).into())?;
    let report = super::block_on(async {
        tokio::select! {
            report = measure(args, module, &mut server, &dir, floor, out) => report,
            () = shutdown_signal()? => Err(CliError::Told(Exit::Failed)),
        }
    })?;
    server.stop()?;
    let text = if out.is_json() {
        report.json()
    } else {
        report.human()
    };
    Ok(out.line(&text)?)
}

async fn measure(
    args: &BenchArgs,
    module: bytes::Bytes,
    server: &mut ServerProcess,
    dir: &BenchDir,
    floor: disk::Flushes,
    out: &Out<'_>,
) -> Result<Report, CliError> {
    let aggregate_type = client(server)?.upload(module, false).await?.value.aggregate_type;
    let mut books = Books::default();
    if let Some(open) = &args.open {
        out.note(&format!(
            "{}: {} once for each of {} aggregates",
            aggregate_type, open.command, args.ids
        ));
        let template = Template::new(&aggregate_type, &open.command, open.payload.as_deref());
        let connections = OPENING_CONNECTIONS.min(args.ids as usize);
        let opened = drive(
            server.address(),
            &template,
            connections,
            args.ids,
            Span::EachOnce,
            0,
        )
        .await?;
        all_accepted(&opened, &open.command)?;
        books.add(opened.acknowledged);
    }
    out.note(&format!(
        "{}: {} for {} s",
        aggregate_type, args.command, args.seconds
    ));
    let template = Template::new(&aggregate_type, &args.command, Some(&args.payload));
    let span = Span::Timed {
        warm_up: WARM_UP,
        measured: Duration::from_secs(args.seconds.into()),
    };
    let mut driven = drive(
        server.address(),
        &template,
        args.connections as usize,
        args.ids,
        span,
        1,
    )
    .await?;
    if driven.latencies.is_empty() {
        return Err(nothing_accepted(&driven, &args.command));
    }
    books.add(std::mem::take(&mut driven.acknowledged));
    books.other_answers(driven.refused.values().sum());

    out.note("kill -9 the server, start it again, and compare its log with what was acknowledged");
    server.kill()?;
    *server = ServerProcess::start(dir.path(), server.address())?;
    let checked = books.check(&client(server)?, &aggregate_type).await?;
    Ok(Report {
        aggregate_type,
        command: args.command.clone(),
        ids: args.ids,
        connections: args.connections,
        seconds: args.seconds,
        floor,
        driven,
        checked,
        restart: server.start_time(),
    })
}

fn client(server: &ServerProcess) -> Result<Client, CliError> {
    let base = server.url().parse();
    base.map(Client::new)
        .map_err(|error: crate::client::InvalidAddress| CliError::failed(error.to_string()))
}

fn all_accepted(opened: &Driven, command: &CommandName) -> Result<(), CliError> {
    match &opened.refusal {
        None => Ok(()),
        Some(answer) => Err(CliError::Failed {
            message: format!(
                "`{command}` of --open was not accepted by {} aggregates; one answer: {}",
                opened.refused.values().sum::<u64>(),
                super::text::escape(answer)
            ),
            fix: Some("give it the payload that it takes: --open 'NAME:JSON'".to_owned()),
        }),
    }
}

fn nothing_accepted(driven: &Driven, command: &CommandName) -> CliError {
    let answer = driven.refusal.as_deref().unwrap_or("none came");
    CliError::Failed {
        message: format!(
            "not one `{command}` was accepted in the measured time; an answer: {}",
            super::text::escape(answer)
        ),
        fix: Some(
            "give the payload that it takes with --payload, and with --open what has to come before it"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
