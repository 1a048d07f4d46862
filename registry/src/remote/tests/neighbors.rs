//! Neighbours: asked first, believed nothing, and given up soon.
use super::{
    super::*,
    Fault, IMPATIENT, bytes,
    care::{damage, problems},
    fake_registry::FakeRegistry,
};
use crate::ModelName;
use std::time::Instant;

/// Longer than any neighbour may hold a pull up, with a margin for a busy machine.
const SOON: Duration = Duration::from_secs(40);

struct Home {
    _folder: tempfile::TempDir,
    store: Store,
    origin: FakeRegistry,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(folder.path()).unwrap(),
            _folder: folder,
            origin: FakeRegistry::start().await,
        }
    }

    async fn pull(
        &self,
        name: impl Into<Reference>,
        neighbors: &[String],
    ) -> Result<Vec<PullEvent>, Error> {
        let options = PullOptions {
            network: Arc::new(Network {
                neighbors: neighbors.to_vec(),
                ..Network::default()
            }),
            ..PullOptions::default()
        };
        let mut events = Vec::new();
        let pulled = pull_patiently(&self.store, name, &options, IMPATIENT, |event| {
            events.push(event)
        });
        tokio::time::timeout(SOON, pulled)
            .await
            .expect("it goes on for ever")?;
        Ok(events)
    }

    #[track_caller]
    fn check(&self, name: &ModelName, manifest: &Manifest) {
        assert_eq!(self.store.manifest(name).unwrap(), *manifest);
        for blob in manifest.blobs() {
            self.store.verify_blob(&blob.digest).unwrap();
        }
    }
}

/// A neighbour that has what `origin` has, under the paths of a daemon that shares.
async fn neighbor_of(origin: &FakeRegistry) -> FakeRegistry {
    let neighbor = FakeRegistry::start_as_neighbor().await;
    let from = origin.content();
    let mut to = neighbor.content();
    to.manifests = from.manifests.clone();
    to.blobs = from.blobs.clone();
    drop((from, to));
    neighbor
}

fn notes(events: &[PullEvent]) -> String {
    let notes = events.iter().filter_map(|event| match event {
        PullEvent::Note(note) => Some(note.as_str()),
        _ => None,
    });
    notes.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_internet_is_asked_only_for_what_no_neighbour_has() {
    let home = Home::new().await;
    let (name, manifest) = home
        .origin
        .offer("m", &[&bytes(1, 600_000), b"only at the origin"]);
    let neighbor = neighbor_of(&home.origin).await;
    neighbor.content().blobs.remove(&manifest.layers[1].digest);
    let addresses = [neighbor.address.to_string()];
    let events = home.pull(&name, &addresses).await.unwrap();
    home.check(&name, &manifest);
    let asked = home.origin.take_blob_requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0]
            .path
            .contains(&manifest.layers[1].digest.to_string())
    );
    assert!(notes(&events).contains(&format!("comes from {}", neighbor.address)));
    for request in neighbor.content().requests.iter() {
        assert_eq!(request.header(axum::http::header::AUTHORIZATION), "");
    }
}

#[tokio::test]
async fn a_neighbour_that_fails_costs_a_moment_and_no_byte() {
    for (what, always) in [
        ("lies", (|_| Fault::Corrupt) as fn(usize) -> Fault),
        ("is silent", |_| Fault::Stall(100)),
        ("fails", |_| Fault::Status(500)),
        ("breaks off", |_| Fault::Truncate(50_000)),
        ("lies and breaks off", |n| {
            if n == 0 {
                Fault::Corrupt
            } else {
                Fault::Status(500)
            }
        }),
        ("is slow", |_| Fault::Trickle(0)),
        ("refuses", |_| Fault::Status(403)),
    ] {
        let home = Home::new().await;
        let (name, manifest) = home.origin.offer("m", &[&bytes(2, 1_500_000)]);
        let neighbor = neighbor_of(&home.origin).await;
        neighbor.content().always = Some(always);
        let dead = "127.0.0.1:1".to_owned();
        let began = Instant::now();
        home.pull(&name, &[dead, neighbor.address.to_string()])
            .await
            .unwrap();
        println!("a neighbour that {what}: {:?}", began.elapsed());
        home.check(&name, &manifest);
    }
}

#[tokio::test]
async fn one_of_several_neighbours_may_lie() {
    let home = Home::new().await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(3, 900_000)]);
    let (honest, liar) = (
        neighbor_of(&home.origin).await,
        neighbor_of(&home.origin).await,
    );
    liar.content().always = Some(|_| Fault::Corrupt);
    let addresses = [liar.address.to_string(), honest.address.to_string()];
    home.pull(&name, &addresses).await.unwrap();
    home.check(&name, &manifest);
    let big = manifest.layers[0].digest.to_string();
    let asked = home.origin.take_blob_requests();
    assert!(
        !asked.iter().any(|request| request.path.contains(&big)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn without_the_internet_a_neighbour_says_what_a_tag_is() {
    let home = Home::new().await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(4, 300_000)]);
    let neighbor = neighbor_of(&home.origin).await;
    home.origin
        .content()
        .manifest_statuses
        .extend([(500, "down"); 9]);
    home.origin.content().always = Some(|_| Fault::Status(500));
    let none = home.pull(&name, &[]).await.unwrap_err();
    let events = home
        .pull(&name, &[neighbor.address.to_string()])
        .await
        .unwrap();
    home.check(&name, &manifest);
    assert!(
        notes(&events).contains("cannot be reached; "),
        "{}",
        notes(&events)
    );
    assert!(notes(&events).contains(&format!("the neighbour {} says", neighbor.address)));
    assert!(none.to_string().contains("500"), "{none}");
    // a registry that says no is believed
    home.origin.content().manifest_statuses.clear();
    home.origin.content().manifests.clear();
    let gone = home
        .pull(&name, &[neighbor.address.to_string()])
        .await
        .unwrap_err();
    assert!(matches!(gone, Error::RemoteNotFound { .. }), "{gone}");
}

#[tokio::test]
async fn a_daemon_is_a_source_of_its_own() {
    let home = Home::new().await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(5, 300_000)]);
    let neighbor = neighbor_of(&home.origin).await;
    let json = home.origin.content().manifests["m/latest"].clone();
    let reference: Reference = format!("slm://{}/{name}", neighbor.address)
        .parse()
        .unwrap();
    home.pull(&reference, &[]).await.unwrap();
    home.check(&name, &manifest);
    let pinned = format!("slm://{}/{name}@{}", neighbor.address, Digest::of(b"other"));
    let error = home
        .pull(pinned.parse::<Reference>().unwrap(), &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherManifest { .. }), "{error}");
    let pinned = format!("slm://{}/{name}@{}", neighbor.address, Digest::of(&json));
    home.pull(pinned.parse::<Reference>().unwrap(), &[])
        .await
        .unwrap();
    assert_eq!(home.origin.content().requests.len(), 0);
}

#[tokio::test]
async fn what_a_registry_said_a_tag_is_no_neighbour_says_otherwise() {
    let home = Home::new().await;
    home.origin.offer("m", &[&bytes(6, 100_000)]);
    let neighbor = neighbor_of(&home.origin).await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(7, 100_000)]);
    home.origin.content().always = Some(|_| Fault::Status(500));
    let addresses = [neighbor.address.to_string()];
    home.pull(&name, &addresses).await.unwrap_err();
    assert!(home.store.find(&name).is_err(), "it is another model");
    // Who has that very model may give it.
    let blobs = home.origin.content().blobs.clone();
    neighbor.content().blobs.extend(blobs);
    home.pull(&name, &addresses).await.unwrap();
    home.check(&name, &manifest);
}

#[tokio::test]
async fn an_address_that_is_none_does_not_end_a_pull() {
    let home = Home::new().await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(8, 100_000)]);
    let neighbor = neighbor_of(&home.origin).await.address.to_string();
    let bad = "no address".to_owned();
    let events = home
        .pull(&name, &[bad, neighbor.clone(), neighbor.clone()])
        .await
        .unwrap();
    home.check(&name, &manifest);
    assert!(
        notes(&events).contains(&format!("comes from {neighbor}\n")),
        "asked once: {}",
        notes(&events)
    );
}

#[tokio::test]
async fn what_came_from_a_daemon_is_mended_from_there() {
    let home = Home::new().await;
    let (name, manifest) = home.origin.offer("m", &[&bytes(9, 100_000)]);
    let neighbor = neighbor_of(&home.origin).await;
    let reference = format!("slm://{}/{name}", neighbor.address);
    home.pull(reference.parse::<Reference>().unwrap(), &[])
        .await
        .unwrap();
    damage(&home.store, &manifest.layers[0].digest);
    let found = problems(&home.store);
    repair(&home.store, &found[0], &PullOptions::default(), |_| {})
        .await
        .unwrap();
    home.check(&name, &manifest);
}
