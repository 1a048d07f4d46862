//! Moving a model's weights to the archive's disk and back.
//!
//! ```text
//! pin → room? → copy to a temporary file, hashing → compare → sync → rename → sync the folder → remove the original
//! ```
//!
//! At every moment one whole copy is visible, so that a kill anywhere loses nothing; at worst the blob is in both places,
//! and the next move reads the copy and removes the original. Manifests and small parts stay where they are, so that listing models reads
//! nothing from there.
use super::{Place, Store, ingest, locations::BlobFile, steps, temporary};
use crate::{Digest, Error, MediaType, ModelName, digest::Hasher};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::PoisonError,
};

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Blobs.
    pub n_blobs: usize,
    /// Their bytes.
    pub n_bytes: u64,
}

/// How far a move is: which blob, bytes copied, bytes in all.
pub type MoveProgress<'a> = &'a mut dyn FnMut(&Digest, u64, u64);

impl Store {
    /// Moves the weights of `name` to the archive, from where the model runs on. Other models that use the same blobs
    /// go on with it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoArchive`], too little room, or the disk.
    pub fn archive(&self, name: &ModelName, progress: MoveProgress<'_>) -> Result<Moved, Error> {
        let to = self.shared().locations.claim_archive()?;
        self.move_weights(name, Place::Hot, to, progress)
    }

    /// Moves the weights of `name` back from the archive.
    ///
    /// # Errors
    /// As [`Store::archive`].
    pub fn unarchive(&self, name: &ModelName, progress: MoveProgress<'_>) -> Result<Moved, Error> {
        self.shared().locations.claim_archive()?;
        let to = self.shared().blobs();
        self.move_weights(name, Place::Archive, to, progress)
    }

    fn move_weights(
        &self,
        name: &ModelName,
        from: Place,
        to: PathBuf,
        progress: MoveProgress<'_>,
    ) -> Result<Moved, Error> {
        let manifest = self.manifest(name)?;
        let digests: Vec<Digest> = manifest
            .layers
            .iter()
            .filter(|layer| is_weights(&layer.media_type))
            .map(|layer| layer.digest)
            .collect();
        let _pin = self.pin(&digests)?;
        let mut moved = Moved::default();
        for digest in &digests {
            // One after the other: two that move the same blob would each take the other's copy for one that stays.
            let moves = &self.shared().moves;
            let _turn = moves.lock().unwrap_or_else(PoisonError::into_inner);
            let there = self.shared().locate(digest)?;
            let Some(blob) = there.filter(|blob| blob.place == from) else {
                continue;
            };
            self.move_blob(&blob, &to, progress)?;
            moved.n_blobs += 1;
            moved.n_bytes += blob.size;
        }
        Ok(moved)
    }

    fn move_blob(
        &self,
        blob: &BlobFile,
        to: &Path,
        progress: MoveProgress<'_>,
    ) -> Result<(), Error> {
        let target = to.join(blob.digest.file_name());
        // An earlier move may have ended between its last two steps. What is there may be damaged, too.
        if !is_whole(&target, blob, progress) {
            self.copy_blob(blob, to, &target, progress)?;
        }
        let _guard = self.shared().lock()?;
        // Another process may have moved or removed it meanwhile.
        if own_size(&target) != Some(blob.size) {
            let gone = io::Error::new(io::ErrorKind::NotFound, "it was removed meanwhile");
            return Err(Error::read(&target)(gone));
        }
        fs::remove_file(&blob.path).map_err(Error::write(&blob.path))?;
        steps::between();
        temporary::sync_folder(blob.path.parent().expect("a blob is in a folder"))
    }

    fn copy_blob(
        &self,
        blob: &BlobFile,
        to: &Path,
        target: &Path,
        progress: MoveProgress<'_>,
    ) -> Result<(), Error> {
        if let Some(available) = super::free_bytes(to)
            && blob.size > available
        {
            return Err(Error::NoSpace {
                needed: blob.size,
                available,
                path: to.to_owned(),
            });
        }
        let mut source = File::open(&blob.path).map_err(Error::read(&blob.path))?;
        let mut copy = {
            let _guard = self.shared().lock()?;
            temporary::create(to)?
        };
        let mut hasher = Hasher::default();
        let mut n_bytes = 0;
        ingest::for_each_chunk(&mut source, |chunk| {
            hasher.update(chunk);
            copy.write_all(chunk).map_err(Error::write(target))?;
            n_bytes += chunk.len() as u64;
            progress(&blob.digest, n_bytes, blob.size);
            Ok(())
        })?;
        ingest::check_expected(hasher.digest(), Some(&blob.digest))?;
        let file = copy.as_file();
        let synced = temporary::set_mode(file, ingest::BLOB_MODE).and_then(|()| file.sync_all());
        synced.map_err(Error::write(target))?;
        let _guard = self.shared().lock()?;
        copy.persist(target)
            .map_err(|error| Error::write(target)(error.error))?;
        steps::between();
        temporary::sync_folder(to)
    }
}

/// The length of a regular file, and of nothing that leads to one.
fn own_size(path: &Path) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Whether `target` is a copy of `blob` to its last byte.
fn is_whole(target: &Path, blob: &BlobFile, progress: MoveProgress<'_>) -> bool {
    let mut count = |n_bytes| progress(&blob.digest, n_bytes, blob.size);
    own_size(target) == Some(blob.size)
        && File::open(target)
            .map_err(Error::read(target))
            .and_then(|file| ingest::hash(&file, target, &mut count))
            .is_ok_and(|actual| actual == blob.digest)
}

/// Whether layers of that kind are large.
fn is_weights(kind: &MediaType) -> bool {
    matches!(
        kind,
        MediaType::Model | MediaType::Projector | MediaType::Adapter | MediaType::Other(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Descriptor, Locations, Manifest};

    #[test]
    fn a_move_and_its_contrary_do_not_remove_both_copies() {
        let folder = tempfile::tempdir().unwrap();
        let locations = Locations {
            archive: Some(folder.path().join("big")),
            ..Locations::from(&folder.path().join("models"))
        };
        fs::create_dir(folder.path().join("big")).unwrap();
        let store = Store::open(locations.clone()).unwrap();
        let digest = store.ingest(&mut &b"weights"[..], None).unwrap();
        let blob = |media_type| Descriptor {
            media_type,
            digest,
            size: 7,
        };
        let manifest = Manifest {
            config: blob(MediaType::Config),
            layers: vec![blob(MediaType::Model)],
        };
        let name: ModelName = "m".parse().unwrap();
        store.write_manifest(&name, &manifest.to_json()).unwrap();
        let hot = store.locate(&digest).unwrap().unwrap();
        store.archive(&name, &mut |_, _, _| {}).unwrap();
        let archived = store.locate(&digest).unwrap().unwrap();
        // Another process moves it back, and has not removed the original yet.
        fs::copy(&archived.path, &hot.path).unwrap();
        let other = Store::open_without_index(locations).unwrap();
        let mut others = None;
        let mut meanwhile = |_: &Digest, _, _| {
            let to = store.shared().blobs();
            let moved = other.move_blob(&archived, &to, &mut |_, _, _| {});
            others = Some(moved.is_ok());
        };
        let to = folder.path().join("big").join("blobs");
        let moved = store.move_blob(&hot, &to, &mut meanwhile);
        assert_eq!(others, Some(true));
        assert!(matches!(moved, Err(Error::Read { .. })), "{moved:?}");
        store.verify_blob(&digest).unwrap();
    }
}
