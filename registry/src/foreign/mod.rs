//! Models that other programs keep on this machine: finding them, and using their files in place.
//!
//! [`find`] looks and changes nothing; [`Candidate::adopt`] makes one a model of the store. Large files become blobs
//! without a copy ([`crate::AdoptBy`]); small parts, such as configs and templates, are copied.
mod folder;
mod hugging_face;
mod ollama;
#[cfg(test)]
mod tests;

use crate::{
    AdoptBy, Adopted, Digest, Error, Manifest, MediaType, ModelName, Store, from_files,
    remote::MakeConfig,
};
use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
};

/// Smaller blobs are copied.
const COPIED_BYTES: u64 = 1 << 20;
/// No folder is walked deeper.
const MAX_DEPTH: usize = 6;
/// No more files are looked at in one source.
const MAX_FILES: usize = 20_000;

/// Whose files they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ollama's store: manifests, and blobs named by digest.
    Ollama,
    /// The cache of Hugging Face's tools.
    HuggingFace,
    /// LM Studio's folder, by publisher and repository.
    LmStudio,
    /// Any folder or file.
    Folder,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ollama => "ollama",
            Self::HuggingFace => "huggingface",
            Self::LmStudio => "lmstudio",
            Self::Folder => "folder",
        })
    }
}

/// A place to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whose it is.
    pub program: Program,
    /// The folder, or a file.
    pub path: PathBuf,
}

impl Source {
    /// The source at `path`, by what is in it.
    pub fn at(path: &Path) -> Self {
        let program = if path.join("manifests").is_dir() && path.join("blobs").is_dir() {
            Program::Ollama
        } else if hugging_face::hub(path).is_some() {
            Program::HuggingFace
        } else {
            Program::Folder
        };
        Self {
            program,
            path: path.to_owned(),
        }
    }
}

/// A file that a model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// What its name says its digest is.
    pub(crate) digest: Option<Digest>,
}

impl ForeignFile {
    fn at(path: &Path, digest: Option<Digest>) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            path: path.to_owned(),
            size: metadata.len(),
            digest,
        })
    }
}

/// A model of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name that it would get.
    pub name: ModelName,
    /// Whose it is.
    pub program: Program,
    /// Bytes of all of its files.
    pub size: u64,
    /// Its files: those of a manifest, or the weights in order.
    files: Vec<ForeignFile>,
    /// As the other program has it.
    manifest: Option<Vec<u8>>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Models, by name.
    pub candidates: Vec<Candidate>,
    /// What was passed over and why, each a line.
    pub notes: Vec<String>,
}

/// Looks through `sources` for models that `store` could use.
///
/// # Errors
/// A source that cannot be read, if it is the only one.
pub(crate) fn find(store: &Store, sources: &[Source]) -> Result<Found, Error> {
    let mut found = Found::default();
    for source in sources {
        let path = &source.path;
        let own = fs::canonicalize(store.root()).ok();
        if own.is_some() && fs::canonicalize(path).ok() == own {
            let text = format!("`{}` is the store itself", path.display());
            found.notes.push(text);
            continue;
        }
        let looked = match source.program {
            Program::Ollama => ollama::find(path, &mut found),
            Program::HuggingFace => hugging_face::find(path, &mut found),
            Program::LmStudio => folder::find_by_publisher(path, &mut found),
            Program::Folder => folder::find(path, &mut found),
        };
        match looked {
            // The others are not to blame.
            Err(error) if sources.len() > 1 => found.notes.push(in_full(&error)),
            looked => looked?,
        }
    }
    found.candidates.sort_by(|a, b| a.name.cmp(&b.name));
    let mut names = HashSet::new();
    let notes = &mut found.notes;
    found.candidates.retain(|candidate| {
        let is_first = names.insert(candidate.name.clone());
        if !is_first {
            let text = format!("`{}` is there twice; taking the first", candidate.name);
            notes.push(text);
        }
        is_first
    });
    Ok(found)
}

impl Candidate {
    fn of_files(name: ModelName, program: Program, files: Vec<ForeignFile>) -> Self {
        Self {
            name,
            program,
            size: files
                .iter()
                .fold(0, |sum, file| sum.saturating_add(file.size)),
            files,
            manifest: None,
        }
    }

    /// Its first file of weights.
    pub fn path(&self) -> &Path {
        let largest = self.files.iter().max_by_key(|file| file.size);
        largest.map_or(Path::new(""), |file| &file.path)
    }

    /// Makes it a model of `store`. `progress` hears how many bytes of which file of how many are read.
    ///
    /// # Errors
    /// A file that is not what its name says or cannot be read, [`Error::NotGguf`], or the disk.
    pub fn adopt(
        &self,
        store: &Store,
        by: AdoptBy,
        make_config: Option<&MakeConfig>,
        progress: &mut dyn FnMut(&Path, u64, u64),
    ) -> Result<Adopted, Error> {
        let mut adopted = Adopted::AlreadyThere;
        let mut weights = Vec::new();
        for file in &self.files {
            let expected = file.digest.as_ref();
            if file.size <= COPIED_BYTES && self.manifest.is_some() {
                let mut source = fs::File::open(&file.path).map_err(Error::read(&file.path))?;
                store.ingest(&mut source, expected)?;
                continue;
            }
            let magic: &[u8] = if self.manifest.is_some() {
                b""
            } else {
                from_files::MAGIC
            };
            let mut report = |done, total| progress(&file.path, done, total);
            let (digest, how) = store.adopt_file(&file.path, magic, expected, by, &mut report)?;
            weights.push(from_files::weights(digest, file.size));
            if how != Adopted::AlreadyThere {
                adopted = how;
            }
        }
        match &self.manifest {
            Some(json) => store.write_manifest(&self.name, json)?,
            None => from_files::write(store, &self.name, weights, make_config, (None, None))?,
        }
        Ok(adopted)
    }
}

impl Store {
    /// Looks through `sources` for models of other programs.
    ///
    /// # Errors
    /// A source that cannot be read, if it is the only one.
    pub fn find_foreign(&self, sources: &[Source]) -> Result<Found, Error> {
        find(self, sources)
    }
}

/// The error with its cause, for a note.
fn in_full(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The GGUF files under `root`, by path; image encoders and the like left out.
fn ggufs(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    let mut n_seen = 0;
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(_) if depth > 0 => continue,
            Err(error) => return Err(Error::read(&folder)(error)),
        };
        for entry in entries.flatten() {
            n_seen += 1;
            if n_seen > MAX_FILES {
                tracing::warn!(MAX_FILES, root = %root.display(), "too many files: not all are seen");
                files.sort();
                return Ok(files);
            }
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if !is_folder && path.to_str().is_some_and(crate::remote::is_model_file) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Groups of the files that make one model each; a group that lacks a part is noted and left out.
fn models_of(files: Vec<PathBuf>, notes: &mut Vec<String>) -> Vec<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut models = Vec::new();
    for file in files {
        let parts = from_files::all_parts(&file);
        if !seen.insert(parts[0].clone()) {
            continue;
        }
        match parts.iter().find(|part| !part.is_file()) {
            None => models.push(parts),
            Some(missing) => notes.push(format!(
                "`{}` is a part of a model, and `{}` is missing",
                file.display(),
                missing.display()
            )),
        }
    }
    models
}

/// A layer as a file of `blobs`.
fn files_of(manifest: &Manifest, blobs: &Path) -> Result<Vec<ForeignFile>, Digest> {
    let mut seen = HashSet::new();
    let distinct = manifest.blobs().filter(|blob| seen.insert(blob.digest));
    distinct
        .map(|blob| {
            let path = blobs.join(blob.digest.file_name());
            let file = ForeignFile::at(&path, Some(blob.digest));
            file.filter(|file| file.size == blob.size)
                .ok_or(blob.digest)
        })
        .collect()
}

/// Whether the manifest is one of weights that can be used.
fn has_weights(manifest: &Manifest) -> bool {
    manifest.layer(&MediaType::Model).is_some()
}
