//! Ending: stop accepting, let answers finish within a bound, cut off the rest. A second signal ends at once.

use tokio_util::sync::CancellationToken;

/// The two steps of an orderly end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    /// No new work.
    pub(crate) begun: CancellationToken,
    /// Running generations end with an error line.
    pub(crate) abort: CancellationToken,
}

/// Exit code of a program that a signal ended (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Waits for the first signal and starts the end; the second ends the process.
pub(crate) async fn watch_signals(shutdown: Shutdown) {
    let signal = next_signal().await;
    tracing::info!(signal, "stopping; a second signal ends at once");
    shutdown.begun.cancel();
    next_signal().await;
    tracing::warn!("ended by a second signal");
    std::process::exit(INTERRUPTED);
}

#[cfg(unix)]
async fn next_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::warn!("cannot listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

#[cfg(not(unix))]
async fn next_signal() -> &'static str {
    match tokio::signal::ctrl_c().await {
        Ok(()) => "Ctrl-C",
        Err(_) => std::future::pending().await,
    }
}
