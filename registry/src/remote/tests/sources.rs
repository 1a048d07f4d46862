//! Where models come from beside registries of Ollama's dialect, and who asks.
use super::{super::*, FakeRegistry, Fault, IN_PARTS, bytes};
use crate::{MediaType, ModelName};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode, Uri, header},
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
};

/// A page of a [`Site`].
#[derive(Clone, Default)]
pub(super) struct Page {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The `Authorization` that it needs.
    needs: Option<&'static str>,
}

impl Page {
    pub(super) fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
    pub(super) fn needs(mut self, authorization: &'static str) -> Self {
        self.needs = Some(authorization);
        self
    }
}

/// A web server with some pages, which knows ranges and remembers who asked.
#[derive(Clone)]
pub(super) struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    asked: Arc<Mutex<Vec<(Uri, HeaderMap)>>>,
}

impl Site {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self {
            address: listener.local_addr().unwrap(),
            pages: Arc::default(),
            asked: Arc::default(),
        };
        let answering = site.clone();
        let router = Router::new().fallback(move |request: Request<Body>| {
            let site = answering.clone();
            async move { site.answer(&request) }
        });
        tokio::spawn(async { axum::serve(listener, router).await });
        site
    }

    pub(super) fn put(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> MutexGuard<'_, Vec<(Uri, HeaderMap)>> {
        self.asked.lock().unwrap()
    }

    /// The `Authorization` of each request for `path` so far.
    fn authorizations(&self, path: &str) -> Vec<String> {
        let asked = self.asked();
        let of_path = asked.iter().filter(|(uri, _)| uri.path() == path);
        let value = |headers: &HeaderMap| {
            let value = headers.get(header::AUTHORIZATION);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        of_path.map(|(_, headers)| value(headers)).collect()
    }

    fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        self.asked().push((uri.clone(), headers.clone()));
        let page = self.pages.lock().unwrap().get(uri.path()).cloned();
        let Some(page) = page else {
            return Response::builder().status(404).body(Body::empty()).unwrap();
        };
        let given = headers.get(header::AUTHORIZATION);
        let is_known = page
            .needs
            .is_none_or(|needs| given.is_some_and(|given| given == needs));
        if !is_known {
            let mut refusal = Response::builder().status(401);
            for (name, value) in page
                .headers
                .iter()
                .filter(|(name, _)| *name == "www-authenticate")
            {
                refusal = refusal.header(*name, value);
            }
            return refusal.body(Body::empty()).unwrap();
        }
        let mut response = Response::builder().status(page.status);
        for (name, value) in &page.headers {
            response = response.header(*name, value);
        }
        let etag = page.headers.iter().find(|(name, _)| *name == "etag");
        let condition = headers.get(header::IF_RANGE);
        let is_same = condition.is_none_or(|tag| etag.is_some_and(|(_, etag)| tag == etag));
        let range = headers
            .get(header::RANGE)
            .filter(|_| is_same && page.status == 200);
        let Some(range) = range else {
            return response.body(Body::from(page.body)).unwrap();
        };
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let total = page.body.len();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let last = last.min(total - 1);
        let range = format!("bytes {first}-{last}/{total}");
        response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range)
            .body(Body::from(page.body[first..=last].to_vec()))
            .unwrap()
    }
}

pub(super) fn gguf(seed: u64, len: usize) -> Vec<u8> {
    [b"GGUF".to_vec(), bytes(seed, len)].concat()
}

pub(super) struct Place {
    _folder: tempfile::TempDir,
    pub(super) store: Store,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    /// Pulls; the notes for a person.
    pub(super) async fn pull(
        &self,
        reference: &str,
        network: Network,
    ) -> Result<Vec<String>, Error> {
        let reference: Reference = reference.parse().unwrap();
        let options = PullOptions {
            network: Arc::new(network),
            ..PullOptions::default()
        };
        let mut notes = Vec::new();
        pull_patiently(&self.store, &reference, &options, IN_PARTS, |event| {
            if let PullEvent::Note(note) = event {
                notes.push(note);
            }
        })
        .await?;
        let name = reference.name();
        for blob in self.store.manifest(name).unwrap().blobs() {
            self.store.verify_blob(&blob.digest).unwrap();
        }
        Ok(notes)
    }

    /// The weights of `name`.
    #[track_caller]
    fn weights(&self, name: &str) -> Vec<u8> {
        let name: ModelName = name.parse().unwrap();
        let manifest = self.store.manifest(&name).unwrap();
        let digest = manifest.layer(&MediaType::Model).unwrap().digest;
        std::fs::read(self.store.blob_path(&digest)).unwrap()
    }
}

/// A repository with three files of weights.
pub(super) fn hugging_face(site: &Site) -> (Network, Vec<u8>) {
    let weights = gguf(70, 300_000);
    let file = |path: &str, bytes: &[u8]| {
        let (oid, size) = (Digest::of(bytes).hex(), bytes.len());
        format!(
            r#"{{"type":"file","path":"{path}","oid":"1","size":{size},"lfs":{{"oid":"{oid}","size":{size}}}}}"#
        )
    };
    let other = gguf(71, 1000);
    let list = [
        file("m-Q2_K.gguf", &other),
        file("sub dir/m-Q4_K_M.gguf", &weights),
        file("m-Q8_0.gguf", &other),
        r#"{"type":"file","path":"README.md","oid":"2","size":5}"#.to_owned(),
    ];
    let list = format!("[{}]", list.join(","));
    site.put(
        "/api/models/u/r/tree/main",
        Page::of(list).needs("Bearer hf_secret"),
    );
    let weights_path = "/u/r/resolve/main/sub%20dir/m-Q4_K_M.gguf";
    site.put(
        weights_path,
        Page::of(weights.clone()).needs("Bearer hf_secret"),
    );
    site.put(
        "/u/r/resolve/main/m-Q2_K.gguf",
        Page::of(other).needs("Bearer hf_secret"),
    );
    let network = Network {
        hugging_face_endpoint: Some(site.url("")),
        hugging_face_token: Some("hf_secret".to_owned()),
        ..Network::default()
    };
    (network, weights)
}

#[tokio::test]
async fn a_file_of_hugging_face_is_chosen_explained_and_fetched() {
    let (site, place) = (Site::start().await, Place::new());
    let (network, weights) = hugging_face(&site);
    let notes = place.pull("hf.co/u/r", network).await.unwrap();
    assert!(
        notes[0].starts_with("choosing sub dir/m-Q4_K_M.gguf"),
        "{notes:?}"
    );
    assert_eq!(place.weights("hf.co/u/r"), weights);
    let (network, _) = hugging_face(&site);
    place.pull("hf.co/u/r:q2_k", network).await.unwrap();
    assert_eq!(place.weights("hf.co/u/r:Q2_K").len(), 1004);
    let (network, _) = hugging_face(&site);
    let error = place.pull("hf.co/u/r:Q5_0", network).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`hf.co/u/r` has no `Q5_0`; there is Q2_K, Q4_K_M, Q8_0"
    );
    // Without a token, and where there is nothing.
    let (mut network, _) = hugging_face(&site);
    network.hugging_face_token = None;
    let error = place.pull("hf.co/u/r", network).await.unwrap_err();
    assert!(error.hint().unwrap().contains("HF_TOKEN"), "{error}");
    let (network, _) = hugging_face(&site);
    let error = place.pull("hf.co/u/none", network).await.unwrap_err();
    assert!(matches!(error, Error::RemoteNotFound { .. }), "{error}");
}

#[tokio::test]
async fn all_parts_of_a_model_are_fetched_in_order() {
    let (site, place) = (Site::start().await, Place::new());
    let parts: Vec<Vec<u8>> = (0..3_u8)
        .map(|i| gguf(90 + u64::from(i), 200_000 + usize::from(i)))
        .collect();
    let name = |i: usize| format!("q8/m-Q8_0-{:05}-of-00003.gguf", i + 1);
    let mut list: Vec<String> = Vec::new();
    for (i, bytes) in parts.iter().enumerate() {
        let (oid, size) = (Digest::of(bytes).hex(), bytes.len());
        list.push(format!(
            r#"{{"type":"file","path":"{}","size":{size},"lfs":{{"oid":"{oid}","size":{size}}}}}"#,
            name(i)
        ));
        site.put(
            &format!("/u/r/resolve/main/{}", name(i)),
            Page::of(bytes.clone()),
        );
    }
    list.reverse();
    let list = format!("[{}]", list.join(","));
    site.put("/api/models/u/r/tree/main", Page::of(list));
    let network = Network {
        hugging_face_endpoint: Some(site.url("")),
        make_config: Some(Arc::new(|paths: &[std::path::PathBuf]| {
            assert_eq!(paths.len(), 3);
            Ok(b"{}".to_vec())
        })),
        ..Network::default()
    };
    let notes = place.pull("hf.co/u/r", network).await.unwrap();
    assert!(notes[0].contains("and its other 2 parts"), "{notes:?}");
    let manifest = place.store.manifest(&"hf.co/u/r".parse().unwrap()).unwrap();
    let digests: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
    let expected: Vec<Digest> = parts.iter().map(|bytes| Digest::of(bytes)).collect();
    assert_eq!(digests, expected);
}

#[tokio::test]
async fn the_token_of_hugging_face_stays_there() {
    let (site, elsewhere, place) = (Site::start().await, Site::start().await, Place::new());
    let (network, weights) = hugging_face(&site);
    let path = "/u/r/resolve/main/sub%20dir/m-Q4_K_M.gguf";
    let redirect = Page {
        status: 302,
        ..Page::default()
    };
    site.put(
        path,
        redirect
            .with("location", elsewhere.url("/cdn"))
            .needs("Bearer hf_secret"),
    );
    elsewhere.put("/cdn", Page::of(weights.clone()));
    place.pull("hf.co/u/r", network).await.unwrap();
    assert_eq!(place.weights("hf.co/u/r"), weights);
    let seen = elsewhere.authorizations("/cdn");
    assert!(
        seen.len() > 1 && seen.iter().all(String::is_empty),
        "{seen:?}"
    );
    assert_eq!(
        site.authorizations(path).len(),
        1,
        "resolved once for all parts"
    );
    // A file elsewhere on the web has nothing to do with it.
    elsewhere.put("/x.gguf", Page::of(weights));
    let (network, _) = hugging_face(&site);
    place
        .pull(&elsewhere.url("/x.gguf"), network)
        .await
        .unwrap();
    assert!(
        elsewhere
            .authorizations("/x.gguf")
            .iter()
            .all(String::is_empty)
    );
}

#[tokio::test]
async fn a_file_on_the_web_becomes_a_model_and_is_fetched_again_when_it_changes() {
    let (site, place) = (Site::start().await, Place::new());
    let (old, new) = (gguf(72, 500_000), gguf(73, 400_000));
    site.put(
        "/d/m-Q4_0.gguf",
        Page::of(old.clone()).with("etag", "\"1\""),
    );
    let url = site.url("/d/m-Q4_0.gguf?sig=secret");
    let network = || Network {
        make_config: Some(Arc::new(|path: &[std::path::PathBuf]| {
            assert!(path.iter().all(|part| part.is_file()));
            Ok(br#"{"model_family":"f"}"#.to_vec())
        })),
        ..Network::default()
    };
    place.pull(&url, network()).await.unwrap();
    let name = format!("{}/files/m-Q4_0", site.address);
    assert_eq!(place.weights(&name), old);
    let entry = place.store.find(&name.parse().unwrap()).unwrap();
    assert_eq!(entry.config["model_family"], "f");
    assert_eq!(
        entry.config["source"]["url"],
        site.url("/d/m-Q4_0.gguf"),
        "no signature"
    );
    let n_asked = site.asked().len();
    let notes = place.pull(&url, network()).await.unwrap();
    assert!(notes[0].contains("has not changed"), "{notes:?}");
    assert_eq!(site.asked().len(), n_asked + 1);
    site.put(
        "/d/m-Q4_0.gguf",
        Page::of(new.clone()).with("etag", "\"2\""),
    );
    place.pull(&url, network()).await.unwrap();
    assert_eq!(place.weights(&name), new);
}

#[tokio::test]
async fn what_is_no_model_on_the_web() {
    let (site, place) = (Site::start().await, Place::new());
    site.put("/page.gguf", Page::of("<html>"));
    let error = place
        .pull(&site.url("/page.gguf"), Network::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotGguf { .. }), "{error}");
    site.put("/m.gguf", Page::of(gguf(74, 100)));
    let network = Network {
        make_config: Some(Arc::new(|_: &[std::path::PathBuf]| {
            Err("no tensors".to_owned())
        })),
        ..Network::default()
    };
    let error = place.pull(&site.url("/m.gguf"), network).await.unwrap_err();
    assert!(error.to_string().contains("no tensors"), "{error}");
    assert!(place.store.list().unwrap().is_empty());
    let error = place
        .pull("http://h.example/m.gguf", Network::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Insecure { .. }), "{error}");
}

/// The file changes between two parts: never are both mixed.
#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_mixed() {
    let (site, place) = (Site::start().await, Place::new());
    let (old, new) = (gguf(75, 3_000_000), gguf(76, 3_000_000));
    site.put("/m.gguf", Page::of(old).with("etag", "\"1\""));
    let reference: Reference = site.url("/m.gguf").parse().unwrap();
    let options = PullOptions {
        throttles: vec![Arc::new(Throttle::new(20_000_000))],
        ..PullOptions::default()
    };
    let mut has_changed = false;
    let progress = |event| {
        if let PullEvent::Blob { completed: 1.., .. } = event
            && !has_changed
        {
            has_changed = true;
            site.put("/m.gguf", Page::of(new.clone()).with("etag", "\"2\""));
        }
    };
    let pulled = pull_patiently(&place.store, &reference, &options, IN_PARTS, progress).await;
    let error = pulled.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    place
        .pull(&site.url("/m.gguf"), Network::default())
        .await
        .unwrap();
    assert_eq!(place.weights(&reference.name().full()), new);
}

#[tokio::test]
async fn a_file_of_this_machine_becomes_a_model() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("My model.Q8_0.gguf");
    let weights = gguf(77, 1000);
    std::fs::write(&path, &weights).unwrap();
    place
        .pull(path.to_str().unwrap(), Network::default())
        .await
        .unwrap();
    assert_eq!(place.weights("localhost/files/My-model.Q8_0"), weights);
    let missing = folder.path().join("none.gguf");
    let error = place
        .pull(missing.to_str().unwrap(), Network::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

/// Offers a model in an OCI repository of any depth.
fn offer(site: &Site, repository: &str, needs: Option<&'static str>, challenge: &str) -> Vec<u8> {
    let (weights, config) = (gguf(78, 50_000), b"{}".to_vec());
    let descriptor = |media_type: MediaType, bytes: &[u8]| Descriptor {
        media_type,
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let manifest = Manifest {
        config: descriptor(MediaType::Config, &config),
        layers: vec![descriptor(MediaType::Model, &weights)],
    };
    let json = manifest.to_json();
    let put = |path: String, bytes: Vec<u8>| {
        let mut page = Page::of(bytes).with("www-authenticate", challenge);
        page.needs = needs;
        site.put(&format!("/v2/{repository}/{path}"), page);
    };
    put(format!("manifests/{}", Digest::of(&json)), json.clone());
    put("manifests/t".to_owned(), json);
    put(format!("blobs/{}", Digest::of(&weights)), weights.clone());
    put(format!("blobs/{}", Digest::of(&config)), config);
    weights
}

fn keyring(host: SocketAddr, username: &str) -> (tempfile::TempDir, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring {
        own: Some(folder.path().join("credentials.json")),
        docker: None,
    };
    let credentials = Credentials {
        username: username.to_owned(),
        password: "pw".to_owned(),
    };
    keyring.store(&host.to_string(), credentials).unwrap();
    (folder, keyring)
}

#[tokio::test]
async fn an_oci_registry_with_a_password() {
    let (site, place) = (Site::start().await, Place::new());
    let weights = offer(&site, "a/b/c", Some("Basic bWU6cHc="), "Basic realm=\"x\"");
    let reference = format!("oci://{}/a/b/c:t", site.address);
    let error = place
        .pull(&reference, Network::default())
        .await
        .unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("slm login"), "{hint}");
    let (_folder, keyring) = keyring(site.address, "me");
    let network = Network {
        keyring,
        ..Network::default()
    };
    place.pull(&reference, network).await.unwrap();
    assert_eq!(place.weights(&format!("{}/a-b/c:t", site.address)), weights);
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_where_the_registry_says() {
    for (username, expected) in [("me", "Basic bWU6cHc="), ("<token>", "")] {
        let (site, place) = (Site::start().await, Place::new());
        let challenge = format!(
            r#"Bearer realm="{}",service="s",scope="p""#,
            site.url("/token")
        );
        offer(&site, "m", Some("Bearer tok"), &challenge);
        let page = Page::of(r#"{"access_token":"tok"}"#);
        site.put(
            "/token",
            if expected.is_empty() {
                page
            } else {
                page.needs("Basic bWU6cHc=")
            },
        );
        let (_folder, keyring) = keyring(site.address, username);
        let network = Network {
            keyring,
            ..Network::default()
        };
        place
            .pull(&format!("oci://{}/m:t", site.address), network)
            .await
            .unwrap();
        assert_eq!(site.authorizations("/token"), [expected]);
    }
}

#[tokio::test]
async fn a_password_goes_to_no_other_host() {
    let (site, place) = (Site::start().await, Place::new());
    // `localhost` is the same machine and another host.
    let elsewhere = format!("http://localhost:{}/token", site.address.port());
    let challenge = format!(r#"Bearer realm="{elsewhere}",service="s",scope="p""#);
    offer(&site, "m", Some("Bearer tok"), &challenge);
    site.put("/token", Page::of(r#"{"token":"tok"}"#));
    let (_folder, keyring) = keyring(site.address, "me");
    let network = Network {
        keyring,
        ..Network::default()
    };
    let pulled = place
        .pull(&format!("oci://{}/m:t", site.address), network)
        .await;
    assert!(
        pulled.is_err(),
        "a token from a foreign address without TLS"
    );
    assert_eq!(site.authorizations("/token"), [""; 0]);
}

#[tokio::test]
async fn a_pin_is_the_manifest_or_nothing() {
    let (site, place) = (Site::start().await, Place::new());
    let weights = offer(&site, "n/m", None, "");
    let pin = {
        let pages = site.pages.lock().unwrap();
        Digest::of(&pages["/v2/n/m/manifests/t"].body)
    };
    place
        .pull(&format!("{}/n/m:t@{pin}", site.address), Network::default())
        .await
        .unwrap();
    assert_eq!(place.weights(&format!("{}/n/m:t", site.address)), weights);
    let other = Digest::of(b"other");
    let error = place
        .pull(
            &format!("{}/n/m:t@{other}", site.address),
            Network::default(),
        )
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::OtherManifest { got, .. } if *got == pin),
        "{error}"
    );
}

#[tokio::test]
async fn mirrors_are_asked_first_and_what_they_lack_comes_from_the_registry() {
    let place = Place::new();
    let (registry, mirror) = (FakeRegistry::start().await, FakeRegistry::start().await);
    let blob = bytes(79, 800_000);
    let (name, manifest) = registry.offer("m", &[&blob, b"only there"]);
    mirror.offer("m", &[&blob]);
    // The mirror has the manifest and one of the blobs.
    let json = registry.content().manifests["m/latest"].clone();
    mirror.content().manifests.insert("m/latest".into(), json);
    mirror.fail([Fault::None, Fault::Truncate(10_000)]);
    let address = format!("http://{}", mirror.address);
    let dead = "http://127.0.0.1:1".to_owned();
    let network = || Network {
        mirrors: HashMap::from([(name.host().to_owned(), vec![dead.clone(), address.clone()])]),
        ..Network::default()
    };
    place.pull(&name.full(), network()).await.unwrap();
    assert_eq!(place.store.manifest(&name).unwrap(), manifest);
    let n_manifests = |registry: &FakeRegistry| {
        let content = registry.content();
        let requests = content.requests.iter();
        requests
            .filter(|request| request.path.starts_with("manifests"))
            .count()
    };
    assert_eq!((n_manifests(&mirror), n_manifests(&registry)), (1, 0));
    let n_served = |registry: &FakeRegistry| {
        let content = registry.content();
        content
            .n_served
            .get(&manifest.layers[0].digest)
            .copied()
            .unwrap_or_default()
    };
    assert!(
        n_served(&mirror) > 0 && n_served(&registry) > 0,
        "both send parts"
    );
}
