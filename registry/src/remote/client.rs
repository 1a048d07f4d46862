//! One host as seen by one pull: addresses, headers, credentials, and which failures are worth another try.
use super::{
    Network, Patience, PullOptions,
    auth::{self, Challenge},
    credentials::Credentials,
    files, joined,
    spans::Span,
    transfer,
};
use crate::{
    Descriptor, Digest, Error, ModelName,
    error::one_line,
    manifest::{DOCKER_MANIFEST, MAX_MANIFEST_BYTES, OCI_MANIFEST},
};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, IF_RANGE,
        RANGE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
    },
};
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

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

impl Failure {
    /// What to say when nothing is tried again.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Final(error) | Self::Passing(error) | Self::Busy(error, _) => error,
        }
    }
}

/// One host, and what it is told about who asks.
pub(super) struct Remote {
    client: Client,
    /// For errors.
    name: ModelName,
    /// Only requests to the origin of this address carry credentials.
    base: Url,
    authorization: Mutex<Option<HeaderValue>>,
    network: Arc<Network>,
    /// Whether a password may go over this connection.
    is_private: bool,
    patience: Patience,
}

/// Where the bytes of one blob are.
pub(super) struct Origin {
    remote: Arc<Remote>,
    url: Url,
    doing: String,
    /// Where the host redirected to, when that was elsewhere; runs out at some time.
    direct: Mutex<Option<Url>>,
    /// What the file's ETag or time must be.
    validator: Option<String>,
    /// The part of the file that is looked at as if it were all.
    window: Option<Window>,
}

/// A part of a file.
struct Window {
    span: Span,
    /// Bytes of the file.
    total: u64,
}

impl Origin {
    /// The host's name, for errors.
    pub(super) fn host(&self) -> String {
        self.remote.host()
    }

    /// The bytes of `span`, or all, if the server is so kind: see the answer's status.
    pub(super) async fn open(&self, span: Option<&Span>) -> Result<Response, Failure> {
        let inside = self.window.as_ref().map(|window| {
            let whole = 0..window.span.end - window.span.start;
            let span = span.unwrap_or(&whole);
            window.span.start + span.start..window.span.start + span.end
        });
        let span = inside.as_ref().or(span);
        let range = span.map(|span| (RANGE, format!("bytes={}-{}", span.start, span.end - 1)));
        // A weak ETag is no condition for a range.
        let strong = self.validator.as_ref().filter(|tag| !tag.starts_with("W/"));
        let condition = strong.filter(|_| span.is_some());
        let condition = condition.map(|tag| (IF_RANGE, tag.clone()));
        let headers: Vec<_> = range.into_iter().chain(condition).collect();
        let direct = self.direct().clone();
        if let Some(url) = direct {
            let request = self.remote.request(&url, &headers);
            match self.remote.send(request).await {
                Ok(response) if response.status().is_success() => {
                    return self.unchanged(response);
                }
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
        self.unchanged(response)
    }

    /// Looks at the bytes `span` of the file, which has `total`, as if they were all.
    pub(super) fn look_at(&mut self, span: Span, total: u64) {
        self.window = Some(Window { span, total });
    }

    /// The first byte and the total that an answer speaks of, as [`Self::open`] counts them.
    pub(super) fn content_range(&self, response: &Response) -> Option<(u64, Option<u64>)> {
        let (start, total) = transfer::content_range(response)?;
        let Some(Window {
            span,
            total: of_file,
        }) = &self.window
        else {
            return Some((start, total));
        };
        let seen = |total| {
            if total == *of_file {
                span.end - span.start
            } else {
                u64::MAX
            }
        };
        Some((start.checked_sub(span.start)?, total.map(seen)))
    }

    /// Says what the file's ETag or time must be in all answers from now on.
    pub(super) fn expect(&mut self, validator: Option<String>) {
        self.validator = validator;
    }

    fn unchanged(&self, response: Response) -> Result<Response, Failure> {
        if self.window.is_some() && response.status() != StatusCode::PARTIAL_CONTENT {
            let reason = "it does not send parts, which a file inside a layer needs".to_owned();
            return Err(self.remote.not_understood(reason));
        }
        let found = files::validator(&response);
        match (&self.validator, found) {
            (Some(expected), Some(found)) if *expected != found => {
                Err(Failure::Final(Error::Changed { host: self.host() }))
            }
            _ => Ok(response),
        }
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
    /// The host of `base`, with a token for it where there is one.
    pub(super) async fn new(
        name: &ModelName,
        base: Url,
        token: Option<String>,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Arc<Self>, Error> {
        let is_local = base.host_str().is_some_and(is_loopback);
        let network = Arc::clone(&options.network);
        // Making a client reads the certificates of the system from the disk.
        let client = tokio::task::spawn_blocking({
            let network = Arc::clone(&network);
            move || network.client(is_local)
        });
        let token = token.map(|token| secret(&format!("Bearer {token}")));
        Ok(Arc::new(Self {
            client: joined(client).await?,
            name: name.clone(),
            is_private: base.scheme() == "https" || is_local || options.insecure,
            base,
            authorization: Mutex::new(token.flatten()),
            network,
            patience,
        }))
    }

    /// The repository at the registry that `name` says.
    pub(super) async fn registry(
        name: &ModelName,
        repository: &str,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Arc<Self>, Error> {
        let host = name.host();
        let is_local = is_loopback(host);
        let is_plain = name.is_http() || (!name.is_https() && (options.insecure || is_local));
        let scheme = if is_plain { "http" } else { "https" };
        let address = format!("{scheme}://{host}");
        Self::registry_at(&address, name, repository, options, patience).await
    }

    /// The repository at `address`, `https://host[:port][/path]`, whatever `name` says.
    pub(super) async fn registry_at(
        address: &str,
        name: &ModelName,
        repository: &str,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Arc<Self>, Error> {
        let base = format!("{address}/v2/{repository}/");
        let base = Url::parse(&base).map_err(|error| Error::Protocol {
            host: name.host().to_owned(),
            reason: format!("`{base}` is no address: {error}"),
        })?;
        Self::new(name, base, None, options, patience).await
    }

    /// A neighbour at `host:port`, which needs no proxy and learns nothing about who asks.
    pub(super) async fn neighbor(
        address: &str,
        name: &ModelName,
        options: &PullOptions,
        patience: Patience,
    ) -> Result<Arc<Self>, Error> {
        let base = format!("http://{address}/v2/{}/", crate::repository(name));
        let base = Url::parse(&base).map_err(|error| Error::Protocol {
            host: address.to_owned(),
            reason: format!("`{base}` is no address: {error}"),
        })?;
        let network = Arc::clone(&options.network);
        let client = tokio::task::spawn_blocking(move || network.client(true));
        Ok(Arc::new(Self {
            client: joined(client).await?,
            name: name.clone(),
            base,
            authorization: Mutex::new(None),
            network: Arc::clone(&options.network),
            is_private: false,
            patience,
        }))
    }

    /// Whether the host says that it has `blob`, all of it.
    pub(super) async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let url = self
            .address(&format!("blobs/{}", blob.digest))
            .map_err(Failure::Final)?;
        let response = self.send(self.change(Method::HEAD, &url)).await?;
        let size = response.headers().get(CONTENT_LENGTH);
        let size = size.and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
        Ok(response.status().is_success() && size == Some(blob.size))
    }

    /// For errors.
    pub(super) fn name(&self) -> &ModelName {
        &self.name
    }

    /// Host and port of the address.
    pub(super) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The file at `url`.
    pub(super) fn origin(self: &Arc<Self>, url: Url, doing: String) -> Origin {
        Origin {
            remote: Arc::clone(self),
            url,
            doing,
            direct: Mutex::new(None),
            validator: None,
            window: None,
        }
    }

    /// Where the blob `digest` of this registry is.
    pub(super) fn blob(self: &Arc<Self>, digest: &Digest) -> Result<Origin, Error> {
        let url = self.address(&format!("blobs/{digest}"))?;
        Ok(self.origin(url, format!("pull blob {digest}")))
    }

    /// The bytes of the manifest `tag`, or of the one that has the digest `pin`.
    pub(super) async fn manifest(&self, tag: &str, pin: Option<Digest>) -> Result<Vec<u8>, Error> {
        let by_digest = pin.map(|pin| pin.to_string());
        let mut wanted: Vec<&str> = by_digest.iter().map(String::as_str).collect();
        // Not every registry knows manifests by digest.
        wanted.push(tag);
        let mut n_failures = 0;
        let mut idx = 0;
        let json = loop {
            match self.try_manifest(wanted[idx]).await {
                Ok(json) => break json,
                Err(Failure::Final(Error::RemoteNotFound { .. } | Error::RemoteStatus { .. }))
                    if idx + 1 < wanted.len() =>
                {
                    idx += 1;
                }
                Err(failure) => self.wait_after(failure, &mut n_failures).await?,
            }
        };
        let got = Digest::of(&json);
        match pin {
            Some(want) if want != got => Err(Error::OtherManifest {
                name: self.name.clone(),
                want,
                got,
            }),
            _ => Ok(json),
        }
    }

    /// Waits for the next try of a small request, or says why there is none.
    pub(super) async fn wait_after(
        &self,
        failure: Failure,
        n_failures: &mut u32,
    ) -> Result<(), Error> {
        let (error, wait) = match failure {
            // Nobody wants to wait for what is not there at all.
            Failure::Final(error) | Failure::Passing(error @ Error::Unreachable { .. }) => {
                return Err(error);
            }
            Failure::Passing(error) => (error, Duration::ZERO),
            Failure::Busy(error, wait) => (error, wait.unwrap_or_default()),
        };
        *n_failures += 1;
        if *n_failures >= MAX_MANIFEST_FAILURES {
            return Err(error);
        }
        if wait > MAX_MANIFEST_WAIT {
            let host = self.host();
            return Err(Error::AskedToWait { host, wait });
        }
        tokio::time::sleep(wait).await;
        self.patience.pause(*n_failures).await;
        Ok(())
    }

    async fn try_manifest(&self, tag: &str) -> Result<Vec<u8>, Failure> {
        let doing = "pull model manifest";
        let path = format!("manifests/{tag}");
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

    /// The body of the answer to one request.
    pub(super) async fn fetch(
        &self,
        doing: &str,
        url: &str,
        limit: usize,
    ) -> Result<Vec<u8>, Failure> {
        let url = Url::parse(url).map_err(|error| self.not_understood(error.to_string()))?;
        let response = self.get(doing, &url, &[]).await?;
        self.read_body(response, limit).await
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
        let make = || self.request(url, headers);
        self.exchange(doing, url, make, |request| self.send(request))
            .await
    }

    /// A successful answer to what `make` makes for `url` and `send` sends, with a token where the host wants one. It is
    /// made anew with each token, since a body can be sent once only.
    pub(super) async fn exchange<F: Future<Output = Result<Response, Failure>>>(
        &self,
        doing: &str,
        url: &Url,
        mut make: impl FnMut() -> reqwest::RequestBuilder,
        mut send: impl FnMut(reqwest::RequestBuilder) -> F,
    ) -> Result<Response, Failure> {
        let is_ours = url.origin() == self.base.origin();
        let mut has_new_token = false;
        loop {
            let mut request = make();
            let authorization = self.authorization().clone();
            if let Some(authorization) = authorization.filter(|_| is_ours) {
                // reqwest leaves it off when a redirect goes to another host.
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = send(request).await?;
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

    /// The beginning of a request that changes something; see [`Self::exchange`].
    pub(super) fn change(&self, method: Method, url: &Url) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url.clone());
        request.header(USER_AGENT, user_agent())
    }

    /// The address of `path` below the repository.
    pub(super) fn address(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|error| Error::Protocol {
            host: self.host(),
            reason: format!("`{path}` is no address: {error}"),
        })
    }

    /// The address of the repository; credentials go to its host alone.
    pub(super) fn base(&self) -> &Url {
        &self.base
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

    /// Finds out what the host wants to know about who asks, and gets it.
    async fn fetch_token(&self, response: &Response) -> Result<(), Failure> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|header| header.to_str().ok());
        let challenges: Vec<String> = challenges.map(str::to_owned).collect();
        let credentials = self.credentials().await.map_err(Failure::Final)?;
        let bearer = challenges
            .iter()
            .filter_map(|header| Challenge::parse(header))
            .find_map(|challenge| Some((challenge.token_url(&self.base)?, challenge)));
        let Some((url, challenge)) = bearer else {
            let wants_password = challenges.iter().any(|header| {
                let scheme = header.split_whitespace().next().unwrap_or_default();
                scheme.eq_ignore_ascii_case("basic")
            });
            let credentials = credentials.filter(|_| wants_password);
            let credentials = credentials.ok_or_else(|| self.unauthorized())?;
            *self.authorization() = secret(&credentials.basic());
            return Ok(());
        };
        // Others get no password, but may give a token to everybody.
        let credentials = credentials.filter(|_| challenge.is_trusted_by(&self.base));
        let answer = self
            .send(self.token_request(url, &challenge, credentials))
            .await?;
        if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS {
            return Err(self.unauthorized());
        }
        if !answer.status().is_success() {
            return Err(self.failure("pull token", answer).await);
        }
        let json = self.read_body(answer, MAX_TOKEN_BYTES).await?;
        let token = auth::token_of(&json);
        let token = token.ok_or_else(|| self.not_understood("no token in it".to_owned()))?;
        let value = secret(&format!("Bearer {token}"));
        let value = value.ok_or_else(|| self.not_understood("its token is no text".to_owned()))?;
        *self.authorization() = Some(value);
        Ok(())
    }

    fn token_request(
        &self,
        url: Url,
        challenge: &Challenge,
        credentials: Option<Credentials>,
    ) -> reqwest::RequestBuilder {
        let Some(credentials) = credentials else {
            return self.request(&url, &[]);
        };
        if let Some(token) = credentials.refresh_token() {
            let mut url = url;
            url.set_query(None);
            let request = self.client.post(url).header(USER_AGENT, user_agent());
            let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            return request.body(challenge.refresh_form(token));
        }
        let request = self.request(&url, &[]);
        match secret(&credentials.basic()) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    /// Who one is to this host.
    async fn credentials(&self) -> Result<Option<Credentials>, Error> {
        if !self.is_private {
            return Ok(None);
        }
        let (network, host) = (Arc::clone(&self.network), self.host());
        // Docker keeps those for its own registry under another name.
        let host = match host.as_str() {
            "docker.io" | "registry-1.docker.io" => "index.docker.io".to_owned(),
            _ => host,
        };
        let found = tokio::task::spawn_blocking(move || network.keyring.find(&host));
        joined(found).await
    }

    fn unauthorized(&self) -> Failure {
        Failure::Final(Error::Unauthorized {
            name: self.name.clone(),
        })
    }

    pub(super) fn not_understood(&self, reason: String) -> Failure {
        let host = self.host();
        Failure::Final(Error::Protocol { host, reason })
    }

    /// Sends; the answer's head must come before patience ends.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
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

    pub(super) fn stalled(&self) -> Failure {
        Failure::Passing(Error::RetriesExhausted {
            reason: format!("no byte came for {:?}", self.patience.stall),
        })
    }

    pub(super) fn network_failure(&self, error: &reqwest::Error) -> Failure {
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

/// The value of a header that no log shows; `None` where it cannot be one.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
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
    one_line(&text)
}

/// The cause of all causes, which says what happened; the outer ones repeat addresses.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether `host` (which may carry a port) is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
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
            let name: ModelName = name.parse().unwrap();
            let repository = format!("{}/{}", name.namespace(), name.model());
            let options = PullOptions {
                insecure,
                ..PullOptions::default()
            };
            let registry = Remote::registry(&name, &repository, &options, Patience::default())
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
