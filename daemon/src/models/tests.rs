//! Loading, sharing, evicting and expiring, with the tiny model.

use super::*;
use crate::testing::{TestDaemon, eventually};
use serde_json::json;

async fn record(daemon: &TestDaemon, name: &'static str) -> Arc<Record> {
    let find = |app: &crate::state::App| app.catalog.find(&name.parse()?);
    daemon.app.blocking(find).await.unwrap()
}

fn demand(record: &Arc<Record>, keep: Option<KeepFor>) -> Demand {
    Demand {
        record: Arc::clone(record),
        window: Window::Auto { at_least: 0 },
        n_threads: None,
        kv_type: None,
        draft: None,
        adapters: Vec::new(),
        keep,
    }
}

/// A second model with other weights: the same file with one byte of a tensor changed.
async fn add_other(daemon: &TestDaemon) {
    let mut bytes = crate::testing::tiny_model();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let digest = daemon.upload(&bytes).await;
    let body = json!({"model": "other", "files": {"m.gguf": digest}, "stream": false});
    let answer = daemon.post("/api/create", &body.to_string()).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

fn names(daemon: &TestDaemon) -> Vec<String> {
    let mut names: Vec<String> = daemon
        .app
        .models
        .running()
        .iter()
        .map(|running| running.record.name.to_string())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_load() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let (a, b) = tokio::join!(
        models.acquire(demand(&record, None)),
        models.acquire(demand(&record, None))
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.slot_id, b.slot_id);
    assert!(a.load_time > Duration::ZERO);
    assert_eq!(models.shared.n_loads.load(Ordering::Relaxed), 1);
    let later = models.acquire(demand(&record, None)).await.unwrap();
    assert_eq!(later.load_time, Duration::ZERO);
}

#[tokio::test]
async fn a_model_that_must_be_loaded_anew_takes_no_more_requests_until_it_is() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let with = |n| Demand {
        window: Window::Exact(n),
        ..demand(&record, None)
    };
    let small = models.acquire(with(128)).await.unwrap();
    assert!(models.shared.lease(&with(64)).is_some());
    let larger = {
        let (models, demand) = (models.clone(), with(256));
        tokio::spawn(async move { models.acquire(demand).await })
    };
    eventually(|| models.shared.slots().values().any(|slot| slot.is_retiring)).await;
    assert!(models.shared.lease(&with(64)).is_none());
    assert!(!larger.is_finished());
    drop(small);
    let larger = larger.await.unwrap().unwrap();
    assert_eq!(larger.engine().context_length(), 256);
    assert!(models.shared.lease(&with(64)).is_some());
}

#[tokio::test]
async fn a_smaller_window_is_served_by_what_is_there_and_a_larger_one_loads_anew() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let with = |n| Demand {
        window: Window::Exact(n),
        ..demand(&record, None)
    };
    let mut seen = Vec::new();
    for n in [128, 64, 256, 100_000] {
        let lease = models.acquire(with(n)).await.unwrap();
        seen.push((lease.slot_id, lease.engine().context_length()));
    }
    assert_eq!(seen, [(0, 128), (0, 128), (1, 256), (2, 512)]);
    assert_eq!(models.running().len(), 1);
}

#[tokio::test]
async fn the_model_that_was_idle_for_longest_makes_place() {
    let daemon = TestDaemon::with_model_and(|config| config.max_loaded_models = 1).await;
    add_other(&daemon).await;
    let (tiny, other) = (
        record(&daemon, "tiny").await,
        record(&daemon, "other").await,
    );
    let models = daemon.app.models.clone();
    drop(models.acquire(demand(&tiny, None)).await.unwrap());
    assert_eq!(names(&daemon), ["tiny:latest"]);
    let lease = models.acquire(demand(&other, None)).await.unwrap();
    assert_eq!(names(&daemon), ["other:latest"]);
    // the one in use is waited for
    let waiting = tokio::spawn({
        let models = models.clone();
        async move { models.acquire(demand(&tiny, None)).await.map(drop) }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    assert_eq!(names(&daemon), ["other:latest"]);
    drop(lease);
    waiting.await.unwrap().unwrap();
    assert_eq!(names(&daemon), ["tiny:latest"]);
}

#[tokio::test]
async fn a_model_goes_when_its_time_is_over_and_not_while_it_is_in_use() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let span = Duration::from_millis(1);
    let keep = Some(KeepFor::Span(span));
    let lease = models.acquire(demand(&record, keep)).await.unwrap();
    tokio::time::sleep(span * 20).await;
    assert_eq!(models.running().len(), 1, "in use");
    drop(lease);
    eventually(|| models.running().is_empty()).await;
    let keep = Some(KeepFor::Span(Duration::from_secs(3600)));
    drop(models.acquire(demand(&record, keep)).await.unwrap());
    tokio::time::sleep(span * 20).await;
    assert_eq!(models.running().len(), 1, "idle, but not for long enough");
}

#[tokio::test]
async fn an_unload_waits_for_who_uses_the_model() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let lease = models.acquire(demand(&record, None)).await.unwrap();
    models.unload(&record.weights.digest);
    assert_eq!(models.running().len(), 1);
    drop(lease);
    eventually(|| models.running().is_empty()).await;
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let daemon = TestDaemon::with_model_and(|config| config.max_queue = 0).await;
    let record = record(&daemon, "tiny").await;
    let error = daemon
        .app
        .models
        .acquire(demand(&record, None))
        .await
        .unwrap_err();
    assert_eq!(error, ApiError::busy());
}

#[tokio::test]
async fn a_load_outlives_the_client_that_asked_for_it() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    {
        let mut acquire = std::pin::pin!(models.acquire(demand(&record, None)));
        // one poll takes the turn and starts the load; then the client leaves
        let first = futures_util::poll!(acquire.as_mut());
        assert!(first.is_pending());
    }
    let lease = models.acquire(demand(&record, None)).await.unwrap();
    assert_eq!(lease.slot_id, 0);
    assert_eq!(models.shared.n_loads.load(Ordering::Relaxed), 1);
}
