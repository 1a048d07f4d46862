mod care;
mod fake_registry;
mod fake_upload;
mod full_disk;
mod hostile;
mod kill;
mod neighbors;
mod packages;
mod parts;
mod push;
mod sources;
mod speed;

use super::*;
use crate::ModelName;
use axum::http::header;
use fake_registry::{FakeRegistry, Fault};
use std::fs;

/// So that tests of failures take moments.
const IMPATIENT: Patience = Patience {
    stall: Duration::from_millis(300),
    first_pause: Duration::from_millis(1),
    max_failures: 4,
    slow_window: Duration::from_millis(100),
    min_rate: 256.0,
    max_refetches: 1,
    cut: Cut {
        part_bytes: 4 << 20,
        min_share_bytes: 1 << 20,
        min_share_time: Duration::from_millis(100),
    },
    max_connections: 8,
};

/// [`IMPATIENT`], with parts so small that the blobs of the tests have several.
const IN_PARTS: Patience = Patience {
    cut: Cut {
        part_bytes: 100_000,
        min_share_bytes: 20_000,
        min_share_time: Duration::from_millis(20),
    },
    ..IMPATIENT
};

struct Home {
    folder: tempfile::TempDir,
    store: Store,
    registry: FakeRegistry,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self {
            folder,
            store,
            registry: FakeRegistry::start().await,
        }
    }
    async fn pull(&self, name: &ModelName) -> Result<Vec<PullEvent>, Error> {
        self.pull_with(name, IMPATIENT).await
    }
    async fn pull_with(
        &self,
        name: &ModelName,
        patience: Patience,
    ) -> Result<Vec<PullEvent>, Error> {
        let mut events = Vec::new();
        let options = PullOptions::default();
        pull_patiently(&self.store, name, &options, patience, |event| {
            events.push(event)
        })
        .await?;
        check_events(&events);
        Ok(events)
    }
    fn partial(&self, digest: &Digest) -> std::path::PathBuf {
        partial::path(self.store.shared(), digest)
    }
    #[track_caller]
    fn check_whole(&self, name: &ModelName, manifest: &Manifest) {
        assert_eq!(self.store.manifest(name).unwrap(), *manifest);
        for blob in manifest.blobs() {
            self.store.verify_blob(&blob.digest).unwrap();
            let partial = self.partial(&blob.digest);
            assert!(!partial.exists() && !partial::journal_path(&partial).exists());
        }
    }
    /// That nothing of a failed pull can be seen.
    #[track_caller]
    fn check_nothing(&self) {
        assert!(self.store.list().unwrap().is_empty());
        for entry in fs::read_dir(self.folder.path().join("blobs")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_whole = name
                .parse()
                .is_ok_and(|digest| self.store.verify_blob(&digest).is_ok());
            let is_unfinished = name.ends_with("-partial") || name.ends_with("-partial.journal");
            assert!(is_whole || is_unfinished, "{name}");
        }
    }
}

/// The order of events, and that each blob only grows.
#[track_caller]
fn check_events(events: &[PullEvent]) {
    let PullEvent::Size { total, here } = events[1] else {
        panic!("the size is not told first: {events:?}")
    };
    let events = [&events[..1], &events[2..]].concat();
    assert_eq!(events[0], PullEvent::Manifest);
    let mut last = std::collections::HashMap::new();
    let n_blob_events = events[1..]
        .iter()
        .take_while(|event| matches!(event, PullEvent::Blob { .. }))
        .count();
    for event in &events[1..=n_blob_events] {
        let PullEvent::Blob {
            digest,
            total,
            completed,
        } = event
        else {
            unreachable!()
        };
        let before = last.insert(*digest, *completed);
        assert!(
            completed <= total && before.is_none_or(|before| before < *completed),
            "{events:?}"
        );
    }
    assert_eq!(total, last.values().sum::<u64>());
    assert!(here <= total, "{here} of {total}");
    for (digest, completed) in last {
        let blob = events.iter().find_map(|event| match event {
            PullEvent::Blob {
                digest: other,
                total,
                ..
            } if *other == digest => Some(*total),
            _ => None,
        });
        assert_eq!(blob, Some(completed));
    }
    let rest = &events[1 + n_blob_events..];
    let expected = [
        PullEvent::Verifying,
        PullEvent::WritingManifest,
        PullEvent::RemovingUnused,
    ];
    assert!(rest == expected || rest == &expected[..2], "{rest:?}");
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

#[tokio::test]
async fn a_model_arrives_whole_and_its_manifest_verbatim() {
    let home = Home::new().await;
    let (name, manifest) = home
        .registry
        .offer("m", &[&bytes(1, 300_000), b"small", b"", b"small"]);
    let events = home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
    let json = home.store.manifest_json(&name).unwrap();
    assert_eq!(json, home.registry.content().manifests["m/latest"]);
    assert_ne!(json, manifest.to_json());
    let n_blobs = events.iter().filter(
        |event| matches!(event, PullEvent::Blob { completed, total, .. } if completed == total),
    );
    assert_eq!(n_blobs.count(), 4, "each blob once");
    let requests = home.registry.content().requests.clone();
    assert_eq!(requests.len(), 4, "nothing is fetched for an empty blob");
    assert!(
        requests[0]
            .header(header::ACCEPT)
            .contains("vnd.docker.distribution.manifest.v2+json")
    );
    assert!(
        requests[0]
            .header(header::ACCEPT)
            .contains("vnd.oci.image.manifest.v1+json")
    );
    for request in requests {
        let agent = request.header(header::USER_AGENT);
        assert!(
            agent.starts_with("ollama/0.")
                && agent.contains(") Go/go1.")
                && agent.contains(" slm/"),
            "{agent}"
        );
    }
}

#[tokio::test]
async fn what_is_there_is_not_fetched_and_what_is_replaced_goes() {
    let home = Home::new().await;
    let (name, old) = home.registry.offer("m", &[b"kept", b"old"]);
    home.pull(&name).await.unwrap();
    home.registry.take_blob_requests();
    let events = home.pull(&name).await.unwrap();
    assert_eq!(home.registry.take_blob_requests().len(), 0);
    assert_eq!(
        events.len(),
        2 + 3 + 2,
        "manifest and size, and one event for each blob that was there"
    );
    let (_, new) = home.registry.offer("m", &[b"kept", b"new"]);
    let events = home.pull(&name).await.unwrap();
    assert_eq!(events.last(), Some(&PullEvent::WritingManifest));
    assert_eq!(home.registry.take_blob_requests().len(), 1);
    home.check_whole(&name, &new);
    assert!(
        home.store.has_blob(&old.layers[1].digest),
        "the earlier version can be gone back to"
    );
    let (_, new) = home.registry.offer("m", &[b"kept", b"newer"]);
    let events = home.pull(&name).await.unwrap();
    assert_eq!(events.last(), Some(&PullEvent::RemovingUnused));
    home.registry.take_blob_requests();
    home.check_whole(&name, &new);
    assert!(!home.store.has_blob(&old.layers[1].digest));
    // A blob that lost bytes behind our back is fetched again.
    let path = home.store.blob_path(&new.layers[0].digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"ke").unwrap();
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &new);
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let home = Home::new().await;
    let blob = bytes(2, 1_000_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    home.registry.fail([
        Fault::Truncate(200_000),
        Fault::Status(503),
        Fault::Stall(300_000),
        Fault::Status(429),
    ]);
    // Each failure but those that gained nothing counts from the one before.
    let patience = Patience {
        max_failures: 9,
        ..IMPATIENT
    };
    pull_patiently(
        &home.store,
        &name,
        &PullOptions::default(),
        patience,
        |_| {},
    )
    .await
    .unwrap();
    home.check_whole(&name, &manifest);
    let requests = home.registry.take_blob_requests();
    let ranges: Vec<&str> = requests
        .iter()
        .map(|request| request.header(header::RANGE))
        .collect();
    assert_eq!(ranges.len(), 6);
    assert_eq!(ranges[0], "");
    let start = |range: &str| {
        range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap()
            .0
            .parse::<usize>()
            .unwrap()
    };
    assert!(
        (1..=200_000).contains(&start(ranges[1])) && ranges[1] == ranges[2],
        "{ranges:?}"
    );
    assert!(
        start(ranges[3]) > start(ranges[2]) && ranges[3] == ranges[4],
        "{ranges:?}"
    );
    let n_served = home.registry.content().n_served[&manifest.layers[0].digest];
    assert!(n_served < blob.len() * 3 / 2, "{n_served} bytes served");
}

#[tokio::test]
async fn a_download_goes_on_in_the_next_pull() {
    let home = Home::new().await;
    let blob = bytes(3, 500_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    fs::write(home.partial(&digest), &blob[..400_000]).unwrap();
    let events = home.pull(&name).await.unwrap();
    let first_blob = events
        .iter()
        .find(|event| matches!(event, PullEvent::Blob { .. }));
    let is_resumed = |event: &PullEvent| {
        matches!(
            event,
            PullEvent::Blob {
                completed: 400_000,
                ..
            }
        )
    };
    assert!(first_blob.is_some_and(is_resumed), "{first_blob:?}");
    home.check_whole(&name, &manifest);
    assert_eq!(home.registry.content().n_served[&digest], 100_000);
}

#[tokio::test]
async fn a_partial_file_that_is_wrong_does_no_harm() {
    let blob = bytes(4, 100_000);
    let longer = [&blob[..], b"more"].concat();
    let cases: [(&str, &[u8]); 4] = [
        ("other bytes", &[7; 50_000]),
        ("all other bytes", &[7; 100_000]),
        ("too long", &longer),
        ("empty", b""),
    ];
    for (what, partial) in cases {
        let home = Home::new().await;
        let (name, manifest) = home.registry.offer("m", &[&blob]);
        fs::write(home.partial(&manifest.layers[0].digest), partial).unwrap();
        home.pull(&name)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        home.check_whole(&name, &manifest);
    }
    // All bytes there and right: nothing is fetched.
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    fs::write(home.partial(&manifest.layers[0].digest), &blob).unwrap();
    home.pull(&name).await.unwrap();
    assert_eq!(home.registry.take_blob_requests().len(), 1, "the config");
    home.check_whole(&name, &manifest);
    // Ollama's own, which has holes.
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let partial = home.partial(&manifest.layers[0].digest);
    let part = partial.with_file_name(format!(
        "{}-0",
        partial.file_name().unwrap().to_str().unwrap()
    ));
    fs::write(&partial, vec![0; blob.len() - 1]).unwrap();
    fs::write(&part, b"{}").unwrap();
    home.pull(&name).await.unwrap();
    assert!(!part.exists());
    assert_eq!(home.registry.take_blob_requests().len(), 2);
    home.check_whole(&name, &manifest);
}

#[tokio::test]
async fn servers_that_do_not_understand_ranges() {
    for fault in [Fault::IgnoreRange, Fault::WrongRange, Fault::Status(416)] {
        let home = Home::new().await;
        let blob = bytes(5, 200_000);
        let (name, manifest) = home.registry.offer("m", &[&blob]);
        fs::write(home.partial(&manifest.layers[0].digest), &blob[..150_000]).unwrap();
        home.registry.fail([fault.clone()]);
        home.pull(&name)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        home.check_whole(&name, &manifest);
    }
}

#[tokio::test]
async fn corrupted_bytes_are_discarded_and_said() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&bytes(6, 100_000)]);
    // Once, and it is fetched again.
    home.registry.fail([Fault::Corrupt]);
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
    home.store.remove(&name).unwrap();
    home.registry.fail([Fault::Corrupt, Fault::Corrupt]);
    let error = home.pull(&name).await.unwrap_err();
    let start = format!(
        "digest mismatch, file must be downloaded again: want {}, got",
        manifest.layers[0].digest
    );
    assert!(error.to_string().starts_with(&start), "{error}");
    assert!(!home.partial(&manifest.layers[0].digest).exists());
    home.check_nothing();
    home.registry.fail([Fault::TooLong]);
    let error = home.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    home.check_nothing();
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
}

#[tokio::test]
async fn a_registry_that_keeps_failing_is_given_up() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&bytes(7, 100_000)]);
    home.registry.fail(vec![Fault::Status(500); 4]);
    let error = home.pull(&name).await.unwrap_err();
    assert!(
        matches!(&error, Error::RetriesExhausted { reason } if reason.contains("500: out of order")),
        "{error}"
    );
    assert_eq!(home.registry.take_blob_requests().len(), 4);
    home.registry.fail(vec![Fault::Stall(10); 4]);
    let error = home.pull(&name).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("max retries exceeded: no byte came for"),
        "{error}"
    );
    home.registry.take_blob_requests();
    home.registry.fail([Fault::Status(403)]);
    let error = home.pull(&name).await.unwrap_err();
    assert!(
        matches!(error, Error::RemoteStatus { status: 403, .. }),
        "{error}"
    );
    assert_eq!(
        home.registry.take_blob_requests().len(),
        1,
        "what will not change is not tried again"
    );
    home.check_nothing();
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
}

#[tokio::test]
async fn manifests_that_cannot_be_had() {
    let home = Home::new().await;
    let error = home.pull(&home.registry.name("none")).await.unwrap_err();
    assert!(matches!(error, Error::RemoteNotFound { .. }));
    assert_eq!(
        error.to_string(),
        "pull model manifest: file does not exist"
    );
    let (name, manifest) = home.registry.offer("m", &[b"x"]);
    let answer = |code, body| {
        let statuses = std::iter::repeat_n((code, body), 3);
        home.registry.content().manifest_statuses = statuses.collect();
    };
    answer(412, "requires a newer version");
    let error = home.pull(&name).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pull model manifest: 412: requires a newer version"
    );
    assert!(error.hint().unwrap().contains("update"));
    answer(500, r#"{"errors":[{"message":"sick"}]}"#);
    let error = home.pull(&name).await.unwrap_err();
    assert_eq!(error.to_string(), "pull model manifest: 500: sick");
    answer(200, "<html>log in</html>");
    let error = home.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::Manifest { .. }), "{error}");
    answer(401, "");
    let error = home.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    home.check_nothing();
    // A passing fault is lived through.
    home.registry.content().manifest_statuses = [(502, ""), (503, "")].into();
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let home = Home::new().await;
    // A port that nobody listens at: bound, and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = home
        .pull(&format!("127.0.0.1:{port}/n/m").parse().unwrap())
        .await
        .unwrap_err();
    let Error::Unreachable { host, reason } = &error else {
        panic!("{error}")
    };
    assert_eq!(*host, format!("127.0.0.1:{port}"));
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
    assert!(error.hint().is_some());
    // One that speaks another language.
    let error = home
        .pull(
            &format!("https://{}/n/m", home.registry.address)
                .parse()
                .unwrap(),
        )
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
    assert!(
        error.hint().unwrap().contains("http://"),
        "{error}: {:?}",
        error.hint()
    );
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[b"one", b"two"]);
    home.registry.content().token = Some("secret");
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
    let requests = home.registry.content().requests.clone();
    let paths: Vec<&str> = requests
        .iter()
        .map(|request| request.path.split('/').next().unwrap())
        .collect();
    assert_eq!(paths, ["manifests", "", "manifests", "m", "m", "m"]);
    assert_eq!(requests[1].header(header::AUTHORIZATION), "");
}

#[tokio::test]
async fn a_redirect_is_followed_and_the_token_stays_at_home() {
    let home = Home::new().await;
    let other = FakeRegistry::start().await;
    let blob = bytes(8, 300_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    other.offer("m", &[&blob]);
    home.registry.content().token = Some("secret");
    let digest = manifest.layers[0].digest;
    let redirect = Fault::Redirect(format!("http://{}/elsewhere/{digest}", other.address));
    // The address runs out, then the connection breaks: each try asks the registry anew.
    home.registry
        .fail([redirect.clone(), redirect.clone(), redirect]);
    other.fail([Fault::Status(403), Fault::Truncate(100_000)]);
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
    let elsewhere = other.take_blob_requests();
    assert_eq!(elsewhere.len(), 3);
    assert!(
        elsewhere
            .iter()
            .all(|request| request.header(header::AUTHORIZATION).is_empty())
    );
    assert!(elsewhere[2].header(header::RANGE).starts_with("bytes="));
    let at_home = home.registry.take_blob_requests();
    assert!(
        at_home
            .iter()
            .all(|request| request.header(header::AUTHORIZATION) == "Bearer secret")
    );
    home.registry.offer("m", &[&bytes(9, 10)]);
    home.registry.fail([Fault::Redirect("/loop".into())]);
    let error = home.pull(&name).await.unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[tokio::test]
async fn a_dropped_pull_leaves_its_bytes_for_the_next() {
    let home = Home::new().await;
    let blob = bytes(10, 600_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    home.registry.fail([Fault::Stall(400_000)]);
    let options = PullOptions::default();
    // Dropped at the first event that shows bytes.
    let (seen, on_bytes) = tokio::sync::oneshot::channel();
    let mut seen = Some(seen);
    let progress = |event| {
        if matches!(event, PullEvent::Blob { completed: 1.., .. })
            && let Some(seen) = seen.take()
        {
            seen.send(()).unwrap();
        }
    };
    tokio::select! {
        result = pull_patiently(&home.store, &name, &options, Patience::default(), progress) => panic!("{result:?}"),
        _ = on_bytes => {}
    }
    home.check_nothing();
    home.pull(&name).await.unwrap();
    home.check_whole(&name, &manifest);
    let ranges = home.registry.take_blob_requests();
    assert!(
        ranges[1].header(header::RANGE).starts_with("bytes="),
        "{ranges:?}"
    );
    assert!(home.registry.content().n_served[&digest] < 1_000_000);
}

#[tokio::test]
async fn two_pulls_of_one_blob_fetch_it_once() {
    let home = Home::new().await;
    let blob = bytes(11, 1_000_000);
    let (one, manifest) = home.registry.offer("m", &[&blob]);
    let (two, other) = home.registry.offer("n", &[&blob, b"more"]);
    home.registry.content().pause = Duration::from_millis(20);
    // Another store on the same folder stands for another process.
    let another = Store::open_without_index(home.folder.path()).unwrap();
    let options = PullOptions::default();
    let (a, b, c) = tokio::join!(
        home.pull(&one),
        home.pull(&two),
        pull_patiently(&another, &two, &options, IMPATIENT, |_| {}),
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    home.check_whole(&one, &manifest);
    home.check_whole(&two, &other);
    assert_eq!(
        home.registry.content().n_served[&manifest.layers[0].digest],
        blob.len()
    );
}

#[tokio::test]
async fn a_removal_does_not_take_what_a_pull_needs() {
    let home = Home::new().await;
    let (old, _) = home.registry.offer("old", &[b"shared"]);
    let (new, manifest) = home
        .registry
        .offer("new", &[b"shared", &bytes(12, 100_000)]);
    home.pull(&old).await.unwrap();
    home.registry.fail([Fault::Stall(10)]);
    let store = home.store.clone();
    let mut removed = false;
    let remove = |event| {
        let PullEvent::Blob {
            total: 100_000,
            completed: 1..,
            ..
        } = event
        else {
            return;
        };
        if !removed {
            removed = true;
            // From another thread, as the daemon does.
            let (store, old) = (store.clone(), old.clone());
            std::thread::spawn(move || store.remove(&old))
                .join()
                .unwrap()
                .unwrap();
        }
    };
    pull_patiently(
        &home.store,
        &new,
        &PullOptions::default(),
        IMPATIENT,
        remove,
    )
    .await
    .unwrap();
    assert!(removed);
    home.check_whole(&new, &manifest);
    assert_eq!(home.store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_model_larger_than_the_disk_is_refused_before_it_starts() {
    let home = Home::new().await;
    let (name, mut manifest) = home.registry.offer("m", &[b"x"]);
    manifest.layers[0].size = 1 << 60;
    home.registry
        .content()
        .manifests
        .insert("m/latest".into(), manifest.to_json());
    let error = home.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(error.hint().unwrap().contains("free disk space"));
    assert_eq!(home.registry.take_blob_requests().len(), 0);
    home.check_nothing();
}

/// The daemon runs pulls in tasks of their own.
#[tokio::test]
async fn a_pull_can_move_between_threads() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[b"x"]);
    let (store, pulled) = (home.store.clone(), name.clone());
    let task =
        tokio::spawn(async move { pull(&store, &pulled, &PullOptions::default(), |_| {}).await });
    task.await.unwrap().unwrap();
    home.check_whole(&name, &manifest);
}
