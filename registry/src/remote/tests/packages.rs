//! Pulls of packages: each format becomes the model that was packed, or one made of what others packed.
use super::{
    super::{push::PushOptions, *},
    Fault, Home, IMPATIENT, IN_PARTS, bytes,
    fake_upload::UploadRegistry,
};
use crate::{MediaType, ModelName};
use axum::body::Bytes;
use serde_json::{Value, json};

fn gguf(seed: u64, len: usize) -> Vec<u8> {
    [b"GGUF".to_vec(), bytes(seed, len)].concat()
}

/// Offers a package to pull, whose blobs are `blobs`; gives its name.
fn offer(home: &Home, model: &str, manifest: &Value, blobs: &[&[u8]]) -> ModelName {
    let name = home.registry.name(model);
    let mut content = home.registry.content();
    content
        .manifests
        .insert(format!("{model}/latest"), manifest.to_string().into_bytes());
    for blob in blobs {
        content
            .blobs
            .insert(Digest::of(blob), Bytes::copy_from_slice(blob));
    }
    name
}

fn descriptor(media_type: &str, bytes: &[u8], path: Option<&str>) -> Value {
    let mut layer =
        json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
    if let Some(path) = path {
        layer["annotations"] = json!({"org.cncf.model.filepath": path});
    }
    layer
}

async fn pull(home: &Home, name: &ModelName) -> Result<(), Error> {
    let options = PullOptions::default();
    pull_patiently(&home.store, name, &options, IN_PARTS, |_| {}).await
}

#[track_caller]
fn check_layers(home: &Home, name: &ModelName, layers: &[(MediaType, &[u8])]) {
    let manifest = home.store.manifest(name).unwrap();
    let found: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| (layer.media_type.clone(), layer.digest))
        .collect();
    let expected: Vec<_> = layers
        .iter()
        .map(|(kind, bytes)| (kind.clone(), Digest::of(bytes)))
        .collect();
    assert_eq!(found, expected);
    for blob in manifest.blobs() {
        home.store.verify_blob(&blob.digest).unwrap();
    }
}

/// A manifest that is pushed in any format is the same after a pull.
#[tokio::test]
async fn what_was_pushed_comes_back_by_digest() {
    let home = Home::new().await;
    let weights = gguf(1, 5_000_000);
    let (name, manifest) = home.registry.offer("m", &[&weights]);
    // what a template in Go's language, an unknown layer and licences make of it
    let mut manifest = manifest;
    for (kind, text) in [
        (MediaType::Template, "{{ .Prompt }}"),
        (MediaType::License, "a"),
        (MediaType::License, "b"),
        (MediaType::System, "be brief"),
    ] {
        let digest = Digest::of(text.as_bytes());
        home.registry
            .content()
            .blobs
            .insert(digest, Bytes::from(text));
        manifest.layers.push(Descriptor {
            media_type: kind,
            digest,
            size: text.len() as u64,
        });
    }
    home.registry
        .content()
        .manifests
        .insert("m/latest".to_owned(), manifest.to_json());
    home.pull_with(&name, IMPATIENT).await.unwrap();
    let original = home.store.manifest_json(&name).unwrap();
    for (text, format) in Format::ALL {
        let uploads = UploadRegistry::start().await;
        let destination: Reference = format!("{}/library/{text}", uploads.address)
            .parse()
            .unwrap();
        let options = PushOptions {
            format,
            ..PushOptions::default()
        };
        push::push_patiently(
            &home.store,
            &name,
            &destination,
            &options,
            IMPATIENT,
            |_| {},
        )
        .await
        .unwrap();
        // another store pulls it
        let other = Home::new().await;
        let pulled = other.registry.name(text);
        {
            let mut from = uploads.content();
            let mut to = other.registry.content();
            let (_, json) = from
                .manifests
                .remove(&format!("library/{text}:latest"))
                .unwrap();
            to.manifests.insert(format!("{text}/latest"), json);
            to.blobs.extend(
                from.blobs
                    .drain()
                    .map(|(digest, bytes)| (digest, bytes.into())),
            );
        }
        pull(&other, &pulled).await.unwrap();
        assert_eq!(
            other.store.manifest_json(&pulled).unwrap(),
            original,
            "{text}"
        );
        for blob in other.store.manifest(&pulled).unwrap().blobs() {
            other.store.verify_blob(&blob.digest).unwrap();
        }
        // again: nothing but the manifest
        other.registry.take_blob_requests();
        pull(&other, &pulled).await.unwrap();
        assert_eq!(other.registry.take_blob_requests().len(), 0, "{text}");
    }
}

#[tokio::test]
async fn packages_of_others_become_models() {
    let home = Home::new().await;
    let weights = gguf(2, 700_000);
    let template = b"{% if x %}y{% endif %}";
    let pack = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": descriptor("application/vnd.cncf.model.config.v1+json", b"{}", None),
        "layers": [
            descriptor("application/vnd.cncf.model.doc.v1.raw", b"read me", Some("README.md")),
            descriptor("application/vnd.cncf.model.doc.v1.raw", b"MIT", Some("LICENSE")),
            descriptor("application/vnd.cncf.model.weight.v1.raw", &weights, Some("a/b.Q8_0.gguf")),
            descriptor("application/vnd.cncf.model.weight.config.v1.raw", template, Some("chat_template.jinja")),
        ],
    });
    let name = offer(&home, "pack", &pack, &[&weights, b"MIT", template]);
    pull(&home, &name).await.unwrap();
    let layers: [(MediaType, &[u8]); 3] = [
        (MediaType::License, b"MIT"),
        (MediaType::Model, &weights),
        (MediaType::Template, template),
    ];
    check_layers(&home, &name, &layers);

    let docker = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.docker.ai.model.config.v0.1+json", b"{}", None),
        "layers": [
            descriptor("application/vnd.docker.ai.gguf.v3", &weights, None),
            descriptor("application/vnd.docker.ai.license", b"MIT", None),
        ],
    });
    let name = offer(&home, "docker", &docker, &[]);
    pull(&home, &name).await.unwrap();
    check_layers(
        &home,
        &name,
        &[(MediaType::Model, &weights), (MediaType::License, b"MIT")],
    );

    let none = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.docker.ai.model.config.v0.1+json", b"{}", None),
        "layers": [descriptor("application/vnd.docker.ai.safetensors", b"x", None)],
    });
    let name = offer(&home, "none", &none, &[]);
    let error = pull(&home, &name).await.unwrap_err();
    assert!(matches!(error, Error::NoFile { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_fetched_needs_no_room() {
    let home = Home::new().await;
    let weights = gguf(3, 50_000);
    let mut unused = descriptor("application/vnd.docker.ai.safetensors", b"x", None);
    unused["size"] = json!(1_u64 << 60);
    let docker = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.docker.ai.model.config.v0.1+json", b"{}", None),
        "layers": [descriptor("application/vnd.docker.ai.gguf.v3", &weights, None), unused],
    });
    let name = offer(&home, "docker", &docker, &[&weights]);
    pull(&home, &name).await.unwrap();
    check_layers(&home, &name, &[(MediaType::Model, &weights)]);
}

/// A layer as other builders write it: a folder, a small file, a record before a long path, the weights.
fn car_layer(weights: &[u8]) -> Vec<u8> {
    let license = super::super::tar::frame("models", "LICENSE", 3);
    let weights_frame = super::super::tar::frame("models", "model.gguf", weights.len() as u64);
    let mut layer = [&license.before[..], b"MIT"].concat();
    layer.resize(layer.len().next_multiple_of(512), 0);
    layer.extend(&weights_frame.before[512..]);
    layer.extend(weights);
    layer.extend(&weights_frame.after);
    layer
}

fn car(layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}", None),
        "layers": layers,
    })
}

#[tokio::test]
async fn a_car_of_others_is_unpacked_without_a_copy() {
    for len in [700_000, 6_000_000] {
        let home = Home::new().await;
        let weights = gguf(3, len);
        let layer = car_layer(&weights);
        // an operating system: nobody looks into it, since another layer has the model
        let mut base = descriptor(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            b"busybox",
            None,
        );
        base["size"] = json!(1_u64 << 40);
        let manifest = car(&[
            base,
            descriptor("application/vnd.oci.image.layer.v1.tar", &layer, None),
        ]);
        let name = offer(&home, "car", &manifest, &[&layer]);
        pull(&home, &name).await.unwrap();
        check_layers(
            &home,
            &name,
            &[(MediaType::License, b"MIT"), (MediaType::Model, &weights)],
        );
        let names: Vec<String> = std::fs::read_dir(home.folder.path().join("blobs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        home.registry.take_blob_requests();
        pull(&home, &name).await.unwrap();
        assert_eq!(
            home.registry.take_blob_requests().len(),
            0,
            "it has not changed"
        );
    }
}

#[tokio::test]
async fn a_car_that_breaks_off_goes_on_and_a_wrong_one_is_refused() {
    let home = Home::new().await;
    let weights = gguf(4, 6_000_000);
    let layer = car_layer(&weights);
    let manifest = car(&[descriptor(
        "application/vnd.oci.image.layer.v1.tar",
        &layer,
        None,
    )]);
    let name = offer(&home, "car", &manifest, &[&layer]);
    // head, tail, then the file
    let faults = [
        Fault::None,
        Fault::None,
        Fault::Truncate(70_000),
        Fault::Status(500),
    ];
    home.registry.fail(
        faults
            .into_iter()
            .chain(std::iter::repeat_n(Fault::Truncate(90_000), 3)),
    );
    pull(&home, &name).await.unwrap();
    check_layers(
        &home,
        &name,
        &[(MediaType::License, b"MIT"), (MediaType::Model, &weights)],
    );

    // the same length and headers, another byte in the weights
    let mut other = layer.clone();
    other[3_000_000] ^= 1;
    let home = Home::new().await;
    let name = offer(&home, "car", &manifest, &[]);
    home.registry
        .content()
        .blobs
        .insert(Digest::of(&layer), other.into());
    let error = pull(&home, &name).await.unwrap_err();
    assert!(matches!(error, Error::DownloadCorrupted { .. }), "{error}");
    home.check_nothing();

    for cut in [600, 40_000, 3_000_000] {
        let home = Home::new().await;
        let short = &layer[..cut];
        let manifest = car(&[descriptor(
            "application/vnd.oci.image.layer.v1.tar",
            short,
            None,
        )]);
        let name = offer(&home, "car", &manifest, &[short]);
        let error = pull(&home, &name).await.unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        home.check_nothing();
    }
}

/// What a package says about its origin counts only when it has just that.
#[tokio::test]
async fn a_package_cannot_claim_to_be_another_model() {
    let home = Home::new().await;
    let weights = gguf(5, 3000);
    let claimed = Manifest {
        config: Descriptor {
            media_type: MediaType::Config,
            digest: Digest::of(b"{}"),
            size: 2,
        },
        layers: vec![Descriptor {
            media_type: MediaType::Model,
            digest: Digest::of(b"elsewhere"),
            size: 9,
        }],
    };
    let claimed = String::from_utf8(claimed.to_json()).unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.docker.ai.model.config.v0.1+json", b"{}", None),
        "layers": [descriptor("application/vnd.docker.ai.gguf.v3", &weights, None)],
        "annotations": {"slm.ollama.manifest": claimed, "slm.ollama.config": "{}"},
    });
    let name = offer(&home, "liar", &manifest, &[&weights]);
    pull(&home, &name).await.unwrap();
    check_layers(&home, &name, &[(MediaType::Model, &weights)]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes, level)
}

/// An archive of `files`, as a layer.
fn layer_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, contents) in files {
        bytes.extend(crate::tar::header(path, contents.len() as u64));
        bytes.extend(*contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend(crate::tar::END);
    bytes
}

fn n_blobs(home: &Home) -> usize {
    let blobs = std::fs::read_dir(home.folder.path().join("blobs"));
    blobs.unwrap().count()
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[tokio::test]
async fn compressed_layers_are_unpacked() {
    let weights = gguf(6, 5_000_000);
    let base = layer_of(&[
        ("usr/share/licenses/LICENSE", b"of something else"),
        ("bin/sh", b"x"),
    ]);
    let files = layer_of(&[("models/LICENSE", b"MIT"), ("models/m.gguf", &weights)]);
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    for (kind, pack) in [
        (format!("{LAYER}+gzip"), gzip as fn(&[u8]) -> Vec<u8>),
        (format!("{LAYER}+zstd"), zstd),
        (format!("{docker}.gzip"), gzip),
        (format!("{docker}.zstd"), zstd),
    ] {
        let home = Home::new().await;
        let (base, layer) = (pack(&base), pack(&files));
        let manifest = car(&[
            descriptor(&kind, &base, None),
            descriptor(&kind, &layer, None),
        ]);
        let name = offer(&home, "car", &manifest, &[&base, &layer]);
        pull(&home, &name).await.unwrap();
        let expected: [(MediaType, &[u8]); 2] =
            [(MediaType::License, b"MIT"), (MediaType::Model, &weights)];
        check_layers(&home, &name, &expected);
        assert_eq!(n_blobs(&home), 3, "{kind}: the layers themselves are gone");
        home.registry.take_blob_requests();
        pull(&home, &name).await.unwrap();
        assert_eq!(home.registry.take_blob_requests().len(), 0, "{kind}");
    }
    let home = Home::new().await;
    let layer = zstd(&layer_of(&[("a/b.gguf", &weights)]));
    let kind = "application/vnd.cncf.model.weight.v1.tar+zstd";
    let pack = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.cncf.model.config.v1+json", b"{}", None),
        "layers": [
            descriptor("application/vnd.cncf.model.doc.v1.raw", b"MIT", Some("LICENSE")),
            descriptor(kind, &layer, None),
        ],
    });
    let name = offer(&home, "pack", &pack, &[b"MIT", &layer]);
    pull(&home, &name).await.unwrap();
    let expected: [(MediaType, &[u8]); 2] =
        [(MediaType::License, b"MIT"), (MediaType::Model, &weights)];
    check_layers(&home, &name, &expected);
}

/// What `tar`, `gzip` and `zstd` made; see `tests/data/layers/README.md`.
#[tokio::test]
async fn layers_that_other_programs_compressed_are_read() {
    let lines = (0..3000).map(|n| format!("{n} squared is {}\n", n * n));
    let weights = format!("GGUF{}", lines.collect::<String>());
    for (kind, layer) in [
        (
            "+gzip",
            &include_bytes!("../../../../tests/data/layers/car.tar.gz")[..],
        ),
        (
            "+zstd",
            include_bytes!("../../../../tests/data/layers/car.tar.zst"),
        ),
    ] {
        let home = Home::new().await;
        let manifest = car(&[descriptor(&format!("{LAYER}{kind}"), layer, None)]);
        let name = offer(&home, "car", &manifest, &[layer]);
        pull(&home, &name).await.unwrap();
        let expected: [(MediaType, &[u8]); 2] = [
            (MediaType::License, b"MIT\n"),
            (MediaType::Model, weights.as_bytes()),
        ];
        check_layers(&home, &name, &expected);
    }
}

/// Large layers of an image are fetched from the last on, until the model is there.
#[tokio::test]
async fn an_operating_system_is_not_fetched() {
    let home = Home::new().await;
    let weights = gguf(7, 5_000_000);
    let layer = gzip(&layer_of(&[("models/m.gguf", &weights)]));
    let kind = format!("{LAYER}+gzip");
    let mut system = descriptor(&kind, b"system", None);
    system["size"] = json!(1_u64 << 50);
    let manifest = car(&[system, descriptor(&kind, &layer, None)]);
    let name = offer(&home, "car", &manifest, &[&layer]);
    pull(&home, &name).await.unwrap();
    check_layers(&home, &name, &[(MediaType::Model, &weights)]);
}

#[tokio::test]
async fn an_archive_with_more_than_one_large_file_is_unpacked_whole() {
    let home = Home::new().await;
    let (weights, eyes) = (gguf(8, 5_000_000), gguf(9, 300_000));
    let layer = layer_of(&[("models/m.gguf", &weights), ("models/mmproj-m.gguf", &eyes)]);
    let manifest = car(&[descriptor(LAYER, &layer, None)]);
    let name = offer(&home, "car", &manifest, &[&layer]);
    pull(&home, &name).await.unwrap();
    let expected: [(MediaType, &[u8]); 2] =
        [(MediaType::Model, &weights), (MediaType::Projector, &eyes)];
    check_layers(&home, &name, &expected);
    assert_eq!(n_blobs(&home), 3);
}

#[tokio::test]
async fn the_parts_of_a_model_are_one_and_several_models_are_none() {
    let home = Home::new().await;
    let (first, second) = (gguf(10, 200_000), gguf(11, 300_000));
    let layer = layer_of(&[
        ("models/m-00002-of-00002.gguf", &second),
        ("models/LICENSE", b"MIT"),
        ("models/m-00001-of-00002.gguf", &first),
    ]);
    let manifest = car(&[descriptor(LAYER, &layer, None)]);
    let name = offer(&home, "parts", &manifest, &[&layer]);
    pull(&home, &name).await.unwrap();
    let expected: [(MediaType, &[u8]); 3] = [
        (MediaType::Model, &first),
        (MediaType::License, b"MIT"),
        (MediaType::Model, &second),
    ];
    check_layers(&home, &name, &expected);

    for packed in [false, true] {
        let home = Home::new().await;
        let layer = layer_of(&[("models/a.gguf", &first), ("models/b.gguf", &second)]);
        let (kind, layer) = match packed {
            true => (format!("{LAYER}+gzip"), gzip(&layer)),
            false => (LAYER.to_owned(), layer),
        };
        let manifest = car(&[descriptor(&kind, &layer, None)]);
        let name = offer(&home, "two", &manifest, &[&layer]);
        let error = pull(&home, &name).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::NoFile { .. }), "{error}");
        assert!(
            said.contains("2 GGUF files") && said.contains("`a.gguf`, `b.gguf`"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_compressed_layer_that_is_damaged_is_refused() {
    let weights = gguf(12, 200_000);
    let files = layer_of(&[("models/m.gguf", &weights)]);
    let bomb = layer_of(&[("x", &vec![0; 70 << 20])]);
    for (kind, layer, words) in [
        (
            "+gzip",
            gzip(&files)[..50_000].to_vec(),
            "cannot be unpacked",
        ),
        (
            "+zstd",
            zstd(&files)[..50_000].to_vec(),
            "cannot be unpacked",
        ),
        ("+gzip", zstd(&files), "cannot be unpacked"),
        ("+zstd", files.clone(), "cannot be unpacked"),
        ("+gzip", gzip(b"no archive"), "cannot be unpacked"),
        ("+zstd", zstd(&bomb), "honest"),
    ] {
        let home = Home::new().await;
        let manifest = car(&[descriptor(&format!("{LAYER}{kind}"), &layer, None)]);
        let name = offer(&home, "car", &manifest, &[&layer]);
        let pulled = pull(&home, &name).await;
        let error = pulled.expect_err(kind).to_string();
        assert!(error.contains(words), "{kind}: {error}");
        assert!(home.store.list().unwrap().is_empty());
        let left = home.store.collect_garbage(&AT_ONCE, false).unwrap();
        assert_eq!(left.partials, []);
        assert_eq!(n_blobs(&home), 0, "{kind}");
    }
}

const AT_ONCE: crate::GcLimits = crate::GcLimits {
    blob_age: Duration::ZERO,
    partial_age: Duration::ZERO,
    version_age: Duration::ZERO,
};
