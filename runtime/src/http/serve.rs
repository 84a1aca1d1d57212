//! Accepting connections: how many, how long a client may take for its headers, and how the server ends.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tower::ServiceExt;
use tracing::Instrument as _;

use crate::vocabulary::Limits;

use super::{
    app::App,
    connection::Connection,
    direct::{self, is_direct},
    linger::Lingering,
    problem::Problem,
    protocol::Protocols,
    routes::{request_span, router},
};

/// Time after a failed accept before the next: a shortage of file descriptors passes, or does not, by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// At shutdown: time without a request being answered after which the connections that are left are cut.
const CUT_AFTER: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Serves until `shutdown` completes; then takes no more connections, and returns once the open ones have ended or the
/// time for that is over.
pub async fn serve(app: App, listener: TcpListener, limits: Arc<Limits>, shutdown: impl Future<Output = ()>) {
    let router = router(app.clone());
    let protocols = Protocols::new(&limits);
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(limits.connections));
    let answering = Arc::new(AtomicUsize::new(0));
    let (closing, _) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let (app, router, header_bytes) = (app.clone(), router.clone(), limits.header_bytes);
        let answering = Arc::clone(&answering);
        let connection = Connection::new(&answering);
        let of_requests = connection.clone();
        let service = service_fn(move |request| {
            let (app, answering) = (app.clone(), Answering::begin(&answering));
            let routed = router_for(&request, &router).map(|router| (router, of_requests.clone()));
            async move {
                let response = answer(app, routed, request, header_bytes).await;
                drop(answering);
                response
            }
        });
        let (protocols, watcher) = (protocols.clone(), graceful.watcher());
        let mut closed = closing.subscribe();
        tokio::spawn(async move {
            // An error says that the sender is gone, which means the same.
            let closing = async { drop(closed.wait_for(|closing| *closing).await) };
            protocols
                .serve(stream, connection, service, watcher, closing)
                .await;
            drop(permit);
        });
    }
    drop(listener);
    closing.send_replace(true);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = quiet(&answering) => tracing::info!("connections that wait for their clients were cut"),
        () = tokio::time::sleep(limits.shutdown) => tracing::warn!(
            limit_s = limits.shutdown.as_secs(),
            "requests were still being answered when the time to stop was over"
        ),
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<AtomicUsize>);

impl Answering {
    pub(super) fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Completes once no request has been in the making for a while: what is still open then are clients that do not read, or
/// have not sent a whole request.
async fn quiet(answering: &AtomicUsize) {
    let mut quiet_for = Duration::ZERO;
    while quiet_for < CUT_AFTER {
        tokio::time::sleep(LOOK_EVERY).await;
        quiet_for = if answering.load(Ordering::Acquire) == 0 {
            quiet_for + LOOK_EVERY
        } else {
            Duration::ZERO
        };
    }
}

/// None for what is answered without the router.
fn router_for(request: &Request<Incoming>, router: &Router) -> Option<Router> {
    let is_direct = is_direct(request.method(), request.uri().path());
    (!is_direct).then(|| router.clone())
}

async fn answer(
    app: App,
    routed: Option<(Router, Connection)>,
    mut request: Request<Incoming>,
    header_bytes: usize,
) -> Result<Response, Infallible> {
    let refused = check_size(&request, header_bytes);
    // A client that waits for leave to send its body has nothing under way that would have to be read.
    let waits = request.headers().contains_key(header::EXPECT);
    if let Err(problem) = refused {
        let (_, body) = request.into_parts();
        if !waits {
            drop(Lingering::new(body));
        }
        return Ok(problem.into_response());
    }
    let Some((router, connection)) = routed else {
        let span = request_span(&request);
        let (parts, body) = request.into_parts();
        let answer = if waits {
            direct::answer(&app, &parts, body).instrument(span).await
        } else {
            direct::answer(&app, &parts, Lingering::new(body))
                .instrument(span)
                .await
        };
        return Ok(answer);
    };
    request.extensions_mut().insert(connection);
    let request = request.map(|body| {
        if waits {
            Body::new(body)
        } else {
            Lingering::new(body).into()
        }
    });
    router.oneshot(request).await
}

/// The request line and headers as they came, all but the last line ends.
fn check_size<B>(request: &Request<B>, limit: usize) -> Result<(), Problem> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limit {
        let detail = format!("the path and query have {target} bytes; the limit is {limit}");
        return Err(Problem::new(414, "uri-too-long", "The path is too long", detail)
            .fix("ids have at most 255 bytes; send what is long in the body")
            .with("limit_bytes", limit));
    }
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + headers > limit {
        let detail = format!(
            "the request line and headers have {} bytes; the limit is {limit}",
            target + headers
        );
        return Err(
            Problem::new(431, "headers-too-large", "The headers are too large", detail)
                .fix("send fewer or shorter headers")
                .with("limit_bytes", limit),
        );
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // Beyond the limit clients wait in the kernel's own queue, which is bounded too.
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
