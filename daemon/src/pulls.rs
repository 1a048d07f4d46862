//! Downloads in progress, shared by everyone who asks for the same name.
//!
//! The first client starts the download, later ones join it and hear of every part that there is. Each takes the
//! progress at its own pace. When the last client leaves, the download is cancelled; finished bytes stay for the next.

use crate::{
    catalog,
    config::Config,
    details::{self, GgufFacts},
    error::ApiError,
};
use serde_json::Map;
use slm_api::ollama::Progress;
use slm_registry::{
    Digest, Reference, Store,
    remote::{self, Network, PullEvent, PullOptions, Throttle},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle};

/// The least time between two reports to one client.
const REPORT_INTERVAL: Duration = Duration::from_millis(60);

/// How far a download is. Each step includes the earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Manifest,
    Blobs,
    Verifying,
    WritingManifest,
    RemovingUnused,
}

/// The steps after the blobs and what they are called.
const LATER_PHASES: [(Phase, &str); 3] = [
    (Phase::Verifying, "verifying sha256 digest"),
    (Phase::WritingManifest, "writing manifest"),
    (Phase::RemovingUnused, "removing unused layers"),
];

#[derive(Clone, Debug, Default)]
struct State {
    phase: Phase,
    /// What a person is told, in order.
    notes: Vec<String>,
    /// Bytes of the model and those of them that were here, once known.
    size: Option<(u64, u64)>,
    blobs: Vec<Blob>,
    /// Whether old layers were removed: the one step that may be left out.
    removed_unused: bool,
    ended: Option<Result<(), ApiError>>,
}

/// How far a blob is, in bytes.
#[derive(Clone, Debug)]
struct Blob {
    digest: Digest,
    total: u64,
    /// Those that were there before this pull.
    began_at: u64,
    completed: u64,
}

impl State {
    fn apply(&mut self, event: PullEvent) {
        let phase = match event {
            PullEvent::Manifest => Phase::Manifest,
            PullEvent::Note(note) => {
                self.notes.push(note);
                self.phase
            }
            PullEvent::Size { total, here } => {
                self.size.get_or_insert((total, here));
                self.phase
            }
            PullEvent::Blob {
                digest,
                total,
                completed,
            } => {
                match self.blobs.iter_mut().find(|blob| blob.digest == digest) {
                    Some(blob) => {
                        blob.total = total;
                        blob.completed = completed.max(blob.completed);
                    }
                    None => self.blobs.push(Blob {
                        digest,
                        total,
                        began_at: completed,
                        completed,
                    }),
                }
                Phase::Blobs
            }
            PullEvent::Verifying => Phase::Verifying,
            PullEvent::WritingManifest => Phase::WritingManifest,
            PullEvent::RemovingUnused => {
                self.removed_unused = true;
                Phase::RemovingUnused
            }
        };
        self.phase = self.phase.max(phase);
    }
}

/// A running download. When the last holder drops it, it is cancelled.
#[derive(Debug)]
struct Download {
    state: watch::Receiver<State>,
    task: AbortHandle,
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) reference: Reference,
    /// Whether plain HTTP was agreed to.
    pub(crate) insecure: bool,
    /// Bytes per second.
    pub(crate) max_bandwidth: Option<u64>,
}

/// The downloads of this daemon.
#[derive(Debug)]
pub(crate) struct Pulls {
    store: Store,
    network: Arc<Network>,
    /// Of all downloads together.
    throttle: Option<Arc<Throttle>>,
    /// By what is wanted, whether it says `http://`, and whether plain HTTP was agreed to.
    running: Mutex<HashMap<(Reference, bool, bool), Weak<Download>>>,
}

/// What the config of a bare GGUF file says: the same as that of a model that is created of it.
pub(crate) fn config_of(paths: &[std::path::PathBuf]) -> Result<Vec<u8>, String> {
    if let [path] = paths
        && let Some((_, count)) = details::part(path).map_err(|error| error.message().to_owned())?
    {
        return Err(format!(
            "it is one of {count} parts of a model, and the others are not known"
        ));
    }
    let facts = GgufFacts::of_model(paths).map_err(|error| error.message().to_owned())?;
    let config = catalog::new_config(Map::new(), &facts, None);
    serde_json::to_vec(&config).map_err(|error| error.to_string())
}

impl Pulls {
    /// None yet.
    pub(crate) fn new(store: Store, config: &Config) -> Self {
        Self {
            store,
            network: Arc::clone(&config.network),
            throttle: config
                .max_bandwidth
                .map(|rate| Arc::new(Throttle::new(rate))),
            running: Mutex::default(),
        }
    }

    /// Joins the download of what is wished, or starts it. Needs a runtime.
    pub(crate) fn join(&self, wish: Wish) -> Watcher {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, download| download.strong_count() > 0);
        let is_http = wish.reference.is_http();
        let key = (wish.reference.clone(), is_http, wish.insecure);
        let known = running.get(&key).and_then(Weak::upgrade);
        let download = known
            .filter(|download| download.state.borrow().ended.is_none())
            .unwrap_or_else(|| {
                let download = Arc::new(self.start(wish));
                running.insert(key, Arc::downgrade(&download));
                download
            });
        Watcher::new(download)
    }

    /// How to reach others apart from pulls, within the same bound on the bandwidth.
    pub(crate) fn options(&self, insecure: bool) -> PullOptions {
        PullOptions {
            insecure,
            throttles: self.throttle.iter().cloned().collect(),
            network: Arc::clone(&self.network),
        }
    }

    fn start(&self, wish: Wish) -> Download {
        let (sender, state) = watch::channel(State::default());
        let store = self.store.clone();
        let own = wish.max_bandwidth.map(|rate| Arc::new(Throttle::new(rate)));
        let mut options = self.options(wish.insecure);
        options.throttles.extend(own);
        let task = tokio::spawn(async move {
            let report = |event| sender.send_modify(|state| state.apply(event));
            let ended = remote::pull(&store, &wish.reference, &options, report).await;
            sender.send_modify(|state| state.ended = Some(ended.map_err(ApiError::from)));
        });
        Download {
            state,
            task: task.abort_handle(),
        }
    }
}

/// One client's view of a download.
#[derive(Debug)]
pub(crate) struct Watcher {
    state: watch::Receiver<State>,
    lines: Lines,
    download: Arc<Download>,
}

impl Watcher {
    fn new(download: Arc<Download>) -> Self {
        Self {
            state: download.state.clone(),
            lines: Lines::default(),
            download,
        }
    }

    /// Waits for news and gives them as lines of progress; at the end the last line is `success`, then `None`.
    ///
    /// # Errors
    /// Why the download failed.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Progress>, ApiError>> {
        debug_assert!(Arc::strong_count(&self.download) > 0);
        loop {
            if self.lines.is_done {
                return None;
            }
            let state = self.state.borrow_and_update().clone();
            let fresh = self.lines.fresh(&state);
            match fresh {
                Err(error) => return Some(Err(error)),
                Ok(lines) if !lines.is_empty() => return Some(Ok(lines)),
                Ok(_) => {}
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
            if self.state.changed().await.is_err() && self.state.borrow().ended.is_none() {
                self.lines.is_done = true;
                return Some(Err(ApiError::internal("the download stopped unexpectedly")));
            }
        }
    }
}

/// What one client has been told.
#[derive(Debug, Default)]
struct Lines {
    knows_manifest: bool,
    knows_size: bool,
    n_notes: usize,
    /// Completed bytes last told, by the blob's place.
    told: Vec<u64>,
    phase: Phase,
    is_done: bool,
}

impl Lines {
    /// What is new in `state`.
    fn fresh(&mut self, state: &State) -> Result<Vec<Progress>, ApiError> {
        let mut lines = Vec::new();
        if !self.knows_manifest {
            self.knows_manifest = true;
            lines.push(status("pulling manifest"));
        }
        let notes = state.notes.iter().skip(self.n_notes);
        lines.extend(notes.map(|note| status(note)));
        self.n_notes = state.notes.len();
        if let (Some((total, here)), false) = (state.size, self.knows_size) {
            self.knows_size = true;
            lines.push(Progress {
                total: Some(total),
                completed: Some(here),
                ..status("pulling manifest")
            });
        }
        for (idx, blob) in state.blobs.iter().enumerate() {
            // A blob's first line says what an earlier pull has left, however fast the rest came.
            let told = self.told.get(idx).copied();
            let first = told.is_none().then_some(blob.began_at);
            let news = (told.or(first) != Some(blob.completed)).then_some(blob.completed);
            lines.extend(first.into_iter().chain(news).map(|n_bytes| Progress {
                status: format!("pulling {}", &blob.digest.hex()[..12]),
                digest: Some(blob.digest.to_string()),
                total: Some(blob.total),
                completed: Some(n_bytes).filter(|n| *n > 0),
            }));
        }
        self.told = state.blobs.iter().map(|blob| blob.completed).collect();
        for (phase, text) in LATER_PHASES {
            let happened = phase != Phase::RemovingUnused || state.removed_unused;
            if self.phase < phase && phase <= state.phase && happened {
                self.phase = phase;
                lines.push(status(text));
            }
        }
        match &state.ended {
            Some(Err(error)) if lines.is_empty() => {
                self.is_done = true;
                return Err(error.clone());
            }
            Some(Ok(())) => {
                self.is_done = true;
                lines.push(status("success"));
            }
            _ => {}
        }
        Ok(lines)
    }
}

fn status(text: &str) -> Progress {
    Progress {
        status: text.to_owned(),
        ..Progress::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        shutdown::Shutdown,
        testing::{TestDaemon, eventually},
    };
    use axum::{Router, extract::Path, routing::get};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn statuses(lines: &[Progress]) -> Vec<(String, Option<u64>)> {
        let pairs = lines
            .iter()
            .map(|line| (line.status.clone(), line.completed));
        pairs.collect()
    }

    #[test]
    fn a_client_hears_everything_once_and_in_order() {
        let digest = Digest::of(b"x");
        let blob = |completed| PullEvent::Blob {
            digest,
            total: 10,
            completed,
        };
        let mut state = State::default();
        let mut lines = Lines::default();
        state.apply(PullEvent::Manifest);
        assert_eq!(
            statuses(&lines.fresh(&state).unwrap()),
            [("pulling manifest".into(), None)]
        );
        state.apply(blob(0));
        state.apply(blob(4));
        let name = format!("pulling {}", &digest.hex()[..12]);
        assert_eq!(
            statuses(&lines.fresh(&state).unwrap()),
            [(name.clone(), None), (name.clone(), Some(4))],
            "the first line says where the blob began"
        );
        state.apply(blob(3));
        assert!(
            lines.fresh(&state).unwrap().is_empty(),
            "progress never shrinks"
        );
        state.apply(blob(10));
        state.apply(PullEvent::Verifying);
        state.apply(PullEvent::WritingManifest);
        state.ended = Some(Ok(()));
        let rest = [
            (name.clone(), Some(10)),
            ("verifying sha256 digest".into(), None),
            ("writing manifest".into(), None),
            ("success".into(), None),
        ];
        assert_eq!(statuses(&lines.fresh(&state).unwrap()), rest);
        assert!(lines.is_done);
        // one who comes late hears of all parts too
        let late = Lines::default().fresh(&state).unwrap();
        assert_eq!(late.len(), 6);
    }

    #[test]
    fn the_size_is_told_once_before_the_bytes() {
        let (mut state, mut lines) = (State::default(), Lines::default());
        for here in [3, 7] {
            // the second is that of another attempt
            state.apply(PullEvent::Size { total: 9, here });
        }
        let first = lines.fresh(&state).unwrap();
        let told: Vec<_> = first.iter().map(|l| (l.total, l.completed)).collect();
        assert_eq!(told, [(None, None), (Some(9), Some(3))]);
        assert!(first.iter().all(|line| line.digest.is_none()));
        assert!(lines.fresh(&state).unwrap().is_empty());
    }

    #[test]
    fn notes_are_told_once_before_the_bytes() {
        let mut state = State::default();
        let mut lines = Lines::default();
        state.apply(PullEvent::Manifest);
        state.apply(PullEvent::Note("choosing a".into()));
        let first = lines.fresh(&state).unwrap();
        assert_eq!(first[1].status, "choosing a");
        assert!(lines.fresh(&state).unwrap().is_empty());
        state.apply(PullEvent::Note("as b".into()));
        assert_eq!(
            statuses(&lines.fresh(&state).unwrap()),
            [("as b".into(), None)]
        );
    }

    #[test]
    fn an_error_comes_after_the_lines_before_it() {
        let state = State {
            ended: Some(Err(ApiError::bad_request("no"))),
            ..State::default()
        };
        let mut lines = Lines::default();
        assert_eq!(lines.fresh(&state).unwrap().len(), 1);
        assert_eq!(lines.fresh(&state).unwrap_err().message(), "no");
    }

    /// A registry with one model, whose weights come only when the test says so.
    struct SlowRegistry {
        address: std::net::SocketAddr,
        n_manifests: Arc<AtomicUsize>,
        go: watch::Sender<bool>,
    }

    impl SlowRegistry {
        async fn start() -> Self {
            let weights: &'static [u8] = b"weights of a model";
            let config: &'static [u8] = b"{}";
            let layer = |media: &str, bytes: &[u8]| {
                json!({"mediaType": format!("application/vnd.{media}"), "digest": Digest::of(bytes).to_string(),
                    "size": bytes.len()})
            };
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": layer("docker.container.image.v1+json", config),
                "layers": [layer("ollama.image.model", weights)],
            });
            let n_manifests = Arc::new(AtomicUsize::new(0));
            let (go, going) = watch::channel(false);
            let counter = Arc::clone(&n_manifests);
            let router = Router::new()
                .route(
                    "/v2/library/m/manifests/latest",
                    get(move || async move {
                        counter.fetch_add(1, Ordering::SeqCst);
                        manifest.to_string()
                    }),
                )
                .route(
                    "/v2/library/m/blobs/{digest}",
                    get(move |Path(digest): Path<String>| async move {
                        if digest == Digest::of(config).to_string() {
                            return config;
                        }
                        let mut going = going.clone();
                        let _registry_may_be_gone = going.wait_for(|go| *go).await;
                        weights
                    }),
                );
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(crate::server::run(listener, router, Shutdown::default()));
            Self {
                address,
                n_manifests,
                go,
            }
        }
        fn model(&self) -> slm_registry::ModelName {
            format!("http://{}/library/m", self.address)
                .parse()
                .unwrap()
        }
    }

    async fn to_the_end(mut watcher: Watcher) -> Vec<String> {
        let mut statuses = Vec::new();
        while let Some(lines) = watcher.next().await {
            statuses.extend(lines.unwrap().into_iter().map(|line| line.status));
        }
        statuses
    }

    #[tokio::test]
    async fn clients_share_a_download_and_the_last_one_cancels_it() {
        let daemon = TestDaemon::new();
        let pulls = &daemon.app.pulls;
        let registry = SlowRegistry::start().await;
        let name = registry.model();
        let wish = Wish {
            reference: name.clone().into(),
            insecure: true,
            max_bandwidth: None,
        };
        let mut first = pulls.join(wish.clone());
        let second = pulls.join(wish.clone());
        assert!(Arc::ptr_eq(&first.download, &second.download));
        // until the weights are being waited for
        while first
            .next()
            .await
            .unwrap()
            .unwrap()
            .iter()
            .all(|line| line.digest.is_none())
        {}
        let task = first.download.task.clone();
        drop(second);
        tokio::task::yield_now().await;
        assert!(!task.is_finished(), "one client is left");
        drop(first);
        eventually(|| task.is_finished()).await;
        assert!(daemon.app.store.find(&name).is_err());

        let (a, b) = (pulls.join(wish.clone()), pulls.join(wish.clone()));
        registry.go.send_replace(true);
        let (a, b) = tokio::join!(to_the_end(a), to_the_end(b));
        assert_eq!(a.first().map(String::as_str), Some("pulling manifest"));
        assert_eq!(a.last().map(String::as_str), Some("success"));
        assert_eq!(b.last().map(String::as_str), Some("success"));
        assert_eq!(
            registry.n_manifests.load(Ordering::SeqCst),
            2,
            "one per download"
        );
        assert!(daemon.app.store.find(&name).is_ok());
    }
}
