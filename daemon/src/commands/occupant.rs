//! Who listens at an address: another slmd, Ollama, or something else.

use crate::middleware::request_log::SERVER_PREFIX;
use slm_api::{host::Host, ollama::ENDING};
use std::{fmt, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};

/// How long it may take to say who it is.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How much of its answer is read.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// One of us, with its version.
    Slmd(String),
    /// One of us that is about to end.
    Ending,
    Ollama,
    WebServer,
    /// Something that does not say.
    Other,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slmd(version) => write!(f, "another slmd (version {version})"),
            Self::Ending => f.write_str("another slmd that is stopping"),
            Self::Ollama => f.write_str("Ollama"),
            Self::WebServer => f.write_str("another web server"),
            Self::Other => f.write_str("another program"),
        }
    }
}

/// Whether a daemon of ours answers at `host`, or one elsewhere that we cannot stand in for. Another program's store is
/// none of ours, and one of ours that ends takes no more work.
pub(super) async fn serves(host: &Host) -> bool {
    match Occupant::of(host).await {
        Some(Occupant::Slmd(_)) => true,
        Some(_) | None => !host.is_local(),
    }
}

impl Occupant {
    /// Asks over HTTP; `None` when nobody listens.
    pub(super) async fn of(host: &Host) -> Option<Self> {
        let client = Host::parse(&host.client_url());
        let address = (client.host.as_str(), client.port);
        let connected = time::timeout(TIMEOUT, TcpStream::connect(address)).await;
        let stream = connected.ok()?.ok()?;
        let answer = time::timeout(TIMEOUT, ask(stream, &client)).await;
        let answer = answer.ok().flatten().unwrap_or_default();
        Some(Self::from_answer(&String::from_utf8_lossy(&answer)))
    }

    fn from_answer(answer: &str) -> Self {
        let server = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("server").then_some(value.trim())
        });
        if let Some(version) = server.and_then(|server| server.strip_prefix(SERVER_PREFIX)) {
            if answer.contains(ENDING) {
                return Self::Ending;
            }
            return Self::Slmd(version.to_owned());
        }
        if answer.contains("Ollama is running") {
            return Self::Ollama;
        }
        if answer.starts_with("HTTP/") {
            return Self::WebServer;
        }
        Self::Other
    }
}

async fn ask(mut stream: TcpStream, host: &Host) -> Option<Vec<u8>> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n",
        host.host, host.port
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER_BYTES);
    limited.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_who_it_is() {
        #[track_caller]
        fn check(answer: &str, expected: Occupant) {
            assert_eq!(Occupant::from_answer(answer), expected);
        }
        let ollama = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nOllama is running";
        check(ollama, Occupant::Ollama);
        let slmd = "HTTP/1.1 200 OK\r\nserver: slmd/1.2.3\r\n\r\nOllama is running";
        check(slmd, Occupant::Slmd("1.2.3".into()));
        let ending = "HTTP/1.1 503 Service Unavailable\r\nserver: slmd/1.2.3\r\n\r\n{\"error\":\"the server is shutting down and …\"}";
        check(ending, Occupant::Ending);
        check("HTTP/1.1 404 Not Found\r\n\r\n", Occupant::WebServer);
        check("SSH-2.0-x", Occupant::Other);
    }
}
