//! The judge of a models directory: what any crash must leave true.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Everything wrong with the store under `models`: a visible blob that does not hash to its name, a manifest that is no
/// JSON, or one whose blobs are missing or of another size. Empty when the store is whole.
pub fn store_problems(models: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for path in files(&models.join("blobs")) {
        let name = file_name(&path);
        let Some(hex) = name.strip_prefix("sha256-").filter(|hex| is_hex64(hex)) else {
            continue; // work in progress is invisible
        };
        let bytes = fs::read(&path).unwrap_or_default();
        if sha256_hex(&bytes) != hex {
            problems.push(format!(
                "blob {name} ({} bytes) hashes to something else",
                bytes.len()
            ));
        }
    }
    for path in files(&models.join("manifests")) {
        if file_name(&path).starts_with('.') {
            continue; // a temporary file: no model name begins with a dot
        }
        match fs::read(&path)
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
        {
            Some(manifest) => problems.extend(manifest_problems(models, &path, &manifest)),
            None => problems.push(format!("manifest `{}` is no JSON", path.display())),
        }
    }
    problems
}

fn manifest_problems(models: &Path, path: &Path, manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let mut problems = Vec::new();
    for descriptor in std::iter::once(&manifest["config"]).chain(&layers) {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let blob = models.join("blobs").join(digest.replace(':', "-"));
        let size = blob
            .metadata()
            .ok()
            .filter(|m| m.is_file())
            .map(|m| m.len());
        if size.is_none() || size != descriptor["size"].as_u64() {
            problems.push(format!(
                "manifest `{}` wants {digest} of {} bytes, there are {size:?}",
                path.display(),
                descriptor["size"]
            ));
        }
    }
    problems
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_sees_damage() {
        let store = tempfile::tempdir().unwrap();
        let models = store.path();
        let blobs = models.join("blobs");
        let manifests = models.join("manifests/host/library/m");
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&manifests).unwrap();
        let blob = blobs.join(format!("sha256-{}", sha256_hex(b"weights")));
        fs::write(&blob, b"weights").unwrap();
        fs::write(blobs.join("sha256-abc-partial"), b"half").unwrap();
        let descriptor = |size| serde_json::json!({ "digest": format!("sha256:{}", sha256_hex(b"weights")), "size": size });
        let manifest = serde_json::json!({ "config": descriptor(7), "layers": [descriptor(7)] });
        fs::write(manifests.join("latest"), manifest.to_string()).unwrap();
        assert_eq!(store_problems(models), Vec::<String>::new());

        fs::write(&blob, b"weightz").unwrap();
        assert_eq!(store_problems(models).len(), 1, "wrong bytes");
        fs::write(&blob, b"weight").unwrap();
        assert_eq!(
            store_problems(models).len(),
            3,
            "wrong bytes, wrong size twice"
        );
        fs::remove_file(&blob).unwrap();
        assert_eq!(store_problems(models).len(), 2, "missing twice");
        fs::write(manifests.join("latest"), "{").unwrap();
        assert_eq!(store_problems(models).len(), 1, "no JSON");
    }
}
