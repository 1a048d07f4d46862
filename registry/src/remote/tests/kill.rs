//! A child process is killed at random moments; after each, the store is whole, and work goes on where it stopped.
//!
//! The child is this test binary again, told by the environment to run the one test that does the child's work.
use super::{super::*, FakeRegistry, IN_PARTS, bytes};
use crate::{Descriptor, GcLimits, MediaType, ModelName, Provenance, Via};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

const N_KILLS: usize = 20;
const ROOT: &str = "SLM_TEST_ROOT";
const MODEL: &str = "SLM_TEST_MODEL";
const SEED: &str = "SLM_TEST_SEED";

/// Starts this binary on the test `name` alone, with the environment that the child reads.
fn spawn(name: &str, root: &Path, model: &str, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture"]);
    command.arg(format!("remote::tests::kill::{name}"));
    command
        .env(ROOT, root)
        .env(MODEL, model)
        .env(SEED, seed.to_string());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Waits until the child has begun, lets it live for `time` more, and kills it.
fn kill_after(mut child: Child, time: Duration) {
    use std::io::{BufRead, BufReader};
    let (begun, on_begun) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if line.contains("begun") {
                let _ = begun.send(());
            }
        }
    });
    on_begun
        .recv_timeout(Duration::from_secs(60))
        .expect("the child begins");
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
}

/// What the parent says; nothing where ignored tests are run without one.
fn in_child() -> Option<(Store, String, u64)> {
    let variable = |name: &str| std::env::var(name).ok();
    let (root, model, seed) = (variable(ROOT)?, variable(MODEL)?, variable(SEED)?);
    let store = Store::open(Path::new(&root)).unwrap();
    println!("begun");
    Some((store, model, seed.parse().unwrap()))
}

/// Every visible blob hashes to its name, every manifest parses and refers to blobs that are there.
#[track_caller]
fn check_whole(store: &Store) -> Vec<Digest> {
    let blobs = fs::read_dir(store.root().join("blobs")).unwrap();
    let names = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut visible = Vec::new();
    for name in names {
        match name.parse::<Digest>() {
            Ok(digest) => {
                store.verify_blob(&digest).unwrap();
                visible.push(digest);
            }
            Err(_) => assert!(
                name.ends_with("-partial") || name.ends_with("-partial.journal"),
                "{name} was left behind"
            ),
        }
    }
    let entries = store.list().unwrap();
    let n_files = count_files(&store.root().join("manifests"));
    assert_eq!(entries.len(), n_files, "every manifest file is a model");
    for entry in entries {
        let manifest = store.manifest(&entry.name).unwrap();
        assert!(
            manifest.blobs().all(|blob| visible.contains(&blob.digest)),
            "{}",
            entry.name
        );
        assert!(entry.config.is_object());
    }
    let mut problems = 0;
    let never = std::sync::atomic::AtomicBool::new(false);
    let count = |event| problems += usize::from(matches!(event, crate::VerifyEvent::Problem(_)));
    store.verify(&[], &never, count).unwrap();
    assert_eq!(problems, 0);
    visible
}

fn count_files(path: &Path) -> usize {
    let entries = fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

#[test]
#[ignore = "the child of the test below"]
fn child_that_creates() {
    let Some((store, _, seed)) = in_child() else {
        return;
    };
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let add = |media_type: MediaType, bytes: &[u8], as_file: bool| {
            let digest = if as_file {
                let file = tempfile::NamedTempFile::new_in(store.root()).unwrap();
                fs::write(file.path(), bytes).unwrap();
                store.ingest_file(file.path(), None).unwrap()
            } else {
                store.ingest(&mut &bytes[..], None).unwrap()
            };
            Descriptor {
                media_type,
                digest,
                size: bytes.len() as u64,
            }
        };
        let config = format!(r#"{{"model_family":"f{}"}}"#, random.u8(..4));
        let config = add(MediaType::Config, config.as_bytes(), false);
        let layers = (0..random.usize(1..3)).map(|_| {
            let (seed, len) = (random.u64(..6), random.usize(1..1_000_000));
            add(MediaType::Model, &bytes(seed, len), random.bool())
        });
        let manifest = Manifest {
            layers: layers.collect(),
            config,
        };
        let name: ModelName = format!("m{}", random.u8(..4)).parse().unwrap();
        let provenance = Provenance::now(Via::Create);
        store
            .write_manifest_from(&name, &manifest.to_json(), Some(&provenance))
            .unwrap();
        let other: ModelName = format!("m{}", random.u8(..4)).parse().unwrap();
        match random.u8(..5) {
            0 => drop(store.copy(&name, &other)),
            1 => drop(store.remove(&other)),
            2 => drop(store.roll_back(&other)),
            3 => drop(store.collect_garbage(&AT_ONCE, false).unwrap()),
            _ => store.touch(&name),
        }
    }
}

/// Everything that is not in use.
const AT_ONCE: GcLimits = GcLimits {
    blob_age: Duration::ZERO,
    partial_age: Duration::ZERO,
    version_age: Duration::ZERO,
};

#[test]
fn creates_copies_rollbacks_gc_and_removals_are_killed() {
    kill_changes(N_KILLS);
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn changes_are_killed_200_times() {
    kill_changes(200);
}

fn kill_changes(n_kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::new();
    let mut n_models = 0;
    for n_kill in 0..n_kills {
        let child = spawn("child_that_creates", folder.path(), "", n_kill as u64);
        kill_after(child, Duration::from_millis(random.u64(5..300)));
        let store = Store::open(folder.path()).unwrap();
        check_whole(&store);
        n_models += store.list().unwrap().len();
    }
    assert!(n_models > 0, "the child never got anything done");
    // Nothing is left that cannot be removed.
    let store = Store::open(folder.path()).unwrap();
    for entry in store.list().unwrap() {
        store.remove(&entry.name).unwrap();
    }
    store.collect_garbage(&AT_ONCE, false).unwrap();
    assert_eq!(count_files(&folder.path().join("blobs")), 0);
    assert_eq!(count_files(&folder.path().join("manifests")), 0);
}

#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_that_pulls() {
    let Some((store, model, _)) = in_child() else {
        return;
    };
    let name: ModelName = model.parse().unwrap();
    let options = PullOptions::default();
    let patience = Patience {
        cut: IN_PARTS.cut,
        ..Patience::default()
    };
    let pulled = pull_patiently(&store, &name, &options, patience, |_| {});
    pulled.await.unwrap();
    // Done early: wait for the kill.
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_is_killed() {
    kill_a_pull().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs `cargo xtask test --full`"]
async fn pulls_are_killed_200_times() {
    for _ in 0..200 / N_KILLS {
        kill_a_pull().await;
    }
}

async fn kill_a_pull() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start().await;
    let layers: Vec<Vec<u8>> = (0..6).map(|seed| bytes(100 + seed, 1 << 20)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let (name, manifest) = registry.offer("m", &layers);
    // 96 chunks: about four seconds in all.
    registry.content().pause = Duration::from_millis(40);
    let mut random = fastrand::Rng::new();
    let mut finished: Vec<Finished> = Vec::new();
    let (mut n_early, mut n_kills) = (0, 0);
    // on a busy machine a child may need longer for its first part
    while n_kills < N_KILLS
        || n_kills < 6 * N_KILLS && !finished.iter().any(|finished| finished.is_part)
    {
        let child = spawn(
            "child_that_pulls",
            folder.path(),
            &name.full(),
            n_kills as u64,
        );
        let slack = 1 + (n_kills / N_KILLS) as u64;
        let time = Duration::from_millis(random.u64(1..240 * slack));
        n_kills += 1;
        tokio::task::spawn_blocking(move || kill_after(child, time))
            .await
            .unwrap();
        registry.wait_until_idle().await;
        let store = Store::open_without_index(folder.path()).unwrap();
        for digest in check_whole(&store) {
            let len = registry.content().blobs[&digest].len();
            finished.push(Finished::now(&registry, digest, 0..len));
        }
        for (digest, span) in finished_spans(&store, &registry) {
            finished.push(Finished::now(&registry, digest, span));
        }
        n_early += usize::from(store.find(&name).is_err());
    }
    assert!(
        n_early > N_KILLS / 4,
        "killed too late: {n_early} of {n_kills} before the end"
    );
    let store = Store::open(folder.path()).unwrap();
    let options = PullOptions::default();
    pull(&store, &name, &options, |_| {}).await.unwrap();
    check_whole(&store);
    assert_eq!(store.manifest(&name).unwrap(), manifest);
    assert!(
        finished.iter().any(|finished| finished.is_part),
        "never killed between two parts"
    );
    for finished in finished {
        let now = registry.n_times(&finished.digest, finished.span.clone());
        assert_eq!(
            now, finished.n_times,
            "{:?} was fetched again",
            finished.span
        );
    }
}

/// Bytes that were on the disk when the child was killed.
struct Finished {
    digest: Digest,
    span: std::ops::Range<usize>,
    is_part: bool,
    /// How often the registry had sent them.
    n_times: (u8, u8),
}

impl Finished {
    fn now(registry: &FakeRegistry, digest: Digest, span: std::ops::Range<usize>) -> Self {
        let n_bytes = registry.content().blobs[&digest].len();
        Self {
            digest,
            is_part: span.len() < n_bytes,
            n_times: registry.n_times(&digest, span.clone()),
            span,
        }
    }
}

/// What the journals of unfinished downloads say is there. They are read as copies, so that they stay as they were left.
fn finished_spans(store: &Store, registry: &FakeRegistry) -> Vec<(Digest, std::ops::Range<usize>)> {
    let blobs = registry.content().blobs.clone();
    let mut finished = Vec::new();
    for (digest, bytes) in blobs {
        let path = partial::journal_path(&partial::path(store.shared(), &digest));
        let Ok(journal) = fs::read(path) else {
            continue;
        };
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::write(copy.path(), journal).unwrap();
        let total = bytes.len() as u64;
        let (_, records) = journal::Journal::open(copy.path(), total, b"").unwrap();
        for record in records.into_iter().flatten() {
            let journal::Record::Written(span, crc) = record else {
                panic!("{record:?}: nothing was lost")
            };
            let span = span.start as usize..span.end as usize;
            assert_eq!(crc32fast::hash(&bytes[span.clone()]), crc);
            finished.push((digest, span));
        }
    }
    finished
}
