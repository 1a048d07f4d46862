//! The accept loop: bounded connections, bounded waiting for headers, an orderly end.

use crate::shutdown::Shutdown;
use axum::{Extension, Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time,
};

/// Connections at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send its headers, and a connection stays open between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long running answers may take once the end has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the rest may take to notice that it is cut off.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it is listened after the last answer has ended, for those who were connected to, and not accepted yet.
const LAST_CALL: Duration = Duration::from_millis(20);
/// How long they may take to take in that the daemon ends.
const LATE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after an accept failed for want of something (file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until `shutdown` begins, then ends in order. Who comes while running answers go on is answered, too: `router`
/// says what happens.
pub(crate) async fn run(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let server = Server::new(listener, router, MAX_CONNECTIONS);
    let graceful = server.serve(&shutdown).await;
    server.turn_away(drain(graceful, &shutdown)).await;
}

/// Serves with at most `max_connections` connections at once; more wait. Nobody is answered any more once the end has
/// begun.
pub(crate) async fn run_bounded(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    max_connections: usize,
) {
    let server = Server::new(listener, router, max_connections);
    let graceful = server.serve(&shutdown).await;
    drop(server);
    drain(graceful, &shutdown).await;
}

/// Who has connected, and the place that it takes.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

struct Server {
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
}

impl Server {
    fn new(listener: TcpListener, router: Router, max_connections: usize) -> Self {
        Self {
            listener,
            router,
            places: Arc::new(Semaphore::new(max_connections)),
        }
    }

    /// Serves until the end begins; gives back what still runs.
    async fn serve(&self, shutdown: &Shutdown) -> GracefulShutdown {
        let builder = builder(true);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = shutdown.begun.cancelled() => return graceful,
            };
            if let Some((stream, peer, place)) = accepted {
                let connection = builder
                    .serve_connection(TokioIo::new(stream), self.service(peer))
                    .into_owned();
                tokio::spawn(end_of(graceful.watch(connection), peer, place));
            }
        }
    }

    /// Answers who comes until `ended`, one request a connection, and then those who were waiting already.
    async fn turn_away(self, ended: impl Future<Output = ()>) {
        let builder = builder(false);
        let mut late = JoinSet::new();
        let mut ended = std::pin::pin!(async {
            ended.await;
            time::sleep(LAST_CALL).await;
        });
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _one_less = late.join_next(), if !late.is_empty() => continue,
                () = &mut ended => break,
            };
            if let Some((stream, peer, place)) = accepted {
                let connection = builder
                    .serve_connection(TokioIo::new(stream), self.service(peer))
                    .into_owned();
                late.spawn(end_of(connection, peer, place));
            }
        }
        drop(self);
        let all = async { while late.join_next().await.is_some() {} };
        let _all_or_late = time::timeout(LATE_TIMEOUT, all).await;
    }

    /// The next connection; `None` where that failed, after a pause.
    async fn accept(&self) -> Option<Accepted> {
        let accepted = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(io::Error::other)?;
            let (stream, peer) = self.listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, place))
        };
        match accepted.await {
            Ok(accepted) => {
                if let Err(error) = accepted.0.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                Some(accepted)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_RETRY).await;
                None
            }
        }
    }

    fn service(&self, peer: SocketAddr) -> TowerToHyperService<Router> {
        TowerToHyperService::new(self.router.clone().layer(Extension(ConnectInfo(peer))))
    }
}

/// How connections are spoken on; `kept` for one request after the other.
fn builder(kept: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(kept);
    builder
}

async fn end_of<E: std::fmt::Display>(
    connection: impl Future<Output = Result<(), E>>,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(place);
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
