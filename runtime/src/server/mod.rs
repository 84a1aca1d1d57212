//! The server as a whole: builds every room in order, and takes them down in the reverse one.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::net::TcpListener;

use crate::{
    aggregates::Aggregates,
    bus::Bus,
    consumers::{ConsumerError, Consumers},
    http::{self, App, CloudEvents, Running},
    modules::{ActivateError, Modules},
    store::{EventStore, LocalStore, OpenError, Progress, Step, StoreOptions},
    vocabulary::{Clock, Limits, SystemClock},
    wasm::{Host, HostError, HostOptions},
    webhooks::Webhooks,
};

pub use crate::webhooks::{Allowed, HostPattern};

/// Where compiled modules are cached, below the data directory: disposable.
const CACHE_DIR: &str = "cache";

/// How a server is run.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The data directory; created when missing.
    pub data: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Shard threads; none for one per processor.
    pub shards: Option<usize>,
    /// The limits in force.
    pub limits: Limits,
    /// Where webhooks may go.
    pub webhooks: Allowed,
}

impl ServerConfig {
    /// A server on a free port of the loopback address with default limits.
    #[must_use]
    pub fn local(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            shards: None,
            limits: Limits::default(),
            webhooks: Allowed::default(),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}. {}", listen_fix(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The Wasm host cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A module that was active cannot be loaded.
    #[error("a module that was active cannot be loaded: {0}")]
    Modules(#[from] ActivateError),
    /// What is kept of the consumers cannot be read.
    #[error("the consumers cannot be opened: {0}")]
    Consumers(#[from] ConsumerError),
    /// The system has no threads or no randomness to give.
    #[error("the system does not give what the server needs: {0}")]
    System(#[from] std::io::Error),
}

fn listen_fix(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "Another process listens there: stop it, or choose another address with --listen"
        }
        std::io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need privileges: choose another one with --listen"
        }
        _ => "Choose another address with --listen",
    }
}

/// A server that listens, and serves once [`Server::run`] is called.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    listener: TcpListener,
    address: SocketAddr,
    app: App,
    limits: Arc<Limits>,
}

impl Server {
    /// Takes the address. Nothing is opened yet.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn bind(config: ServerConfig) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = Arc::new(config.limits.clone());
        let app = App::new(Arc::clone(&limits));
        Ok(Self {
            config,
            listener,
            address,
            app,
            limits,
        })
    }

    /// The address that is listened on, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the store and serves until `shutdown` completes. What was accepted by then is finished: its events are
    /// durable and its answers sent when this returns. `ready` is called once requests are served.
    ///
    /// # Errors
    /// [`StartError`] when the store or a module cannot be opened.
    pub async fn run(
        self,
        ready: impl FnOnce(SocketAddr) + Send + 'static,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        let Self {
            config,
            listener,
            address,
            app,
            limits,
        } = self;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(http::serve(app.clone(), listener, Arc::clone(&limits), async {
            drop(stopped.await);
        }));
        let opening = tokio::task::spawn_blocking({
            let limits = Arc::clone(&limits);
            move || open(&config, &limits)
        });
        let running = match opening.await.map_err(std::io::Error::other)? {
            Ok(running) => running,
            Err(error) => {
                drop(stop);
                drop(serving.await);
                return Err(error);
            }
        };
        app.started(running.clone());
        running.webhooks.start();
        ready(address);
        shutdown.await;
        tracing::info!("shutting down: no more requests are taken");
        app.stopping();
        running.bus.close();
        drop(stop);
        let (served, ()) = tokio::join!(serving, running.webhooks.stop());
        if let Err(error) = served {
            tracing::error!(%error, "the web server ended unexpectedly");
        }
        let closing = tokio::task::spawn_blocking(move || {
            running.aggregates.stop();
            running.consumers.stop();
            running.store.close();
        });
        closing.await.map_err(std::io::Error::other)?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The store's defaults, with a line in the log for every tenth of a long opening.
fn store_options() -> StoreOptions {
    let told = AtomicU64::new(0);
    let progress = move |Progress { step, done, total }: Progress| {
        let tenths = done * 10 / total.max(1);
        if told.swap(tenths, Ordering::Relaxed) != tenths {
            let what = match step {
                Step::CatchingUp => "bringing the index up to the log",
                Step::Rebuilding => "building the index anew from the log",
            };
            tracing::info!(percent = tenths * 10, commits = done, of = total, "{what}");
        }
    };
    StoreOptions {
        progress: Some(Arc::new(progress)),
        ..StoreOptions::default()
    }
}

fn open(config: &ServerConfig, limits: &Arc<Limits>) -> Result<Running, StartError> {
    let store: Arc<dyn EventStore> = Arc::new(LocalStore::open(&config.data, store_options())?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = Host::new(HostOptions {
        limits: (**limits).clone(),
        cache_dir: Some(config.data.join(CACHE_DIR)),
        cache_key: store.cache_key(),
    })?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = config.shards.unwrap_or(processors);
    let aggregates = Arc::new(Aggregates::start(&store, &clock, limits, shards)?);
    let bus = Bus::new(&store, limits);
    let modules = Arc::new(Modules::open(&store, host, &aggregates, &clock)?);
    let consumers = Arc::new(Consumers::open(&store, &bus, &clock, limits)?);
    let encode = Arc::new(CloudEvents::new(&store, &modules));
    let webhooks = Webhooks::open(&consumers, encode, config.webhooks.clone(), &clock, limits);
    Ok(Running {
        store,
        aggregates,
        modules,
        bus,
        consumers,
        webhooks: Arc::new(webhooks),
    })
}
