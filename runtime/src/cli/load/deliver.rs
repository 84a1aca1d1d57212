//! Getting commands to the server over one pipelined stream, with as many tries as are safe.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Stop,
    line::LoadCommand,
    progress::Progress,
    schedule::{Errand, Schedule, can_help},
    summary::Summary,
};
use crate::client::{Client, ClientError, LineAnswer, PipelineAnswer, PipelineReader, PipelineWriter};

/// Commands that are sent and not answered; the server sets its own limit, and lets the others wait.
const UNDER_WAY_MAX: usize = 2_048;
/// Commands that are read ahead: enough to find some of other aggregates where the file has many of one in a row.
const READ_AHEAD_MAX: usize = 8_192;
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lines are sent in pieces of about so many bytes.
const PIECE_BYTES: usize = 32 * 1024;
/// Without any answer for so long, none will come: longer than a server may take for a rebuild from the log (60 s).
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
const NO_LIMIT: Duration = Duration::from_secs(86_400 * 365);
/// Between a stream that ended and the next.
const REOPEN_WAIT: Duration = Duration::from_millis(20);
/// Commands taken from the reader at once.
const READ_AT_ONCE: usize = 256;
/// After a stop the reader may wait for a line that never comes.
const READER_GRACE: Duration = Duration::from_millis(200);

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    Accepted {
        events: u64,
        /// It was the first answer to its key, again.
        is_replayed: bool,
        retries: u64,
    },
    Rejected {
        code: String,
        is_replayed: bool,
        retries: u64,
    },
    Failed {
        /// Status and slug, or what was wrong with the connection.
        reason: String,
        detail: String,
        retries: u64,
    },
    /// The load was stopped before it was tried.
    NotSent,
}

/// Delivers the commands of one queue.
#[derive(Debug)]
pub(crate) struct Deliverer {
    client: Client,
    retry_for: Duration,
    stop: Arc<watch::Sender<Option<Stop>>>,
    progress: Arc<Progress>,
    schedule: Schedule,
    stream: Option<Stream>,
    /// Not before then is another stream opened.
    open_at: Instant,
    summary: Summary,
}

/// A stream that is open.
#[derive(Debug)]
struct Stream {
    /// None once the server takes no more.
    writer: Option<PipelineWriter>,
    reader: PipelineReader,
    /// Lines written so far.
    lines: u64,
    piece: BytesMut,
    last_heard: Instant,
}

enum Happened {
    Read(Vec<LoadCommand>),
    Answered(Result<Option<PipelineAnswer>, ClientError>),
    Sent,
    TakesNoMore,
    Due,
    Stopped,
}

impl Deliverer {
    pub(crate) fn new(
        client: Client,
        retry_for: Duration,
        stop: Arc<watch::Sender<Option<Stop>>>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            client,
            retry_for,
            stop,
            progress,
            schedule: Schedule::default(),
            stream: None,
            open_at: Instant::now(),
            summary: Summary::default(),
        }
    }

    /// Delivers what comes through the queue, and returns once all has its answer.
    ///
    /// # Errors
    /// When the server refuses such streams as a whole.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<LoadCommand>,
    ) -> Result<Summary, ClientError> {
        let mut stopped = self.stop.subscribe();
        let mut has_more = true;
        while has_more || self.schedule.count() > 0 {
            if stopped.borrow().is_some() {
                self.give_up();
                has_more = false;
                if self.schedule.under_way() == 0 {
                    break;
                }
            }
            self.schedule.wake(Instant::now());
            if self.stream.is_none() && self.schedule.has_ready() && Instant::now() >= self.open_at {
                self.open(&mut stopped).await?;
                continue;
            }
            self.write();
            match self.wait(&mut commands, has_more, &mut stopped).await {
                Happened::Read(read) if read.is_empty() => has_more = false,
                Happened::Read(read) => read.into_iter().for_each(|command| self.schedule.add(command)),
                Happened::Answered(answer) => self.take(answer),
                Happened::TakesNoMore => {
                    if let Some(stream) = &mut self.stream {
                        stream.writer = None;
                    }
                }
                Happened::Sent | Happened::Due | Happened::Stopped => {}
            }
        }
        if stopped.borrow().is_some() {
            self.leave(&mut commands).await;
        }
        Ok(self.summary)
    }

    async fn wait(
        &mut self,
        commands: &mut mpsc::Receiver<LoadCommand>,
        has_more: bool,
        stopped: &mut watch::Receiver<Option<Stop>>,
    ) -> Happened {
        let is_stopped = stopped.borrow().is_some();
        let schedule = &self.schedule;
        let reads = has_more && schedule.count() < READ_AHEAD_MAX && schedule.bytes() < READ_AHEAD_BYTES_MAX;
        let opens = (self.stream.is_none() && schedule.has_ready()).then_some(self.open_at);
        let due = schedule.next_due().into_iter().chain(opens).min();
        let is_under_way = schedule.under_way() > 0;
        let (reader, sends) = match &mut self.stream {
            None => (None, None),
            Some(stream) => {
                let within = if is_under_way {
                    (stream.last_heard + ANSWER_LIMIT).saturating_duration_since(Instant::now())
                } else {
                    NO_LIMIT
                };
                let writer = stream.writer.as_ref().filter(|_| !stream.piece.is_empty());
                let sends = writer.map(|writer| (writer, &mut stream.piece));
                (Some((&mut stream.reader, within)), sends)
            }
        };
        let (has_reader, has_piece) = (reader.is_some(), sends.is_some());
        let mut read = Vec::new();
        tokio::select! {
            biased;
            answer = next(reader), if has_reader => Happened::Answered(answer),
            _ = stopped.changed(), if !is_stopped => Happened::Stopped,
            happened = send(sends), if has_piece => happened,
            _ = commands.recv_many(&mut read, READ_AT_ONCE), if reads => Happened::Read(read),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Happened::Due,
        }
    }

    /// Opens a stream for the command that is first.
    async fn open(&mut self, stopped: &mut watch::Receiver<Option<Stop>>) -> Result<(), ClientError> {
        let Some(mut errand) = self.schedule.next() else {
            return Ok(());
        };
        errand.begin(Instant::now(), self.retry_for);
        let opened = tokio::select! {
            opened = self.client.pipeline() => opened,
            _ = stopped.changed() => {
                self.schedule.put_back(errand);
                return Ok(());
            }
        };
        match opened {
            Ok((writer, reader)) => {
                self.schedule.put_back(errand);
                self.stream = Some(Stream {
                    writer: Some(writer),
                    reader,
                    lines: 0,
                    piece: BytesMut::new(),
                    last_heard: Instant::now(),
                });
            }
            Err(error) if !can_help(&error) => return Err(error),
            Err(error) => match errand.unsent_again_at(&error, Instant::now()) {
                Some(at) => {
                    self.open_at = at;
                    self.schedule.put_back(errand);
                }
                None => {
                    if matches!(error, ClientError::Unreachable { .. }) {
                        self.stop
                            .send_if_modified(|stop| stop.replace(Stop::Unreachable).is_none());
                    }
                    self.fail(&errand, &error);
                }
            },
        }
        Ok(())
    }

    /// Writes what is ready into the next piece.
    fn write(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.writer.is_some()) else {
            return;
        };
        while stream.piece.len() < PIECE_BYTES && self.schedule.under_way() < UNDER_WAY_MAX {
            let Some(mut errand) = self.schedule.next() else {
                return;
            };
            let now = Instant::now();
            errand.begin(now, self.retry_for);
            if self.schedule.under_way() == 0 {
                stream.last_heard = now;
            }
            errand.command.write(&mut stream.piece);
            stream.lines += 1;
            self.schedule.sent(stream.lines, errand);
        }
    }

    fn take(&mut self, answer: Result<Option<PipelineAnswer>, ClientError>) {
        let mut answer = answer;
        let error = loop {
            match answer {
                Ok(Some(PipelineAnswer::Line(line))) => {
                    self.settle(&line);
                    let Some(stream) = &mut self.stream else { return };
                    stream.last_heard = Instant::now();
                    match stream.reader.arrived() {
                        Some(arrived) => answer = Ok(Some(arrived)),
                        None => return,
                    }
                }
                // All that has no answer was not taken.
                Ok(Some(PipelineAnswer::End { problem, .. })) => break ClientError::Problem(problem),
                Ok(None) => break self.client.lost("the server ended the stream".to_owned()),
                Err(error) => break error,
            }
        };
        self.stream = None;
        self.open_at = Instant::now() + REOPEN_WAIT;
        for errand in self.schedule.unanswered() {
            self.again_or_fail(errand, &error);
        }
    }

    fn settle(&mut self, answer: &LineAnswer) {
        let Some(errand) = self.schedule.answered(answer.line) else {
            return;
        };
        let (is_replayed, retries) = (answer.is_replayed, errand.retries);
        match answer.events() {
            Ok(events) => {
                let accepted = Delivered::Accepted {
                    events,
                    is_replayed,
                    retries,
                };
                self.done(&errand, accepted);
            }
            Err(error) => match rejection(&error) {
                Some(code) => {
                    let rejected = Delivered::Rejected {
                        code,
                        is_replayed,
                        retries,
                    };
                    self.done(&errand, rejected);
                }
                None => self.again_or_fail(errand, &error),
            },
        }
    }

    fn again_or_fail(&mut self, mut errand: Errand, error: &ClientError) {
        match errand.again_at(error, Instant::now()) {
            Some(at) => self.schedule.again(at, errand, error.clone()),
            None => self.fail(&errand, error),
        }
    }

    fn fail(&mut self, errand: &Errand, error: &ClientError) {
        self.done(errand, failed(error, errand.retries));
    }

    fn done(&mut self, errand: &Errand, delivered: Delivered) {
        self.schedule.done(errand);
        self.progress.answered();
        self.summary.record(errand.command.line, delivered);
    }

    /// What is under way is waited for; the rest is not sent, or not sent again.
    fn give_up(&mut self) {
        let (failures, unsent) = self.schedule.give_up();
        for (errand, error) in failures {
            self.progress.answered();
            self.summary
                .record(errand.command.line, failed(&error, errand.retries - 1));
        }
        for command in unsent {
            self.summary.record(command.line, Delivered::NotSent);
        }
    }

    /// What was read meanwhile is not sent.
    async fn leave(&mut self, commands: &mut mpsc::Receiver<LoadCommand>) {
        while let Ok(Some(command)) = timeout(READER_GRACE, commands.recv()).await {
            self.summary.record(command.line, Delivered::NotSent);
        }
    }
}

async fn next(
    reader: Option<(&mut PipelineReader, Duration)>,
) -> Result<Option<PipelineAnswer>, ClientError> {
    match reader {
        Some((reader, within)) => reader.next(within).await,
        None => Ok(None),
    }
}

async fn send(piece: Option<(&PipelineWriter, &mut BytesMut)>) -> Happened {
    let Some((writer, piece)) = piece else {
        return Happened::TakesNoMore;
    };
    match writer.place().await {
        Some(place) => {
            place.send(piece.split().freeze());
            Happened::Sent
        }
        None => Happened::TakesNoMore,
    }
}

fn rejection(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Problem(problem) => problem.rejection_code().map(str::to_owned),
        _ => None,
    }
}

fn failed(error: &ClientError, retries: u64) -> Delivered {
    let reason = match error {
        ClientError::Unreachable { .. } => "server unreachable".to_owned(),
        ClientError::Lost { .. } => "connection lost, outcome unknown".to_owned(),
        ClientError::TimedOut { .. } => "no answer in time, outcome unknown".to_owned(),
        ClientError::Problem(problem) => format!("{} {}", problem.status, problem.slug),
        _ => "unexpected answer".to_owned(),
    };
    Delivered::Failed {
        reason,
        detail: error.to_string(),
        retries,
    }
}
