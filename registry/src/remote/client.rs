//! One registry as seen by one pull: addresses, headers, tokens, and which failures are worth another try.
use super::{
    Patience, PullOptions,
    auth::{self, Challenge},
};
use crate::{
    Digest, Error, ModelName,
    error::one_line,
    manifest::{DOCKER_MANIFEST, MAX_MANIFEST_BYTES, OCI_MANIFEST},
};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, RANGE, USER_AGENT, WWW_AUTHENTICATE},
    redirect,
};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// Redirects of one request.
const MAX_REDIRECTS: usize = 10;
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Of what a registry says about a failure, so much is shown.
const MAX_COMPLAINT_BYTES: usize = 2 << 10;
/// Failures of the manifest request until it is given up.
const MAX_MANIFEST_FAILURES: u32 = 3;
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why a request gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again is no use.
    Final(Error),
    /// The next try may work.
    Passing(Error),
}

/// The registry of one model name.
pub(super) struct Registry {
    client: Client,
    name: ModelName,
    /// `{scheme}://{host}/v2/{namespace}/{model}/`
    base: Url,
    token: Mutex<Option<String>>,
    pub(super) patience: Patience,
}

impl Registry {
    /// The registry that `name` says.
    pub(super) async fn new(
        name: &ModelName,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Self, Error> {
        let is_local = is_loopback(name.host());
        let is_plain = name.is_http() || (!name.is_https() && (options.insecure || is_local));
        let scheme = if is_plain { "http" } else { "https" };
        let [host, namespace, model, _] = name.parts();
        let base = format!("{scheme}://{host}/v2/{namespace}/{model}/");
        let base = Url::parse(&base).map_err(|error| Error::Protocol {
            host: host.to_owned(),
            reason: format!("`{base}` is no address: {error}"),
        })?;
        // Making a client reads the certificates of the system from the disk.
        let client = tokio::task::spawn_blocking(move || shared_client(is_local));
        Ok(Self {
            client: super::joined(client).await?,
            name: name.clone(),
            base,
            token: Mutex::new(None),
            patience,
        })
    }

    fn host(&self) -> String {
        self.name.host().to_owned()
    }

    /// The manifest's bytes.
    pub(super) async fn manifest(&self) -> Result<Vec<u8>, Error> {
        let mut n_failures = 0;
        loop {
            match self.try_manifest().await {
                Ok(bytes) => return Ok(bytes),
                // Nobody wants to wait for what is not there at all.
                Err(
                    Failure::Final(error) | Failure::Passing(error @ Error::Unreachable { .. }),
                ) => {
                    return Err(error);
                }
                Err(Failure::Passing(error)) => {
                    n_failures += 1;
                    if n_failures >= MAX_MANIFEST_FAILURES {
                        return Err(error);
                    }
                    self.pause(n_failures).await;
                }
            }
        }
    }

    async fn try_manifest(&self) -> Result<Vec<u8>, Failure> {
        let doing = "pull model manifest";
        let path = format!("manifests/{}", self.name.tag());
        let accept = format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}");
        let headers = [(ACCEPT, accept)];
        match self.get(doing, &path, &headers).await {
            Ok(response) => self.read_body(response, MAX_MANIFEST_BYTES).await,
            Err(Failure::Final(Error::RemoteStatus { status: 404, .. })) => {
                let name = self.name.clone();
                Err(Failure::Final(Error::RemoteNotFound { name }))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The bytes of a blob from `offset` on, if the server is so kind: see its status.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response, Failure> {
        let doing = format!("pull blob {digest}");
        let headers = [(RANGE, format!("bytes={offset}-"))];
        let headers = if offset == 0 { &[][..] } else { &headers };
        self.get(&doing, &format!("blobs/{digest}"), headers).await
    }

    /// Waits longer with each failure, and never exactly as long as others who failed at the same time.
    pub(super) async fn pause(&self, n_failures: u32) {
        let doubled = 1_u32 << n_failures.saturating_sub(1).min(16);
        let pause = self
            .patience
            .first_pause
            .saturating_mul(doubled)
            .min(MAX_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }

    /// A successful answer to a request, with a token where the registry wants one.
    async fn get(
        &self,
        doing: &str,
        path: &str,
        headers: &[(reqwest::header::HeaderName, String)],
    ) -> Result<Response, Failure> {
        let url = self
            .base
            .join(path)
            .map_err(|error| self.not_understood(format!("`{path}` is no address: {error}")))?;
        let mut has_new_token = false;
        loop {
            let mut request = self
                .client
                .get(url.clone())
                .header(USER_AGENT, user_agent());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(token) = self.token() {
                // reqwest leaves it off when a redirect goes to another host.
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = self.send(request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let is_registry = response.url().origin() == url.origin();
            if response.status() == StatusCode::UNAUTHORIZED && is_registry && !has_new_token {
                self.fetch_token(&response).await?;
                has_new_token = true;
                continue;
            }
            return Err(self.failure(doing, response, is_registry).await);
        }
    }

    fn token(&self) -> Option<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    async fn fetch_token(&self, response: &Response) -> Result<(), Failure> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let url = challenges
            .iter()
            .filter_map(|header| Challenge::parse(header.to_str().ok()?))
            .find_map(|challenge| challenge.token_url(&self.base));
        let url = url.ok_or_else(|| self.unauthorized())?;
        let request = self.client.get(url).header(USER_AGENT, user_agent());
        let answer = self.send(request).await?;
        if answer.status().is_client_error() {
            return Err(self.unauthorized());
        }
        if !answer.status().is_success() {
            return Err(self.failure("pull token", answer, true).await);
        }
        let json = self.read_body(answer, MAX_TOKEN_BYTES).await?;
        let token = auth::token_of(&json);
        let token = token.ok_or_else(|| self.not_understood("no token in it".to_owned()))?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    fn unauthorized(&self) -> Failure {
        Failure::Final(Error::Unauthorized {
            name: self.name.clone(),
        })
    }

    fn not_understood(&self, reason: String) -> Failure {
        let host = self.host();
        Failure::Final(Error::Protocol { host, reason })
    }

    /// Sends; the answer's head must come before patience ends.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        match timeout(self.patience.stall, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.network_failure(&error)),
            Err(_) => Err(self.stalled()),
        }
    }

    /// The next bytes of the body, or `None` at its end.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        match timeout(self.patience.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.network_failure(&error)),
            Err(_) => Err(self.stalled()),
        }
    }

    async fn read_body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > limit {
                return Err(self.not_understood(format!("it is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn stalled(&self) -> Failure {
        Failure::Passing(Error::RetriesExhausted {
            reason: format!("no byte came for {:?}", self.patience.stall),
        })
    }

    fn network_failure(&self, error: &reqwest::Error) -> Failure {
        let reason = innermost(error);
        if error.is_redirect() {
            return self.not_understood(reason);
        }
        if error.is_connect() {
            let host = self.host();
            return Failure::Passing(Error::Unreachable { host, reason });
        }
        Failure::Passing(Error::RetriesExhausted { reason })
    }

    /// What an unsuccessful answer means.
    async fn failure(&self, doing: &str, mut response: Response, is_registry: bool) -> Failure {
        let status = response.status();
        let mut body = Vec::new();
        while body.len() < MAX_COMPLAINT_BYTES {
            match self.chunk(&mut response).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(MAX_COMPLAINT_BYTES);
        if is_registry && status == StatusCode::UNAUTHORIZED {
            return self.unauthorized();
        }
        let error = Error::RemoteStatus {
            doing: doing.to_owned(),
            status: status.as_u16(),
            body: complaint(&body),
        };
        // A signed address that the registry once redirected to has run out; it gives a new one.
        let is_expired = !is_registry && [401, 403, 410].contains(&status.as_u16());
        if is_expired || status.is_server_error() || [408, 425, 429].contains(&status.as_u16()) {
            return Failure::Passing(error);
        }
        Failure::Final(error)
    }
}

/// What the body of a failure says, in one line: the messages of the protocol's JSON, or the text.
fn complaint(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let first = json.get("errors").and_then(|errors| errors.get(0));
        let message = first.and_then(|error| error.get("message").or(error.get("code")));
        message.or(json.get("error"))?.as_str()
    });
    let text = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    one_line(&text)
}

/// The cause of all causes, which says what happened; the outer ones repeat addresses.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether `host` (which may carry a port) is this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default();
    let address = host.parse::<std::net::Ipv4Addr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The public registry answers 412 for new models to clients that do not look like a recent Ollama.
fn user_agent() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("ollama/0.33.0 ({arch} {os}) Go/go1.26 slm/{version}")
}

/// The client for all pulls of this process. Registries on this machine have one of their own, which knows no proxy.
fn shared_client(is_local: bool) -> Result<Client, Error> {
    static CLIENTS: [OnceLock<Client>; 2] = [OnceLock::new(), OnceLock::new()];
    let shared = &CLIENTS[usize::from(is_local)];
    match shared.get() {
        Some(client) => Ok(client.clone()),
        None => {
            let client = make_client(is_local)?;
            Ok(shared.get_or_init(|| client).clone())
        }
    }
}

fn make_client(is_local: bool) -> Result<Client, Error> {
    // An error means that there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fail = |error: reqwest::Error| Error::Client {
        reason: innermost(&error),
    };
    // Without these, a system without certificates (a slim container) has no client at all.
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let roots: Result<Vec<_>, _> = roots
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect();
    let redirects = redirect::Policy::custom(|attempt| {
        let came_from = attempt.previous().last();
        let is_downgrade = came_from.is_some_and(|url| url.scheme() == "https")
            && attempt.url().scheme() != "https";
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if is_downgrade {
            attempt.error("it redirects from HTTPS to a connection without protection")
        } else {
            attempt.follow()
        }
    });
    let builder = Client::builder()
        .connect_timeout(Duration::from_secs(15))
        .redirect(redirects)
        .referer(false)
        .tls_certs_merge(roots.map_err(fail)?);
    let builder = if is_local {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_what_cannot_leave_the_machine() {
        for host in ["localhost", "LocalHost:5000", "127.0.0.1", "127.1.2.3:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "registry.ollama.ai",
            "localhost.example",
            "128.0.0.1",
            "127.0.0.1.nip.io",
            "10.0.0.1:5000",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn complaints_become_one_line() {
        let json =
            br#"{"errors":[{"code":"MANIFEST_INVALID","message":"requires a newer\nversion"}]}"#;
        assert_eq!(complaint(json), "requires a newer version");
        assert_eq!(complaint(br#"{"error":"no"}"#), "no");
        assert_eq!(
            complaint(b"<h1>\x1b[31mBad\r\nGateway</h1>"),
            "<h1> [31mBad Gateway</h1>"
        );
        assert_eq!(complaint(&[b'x'; 2000]).len(), 500);
    }

    #[tokio::test]
    async fn plain_http_only_where_it_is_asked_for_or_local() {
        let base = async |name: &str, insecure: bool| {
            let (name, options) = (name.parse().unwrap(), PullOptions { insecure });
            let registry = Registry::new(&name, &options, Patience::default())
                .await
                .unwrap();
            registry.base.to_string()
        };
        assert_eq!(
            base("qwen3:0.6b", false).await,
            "https://registry.ollama.ai/v2/library/qwen3/"
        );
        assert_eq!(base("h:5/n/m", false).await, "https://h:5/v2/n/m/");
        assert_eq!(base("h:5/n/m", true).await, "http://h:5/v2/n/m/");
        assert_eq!(base("http://h:5/n/m", false).await, "http://h:5/v2/n/m/");
        assert_eq!(base("https://h:5/n/m", true).await, "https://h:5/v2/n/m/");
        assert_eq!(
            base("127.0.0.1:5/n/m", false).await,
            "http://127.0.0.1:5/v2/n/m/"
        );
        assert_eq!(
            base("https://localhost:5/n/m", false).await,
            "https://localhost:5/v2/n/m/"
        );
    }
}
