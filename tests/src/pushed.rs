//! The judge of what a registry has after a push: asked over the distribution protocol, past any proxy.

use crate::{
    http::{Http, Request},
    store::sha256_hex,
};
use serde_json::Value;
use std::net::SocketAddr;

/// Every kind of manifest that a push writes.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// One repository of a registry.
#[derive(Clone, Debug)]
pub struct Repository {
    http: Http,
    path: String,
}

impl Repository {
    /// The repository `name` of the registry at `address`.
    pub fn new(address: SocketAddr, name: &str) -> Self {
        Self {
            http: Http::new(address),
            path: format!("/v2/{name}"),
        }
    }

    /// The manifest under `tag`, if there is one.
    #[track_caller]
    pub fn manifest(&self, tag: &str) -> Option<Value> {
        let path = format!("{}/manifests/{tag}", self.path);
        let request = Request::new("GET", &path).header("Accept", MANIFESTS);
        let answer = self.http.send(&request);
        (answer.status == 200).then(|| answer.json())
    }

    /// Whether it says that it has the blob.
    #[track_caller]
    pub fn has_blob(&self, digest: &str) -> bool {
        let request = Request::new("HEAD", &format!("{}/blobs/{digest}", self.path));
        self.http.send(&request).status == 200
    }

    /// Everything wrong with what `tag` names: a blob that is missing, or other than its digest and size say. Nothing is
    /// wrong where there is no manifest.
    #[track_caller]
    pub fn problems(&self, tag: &str) -> Vec<String> {
        let Some(manifest) = self.manifest(tag) else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        for (digest, size) in blobs(&manifest) {
            let answer = self.http.get(&format!("{}/blobs/{digest}", self.path));
            let hex = sha256_hex(&answer.body);
            if answer.status != 200 || digest != format!("sha256:{hex}") {
                problems.push(format!("{digest}: {} {hex}", answer.status));
            } else if answer.body.len() as u64 != size {
                problems.push(format!("{digest}: {} bytes, not {size}", answer.body.len()));
            }
        }
        problems
    }
}

/// Digest and size of config and layers, each once.
#[track_caller]
pub fn blobs(manifest: &Value) -> Vec<(String, u64)> {
    let layers = manifest["layers"].as_array().expect("a manifest");
    let all = layers.iter().chain([&manifest["config"]]);
    let mut blobs: Vec<(String, u64)> = all
        .map(|blob| {
            let digest = blob["digest"].as_str().expect("a descriptor");
            let size = blob["size"].as_u64().expect("a descriptor");
            (digest.to_owned(), size)
        })
        .collect();
    blobs.sort();
    blobs.dedup();
    blobs
}
