//! Blobs that come in parts: over several connections, resumed, shared, and slow ones asked for anew.
use super::{super::*, FakeRegistry, Fault, Home, IMPATIENT, IN_PARTS, bytes};
use axum::http::header;
use journal::{Journal, Record};
use std::fs;

/// The first and last byte of each range that was asked for, in order of their start.
fn ranges(registry: &FakeRegistry) -> Vec<(u64, u64)> {
    let requests = registry.take_blob_requests();
    let ranges = requests.iter().filter_map(|request| {
        let range = request.header(header::RANGE).strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let mut ranges: Vec<(u64, u64)> = ranges.collect();
    ranges.sort_unstable();
    ranges
}

#[tokio::test]
async fn parts_come_side_by_side_and_each_once() {
    let home = Home::new().await;
    let blob = bytes(30, 1_050_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    home.registry.content().pause = Duration::from_millis(2);
    home.pull_with(&name, IN_PARTS).await.unwrap();
    home.check_whole(&name, &manifest);
    let digest = manifest.layers[0].digest;
    let max_active = home.registry.content().max_active;
    assert!((2..=8).contains(&max_active), "{max_active} at once");
    // What lies in buffers when a rest is shared is sent in vain, no more.
    let n_served = home.registry.content().n_served[&digest];
    assert!(n_served < blob.len() * 3 / 2, "{n_served}");
    let ranges = ranges(&home.registry);
    let starts = ranges.iter().map(|(first, _)| *first);
    assert!(
        starts.take(10).eq((0..10).map(|n| n * 100_000)),
        "{ranges:?}"
    );
}

#[tokio::test]
async fn an_interrupted_download_in_parts_fetches_what_is_missing() {
    let home = Home::new().await;
    let blob = bytes(31, 1_000_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    let there = [200_000..300_000, 500_000..640_000, 640_000..700_000];
    leave(&home, &digest, &blob, &there);
    home.pull_with(&name, IN_PARTS).await.unwrap();
    home.check_whole(&name, &manifest);
    for span in there {
        assert_eq!(home.registry.n_times(&digest, span), (0, 0));
    }
}

/// Leaves a download with those bytes.
fn leave(home: &Home, digest: &Digest, blob: &[u8], spans: &[std::ops::Range<usize>]) {
    let path = home.partial(digest);
    let mut file = vec![0; blob.len()];
    let journal_path = partial::journal_path(&path);
    let (mut journal, _) = Journal::open(&journal_path, blob.len() as u64, b"").unwrap();
    for span in spans {
        file[span.clone()].copy_from_slice(&blob[span.clone()]);
        let crc = crc32fast::hash(&blob[span.clone()]);
        let record = Record::Written(span.start as u64..span.end as u64, crc);
        journal.append(&record).unwrap();
    }
    fs::write(&path, file).unwrap();
}

/// A power failure took bytes that the journal says are there; some part of the file is damaged.
#[tokio::test]
async fn bytes_that_were_lost_on_the_disk_are_fetched_again_and_no_others() {
    let home = Home::new().await;
    let blob = bytes(32, 1_000_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    let there = [
        0..100_000,
        100_000..200_000,
        400_000..500_000,
        900_000..1_000_000,
    ];
    leave(&home, &digest, &blob, &there);
    let path = home.partial(&digest);
    let mut file = fs::read(&path).unwrap();
    file[150_000] ^= 1;
    file.truncate(950_000);
    fs::write(&path, file).unwrap();
    home.pull_with(&name, IN_PARTS).await.unwrap();
    home.check_whole(&name, &manifest);
    let n_times = |span| home.registry.n_times(&digest, span);
    assert_eq!(n_times(0..100_000), (0, 0));
    assert_eq!(n_times(400_000..500_000), (0, 0));
    assert_eq!(n_times(100_000..200_000).0, 1);
    assert_eq!(n_times(900_000..1_000_000).0, 1);
    let n_served = home.registry.content().n_served[&digest];
    assert!(n_served < blob.len(), "{n_served}: not all again");
}

/// All is there but for one part that a power failure took: only after it is hashed does that show.
#[tokio::test]
async fn a_complete_file_with_a_damaged_part_is_mended() {
    let home = Home::new().await;
    let blob = bytes(33, 500_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    leave(
        &home,
        &digest,
        &blob,
        &[0..100_000, 100_000..200_000, 200_000..500_000],
    );
    let path = home.partial(&digest);
    let mut file = fs::read(&path).unwrap();
    file[100_000] ^= 1;
    fs::write(&path, file).unwrap();
    home.pull_with(&name, IN_PARTS).await.unwrap();
    home.check_whole(&name, &manifest);
    assert_eq!(home.registry.n_times(&digest, 0..100_000), (0, 0));
    assert_eq!(home.registry.n_times(&digest, 200_000..500_000), (0, 0));
}

#[tokio::test]
async fn a_slow_part_is_asked_for_anew() {
    let home = Home::new().await;
    let blob = bytes(34, 2_000_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    home.registry.content().pause = Duration::from_millis(1);
    // At this rate the last half would take a second; shared with others, it is asked for anew all the same.
    let patience = Patience {
        cut: Cut {
            part_bytes: 200_000,
            min_share_bytes: 150_000,
            min_share_time: Duration::ZERO,
        },
        stall: Duration::from_secs(60),
        ..IMPATIENT
    };
    home.registry
        .fail([Fault::None, Fault::None, Fault::Trickle(50_000)]);
    home.pull_with(&name, patience).await.unwrap();
    home.check_whole(&name, &manifest);
    let ranges = ranges(&home.registry);
    let again = ranges.iter().filter(|(first, _)| first % 200_000 != 0);
    assert!(again.count() > 0, "{ranges:?}");
}

#[tokio::test]
async fn a_server_that_sends_less_than_was_asked_for() {
    let home = Home::new().await;
    let blob = bytes(35, 600_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    home.registry.content().always = Some(|_| Fault::AtMost(70_000));
    // The config is one request without a range.
    home.pull_with(&name, IN_PARTS).await.unwrap();
    home.check_whole(&name, &manifest);
}

#[tokio::test]
async fn a_server_that_comes_to_know_no_ranges_sends_all_and_nothing_is_written_twice() {
    let home = Home::new().await;
    let blob = bytes(36, 600_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    let digest = manifest.layers[0].digest;
    leave(&home, &digest, &blob, &[100_000..150_000, 150_000..200_000]);
    home.registry.content().always = Some(|_| Fault::IgnoreRange);
    let mut most = 0;
    let options = PullOptions::default();
    let progress = |event| {
        if let PullEvent::Blob {
            completed,
            total: 600_000,
            ..
        } = event
        {
            assert!(completed >= most, "what is there is not forgotten");
            most = completed;
        }
    };
    let pulled = pull_patiently(&home.store, &name, &options, IN_PARTS, progress);
    pulled.await.unwrap();
    home.check_whole(&name, &manifest);
    assert_eq!(home.registry.n_times(&digest, 0..600_000), (1, 1));
    assert_eq!(home.registry.content().max_active, 1);
}

#[tokio::test]
async fn a_redirect_is_asked_for_once_until_it_runs_out() {
    let home = Home::new().await;
    let other = FakeRegistry::start().await;
    let blob = bytes(37, 900_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    other.offer("m", &[&blob]);
    home.registry.content().token = Some("secret");
    let digest = manifest.layers[0].digest;
    let redirect = || Fault::Redirect(format!("http://{}/elsewhere/{digest}", other.address));
    home.registry.fail([redirect(), redirect()]);
    let one_by_one = Patience {
        max_connections: 1,
        ..IN_PARTS
    };
    other.fail([Fault::None, Fault::None, Fault::Status(403)]);
    home.pull_with(&name, one_by_one).await.unwrap();
    home.check_whole(&name, &manifest);
    let at_home = home.registry.take_blob_requests();
    assert_eq!(at_home.len(), 3, "two for the blob, one for the config");
    let elsewhere = other.take_blob_requests();
    assert_eq!(elsewhere.len(), 10, "nine parts, one of them twice");
    for request in elsewhere {
        assert_eq!(request.header(header::AUTHORIZATION), "");
        assert_eq!(
            request.header(header::USER_AGENT),
            at_home[0].header(header::USER_AGENT)
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_obeyed() {
    let home = Home::new().await;
    let blob = bytes(38, 300_000);
    let (name, manifest) = home.registry.offer("m", &[&blob]);
    home.registry
        .fail([Fault::None, Fault::RetryAfter(429, "1".into())]);
    let start = std::time::Instant::now();
    home.pull_with(&name, IN_PARTS).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    home.check_whole(&name, &manifest);
    // But not for an hour.
    let (name, _) = home.registry.offer("n", &[&bytes(39, 300_000)]);
    home.registry.fail([Fault::RetryAfter(503, "3600".into())]);
    let error = home.pull_with(&name, IN_PARTS).await.unwrap_err();
    assert!(matches!(error, Error::AskedToWait { .. }), "{error}");
    assert!(error.hint().unwrap().contains("bytes are kept"));
}

#[tokio::test]
async fn a_pull_keeps_to_its_bandwidth() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&bytes(40, 300_000)]);
    let options = PullOptions {
        throttles: vec![Arc::new(Throttle::new(600_000))],
        ..PullOptions::default()
    };
    let start = std::time::Instant::now();
    let pulled = pull_patiently(&home.store, &name, &options, IN_PARTS, |_| {});
    pulled.await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));
    home.check_whole(&name, &manifest);
}

#[test]
fn holes_are_no_bytes_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let digest = Digest::of(b"x");
    let file = fs::File::create(partial::path(store.shared(), &digest)).unwrap();
    file.set_len(64 << 20).unwrap();
    partial::write_all_at(&file, &bytes(41, 1 << 20), 32 << 20).unwrap();
    let len = partial::len(store.shared(), &digest);
    assert!((1 << 20..4 << 20).contains(&len), "{len}");
}
