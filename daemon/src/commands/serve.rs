//! `slmd serve`: the daemon in the foreground.

use super::occupant::Occupant;
use crate::{config::Config, cpu::CpuChoice, routes, server, share, shutdown, state::App};
use anyhow::{Context, bail};
use slm_api::host::Host;
use slm_registry::{Garbage, GcLimits, Store};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time};

/// How long a daemon may take to end that has begun to: its running answers have ten seconds of it.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How often its address is tried meanwhile.
const BIND_RETRY: Duration = Duration::from_millis(100);

/// Serves until a signal.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    super::start_log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let served = runtime.block_on(serve(config));
    // blocking threads may still hash or load; nobody waits for that
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let listener = bind(&config.host).await?;
    let address = listener
        .local_addr()
        .context("cannot read the own address")?;
    let locations = config.locations.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(locations))
        .await?
        .map_err(super::with_hint)
        .context("cannot open the models directory")?;
    let app = App::new(config, store, address.ip().is_loopback());
    log_start(&app.config, &app.cpu);
    app.models.start_expiry();
    tokio::spawn(shutdown::watch_signals(app.shutdown.clone()));
    let sharing = share::start(&app).await?;
    tracing::info!("listening on {address}");
    if !app.config.no_prune {
        prune(app.store.clone());
    }
    server::run(listener, routes::router(&app), app.shutdown.clone()).await;
    if let Some(sharing) = sharing {
        let _ended_or_panicked = sharing.await;
    }
    app.models.unload_all();
    tracing::info!("stopped");
    Ok(())
}

/// Removes what creates and pulls that were given up have left. Nobody waits for it.
fn prune(store: Store) {
    drop(tokio::task::spawn_blocking(move || {
        match store.collect_garbage(&GcLimits::default(), false) {
            Ok(garbage) if garbage == Garbage::default() => {}
            Ok(garbage) => tracing::info!(
                n_blobs = garbage.blobs.len(),
                n_partials = garbage.partials.len(),
                n_bytes = garbage.n_bytes(),
                "removed what nobody needs"
            ),
            Err(error) => tracing::warn!(%error, "cannot remove what nobody needs"),
        }
    }));
}

fn log_start(config: &Config, cpu: &CpuChoice) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        models = %config.locations.hot.display(),
        "slmd"
    );
    tracing::info!(
        tier = %cpu.tier,
        reason = cpu.tier_reason,
        threads = cpu.threads,
        threads_reason = cpu.threads_reason,
        features = cpu.features.join(","),
        "cpu"
    );
    for (setting, value, origin) in &config.set {
        tracing::info!(value, %origin, "set {setting}");
    }
    for setting in unused(config) {
        tracing::warn!(
            "{setting} is set and changes nothing: models are not shared; --share or SLM_SHARE=1 shares them"
        );
    }
}

/// What somebody set about sharing, which is off.
fn unused(config: &Config) -> Vec<&'static str> {
    if config.share.is_some() {
        return Vec::new();
    }
    let of_sharing = ["share-listen", "share-mdns"];
    let set = config.set.iter().map(|(setting, _, _)| *setting);
    set.filter(|setting| of_sharing.contains(setting)).collect()
}

/// Listens at `host`; where another daemon of ours is about to end there, when it has.
async fn bind(host: &Host) -> anyhow::Result<TcpListener> {
    let address = (host.host.as_str(), host.port);
    let began = Instant::now();
    let mut was_ending = false;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error).with_context(|| {
                format!(
                    "cannot listen on {}:{}; choose another address with --host or SLM_HOST",
                    host.host, host.port
                )
            });
        }
        let who = Occupant::of(host).await;
        let is_ending = who == Some(Occupant::Ending);
        // at the very end it closes connections without a word
        let is_silent = matches!(who, None | Some(Occupant::Other));
        if (is_ending || (is_silent && was_ending)) && began.elapsed() < END_TIMEOUT {
            if is_ending && !was_ending {
                tracing::info!("waiting for the end of another slmd that is stopping");
            }
            was_ending = true;
            time::sleep(BIND_RETRY).await;
            continue;
        }
        bail!(
            "the address {}:{} is in use by {}; stop it, or choose another port with --host 127.0.0.1:PORT or SLM_HOST",
            host.host,
            host.port,
            who.unwrap_or(Occupant::Other)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn an_address_to_share_at_is_no_agreement_and_said_to_be_none() {
        let unused_of = |env: &[(&str, &str)]| {
            let look_up = |name: &str| {
                let found = env.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let config = Config::resolve(&crate::config::Flags::default(), look_up);
            unused(&config.unwrap())
        };
        let models = ("SLM_MODELS", "/m");
        let listen = ("SLM_SHARE_LISTEN", "127.0.0.1:5");
        assert!(unused_of(&[models]).is_empty());
        assert_eq!(unused_of(&[models, listen]), ["share-listen"]);
        assert!(unused_of(&[models, listen, ("SLM_SHARE", "1")]).is_empty());
        let mdns = ("SLM_SHARE_MDNS", "1");
        assert_eq!(
            unused_of(&[models, mdns, ("SLM_SHARE", "0")]),
            ["share-mdns"]
        );
    }

    #[tokio::test]
    async fn a_taken_port_is_explained() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::parse(&taken.local_addr().unwrap().to_string());
        drop(tokio::spawn(async move {
            let (mut stream, _) = taken.accept().await.unwrap();
            let mut request = [0; 1024];
            let _n = stream.read(&mut request).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nOllama is running";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }));
        let error = bind(&host).await.unwrap_err().to_string();
        assert!(
            error.contains("in use by Ollama") && error.contains("SLM_HOST"),
            "{error}"
        );
    }
}
