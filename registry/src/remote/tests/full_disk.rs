//! A disk that becomes full at every moment of every change.
//!
//! The test starts this binary again, in a mount namespace of its own, where a small filesystem in memory can be mounted
//! without being root; it says so where that is not to be had.
use super::*;
use crate::{Descriptor, GcLimits, MediaType, Provenance, VerifyEvent, Via};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

const DISK: &str = "SLM_TEST_SMALL_DISK";
const PAGE: u64 = 4096;

/// Runs the ignored test `name` of this file on a filesystem of `size`.
fn on_small_disk(name: &str, size: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().display().to_string();
    let mount = format!("mount -t tmpfs -o size={size} none {disk}");
    for namespaces in ["-rm", "-m"] {
        let mut probe = Command::new("unshare");
        probe.args([namespaces, "sh", "-c", &mount]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "{mount} && exec {} --exact --ignored --nocapture remote::tests::full_disk::{name}",
            this.display()
        );
        let mut command = Command::new("unshare");
        command.args([namespaces, "sh", "-c", &script]);
        let output = command.env(DISK, &disk).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    println!("skipped: neither `unshare -rm` nor `unshare -m` can mount a tmpfs here");
}

/// The small disk; nothing where ignored tests are run without one.
fn disk() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

#[test]
fn a_pull_onto_a_full_disk() {
    on_small_disk("a_full_disk_is_said_and_lived_through", "8m");
}

#[test]
fn every_change_of_the_store_on_a_full_disk() {
    on_small_disk("every_change_with_every_room", "8m");
}

#[track_caller]
fn check_full(error: &Error) {
    let is_full = matches!(error, Error::NoSpace { .. })
        || matches!(error, Error::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    assert!(is_full, "{error}: {error:?}");
    assert!(error.hint().unwrap().contains("free disk space"));
}

/// Fills the disk with `filler` up to `room` bytes.
fn fill(filler: &Path, room: u64) {
    let mut file = File::create(filler).unwrap();
    while file.write_all(&[0; PAGE as usize]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(room)).unwrap();
}

fn problems(store: &Store) -> usize {
    let mut n_problems = 0;
    let never = std::sync::atomic::AtomicBool::new(false);
    let count = |event| n_problems += usize::from(matches!(event, VerifyEvent::Problem(_)));
    store.verify(&[], &never, count).unwrap();
    n_problems
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn create(store: &Store, model: &str, seed: u64) -> Result<(), Error> {
    let add = |media_type: MediaType, bytes: &[u8]| {
        let digest = store.ingest(&mut &bytes[..], None)?;
        Ok::<_, Error>(Descriptor {
            media_type,
            digest,
            size: bytes.len() as u64,
        })
    };
    let layer = add(MediaType::Model, &bytes(seed, 9_000))?;
    let config = add(MediaType::Config, format!("{{\"n\":{seed}}}").as_bytes())?;
    let manifest = Manifest {
        config,
        layers: vec![layer],
    };
    let provenance = Provenance::now(Via::Create);
    store.write_manifest_from(&name(model), &manifest.to_json(), Some(&provenance))
}

type Change = fn(&Store) -> Result<(), Error>;

/// What is done, and how it shows that it was done.
const CHANGES: [(&str, Change); 7] = [
    ("create", |store| create(store, "new", 7)),
    ("replace", |store| create(store, "a", 8)),
    ("copy", |store| store.copy(&name("a"), &name("copied"))),
    ("copy over", |store| store.copy(&name("a"), &name("b"))),
    ("roll back", |store| store.roll_back(&name("a")).map(drop)),
    ("remove", |store| store.remove(&name("a"))),
    ("gc", |store| {
        let limits = GcLimits {
            blob_age: Duration::ZERO,
            partial_age: Duration::ZERO,
            version_age: Duration::ZERO,
        };
        store.collect_garbage(&limits, false).map(drop)
    }),
];

fn digests(store: &Store) -> Vec<(String, Digest)> {
    let mut all: Vec<_> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name.to_string(), entry.digest))
        .collect();
    all.sort();
    all
}

#[test]
#[ignore = "runs on the disk that a test above mounts"]
fn every_change_with_every_room() {
    let Some(disk) = disk() else { return };
    let filler = disk.join("filler");
    let (mut n_refused, mut n_done) = (0, 0);
    for (what, change) in CHANGES {
        for room in (0..16).map(|n| n * PAGE) {
            let folder = tempfile::tempdir_in(&disk).unwrap();
            let root = folder.path().join("models");
            let store = Store::open(&root).unwrap();
            create(&store, "a", 1).unwrap();
            create(&store, "a", 2).unwrap();
            create(&store, "b", 3).unwrap();
            let before = digests(&store);
            fill(&filler, room);
            let when = format!("{what} with {room} bytes of room");
            match change(&store) {
                Ok(()) => n_done += 1,
                Err(error) => {
                    n_refused += 1;
                    check_full(&error);
                    assert_eq!(digests(&store), before, "{when}");
                    assert!(!["remove", "gc"].contains(&what), "{when}: {error}");
                }
            }
            assert_eq!(problems(&store), 0, "{when}");
            let after = digests(&store);
            drop(store);
            // The next start is none the wiser, on the full disk and later.
            let store = Store::open(&root).unwrap();
            assert_eq!(digests(&store), after, "{when}");
            drop(store);
            fs::remove_file(&filler).unwrap();
            let store = Store::open(&root).unwrap();
            assert_eq!(digests(&store), after, "{when}");
            for folder in ["blobs", "manifests"] {
                for entry in fs::read_dir(root.join(folder)).unwrap() {
                    let name = entry.unwrap().file_name();
                    assert!(!name.to_string_lossy().starts_with('.'), "{when}: {name:?}");
                }
            }
            if after == before && !["gc", "remove"].contains(&what) {
                change(&store).unwrap();
            }
            assert_eq!(problems(&store), 0, "{when}");
        }
    }
    println!("{n_refused} changes refused, {n_done} done");
    assert!(n_refused > 20 && n_done > 20);
}

#[tokio::test]
#[ignore = "runs on the disk that a test above mounts"]
async fn a_full_disk_is_said_and_lived_through() {
    let Some(disk) = disk() else { return };
    let folder = tempfile::tempdir_in(&disk).unwrap();
    let filler = folder.path().join("filler");
    let root = folder.path().join("models");
    let store = Store::open(&root).unwrap();
    let registry = FakeRegistry::start().await;
    let home = Home {
        folder: tempfile::tempdir().unwrap(),
        store,
        registry,
    };
    let (small, _) = home.registry.offer("small", &[b"x"]);
    home.pull(&small).await.unwrap();

    // While something is stored: the unfinished file goes.
    let error = home
        .store
        .ingest(&mut std::io::repeat(1), None)
        .unwrap_err();
    check_full(&error);
    let n_blobs = fs::read_dir(root.join("blobs")).unwrap().count();
    assert_eq!(n_blobs, 2, "the layer and the config");

    // While something is pulled: what came stays, and the next pull goes on.
    let (large, manifest) = home.registry.offer("large", &[&bytes(13, 3_000_000)]);
    home.registry.content().pause = Duration::from_millis(5);
    let mut is_filled = false;
    let progress = |event| {
        if matches!(
            event,
            PullEvent::Blob {
                total: 3_000_000,
                completed: 1..,
                ..
            }
        ) && !is_filled
        {
            is_filled = true;
            fill(&filler, 0);
        }
    };
    let options = PullOptions::default();
    let error = pull_patiently(&home.store, &large, &options, IMPATIENT, progress)
        .await
        .unwrap_err();
    check_full(&error);
    let error = home.pull(&large).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");

    // A model can be removed from a full disk, and is not there after the next start either.
    assert_eq!(home.store.list().unwrap().len(), 1);
    home.store.remove(&small).unwrap();
    assert!(home.store.list().unwrap().is_empty());
    let Home {
        folder: other,
        store,
        registry,
    } = home;
    drop(store);
    let home = Home {
        folder: other,
        store: Store::open(&root).unwrap(),
        registry,
    };
    assert!(home.store.list().unwrap().is_empty());

    fs::remove_file(&filler).unwrap();
    home.registry.take_blob_requests();
    home.pull(&large).await.unwrap();
    home.check_whole(&large, &manifest);
    assert!(
        home.registry.take_blob_requests()[0]
            .header(header::RANGE)
            .starts_with("bytes=")
    );
}
