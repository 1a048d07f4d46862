//! One host as seen by one pull: addresses, headers, credentials, and which failures are worth another try.
use super::{
    Patience, PullOptions,
    auth::{self, Challenge},
    spans::Span,
};
use crate::{
    Digest, Error, ModelName,
    manifest::{DOCKER_MANIFEST, MAX_MANIFEST_BYTES, OCI_MANIFEST},
};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{
        ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, RANGE, RETRY_AFTER, USER_AGENT,
        WWW_AUTHENTICATE,
    },
    redirect,
};
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

/// Redirects of one request.
const MAX_REDIRECTS: usize = 10;
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Of what a registry says about a failure, so much is shown.
const MAX_COMPLAINT_BYTES: usize = 2 << 10;
/// Failures of the manifest request until it is given up.
const MAX_MANIFEST_FAILURES: u32 = 3;
/// A manifest is waited for so long when the registry asks to wait.
const MAX_MANIFEST_WAIT: Duration = Duration::from_secs(60);

/// Why a request gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again is no use.
    Final(Error),
    /// The next try may work.
    Passing(Error),
    /// The server is asked too much; it may say how long to wait.
    Busy(Error, Option<Duration>),
}

/// One host, and what it is told about who asks.
pub(super) struct Remote {
    client: Client,
    /// For errors.
    name: ModelName,
    /// Only requests to the origin of this address carry credentials.
    base: Url,
    authorization: Mutex<Option<HeaderValue>>,
    patience: Patience,
}

/// Where the bytes of one blob are.
pub(super) struct Origin {
    remote: Arc<Remote>,
    url: Url,
    doing: String,
    /// Where the host redirected to, when that was elsewhere; runs out at some time.
    direct: Mutex<Option<Url>>,
}

impl Origin {
    /// The host's name, for errors.
    pub(super) fn host(&self) -> String {
        self.remote.host()
    }

    /// The bytes of `span`, or all, if the server is so kind: see the answer's status.
    pub(super) async fn open(&self, span: Option<&Span>) -> Result<Response, Failure> {
        let range = span.map(|span| (RANGE, format!("bytes={}-{}", span.start, span.end - 1)));
        let headers: Vec<_> = range.into_iter().collect();
        let direct = self.direct().clone();
        if let Some(url) = direct {
            let request = self.remote.request(&url, &headers);
            match self.remote.send(request).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                // The address has run out, most likely: the host gives a new one.
                Ok(response) if is_client_error(response.status()) => *self.direct() = None,
                Ok(response) => return Err(self.remote.failure(&self.doing, response).await),
                Err(failure) => {
                    *self.direct() = None;
                    return Err(failure);
                }
            }
        }
        let response = self.remote.get(&self.doing, &self.url, &headers).await?;
        if response.url().origin() != self.url.origin() {
            *self.direct() = Some(response.url().clone());
        }
        Ok(response)
    }

    /// The next bytes of the body, or `None` at its end.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        let chunk = self.remote.chunk(response).await;
        if chunk.is_err() {
            *self.direct() = None;
        }
        chunk
    }

    fn direct(&self) -> std::sync::MutexGuard<'_, Option<Url>> {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an address that worked before does not work any more.
fn is_client_error(status: StatusCode) -> bool {
    status.is_client_error() && ![408, 416, 425, 429].contains(&status.as_u16())
}

impl Remote {
    /// The registry that `name` says.
    pub(super) async fn registry(
        name: &ModelName,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Arc<Self>, Error> {
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
        Ok(Arc::new(Self {
            client: super::joined(client).await?,
            name: name.clone(),
            base,
            authorization: Mutex::new(None),
            patience,
        }))
    }

    fn host(&self) -> String {
        self.name.host().to_owned()
    }

    /// Where the blob `digest` of this registry is.
    pub(super) fn blob(self: &Arc<Self>, digest: &Digest) -> Result<Origin, Error> {
        let path = format!("blobs/{digest}");
        let url = self.base.join(&path).map_err(|error| Error::Protocol {
            host: self.host(),
            reason: format!("`{path}` is no address: {error}"),
        })?;
        Ok(Origin {
            remote: Arc::clone(self),
            url,
            doing: format!("pull blob {digest}"),
            direct: Mutex::new(None),
        })
    }

    /// The manifest's bytes.
    pub(super) async fn manifest(&self) -> Result<Vec<u8>, Error> {
        let mut n_failures = 0;
        loop {
            let (error, wait) = match self.try_manifest().await {
                Ok(bytes) => return Ok(bytes),
                // Nobody wants to wait for what is not there at all.
                Err(
                    Failure::Final(error) | Failure::Passing(error @ Error::Unreachable { .. }),
                ) => return Err(error),
                Err(Failure::Passing(error)) => (error, Duration::ZERO),
                Err(Failure::Busy(error, wait)) => (error, wait.unwrap_or_default()),
            };
            n_failures += 1;
            if n_failures >= MAX_MANIFEST_FAILURES {
                return Err(error);
            }
            if wait > MAX_MANIFEST_WAIT {
                let host = self.host();
                return Err(Error::AskedToWait { host, wait });
            }
            tokio::time::sleep(wait).await;
            self.patience.pause(n_failures).await;
        }
    }

    async fn try_manifest(&self) -> Result<Vec<u8>, Failure> {
        let doing = "pull model manifest";
        let path = format!("manifests/{}", self.name.tag());
        let url = self.base.join(&path);
        let url = url.map_err(|error| self.not_understood(error.to_string()))?;
        let accept = format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}");
        let headers = [(ACCEPT, accept)];
        match self.get(doing, &url, &headers).await {
            Ok(response) => self.read_body(response, MAX_MANIFEST_BYTES).await,
            Err(Failure::Final(Error::RemoteStatus { status: 404, .. })) => {
                let name = self.name.clone();
                Err(Failure::Final(Error::RemoteNotFound { name }))
            }
            Err(failure) => Err(failure),
        }
    }

    /// A request that tells nothing about who asks.
    fn request(&self, url: &Url, headers: &[(HeaderName, String)]) -> reqwest::RequestBuilder {
        let request = self.client.get(url.clone());
        let request = request.header(USER_AGENT, user_agent());
        headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    /// A successful answer to a request, with a token where the host wants one.
    async fn get(
        &self,
        doing: &str,
        url: &Url,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, Failure> {
        let is_ours = url.origin() == self.base.origin();
        let mut has_new_token = false;
        loop {
            let mut request = self.request(url, headers);
            let authorization = self.authorization().clone();
            if let Some(authorization) = authorization.filter(|_| is_ours) {
                // reqwest leaves it off when a redirect goes to another host.
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = self.send(request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let is_registry = self.is_ours(&response);
            if response.status() == StatusCode::UNAUTHORIZED && is_registry && !has_new_token {
                self.fetch_token(&response).await?;
                has_new_token = true;
                continue;
            }
            return Err(self.failure(doing, response).await);
        }
    }

    /// Whether the answer comes from this host itself, not from where it redirects to.
    fn is_ours(&self, response: &Response) -> bool {
        response.url().origin() == self.base.origin()
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_token(&self, response: &Response) -> Result<(), Failure> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let url = challenges
            .iter()
            .filter_map(|header| Challenge::parse(header.to_str().ok()?))
            .find_map(|challenge| challenge.token_url(&self.base));
        let url = url.ok_or_else(|| self.unauthorized())?;
        let answer = self.send(self.request(&url, &[])).await?;
        if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS {
            return Err(self.unauthorized());
        }
        if !answer.status().is_success() {
            return Err(self.failure("pull token", answer).await);
        }
        let json = self.read_body(answer, MAX_TOKEN_BYTES).await?;
        let token = auth::token_of(&json);
        let token = token.ok_or_else(|| self.not_understood("no token in it".to_owned()))?;
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value =
            value.map_err(|_| self.not_understood("its token is no text".to_owned()))?;
        value.set_sensitive(true);
        *self.authorization() = Some(value);
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
    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
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
    async fn failure(&self, doing: &str, mut response: Response) -> Failure {
        let status = response.status();
        let is_ours = self.is_ours(&response);
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|wait| retry_after(wait.to_str().ok()?, SystemTime::now()));
        let mut body = Vec::new();
        while body.len() < MAX_COMPLAINT_BYTES {
            match self.chunk(&mut response).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(MAX_COMPLAINT_BYTES);
        if is_ours && status == StatusCode::UNAUTHORIZED {
            return self.unauthorized();
        }
        let error = Error::RemoteStatus {
            doing: doing.to_owned(),
            status: status.as_u16(),
            body: complaint(&body),
        };
        // A signed address that the registry once redirected to has run out; it gives a new one.
        let is_expired = !is_ours && [401, 403, 410].contains(&status.as_u16());
        if [429, 503].contains(&status.as_u16()) {
            return Failure::Busy(error, wait);
        }
        if is_expired || status.is_server_error() || [408, 425].contains(&status.as_u16()) {
            return Failure::Passing(error);
        }
        Failure::Final(error)
    }
}

/// How long `Retry-After: 120` or `Retry-After: Fri, 31 Dec 1999 23:59:59 GMT` asks to wait.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
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
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = printable.take(500).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
    fn a_server_says_how_long_to_wait() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").unwrap();
        let wait = |value: &str| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(59));
        assert_eq!(wait("Fri, 31 Dec 1999 23:58:59 GMT"), Some(0));
        for value in ["", "soon", "-1", "1.5", "Fri, 31 Dec"] {
            assert_eq!(wait(value), None, "{value}");
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
            let name = name.parse().unwrap();
            let options = PullOptions {
                insecure,
                ..PullOptions::default()
            };
            let registry = Remote::registry(&name, &options, Patience::default())
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
