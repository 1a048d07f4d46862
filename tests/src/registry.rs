//! A real registry server, Debian's `docker-registry`, and models pushed into it over its own protocol.

use crate::{
    certificates::Identity,
    fixtures,
    http::{Http, Request},
    store::sha256_hex,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const START_PATIENCE: Duration = Duration::from_secs(30);

/// A running registry with its own storage. Killed when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

/// The parts of a model to push.
#[derive(Clone, Debug)]
pub struct TestModel {
    /// The weights.
    pub gguf: Vec<u8>,
    /// Further layers: media type after `application/vnd.ollama.image.`, and bytes.
    pub layers: Vec<(String, Vec<u8>)>,
}

impl TestModel {
    /// The tiny golden model with `n_bytes` of licence, so that a pull has something to carry.
    pub fn tiny(n_bytes: usize) -> Self {
        let gguf = fs::read(fixtures::golden_model("llama")).expect("golden files are readable");
        let licence = (0..n_bytes).map(|i| b"0123456789abcde\n"[(i ^ (i >> 9)) % 16]);
        Self {
            gguf,
            layers: vec![
                ("license".to_owned(), licence.collect()),
                ("system".to_owned(), b"You count boats.".to_vec()),
                (
                    "params".to_owned(),
                    br#"{"stop":["<|im_end|>"],"temperature":0}"#.to_vec(),
                ),
            ],
        }
    }

    /// Bytes of all blobs but the config.
    pub fn size(&self) -> u64 {
        let layers: usize = self.layers.iter().map(|(_, bytes)| bytes.len()).sum();
        (self.gguf.len() + layers) as u64
    }
}

impl Registry {
    /// Starts an empty registry on a free port.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// As [`Registry::start`], behind TLS. The methods that push and damage are for those without.
    ///
    /// # Panics
    /// As there.
    pub fn start_with_tls(identity: &Identity) -> Self {
        Self::start_as(Some(identity))
    }

    fn start_as(identity: Option<&Identity>) -> Self {
        let program = fixtures::fixture("docker-registry/docker-registry");
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let config = folder.path().join("config.yml");
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n",
            folder.path().join("storage").display()
        );
        if let Some(identity) = identity {
            let write = |name: &str, pem: &str| {
                let path = folder.path().join(name);
                fs::write(&path, pem).expect("the temporary folder is writable");
                path.display().to_string()
            };
            let certificate = write("certificate.pem", &identity.certificate);
            let key = write("key.pem", &identity.key);
            text += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        fs::write(&config, text).expect("the temporary folder is writable");
        let log = folder.path().join("log");
        let file = File::create(&log).expect("the temporary folder is writable");
        let child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("docker-registry can be started");
        let mut registry = Self {
            child,
            folder,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = announced_address(&text) {
                registry.address = address;
                return registry;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        panic!("docker-registry did not start; its log:\n{text}");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes `model` as `repository:tag`; returns the manifest's bytes.
    #[track_caller]
    pub fn push(&self, repository: &str, tag: &str, model: &TestModel) -> Vec<u8> {
        let config = json!({
            "model_format": "gguf", "model_family": "llama", "model_families": ["llama"],
            "model_type": "154K", "file_type": "F32", "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [] }
        });
        let kind = |name: &str| format!("application/vnd.ollama.image.{name}");
        let mut layers = vec![self.push_blob(repository, &kind("model"), &model.gguf)];
        for (name, bytes) in &model.layers {
            layers.push(self.push_blob(repository, &kind(name), bytes));
        }
        let manifest_type = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": self.push_blob(
                repository,
                "application/vnd.docker.container.image.v1+json",
                config.to_string().as_bytes(),
            ),
            "layers": layers,
        });
        let bytes = serde_json::to_vec_pretty(&manifest).expect("JSON values can be written");
        let path = format!("/v2/{repository}/manifests/{tag}");
        let request = Request::new("PUT", &path)
            .header("Content-Type", manifest_type)
            .body(bytes.clone());
        self.http().send(&request).expect(201);
        bytes
    }

    /// Uploads one blob; returns its descriptor.
    #[track_caller]
    fn push_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", sha256_hex(bytes));
        let begin = Request::new("POST", &format!("/v2/{repository}/blobs/uploads/"));
        let started = self.http().send(&begin).expect(202);
        let location = started.header("location");
        let path = match location.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').expect("a URL has a path")..],
            None => location,
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let upload = Request::new("PUT", &format!("{path}{separator}digest={digest}"))
            .header("Content-Type", "application/octet-stream")
            .body(bytes);
        self.http().send(&upload).expect(201);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Flips one bit in the middle of a stored blob, behind the registry's back.
    ///
    /// # Panics
    /// When the blob is not there.
    pub fn damage_blob(&self, bytes: &[u8]) {
        let hex = sha256_hex(bytes);
        let path: PathBuf = self.folder.path().join(format!(
            "storage/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ));
        let mut stored = fs::read(&path).expect("the blob was pushed");
        let middle = stored.len() / 2;
        stored[middle] ^= 1;
        fs::write(&path, stored).expect("the temporary folder is writable");
    }

    fn http(&self) -> Http {
        Http::new(self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the log line `listening on 127.0.0.1:PORT`.
fn announced_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest[..end].parse().ok()
}
