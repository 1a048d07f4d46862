//! What is noted of a pull, whether the source has something newer, and damage that is mended from there.
use super::{sources::*, *};
use crate::{
    Via,
    store::{Problem, VerifyEvent},
};
use std::sync::atomic::AtomicBool;

pub(super) fn problems(store: &Store) -> Vec<Problem> {
    let mut problems = Vec::new();
    let take = |event| {
        if let VerifyEvent::Problem(problem) = event {
            problems.push(problem);
        }
    };
    store.verify(&[], &AtomicBool::new(false), take).unwrap();
    problems
}

pub(super) fn damage(store: &Store, digest: &Digest) {
    let path = store.blob_path(digest);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_pull_is_noted_and_the_registry_is_asked_for_something_newer() {
    let home = Home::new().await;
    let (name, _) = home.registry.offer("m", &[b"one"]);
    home.pull(&name).await.unwrap();
    let digest = home.store.find(&name).unwrap().digest;
    let noted = home.store.provenance(&name).unwrap().unwrap();
    assert_eq!(noted.via, Via::Pull);
    assert_eq!(noted.source, Some(name.full()));
    assert_eq!(noted.revision, Some(digest.to_string()));
    assert_eq!(noted.originals[0].digest, digest);
    assert!(noted.time > 1_700_000_000);
    let options = PullOptions::default();
    let ask = async || freshness(&home.store, &name, &options).await;
    assert_eq!(ask().await.unwrap(), Freshness::Current);
    home.registry.offer("m", &[b"two"]);
    let Freshness::Outdated(Some(newer)) = ask().await.unwrap() else {
        panic!("it is outdated")
    };
    home.pull(&name).await.unwrap();
    assert_eq!(home.store.find(&name).unwrap().digest.to_string(), newer);
    assert_eq!(ask().await.unwrap(), Freshness::Current);
    home.store.roll_back(&name).unwrap();
    assert_eq!(ask().await.unwrap(), Freshness::Outdated(Some(newer)));
    // Another name of it has the same source.
    let copy: ModelName = "copy".parse().unwrap();
    home.store.copy(&name, &copy).unwrap();
    let of_copy = freshness(&home.store, &copy, &options).await.unwrap();
    assert!(matches!(of_copy, Freshness::Outdated(_)));
    home.registry.content().manifests.clear();
    assert_eq!(ask().await.unwrap(), Freshness::Gone);
    let pinned = format!("{name}@{digest}");
    let (_, _) = home.registry.offer("m", &[b"one"]);
    let reference: Reference = pinned.parse().unwrap();
    pull(&home.store, &reference, &options, |_| {})
        .await
        .unwrap();
    assert_eq!(ask().await.unwrap(), Freshness::Pinned);
}

#[tokio::test]
async fn a_source_that_cannot_be_asked_is_an_error_and_changes_nothing() {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[b"one"]);
    home.pull(&name).await.unwrap();
    let json = home.store.manifest_json(&name).unwrap();
    let provenance = crate::Provenance {
        source: Some("http://127.0.0.1:1/library/m:latest".into()),
        ..crate::Provenance::now(Via::Pull)
    };
    home.store
        .write_manifest_from(&name, &json, Some(&provenance))
        .unwrap();
    let error = freshness(&home.store, &name, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    home.check_whole(&name, &manifest);
    // A model of which nothing is known, and one that was made here.
    let made: ModelName = "made".parse().unwrap();
    home.store.write_manifest(&made, &json).unwrap();
    let options = PullOptions::default();
    let ask = async || freshness(&home.store, &made, &options).await.unwrap();
    assert_eq!(ask().await, Freshness::Unknown);
    let provenance = crate::Provenance::now(Via::Create);
    home.store
        .write_manifest_from(&made, &json, Some(&provenance))
        .unwrap();
    assert_eq!(ask().await, Freshness::Local);
}

#[tokio::test]
async fn what_is_damaged_comes_again_from_its_registry_and_nothing_else() {
    let home = Home::new().await;
    let layers = [bytes(1, 300_000), bytes(2, 200_000), bytes(3, 100_000)];
    let (name, manifest) = home
        .registry
        .offer("m", &[&layers[0], &layers[1], &layers[2]]);
    home.pull(&name).await.unwrap();
    let second: ModelName = "made".parse().unwrap();
    home.store.copy(&name, &second).unwrap();
    home.registry.take_blob_requests();
    damage(&home.store, &manifest.layers[0].digest);
    fs::remove_file(home.store.blob_path(&manifest.layers[2].digest)).unwrap();
    let found = problems(&home.store);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|problem| problem.models.len() == 2));
    let options = PullOptions::default();
    // While nobody answers, the damaged one stays where it is.
    home.registry.content().blobs.clear();
    for problem in &found {
        repair(&home.store, problem, &options, |_| {})
            .await
            .unwrap_err();
    }
    assert!(home.store.has_blob(&manifest.layers[0].digest));
    home.registry
        .offer("m", &[&layers[0], &layers[1], &layers[2]]);
    home.registry.take_blob_requests();
    for problem in &found {
        repair(&home.store, problem, &options, |_| {})
            .await
            .unwrap();
    }
    assert!(problems(&home.store).is_empty());
    home.check_whole(&name, &manifest);
    let requests = home.registry.take_blob_requests();
    let other = manifest.layers[1].digest.to_string();
    assert!(
        requests
            .iter()
            .all(|request| !request.path.contains(&other))
    );
    // What no model has and nobody knows.
    let orphan = Digest::of(b"orphan");
    fs::write(home.store.blob_path(&orphan), b"x").unwrap();
    let found = problems(&home.store);
    let error = repair(&home.store, &found[0], &options, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSource { .. }), "{error}");
    assert!(error.hint().unwrap().contains("slm gc"));
}

#[tokio::test]
async fn files_from_the_web_are_noted_compared_and_mended() {
    let (site, place) = (Site::start().await, Place::new());
    let network = || {
        let (network, weights) = hugging_face(&site);
        let license_of: Arc<ReadLicense> = Arc::new(|_| Some("mit".to_owned()));
        let license_of = Some(license_of);
        (
            Network {
                license_of,
                ..network
            },
            weights,
        )
    };
    let sha = "0123456789abcdef0123456789abcdef01234567";
    site.put(
        "/api/models/u/r/revision/main",
        Page::of(format!(r#"{{"sha":"{sha}"}}"#)).needs("Bearer hf_secret"),
    );
    let (own, weights) = network();
    place.pull("hf.co/u/r", own).await.unwrap();
    let name: ModelName = "hf.co/u/r".parse().unwrap();
    let noted = place.store.provenance(&name).unwrap().unwrap();
    assert_eq!(noted.source.as_deref(), Some("hf.co/u/r"));
    assert_eq!(noted.revision.as_deref(), Some(sha));
    assert_eq!(noted.license.as_deref(), Some("mit"));
    assert_eq!(noted.originals[0].digest, Digest::of(&weights));
    let options = || PullOptions {
        network: Arc::new(network().0),
        ..PullOptions::default()
    };
    let ask = async || freshness(&place.store, &name, &options()).await.unwrap();
    assert_eq!(ask().await, Freshness::Current);
    damage(&place.store, &Digest::of(&weights));
    let found = problems(&place.store);
    repair(&place.store, &found[0], &options(), |_| {})
        .await
        .unwrap();
    assert!(problems(&place.store).is_empty());

    let url = site.url("/x.gguf");
    let page = |seed: u64, etag: &str| Page::of(gguf(seed, 50_000)).with("etag", etag);
    site.put("/x.gguf", page(1, "\"one\""));
    place
        .pull(&format!("{url}?token=secret"), Network::default())
        .await
        .unwrap();
    let reference: Reference = url.parse().unwrap();
    let name = reference.name().clone();
    let noted = place.store.provenance(&name).unwrap().unwrap();
    assert_eq!(noted.source, Some(url));
    assert_eq!(noted.revision.as_deref(), Some("\"one\""));
    assert_eq!(noted.originals[0].digest, Digest::of(&gguf(1, 50_000)));
    let options = PullOptions::default();
    let ask = async || freshness(&place.store, &name, &options).await.unwrap();
    assert_eq!(ask().await, Freshness::Current);
    site.put("/x.gguf", page(2, "\"two\""));
    assert_eq!(ask().await, Freshness::Outdated(Some("\"two\"".into())));
}

#[tokio::test]
async fn every_part_of_a_model_is_mended_from_its_own_address() {
    let (site, place) = (Site::start().await, Place::new());
    let parts = [gguf(7, 90_000), gguf(8, 80_000)];
    let list: Vec<String> = (0..2)
        .map(|idx| {
            let path = format!("m-Q8_0-{:05}-of-00002.gguf", idx + 1);
            let (oid, size) = (Digest::of(&parts[idx]).hex(), parts[idx].len());
            let page = Page::of(parts[idx].clone());
            site.put(&format!("/u/r/resolve/main/{path}"), page);
            format!(
                r#"{{"type":"file","path":"{path}","size":{size},"lfs":{{"oid":"{oid}","size":{size}}}}}"#
            )
        })
        .collect();
    let list = format!("[{}]", list.join(","));
    site.put("/api/models/u/r/tree/main", Page::of(list));
    let network = || Network {
        hugging_face_endpoint: Some(site.url("")),
        ..Network::default()
    };
    place.pull("hf.co/u/r", network()).await.unwrap();
    let options = PullOptions {
        network: Arc::new(network()),
        ..PullOptions::default()
    };
    for part in &parts {
        damage(&place.store, &Digest::of(part));
        let found = problems(&place.store);
        repair(&place.store, &found[0], &options, |_| {})
            .await
            .unwrap();
        assert!(problems(&place.store).is_empty());
    }
}

#[tokio::test]
async fn the_right_blob_takes_the_place_of_the_damaged_one_in_the_archive() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), FakeRegistry::start().await);
    fs::create_dir(folder.path().join("big")).unwrap();
    let store = Store::open(crate::Locations {
        archive: Some(folder.path().join("big")),
        ..crate::Locations::from(&folder.path().join("models"))
    })
    .unwrap();
    let (name, manifest) = registry.offer("m", &[&bytes(1, 200_000)]);
    let digest = manifest.layers[0].digest;
    let options = PullOptions::default();
    pull(&store, &name, &options, |_| {}).await.unwrap();
    store.archive(&name, &mut |_, _, _| {}).unwrap();
    let archived = store.blob_path(&digest);
    damage(&store, &digest);
    let found = problems(&store);
    repair(&store, &found[0], &options, |_| {}).await.unwrap();
    store.verify_blob(&digest).unwrap();
    assert!(!archived.exists(), "the damaged one");
    store.archive(&name, &mut |_, _, _| {}).unwrap();
    assert_eq!(store.blob_path(&digest), archived);
    store.verify_blob(&digest).unwrap();
}

#[tokio::test]
async fn what_gives_no_single_blobs_is_named() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new());
    let path = folder.path().join("m.gguf");
    fs::write(&path, gguf(9, 50_000)).unwrap();
    let text = format!("file://{}", path.display());
    place.pull(&text, Network::default()).await.unwrap();
    damage(&place.store, &Digest::of(&gguf(9, 50_000)));
    let found = problems(&place.store);
    let error = repair(&place.store, &found[0], &PullOptions::default(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSingleBlobs { .. }), "{error}");
    assert!(error.to_string().contains("m.gguf"), "{error}");
}
