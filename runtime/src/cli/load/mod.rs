//! `annals load`: many commands over a pipelined stream or a few, in order for each aggregate.
//!
//! A thread reads lines and gives each to one of the streams by its aggregate, through a bounded queue. A stream has many
//! commands under way, but one of each aggregate, so that those of one aggregate are decided in the order of the file also
//! when one has to be tried again.

mod deliver;
mod line;
mod progress;
mod reader;
mod schedule;
mod summary;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::sync::{mpsc, watch};

use super::{error::CliError, exit::Exit, lists::at_least_one, output::Out};
use crate::client::{Client, ClientError};
use deliver::Deliverer;
use progress::Progress;
use reader::Source;
use summary::Summary;

/// Commands that wait for one stream: enough to keep it busy while the file is read.
const QUEUE_PER_CONNECTION: usize = 256;
/// A server takes 64 streams by default, for everybody.
const CONNECTIONS_MAX: usize = 64;

/// Arguments of `annals load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// A file with one command a line, or - for standard input:
    /// {"type":"account","id":"alice","command":"deposit","payload":{"amount":5},"key":"k1","if_match":3}
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Connections, each a stream with many commands under way; more than one helps where one processor does not keep up
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = connections)]
    pub connections: usize,
    /// Give each command without a key one made of the file's hash and the line, so that loading again is harmless
    #[arg(long)]
    pub keys: bool,
    /// Seconds for which a command is tried again while the server is busy or away
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub retry_for: u64,
}

fn connections(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number if number > CONNECTIONS_MAX => Err(format!("must be at most {CONNECTIONS_MAX}")),
        number => Ok(number),
    }
}

/// Why a load ended before its input did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The server was away for longer than commands are tried again.
    Unreachable,
}

pub(crate) async fn run(client: Client, args: &LoadArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    // Better than an error for each line.
    client.live().await?;
    let source = Source::open(args)?;
    let progress = Progress::new(source.size_bytes(), out.is_json());
    let summary = load(client, args, source, &progress).await?;
    progress.finish();
    out.line(&if out.is_json() {
        summary.json()
    } else {
        summary.human()
    })?;
    match summary.exit() {
        Exit::Ok => Ok(()),
        exit => Err(CliError::Told(exit)),
    }
}

async fn load(
    client: Client,
    args: &LoadArgs,
    source: Source,
    progress: &Arc<Progress>,
) -> Result<Summary, CliError> {
    let started = Instant::now();
    let (stop, stopped) = watch::channel(None);
    let stop = Arc::new(stop);
    let mut queues = Vec::with_capacity(args.connections);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..args.connections {
        let (queue, commands) = mpsc::channel(QUEUE_PER_CONNECTION);
        queues.push(queue);
        let retry_for = Duration::from_secs(args.retry_for);
        let deliverer = Deliverer::new(client.clone(), retry_for, Arc::clone(&stop), Arc::clone(progress));
        workers.spawn(deliverer.run(commands));
    }
    let reading = tokio::task::spawn_blocking({
        let (progress, stopped) = (Arc::clone(progress), stopped.clone());
        move || source.read(&queues, &progress, &|| stopped.borrow().is_some())
    });
    let interrupt = tokio::spawn({
        let (shutdown, stop) = (super::serve::shutdown_signal()?, Arc::clone(&stop));
        async move {
            shutdown.await;
            stop.send_if_modified(|stop| stop.replace(Stop::Interrupted).is_none());
        }
    });
    let ticking = tokio::spawn(Arc::clone(progress).tick());

    let mut summary = Summary::default();
    while let Some(worker) = workers.join_next().await {
        let share = worker.map_err(|error| CliError::failed(format!("a worker ended: {error}")))?;
        summary.add(share.map_err(|error| refused(&client, error))?);
    }
    interrupt.abort();
    ticking.abort();
    summary.stopped = *stopped.borrow();
    // After a stop the reader may wait for a line that never comes; what it knows is not worth waiting for.
    let read = if summary.stopped.is_some() {
        tokio::time::timeout(Duration::from_millis(200), reading)
            .await
            .ok()
    } else {
        Some(reading.await)
    };
    if let Some(read) = read {
        let read = read.map_err(|error| CliError::failed(format!("the reader ended: {error}")))?;
        summary.add_read(read);
    }
    summary.elapsed = started.elapsed();
    Ok(summary)
}

/// The server takes no streams at all.
fn refused(client: &Client, error: ClientError) -> CliError {
    match error {
        ClientError::Problem(problem) if problem.slug == "not-found" => CliError::Failed {
            message: format!(
                "the server at {} has no `POST /v1/commands`: it is older than this annals",
                client.base()
            ),
            fix: Some("update the server, or load with the annals of the server's version".to_owned()),
        },
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
