//! Accepting connections: how many, how long a client may take for its headers, and how the server ends.

use std::{future::Future, sync::Arc};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::vocabulary::Limits;

use super::{app::App, routes::router};

/// Time after a failed accept before the next: a shortage of file descriptors passes, or does not, by itself.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Serves until `shutdown` completes; then takes no more connections, and returns once the open ones have ended or the
/// time for that is over.
pub async fn serve(app: App, listener: TcpListener, limits: Arc<Limits>, shutdown: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(router(app));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.request_read)
        .max_buf_size(limits.header_bytes.max(8 * 1024))
        .pipeline_flush(true);
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(limits.connections));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.shutdown, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            limit_s = limits.shutdown.as_secs(),
            "connections were still open when the time to stop was over"
        );
    }
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
