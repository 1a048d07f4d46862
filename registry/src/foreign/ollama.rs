//! Ollama's store: the layout of ours, so that models keep their names and manifests.
use super::{Candidate, Found, Program, files_of, has_weights};
use crate::{Error, Manifest, store::manifests};
use std::path::Path;

pub(super) fn find(root: &Path, found: &mut Found) -> Result<(), Error> {
    let blobs = root.join("blobs");
    for manifest_file in manifests::walk(&root.join("manifests"))? {
        let name = manifest_file.name;
        let json = manifests::read(&manifest_file.path)?;
        let manifest = match Manifest::parse(&json) {
            Ok(manifest) if has_weights(&manifest) => manifest,
            Ok(_) => {
                let text =
                    format!("`{name}` has no GGUF weights, which is the only kind that can be run");
                found.notes.push(text);
                continue;
            }
            Err(error) => {
                found.notes.push(format!("`{name}`: {error}"));
                continue;
            }
        };
        match files_of(&manifest, &blobs) {
            Ok(files) => found.candidates.push(Candidate {
                manifest: Some(json),
                ..Candidate::of_files(name, Program::Ollama, files)
            }),
            Err(missing) => {
                let text = format!("`{name}` is not whole: its blob {missing} is missing");
                found.notes.push(text);
            }
        }
    }
    Ok(())
}
