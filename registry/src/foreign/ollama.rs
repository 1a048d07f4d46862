//! Ollama's store: the layout of ours, so that models keep their names and manifests.
use super::{Candidate, Found, Program, files_of, has_weights, in_full};
use crate::{Error, Manifest, store::manifests};
use std::path::Path;

pub(super) fn find(root: &Path, found: &mut Found) -> Result<(), Error> {
    let blobs = root.join("blobs");
    let notes = &mut found.notes;
    let manifest_files =
        manifests::walk_readable(&root.join("manifests"), |error| notes.push(in_full(&error)))?;
    for manifest_file in manifest_files {
        let name = manifest_file.name;
        let read = manifests::read(&manifest_file.path)
            .and_then(|json| Ok((Manifest::parse(&json)?, json)));
        let (manifest, json) = match read {
            Ok((manifest, json)) if has_weights(&manifest) => (manifest, json),
            Ok(_) => {
                let text =
                    format!("`{name}` has no GGUF weights, which is the only kind that can be run");
                found.notes.push(text);
                continue;
            }
            Err(error) => {
                found.notes.push(format!("`{name}`: {}", in_full(&error)));
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
