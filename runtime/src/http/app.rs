//! What the handlers share.

use std::sync::{Arc, OnceLock};

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    aggregates::Aggregates,
    bus::Bus,
    consumers::Consumers,
    modules::Modules,
    store::{EventStore, LogIdentity},
    vocabulary::{Cursor, Limits, Position},
    webhooks::Webhooks,
};

use super::problem::Problem;

const KIB: usize = 1024;

/// Everything that runs behind the handlers.
#[derive(Debug, Clone)]
pub struct Running {
    /// The store, for reads.
    pub store: Arc<dyn EventStore>,
    /// The lanes.
    pub aggregates: Arc<Aggregates>,
    /// The modules.
    pub modules: Arc<Modules>,
    /// The bus.
    pub bus: Bus,
    /// The durable consumers.
    pub consumers: Arc<Consumers>,
    /// What is sent to receivers.
    pub webhooks: Arc<Webhooks>,
}

impl Running {
    /// The cursor of a position of this log.
    pub(super) fn cursor(&self, position: Position) -> Cursor {
        let LogIdentity { log_id, epoch } = self.store.identity();
        Cursor::new(log_id, epoch, position)
    }
}

/// The state of the web server: the socket is open before the store is, so that starting can be told from being down.
#[derive(Debug, Clone)]
pub struct App {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    running: OnceLock<Running>,
    stopping: watch::Sender<bool>,
    /// Room for bodies that are arriving, in KiB.
    arriving: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    command_streams: Arc<Semaphore>,
}

impl App {
    /// A server that is starting.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        let shared = Shared {
            arriving: Arc::new(Semaphore::new(limits.arriving_bytes.div_ceil(KIB))),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            command_streams: Arc::new(Semaphore::new(limits.command_streams)),
            limits,
            running: OnceLock::new(),
            stopping: watch::Sender::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// From now on requests are served. Only the first call counts.
    pub fn started(&self, running: Running) {
        drop(self.shared.running.set(running));
    }

    /// From now on the server says that it is shutting down.
    pub fn stopping(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// For streams, which end when the server is shutting down: true from then on.
    pub(super) fn stop_signal(&self) -> watch::Receiver<bool> {
        self.shared.stopping.subscribe()
    }

    /// A place among the pipelined command streams, until this one has ended.
    pub(super) fn command_stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.shared.command_streams).try_acquire_owned();
        place.map_err(|_| Problem::busy("the number of pipelined streams", self.limits().command_streams))
    }

    /// Room for a body of at most so many bytes, until it has been read.
    pub(super) fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.arriving).try_acquire_many_owned(kib);
        room.map_err(|_| {
            Problem::busy(
                "the room for bodies that are arriving",
                self.limits().arriving_bytes,
            )
        })
    }

    /// A place among the uploads, until this one is done; waits for one, with nothing of the upload read yet.
    pub(super) async fn upload(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.shared.uploads).acquire_owned().await;
        place.map_err(Problem::unavailable)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(super) fn running(&self) -> Result<&Running, Problem> {
        if *self.shared.stopping.borrow() {
            return Err(Problem::unavailable("the server is shutting down"));
        }
        self.shared
            .running
            .get()
            .ok_or_else(|| Problem::unavailable("the server is starting"))
    }
}

impl FromRequestParts<App> for Running {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.running().cloned()
    }
}
