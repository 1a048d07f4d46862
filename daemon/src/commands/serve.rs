//! `slmd serve`: the daemon in the foreground.

use crate::{config::Config, routes, server, shutdown, state::App};
use anyhow::{Context, anyhow, bail};
use slm_api::host::Host;
use slm_registry::Store;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time,
};

/// How long whoever has the port may take to say who it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of its answer is read.
const MAX_PROBE_BYTES: u64 = 16 << 10;

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
    let address = listener.local_addr().context("cannot read the own address")?;
    let root = config.models_dir.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&root))
        .await?
        .map_err(|error| {
            let hint = error.hint();
            let error = anyhow!(error).context("cannot open the models directory");
            match hint {
                Some(hint) => anyhow!("{error:#}; {hint}"),
                None => error,
            }
        })?;
    log_start(&config);
    let app = App::new(config, store, address.ip().is_loopback());
    app.models.start_expiry();
    tokio::spawn(shutdown::watch_signals(app.shutdown.clone()));
    tracing::info!("listening on {address}");
    server::run(listener, routes::router(&app), app.shutdown.clone()).await;
    app.models.unload_all();
    tracing::info!("stopped");
    Ok(())
}

fn log_start(config: &Config) {
    let cpu = config.cpu.as_deref().unwrap_or("best available");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        models = %config.models_dir.display(),
        cpu,
        threads = config.n_threads.unwrap_or_else(slm_kernels::available_threads),
        "slmd"
    );
    for (setting, value, origin) in &config.set {
        tracing::info!(value, %origin, "set {setting}");
    }
}

async fn bind(host: &Host) -> anyhow::Result<TcpListener> {
    let address = (host.host.as_str(), host.port);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let who = time::timeout(PROBE_TIMEOUT, who_is_there(host)).await;
            let who = who.ok().flatten().unwrap_or_else(|| "another program".to_owned());
            bail!(
                "the address {}:{} is in use by {who}; stop it, or choose another port with --host 127.0.0.1:PORT or SLM_HOST",
                host.host,
                host.port
            )
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen on {}:{}; choose another address with --host or SLM_HOST",
                host.host, host.port
            )
        }),
    }
}

/// What seems to have the port: asks over HTTP.
async fn who_is_there(host: &Host) -> Option<String> {
    let client = Host::parse(&host.client_url());
    let mut stream = TcpStream::connect((client.host.as_str(), client.port)).await.ok()?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n",
        client.host, client.port
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_PROBE_BYTES);
    limited.read_to_end(&mut answer).await.ok()?;
    name_of(&String::from_utf8_lossy(&answer))
}

fn name_of(answer: &str) -> Option<String> {
    let server = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("server").then_some(value.trim())
    });
    if let Some(version) = server.and_then(|server| server.strip_prefix("slmd/")) {
        return Some(format!("another slmd (version {version})"));
    }
    if answer.contains("Ollama is running") {
        return Some("Ollama".to_owned());
    }
    answer
        .starts_with("HTTP/")
        .then(|| "another web server".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_has_the_port() {
        let ollama = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nOllama is running";
        assert_eq!(name_of(ollama).as_deref(), Some("Ollama"));
        let slmd = "HTTP/1.1 200 OK\r\nserver: slmd/1.2.3\r\n\r\nOllama is running";
        assert_eq!(name_of(slmd).as_deref(), Some("another slmd (version 1.2.3)"));
        assert_eq!(
            name_of("HTTP/1.1 404 Not Found\r\n\r\n").as_deref(),
            Some("another web server")
        );
        assert_eq!(name_of("SSH-2.0-x"), None);
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
