//! The accept loop: bounded connections, bounded waiting for headers, an orderly end.

use crate::shutdown::Shutdown;
use axum::{Extension, Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{io, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time};

/// Connections at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send its headers, and a connection stays open between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long running answers may take once the end has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the rest may take to notice that it is cut off.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after an accept failed for want of something (file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until `shutdown` begins, then ends in order.
pub(crate) async fn run(listener: TcpListener, router: Router, shutdown: Shutdown) {
    run_bounded(listener, router, shutdown, MAX_CONNECTIONS).await;
}

/// Like [`run`], with at most `max_connections` connections at once; more wait.
pub(crate) async fn run_bounded(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    max_connections: usize,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let places = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.begun.cancelled() => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    drain(graceful, &shutdown).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(
    tokio::net::TcpStream,
    std::net::SocketAddr,
    tokio::sync::OwnedSemaphorePermit,
)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn drain(graceful: GracefulShutdown, shutdown: &Shutdown) {
    let n_open = graceful.count();
    let mut drained = std::pin::pin!(graceful.shutdown());
    if time::timeout(DRAIN_TIMEOUT, &mut drained).await.is_ok() {
        return;
    }
    tracing::warn!(n_open, "cutting off what still runs");
    shutdown.abort.cancel();
    if time::timeout(ABORT_TIMEOUT, drained).await.is_err() {
        tracing::warn!("some connections did not end");
    }
}
