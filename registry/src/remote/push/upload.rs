//! One blob to a registry: there already, taken from another repository there, or sent in parts that can be gone on with.
//!
//! ```text
//! HEAD → there?   POST ?mount=&from= → taken?   POST → an upload's address → PATCH … PATCH → PUT ?digest=
//! ```
//!
//! When a connection breaks, the registry is asked how far the upload is; one that does not know begins anew. The failures
//! in a row without progress are bounded.
use super::{
    super::{
        Patience,
        client::{Failure, Remote},
    },
    payload::Payload,
};
use crate::Error;
use futures_util::TryStreamExt;
use reqwest::{
    Body, Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE},
};
use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What is no larger is sent with the request that ends the upload.
const SMALL_BYTES: u64 = 1 << 20;
/// Bytes of one `PATCH`, if the registry does not ask for more.
const PART_BYTES: u64 = 64 << 20;
/// A registry may ask for parts of so many bytes at least.
const MAX_PART_BYTES: u64 = 1 << 30;
/// A registry may ask to wait so long before the next try; longer ends the push.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// The end of an upload may take so much longer than other requests: the registry reads what it got.
const COMMIT_FACTOR: u32 = 10;
/// Time between two looks at how much was sent.
const LOOK_INTERVAL: Duration = Duration::from_millis(60);
/// Uploads of one blob that may be begun anew.
const MAX_RESTARTS: u32 = 3;

/// An upload that was begun.
struct Session {
    /// Where to send the next bytes; changes with each answer.
    location: Url,
    /// Bytes that the registry has.
    offset: u64,
    part_bytes: u64,
}

/// Uploads one blob.
pub(super) struct Upload<'a, P> {
    pub(super) remote: &'a Remote,
    pub(super) patience: &'a Patience,
    pub(super) payload: &'a Payload,
    /// Repositories of the same registry that have it.
    pub(super) mounts: &'a [String],
    /// Whether nothing was sent to the registry before: then one that cannot be reached is given up at once.
    pub(super) is_first: bool,
    /// Is told how many bytes are there.
    pub(super) show: P,
}

impl<P: FnMut(u64) + Send> Upload<'_, P> {
    /// Sees to it that the registry has the blob.
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        let mut session = None;
        let (mut n_failures, mut n_restarts) = (0, 0);
        let mut furthest = 0;
        loop {
            let failure = match self.attempt(&mut session).await {
                Ok(()) => {
                    (self.show)(self.payload.size);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let had_session = session.is_some();
            let failure = self.judge(failure, &mut session, &mut n_restarts);
            let offset = session.as_ref().map_or(0, |session| session.offset);
            if offset > furthest {
                (furthest, n_failures) = (offset, 0);
            }
            let (error, wait) = match failure {
                Failure::Final(error) => return Err(error),
                // Nobody wants to wait for what is not there at all.
                Failure::Passing(error @ Error::Unreachable { .. })
                    if self.is_first && !had_session && n_failures == 0 =>
                {
                    return Err(error);
                }
                Failure::Passing(error) => (error, Duration::ZERO),
                Failure::Busy(error, wait) => (error, wait.unwrap_or_default()),
            };
            n_failures += 1;
            if n_failures >= self.patience.max_failures {
                return Err(match error {
                    Error::RetriesExhausted { .. } => error,
                    other => Error::RetriesExhausted {
                        reason: other.to_string(),
                    },
                });
            }
            if wait > MAX_WAIT {
                let host = self.remote.host();
                return Err(Error::AskedToWait { host, wait });
            }
            tracing::debug!(%error, n_failures, "trying again");
            tokio::time::sleep(wait).await;
            self.patience.pause(n_failures).await;
        }
    }

    /// What a failure of an upload means: one that the registry has lost or spoilt is begun anew.
    fn judge(
        &self,
        failure: Failure,
        session: &mut Option<Session>,
        n_restarts: &mut u32,
    ) -> Failure {
        match failure {
            Failure::Final(error @ Error::RemoteStatus { status, .. })
                if session.is_some() && [400, 404, 409, 416].contains(&status) =>
            {
                // A range that is refused may be put right by asking how far the upload is.
                if status != 416 {
                    *session = None;
                }
                *n_restarts += 1;
                if *n_restarts > MAX_RESTARTS {
                    return Failure::Final(error);
                }
                Failure::Passing(error)
            }
            other => other,
        }
    }

    /// One try, from wherever the last one has ended.
    async fn attempt(&mut self, session: &mut Option<Session>) -> Result<(), Failure> {
        // Also after a failure: the answer to the last request may have been what was lost.
        if self.is_there().await? {
            return Ok(());
        }
        if let Some(begun) = session {
            let is_known = self.ask(begun).await?;
            if !is_known {
                *session = None;
            }
        } else {
            (self.show)(0);
            if self.mount().await {
                return Ok(());
            }
        }
        let session = match session {
            Some(session) => session,
            None => {
                let address = self.address("blobs/uploads/")?;
                let response = self.begin(&address).await?;
                // Some registries have found it in the meantime.
                if response.status() == StatusCode::CREATED {
                    return Ok(());
                }
                session.insert(self.session(&response)?)
            }
        };
        if self.payload.size > SMALL_BYTES {
            while session.offset < self.payload.size {
                self.part(session).await?;
            }
        }
        self.commit(session).await
    }

    fn address(&self, path: &str) -> Result<Url, Failure> {
        self.remote.address(path).map_err(Failure::Final)
    }

    fn doing(&self) -> String {
        format!("push blob {}", self.payload.digest)
    }

    async fn is_there(&self) -> Result<bool, Failure> {
        let url = self.address(&format!("blobs/{}", self.payload.digest))?;
        let make = || self.remote.change(Method::HEAD, &url);
        let answer = self.send(&self.doing(), &url, make).await;
        match answer {
            Ok(response) => {
                let size = response.headers().get(CONTENT_LENGTH);
                let size = size.and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == self.payload.size))
            }
            // What it may not be asked it may still be given.
            Err(Failure::Final(Error::RemoteStatus { .. })) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn send(
        &self,
        doing: &str,
        url: &Url,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let send = |request| self.remote.send(request);
        self.remote.exchange(doing, url, make, send).await
    }

    async fn begin(&self, url: &Url) -> Result<Response, Failure> {
        let make = || {
            self.remote
                .change(Method::POST, url)
                .header(CONTENT_LENGTH, "0")
        };
        self.send(&self.doing(), url, make).await
    }

    /// Whether the registry took the blob from another repository of its own. A refusal is none: bytes can be sent.
    async fn mount(&self) -> bool {
        for from in self.mounts {
            let Ok(mut url) = self.address("blobs/uploads/") else {
                return false;
            };
            url.query_pairs_mut()
                .append_pair("mount", &self.payload.digest.to_string())
                .append_pair("from", from);
            match self.begin(&url).await {
                Ok(response) if response.status() == StatusCode::CREATED => return true,
                // An upload was begun that nobody needs: registries forget them.
                Ok(_) => {}
                Err(failure) => {
                    tracing::debug!(from, error = %failure.into_error(), "no mount from there");
                }
            }
        }
        false
    }

    /// The upload that an answer speaks of.
    fn session(&self, response: &Response) -> Result<Session, Failure> {
        let min = response.headers().get("oci-chunk-min-length");
        let min = min.and_then(|min| min.to_str().ok()?.parse::<u64>().ok());
        Ok(Session {
            location: self.location(response)?.ok_or_else(|| {
                self.remote
                    .not_understood("it does not say where to upload to".to_owned())
            })?,
            offset: 0,
            part_bytes: PART_BYTES.max(min.unwrap_or(0)).min(MAX_PART_BYTES),
        })
    }

    /// Where to go on. A registry behind a proxy may not know that it speaks TLS.
    fn location(&self, response: &Response) -> Result<Option<Url>, Failure> {
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let refuse = |reason: &str| self.remote.not_understood(reason.to_owned());
        let location = location
            .to_str()
            .map_err(|_| refuse("its address is no text"))?;
        let mut url = response
            .url()
            .join(location)
            .map_err(|error| refuse(&error.to_string()))?;
        let base = self.remote.base();
        if base.scheme() == "https" && url.scheme() != "https" {
            let is_same_host = url.host() == base.host() && url.scheme() == "http";
            if !is_same_host || url.set_scheme("https").is_err() {
                return Err(refuse(
                    "it leads from HTTPS to a connection without protection",
                ));
            }
        }
        Ok(Some(url))
    }

    /// Asks how far the upload is; whether it is known.
    async fn ask(&self, session: &mut Session) -> Result<bool, Failure> {
        let url = session.location.clone();
        let make = || self.remote.change(Method::GET, &url);
        match self.send(&self.doing(), &url, make).await {
            Ok(response) => {
                if let Some(location) = self.location(&response)? {
                    session.location = location;
                }
                let Some(offset) = n_received(&response) else {
                    return Ok(false);
                };
                session.offset = offset.min(self.payload.size);
                Ok(true)
            }
            Err(Failure::Final(Error::RemoteStatus { .. })) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn part(&mut self, session: &mut Session) -> Result<(), Failure> {
        let end = self
            .payload
            .size
            .min(session.offset.saturating_add(session.part_bytes));
        let span = session.offset..end;
        let url = session.location.clone();
        let response = self
            .send_bytes(Method::PATCH, &url, span.clone(), true)
            .await?;
        if let Some(location) = self.location(&response)? {
            session.location = location;
        }
        // It may have kept less than was sent.
        let offset = n_received(&response)
            .filter(|n| span.contains(n))
            .unwrap_or(span.end);
        if offset == span.start {
            return Err(Failure::Passing(Error::RetriesExhausted {
                reason: "the registry took no byte of what was sent".to_owned(),
            }));
        }
        session.offset = offset;
        Ok(())
    }

    async fn commit(&mut self, session: &mut Session) -> Result<(), Failure> {
        let mut url = session.location.clone();
        let digest = self.payload.digest.to_string();
        url.query_pairs_mut().append_pair("digest", &digest);
        let rest = session.offset..self.payload.size;
        self.send_bytes(Method::PUT, &url, rest, false).await?;
        Ok(())
    }

    /// Sends the bytes of `span`, and tells how many are there meanwhile.
    async fn send_bytes(
        &mut self,
        method: Method,
        url: &Url,
        span: Range<u64>,
        is_part: bool,
    ) -> Result<Response, Failure> {
        let (remote, payload) = (self.remote, self.payload);
        let sent = Arc::new(AtomicU64::new(0));
        let n_bytes = span.end - span.start;
        // Why the bytes could not be read here, which the HTTP client calls a failure to send.
        let unreadable: Arc<Mutex<Option<Error>>> = Arc::default();
        let make = || {
            let (counter, unreadable) = (Arc::clone(&sent), Arc::clone(&unreadable));
            counter.store(0, Ordering::Relaxed);
            let bytes = payload.read(span.clone()).inspect_ok(move |chunk| {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            });
            let bytes = bytes.map_err(move |error| {
                let said = io::Error::other(error.to_string());
                *lock(&unreadable) = Some(error);
                said
            });
            let request = remote.change(method.clone(), url);
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            let request = request.header(CONTENT_LENGTH, n_bytes);
            let request = if is_part {
                request.header(CONTENT_RANGE, format!("{}-{}", span.start, span.end - 1))
            } else {
                request
            };
            request.body(Body::wrap_stream(bytes))
        };
        let patience = self.patience.stall * if is_part { 1 } else { COMMIT_FACTOR };
        let show = Mutex::new(&mut self.show);
        let send = async |request: RequestBuilder| {
            let sending = request.send();
            tokio::pin!(sending);
            let mut look = interval(LOOK_INTERVAL);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut seen, mut moved) = (0, Instant::now());
            loop {
                tokio::select! {
                    answer = &mut sending => {
                        if let Some(error) = lock(&unreadable).take() {
                            return Err(Failure::Final(error));
                        }
                        return answer.map_err(|error| remote.network_failure(&error));
                    }
                    _ = look.tick() => {
                        let n_sent = sent.load(Ordering::Relaxed);
                        if n_sent != seen {
                            (seen, moved) = (n_sent, Instant::now());
                            let mut show = lock(&show);
                            show(span.start + n_sent.min(n_bytes));
                        } else if moved.elapsed() >= patience {
                            return Err(remote.stalled());
                        }
                    }
                }
            }
        };
        let doing = format!("push blob {}", payload.digest);
        remote.exchange(&doing, url, make, send).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes an upload has, by `Range: 0-41`. (Nothing and one byte are both `0-0`; the latter is sent again.)
fn n_received(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then(|| if last == 0 { 0 } else { last.saturating_add(1) })
}
