//! Uploads: what a registry gets, and that whatever it does a push ends whole or with one clear error.
use super::{
    super::{
        push::{PushEvent, PushOptions, push_patiently},
        *,
    },
    IMPATIENT, bytes,
    fake_upload::{Trouble, UploadRegistry},
};
use crate::{MediaType, ModelName};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// Passes connections on to `to`, until it is dropped with all of them.
async fn pass_on(listener: tokio::net::TcpListener, to: std::net::SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

struct Home {
    _folder: tempfile::TempDir,
    store: Store,
    registry: UploadRegistry,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(folder.path()).unwrap(),
            _folder: folder,
            registry: UploadRegistry::start().await,
        }
    }

    /// Stores a model with those layers.
    fn model(&self, name: &str, layers: &[(MediaType, &[u8])]) -> ModelName {
        let add = |media_type: MediaType, bytes: &[u8]| Descriptor {
            media_type,
            digest: self.store.ingest(&mut &*bytes, None).unwrap(),
            size: bytes.len() as u64,
        };
        let config = json!({"model_family": "llama", "model_type": "1.5B", "file_type": "Q8_0"});
        let manifest = Manifest {
            config: add(MediaType::Config, config.to_string().as_bytes()),
            layers: layers
                .iter()
                .map(|(kind, bytes)| add(kind.clone(), bytes))
                .collect(),
        };
        let name: ModelName = name.parse().unwrap();
        let json = [manifest.to_json(), b"\n".to_vec()].concat();
        self.store.write_manifest(&name, &json).unwrap();
        name
    }

    async fn push_as(
        &self,
        name: &ModelName,
        destination: &str,
        format: Format,
    ) -> Result<Vec<PushEvent>, Error> {
        let destination = format!("{}/{destination}", self.registry.address)
            .parse()
            .unwrap();
        let options = PushOptions {
            format,
            ..PushOptions::default()
        };
        let mut events = Vec::new();
        let pushed = push_patiently(
            &self.store,
            name,
            &destination,
            &options,
            IMPATIENT,
            |event| {
                events.push(event);
            },
        );
        let pushed = tokio::time::timeout(SOON, pushed).await;
        pushed.expect("it goes on for ever")?;
        Ok(events)
    }

    async fn push(&self, name: &ModelName) -> Result<Vec<PushEvent>, Error> {
        self.push_as(name, "library/m:v1", Format::Ollama).await
    }

    /// That the registry has all of the model, verbatim.
    #[track_caller]
    fn check_whole(&self, name: &ModelName) {
        let json = self.store.manifest_json(name).unwrap();
        let content = self.registry.content();
        let (kind, pushed) = &content.manifests["library/m:v1"];
        assert_eq!(*pushed, json);
        assert_eq!(kind, "application/vnd.docker.distribution.manifest.v2+json");
        for blob in Manifest::parse(&json).unwrap().blobs() {
            assert_eq!(Digest::of(&content.blobs[&blob.digest]), blob.digest);
            assert!(
                content
                    .links
                    .contains(&("library/m".to_owned(), blob.digest))
            );
        }
    }
}

#[tokio::test]
async fn a_registry_gets_all_of_a_model_once() {
    let home = Home::new().await;
    let big = bytes(1, 3_000_000);
    let layers: [(MediaType, &[u8]); 4] = [
        (MediaType::Model, &big),
        (MediaType::License, b"MIT"),
        (MediaType::System, b""),
        (MediaType::Params, b"MIT"),
    ];
    let name = home.model("m", &layers);
    let events = home.push(&name).await.unwrap();
    home.check_whole(&name);
    assert_eq!(events.first(), Some(&PushEvent::Manifest));
    assert_eq!(events.last(), Some(&PushEvent::PushingManifest));
    let n_received = home.registry.content().n_received;
    let config = home.store.manifest(&name).unwrap().config.size as usize;
    assert_eq!(
        n_received,
        big.len() + 3 + config,
        "the licence is there twice and goes once"
    );

    let events = home.push(&name).await.unwrap();
    assert_eq!(
        home.registry.content().n_received,
        n_received,
        "nothing is sent again"
    );
    let n_complete = events.iter().filter(
        |event| matches!(event, PushEvent::Blob { total, completed, .. } if total == completed),
    );
    assert_eq!(n_complete.count(), 4);
}

#[tokio::test]
async fn what_another_repository_has_is_mounted() {
    let home = Home::new().await;
    let big = bytes(2, 2_000_000);
    let host = home.registry.address;
    let base = home.model(&format!("{host}/library/base"), &[(MediaType::Model, &big)]);
    home.push_as(&base, "library/base", Format::Ollama)
        .await
        .unwrap();
    let n_before = home.registry.content().n_received;
    let name = home.model(
        "m",
        &[(MediaType::Model, &big), (MediaType::System, b"be brief")],
    );
    home.push(&name).await.unwrap();
    home.check_whole(&name);
    assert_eq!(home.registry.content().n_received, n_before + 8);
    // one who knows nothing of mounts begins an upload instead
    home.registry.content().links.clear();
    home.push(&name).await.unwrap();
    home.check_whole(&name);
}

#[tokio::test]
async fn whatever_the_registry_does_a_push_ends() {
    let big = bytes(3, 4_000_000);
    let whole = [
        (
            "drops",
            vec![
                Trouble::None,
                Trouble::Drop(1_000_000),
                Trouble::Drop(500_000),
            ],
        ),
        (
            "loses an answer",
            vec![Trouble::None, Trouble::Deaf, Trouble::Deaf],
        ),
        (
            "keeps less",
            vec![Trouble::None, Trouble::Keep(700_000), Trouble::Keep(1)],
        ),
        (
            "forgets",
            vec![Trouble::None, Trouble::Keep(900_000), Trouble::Forget],
        ),
        (
            "is busy",
            vec![Trouble::Busy("0"), Trouble::None, Trouble::Busy("1")],
        ),
        (
            "fails",
            vec![
                Trouble::Status(503),
                Trouble::Status(500),
                Trouble::None,
                Trouble::Status(502),
            ],
        ),
        ("is silent", vec![Trouble::None, Trouble::Silent]),
        ("refuses a range", vec![Trouble::None, Trouble::Status(416)]),
    ];
    for (what, troubles) in whole {
        for forgetful in [false, true] {
            let home = Home::new().await;
            let name = home.model("m", &[(MediaType::Model, &big)]);
            home.registry.content().troubles.extend(troubles.clone());
            home.registry.content().forgetful = forgetful;
            let pushed = home.push(&name).await;
            pushed.unwrap_or_else(|error| panic!("{what}, {forgetful}: {error}"));
            home.check_whole(&name);
        }
    }
    for (trouble, words) in [
        (Trouble::Status(403), "403"),
        (Trouble::Status(500), "max retries"),
        (Trouble::Busy("9999"), "asks to wait"),
        (Trouble::Silent, "max retries"),
        (Trouble::Keep(0), "max retries"),
        (Trouble::Drop(0), "max retries"),
        (Trouble::Forget, "404"),
        (Trouble::Status(404), "404"),
    ] {
        let home = Home::new().await;
        let name = home.model("m", &[(MediaType::Model, &big)]);
        home.registry.content().always = Some(trouble.clone());
        let error = home.push(&name).await.unwrap_err();
        assert!(error.to_string().contains(words), "{trouble:?}: {error}");
        assert!(error.hint().is_some());
        assert!(home.registry.content().manifests.is_empty(), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_dropped_upload_goes_on_where_it_was() {
    let home = Home::new().await;
    let big = bytes(4, 4_000_000);
    let name = home.model("m", &[(MediaType::Model, &big)]);
    home.registry.content().troubles.extend([
        Trouble::None,
        Trouble::Keep(3_000_000),
        Trouble::Status(500),
    ]);
    home.push(&name).await.unwrap();
    home.check_whole(&name);
    assert_eq!(
        home.registry.n_requests("POST"),
        2,
        "the model's upload and the config's"
    );
    assert_eq!(home.registry.n_requests("GET"), 1, "asked how far it is");
}

#[tokio::test]
async fn tokens_are_fetched_anew_when_they_run_out() {
    let home = Home::new().await;
    {
        let mut content = home.registry.content();
        (content.token, content.tokens_expire) = (Some(1), true);
    }
    let name = home.model("m", &[(MediaType::Model, &bytes(5, 3_000_000))]);
    home.push(&name).await.unwrap();
    home.check_whole(&name);
    assert!(home.registry.content().token > Some(3));
}

#[tokio::test]
async fn what_cannot_be_pushed_is_said() {
    let home = Home::new().await;
    let none: ModelName = "none".parse().unwrap();
    assert!(matches!(
        home.push(&none).await,
        Err(Error::NotFound { .. })
    ));
    let name = home.model("m", &[(MediaType::Model, b"x")]);
    for destination in ["slm://box/m", "hf.co/u/r", "/a/b.gguf"] {
        let destination = destination.parse().unwrap();
        let options = PushOptions::default();
        let pushed = push_patiently(
            &home.store,
            &name,
            &destination,
            &options,
            IMPATIENT,
            |_| {},
        );
        let error = pushed.await.unwrap_err();
        assert!(matches!(error, Error::NotPushable { .. }), "{error}");
        assert!(error.hint().unwrap().contains("HOST/NAMESPACE"));
    }
}

#[tokio::test]
async fn packages_are_what_their_formats_say() {
    let home = Home::new().await;
    let big = bytes(6, 2_000_000);
    let layers: [(MediaType, &[u8]); 5] = [
        (MediaType::Model, &big),
        (MediaType::License, b"MIT"),
        (MediaType::License, b"Apache"),
        (MediaType::Template, b"{% for m in messages %}x{% endfor %}"),
        (MediaType::Params, b"{}"),
    ];
    let name = home.model("m", &layers);
    let mut pushed = Vec::new();
    for (text, format) in Format::ALL.into_iter().skip(1) {
        for _ in 0..2 {
            home.push_as(&name, &format!("library/{text}"), format)
                .await
                .unwrap();
        }
        let content = home.registry.content();
        let (kind, json) = &content.manifests[&format!("library/{text}:latest")];
        assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
        let manifest: Value = serde_json::from_slice(json).unwrap();
        let config: Digest = manifest["config"]["digest"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let config: Value = serde_json::from_slice(&content.blobs[&config]).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
            assert_eq!(
                content.blobs[&digest].len() as u64,
                layer["size"].as_u64().unwrap()
            );
        }
        pushed.push((manifest, config));
    }
    let kinds = |manifest: &Value| -> Vec<String> {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| layer["mediaType"].as_str().unwrap().to_owned())
            .collect()
    };
    let [
        (pack, pack_config),
        (docker, docker_config),
        (car, car_config),
    ] = &pushed[..]
    else {
        panic!("three formats");
    };
    assert_eq!(
        pack["artifactType"],
        "application/vnd.cncf.model.manifest.v1+json"
    );
    assert_eq!(
        pack["config"]["mediaType"],
        "application/vnd.cncf.model.config.v1+json"
    );
    assert_eq!(
        kinds(pack),
        [
            "application/vnd.cncf.model.weight.v1.raw",
            "application/vnd.cncf.model.doc.v1.raw",
            "application/vnd.cncf.model.doc.v1.raw",
            "application/vnd.cncf.model.weight.config.v1.raw",
            "application/vnd.cncf.model.weight.config.v1.raw",
        ]
    );
    assert_eq!(
        pack["layers"][0]["annotations"]["org.cncf.model.filepath"],
        "model.gguf"
    );
    assert_eq!(
        pack["layers"][2]["annotations"]["org.cncf.model.filepath"],
        "LICENSE-2"
    );
    assert_eq!(pack_config["config"]["paramSize"], "1.5B");
    assert_eq!(pack_config["modelfs"]["type"], "layers");
    assert_eq!(
        pack_config["modelfs"]["diffIds"].as_array().map(Vec::len),
        Some(5)
    );

    assert_eq!(
        docker["config"]["mediaType"],
        "application/vnd.docker.ai.model.config.v0.1+json"
    );
    assert_eq!(
        kinds(docker),
        [
            "application/vnd.docker.ai.gguf.v3",
            "application/vnd.docker.ai.license",
            "application/vnd.docker.ai.license",
            "application/vnd.docker.ai.chat.template.jinja",
            "application/vnd.ollama.image.params",
        ]
    );
    assert_eq!(docker_config["config"]["format"], "gguf");
    assert_eq!(
        docker_config["files"][0]["diffID"],
        docker["layers"][0]["digest"]
    );

    assert_eq!(
        car["config"]["mediaType"],
        "application/vnd.oci.image.config.v1+json"
    );
    assert_eq!(kinds(car), ["application/vnd.oci.image.layer.v1.tar"; 5]);
    let digests: Vec<&Value> = car["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["digest"])
        .collect();
    assert_eq!(json!(digests), car_config["rootfs"]["diff_ids"]);
    let content = home.registry.content();
    let layer = &content.blobs[&digests[0].as_str().unwrap().parse().unwrap()];
    assert_eq!(layer.len(), 1024 + big.len().next_multiple_of(512) + 1024);
    assert_eq!(layer[1024..1024 + big.len()], big);
    assert!(layer[512..].starts_with(b"models/model.gguf\0"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_no_failure_of_the_network() {
    let home = Home::new().await;
    let big = bytes(1, 3_000_000);
    let name = home.model("m", &[(MediaType::Model, &big)]);
    let path = home.store.blob_path(&Digest::of(&big));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &big[..1_000_000]).unwrap();
    let error = home.push(&name).await.unwrap_err();
    assert!(matches!(&error, Error::Read { path: at, .. } if *at == path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_away_between_two_blobs_is_tried_again() {
    let home = Home::new().await;
    let big = bytes(1, 2_000_000);
    let name = home.model("m", &[(MediaType::Model, &big), (MediaType::License, b"x")]);
    let origin = home.registry.address;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut passing = Some(tokio::spawn(pass_on(listener, origin)));
    let leave = |event| {
        let is_done =
            matches!(event, PushEvent::Blob { total, completed, .. } if total == completed);
        let Some(passing) = passing.take_if(|_| is_done) else {
            return;
        };
        passing.abort();
        while !passing.is_finished() {
            std::thread::yield_now();
        }
        // Long enough for the open connection to be seen closed.
        std::thread::sleep(Duration::from_millis(50));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            pass_on(listener, origin).await;
        });
    };
    let destination: Reference = format!("{address}/library/m:v1").parse().unwrap();
    let patience = Patience {
        first_pause: Duration::from_millis(200),
        ..IMPATIENT
    };
    let options = PushOptions::default();
    let pushed = push_patiently(&home.store, &name, &destination, &options, patience, leave);
    tokio::time::timeout(SOON, pushed).await.unwrap().unwrap();
    assert!(passing.is_none());
    home.check_whole(&name);
}
