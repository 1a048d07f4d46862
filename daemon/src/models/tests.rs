//! Loading, sharing, evicting and expiring, with the tiny model.

use super::*;
use crate::testing::{TestDaemon, eventually};
use serde_json::json;
use slm_engine::Footprint;
use std::sync::atomic::Ordering;

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
    let with = |n_threads| Demand {
        n_threads: Some(n_threads),
        ..demand(&record, None)
    };
    let one = models.acquire(with(1)).await.unwrap();
    assert!(models.shared.lease(&with(1)).is_some());
    let two = {
        let (models, demand) = (models.clone(), with(2));
        tokio::spawn(async move { models.acquire(demand).await })
    };
    eventually(|| models.shared.slots().values().any(|slot| slot.is_retiring)).await;
    // it waits for room: nothing is read yet
    let loading = models.loading().expect("it is being loaded");
    assert_eq!(loading.record.name, record.name);
    assert_eq!(loading.progress.total_bytes(), 0);
    assert!(models.shared.lease(&with(1)).is_none());
    assert!(!two.is_finished());
    drop(one);
    let two = two.await.unwrap().unwrap();
    assert_eq!(two.engine().n_threads(), 2);
    assert!(models.loading().is_none());
    assert!(loading.progress.packed_bytes() > 0);
    assert!(models.shared.lease(&with(2)).is_some());
}

#[tokio::test]
async fn another_context_loads_nothing_anew() {
    let daemon = TestDaemon::with_model().await;
    let record = record(&daemon, "tiny").await;
    let models = &daemon.app.models;
    let with = |n| Demand {
        window: Window::Exact(n),
        ..demand(&record, None)
    };
    let mut seen = Vec::new();
    let mut leases = Vec::new();
    for n in [128, 64, 256, 100_000, 3] {
        let lease = models.acquire(with(n)).await.unwrap();
        seen.push((lease.slot_id, lease.context_length));
        // the earlier ones go on meanwhile
        leases.push(lease);
    }
    assert_eq!(seen, [(0, 128), (0, 64), (0, 256), (0, 512), (0, 4)]);
    let running = models.running();
    assert_eq!((running.len(), running[0].context_length), (1, 512));
}

/// Daemon and both models with one context each fit into this; nothing more does.
async fn with_memory_for(daemon: &TestDaemon, windows: &[(&Arc<Record>, usize)]) -> u64 {
    let mut bytes = budget::room(Some(u64::MAX), None, [].into_iter()).unwrap();
    bytes = u64::MAX - bytes;
    for (record, window) in windows {
        let options = &daemon.app.models.shared.options;
        let footprint = Footprint::read(&record.weights_paths[0], options).unwrap();
        bytes += footprint.fixed_bytes() + footprint.kv_bytes(*window);
    }
    bytes
}

#[tokio::test]
async fn memory_that_was_promised_to_one_is_not_promised_to_another() {
    let daemon = TestDaemon::with_model().await;
    add_other(&daemon).await;
    let (tiny, other) = (
        record(&daemon, "tiny").await,
        record(&daemon, "other").await,
    );
    let memory = with_memory_for(&daemon, &[(&tiny, 256), (&other, 256)]).await;
    let mut shared = Models::new(&daemon.app.config).shared;
    Arc::get_mut(&mut shared).unwrap().memory = Some(memory);
    let models = Models { shared };
    let with = |record: &Arc<Record>, n| Demand {
        window: Window::Exact(n),
        ..demand(record, None)
    };
    let total = || -> u64 {
        let running = models.running();
        running.iter().map(|r| budget::promised(&r.memory)).sum()
    };
    // the first takes what keys and values it can get, and gives them back for the second
    let a = models.acquire(with(&tiny, 256)).await.unwrap();
    assert!(total() <= memory);
    let b = models.acquire(with(&other, 256)).await.unwrap();
    assert!(total() <= memory, "{} of {memory}", total());
    assert_eq!(models.running().len(), 2);
    drop(b);
    // a larger context of the first takes the room of the second, which is idle
    let wide = models.acquire(with(&tiny, 512)).await.unwrap();
    assert_eq!((wide.slot_id, wide.context_length), (a.slot_id, 512));
    assert_eq!(models.running().len(), 1);
    assert!(total() <= memory);
    // what can never fit is refused with the numbers and with what would
    let memory = with_memory_for(&daemon, &[(&tiny, 300)]).await;
    let mut shared = Models::new(&daemon.app.config).shared;
    Arc::get_mut(&mut shared).unwrap().memory = Some(memory);
    let models = Models { shared };
    let error = models.acquire(with(&tiny, 512)).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("a context of 384 tokens would fit"),
        "{error:?}"
    );
    let there = models.acquire(with(&tiny, 256)).await.unwrap();
    let error = models.acquire(with(&tiny, 512)).await.unwrap_err();
    assert_eq!(error.status(), http::StatusCode::BAD_REQUEST);
    assert!(
        error.message().contains("at most 384 tokens would fit"),
        "{error:?}"
    );
    drop(there);
}

#[tokio::test]
async fn pinned_models_keep_their_places_and_their_pins() {
    let daemon = TestDaemon::with_model_and(|config| config.max_loaded_models = 1).await;
    add_other(&daemon).await;
    let (tiny, other) = (
        record(&daemon, "tiny").await,
        record(&daemon, "other").await,
    );
    let models = &daemon.app.models;
    models.swap(demand(&tiny, None), Some(true)).await.unwrap();
    let refused = models.acquire(demand(&other, None)).await.unwrap_err();
    assert!(refused.message().contains("are all pinned"), "{refused:?}");
    // loaded anew for another number of threads, it is pinned still
    let with_two = Demand {
        n_threads: Some(2),
        ..demand(&tiny, None)
    };
    drop(models.acquire(with_two).await.unwrap());
    assert!(models.running()[0].is_pinned);
    models.unload(&tiny.weights_key);
    drop(models.acquire(demand(&other, None)).await.unwrap());
    assert_eq!(names(&daemon), ["other:latest"]);
}

#[tokio::test]
async fn a_swap_makes_one_ready_and_lets_the_others_go_when_they_are_done() {
    let daemon = TestDaemon::with_model().await;
    add_other(&daemon).await;
    let (tiny, other) = (
        record(&daemon, "tiny").await,
        record(&daemon, "other").await,
    );
    let models = &daemon.app.models;
    let lease = models.acquire(demand(&tiny, None)).await.unwrap();
    let released = models.swap(demand(&other, None), Some(true)).await.unwrap();
    assert_eq!(released.len(), 1);
    assert_eq!(names(&daemon), ["other:latest", "tiny:latest"], "in use");
    drop(lease);
    eventually(|| names(&daemon) == ["other:latest"]).await;
    // the pinned one stays, whatever comes and whatever time goes by
    let span = Some(KeepFor::Span(Duration::from_millis(1)));
    drop(models.acquire(demand(&other, span)).await.unwrap());
    let released = models.swap(demand(&tiny, None), None).await.unwrap();
    assert!(released.is_empty());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(names(&daemon), ["other:latest", "tiny:latest"]);
    assert!(models.shared.evict_all_idle().await);
    assert_eq!(names(&daemon), ["other:latest"], "the pinned one");
    models.unload(&other.weights_key);
    assert!(!names(&daemon).contains(&"other:latest".to_owned()));
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
    models.unload(&record.weights_key);
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

#[tokio::test]
async fn a_long_context_holds_memory_while_it_is_used_and_a_lowered_limit_comes_back() {
    let daemon = TestDaemon::with_model().await;
    add_other(&daemon).await;
    let (tiny, other) = (
        record(&daemon, "tiny").await,
        record(&daemon, "other").await,
    );
    let memory = with_memory_for(&daemon, &[(&tiny, 256), (&other, 256)]).await;
    let mut shared = Models::new(&daemon.app.config).shared;
    Arc::get_mut(&mut shared).unwrap().memory = Some(memory);
    let models = Models { shared };
    let with = |record: &Arc<Record>, n| Demand {
        window: Window::Exact(n),
        ..demand(record, None)
    };
    let limit = |name: &str| {
        let running = models.running();
        let found = running.iter().find(|r| r.record.name.to_string() == name);
        found.map(|running| running.memory.kv_bytes_limit)
    };
    drop(models.acquire(with(&tiny, 256)).await.unwrap());
    // a context that takes what the other would need, and ends
    drop(models.acquire(with(&tiny, 512)).await.unwrap());
    let wide = limit("tiny:latest").unwrap();
    let lease = models.acquire(with(&other, 256)).await.unwrap();
    let narrow = limit("tiny:latest").expect("its context has ended: it need not go");
    assert!(narrow < wide, "{narrow} of {wide}");
    drop(lease);
    models.unload(&other.weights_key);
    eventually(|| limit("tiny:latest").is_some_and(|limit| limit > narrow)).await;
}
