//! A model in several files: `NAME-00001-of-00003.gguf` and the others beside it.
//!
//! The first file has the metadata, each file tensors of its own. The first is what a model is loaded by; the others are
//! found by its name, or named by whoever keeps them under other names.

use crate::{LoadError, MappedFile};
use slm_gguf::{Gguf, Shard};
use std::path::{Path, PathBuf};

/// Most files of a model.
const MAX_FILES: u32 = 1000;

/// All files of a model, mapped: one, unless it is split.
pub struct ModelFiles(Vec<MappedFile>);

impl ModelFiles {
    /// Maps the file at `path`, and all others of its model.
    ///
    /// # Errors
    /// A file that cannot be opened, or a first one that is no GGUF file or not the first of its model.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let first = map(path)?;
        let others = match Gguf::parse(&first)?.shard()? {
            None => vec![],
            Some(shard) => others(path, shard)?,
        };
        let mut files = vec![first];
        for path in &others {
            files.push(map(path)?);
        }
        Ok(Self(files))
    }

    /// Maps the parts of a model at `paths`, in order; a single one as [`ModelFiles::open`] does.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open_parts(paths: &[PathBuf]) -> Result<Self, LoadError> {
        match paths {
            [path] => Self::open(path),
            paths => Ok(Self(
                paths.iter().map(|p| map(p)).collect::<Result<_, _>>()?,
            )),
        }
    }

    /// The first file's metadata and the tensors of all.
    ///
    /// # Errors
    /// Files that are no GGUF or do not belong together.
    pub fn gguf(&self) -> Result<Gguf<'_>, LoadError> {
        join(&self.0)
    }

    /// The files, in order.
    pub(super) fn as_slice(&self) -> &[MappedFile] {
        &self.0
    }
}

fn join(files: &[MappedFile]) -> Result<Gguf<'_>, LoadError> {
    const TENSORS_KEY: &str = "split.tensors.count";
    let (first, others) = files.split_first().expect("a model has a file");
    let mut model = Gguf::parse(first)?;
    let says = model
        .shard()?
        .map(|shard| (shard.index, shard.count as usize));
    if !others.is_empty() && says != Some((0, files.len())) {
        return Err(LoadError::Hparam {
            key: "split.count".into(),
            value: says.map_or("missing".into(), |(_, count)| count.to_string()),
            problem: format!("but the model comes in {} files", files.len()),
        });
    }
    for (i, file) in others.iter().enumerate() {
        let other = Gguf::parse(file)?;
        let shard = other.shard()?.map(|shard| (shard.index, shard.count));
        let expected = (i as u32 + 1, files.len() as u32);
        if shard != Some(expected) {
            return Err(LoadError::Hparam {
                key: "split.no".into(),
                value: shard.map_or("missing".into(), |(index, count)| {
                    format!("{index} of {count}")
                }),
                problem: format!(
                    "the file with the name of part {} of {} is another one",
                    i + 2,
                    files.len()
                ),
            });
        }
        model.join(other)?;
    }
    let n_tensors = model.tensors().len();
    match model.metadata().opt_u32(TENSORS_KEY)? {
        Some(n) if !others.is_empty() && n as usize != n_tensors => Err(LoadError::Hparam {
            key: TENSORS_KEY.into(),
            value: n.to_string(),
            problem: format!("but the files have {n_tensors} tensors"),
        }),
        _ => Ok(model),
    }
}

fn map(path: &Path) -> Result<MappedFile, LoadError> {
    MappedFile::open(path).map_err(|source| LoadError::Open {
        path: path.to_owned(),
        source,
    })
}

/// The files beside the first one, which is at `path`.
fn others(path: &Path, shard: Shard) -> Result<Vec<PathBuf>, LoadError> {
    let refuse = |key: &str, value: u32, problem: String| {
        Err(LoadError::Hparam {
            key: key.into(),
            value: value.to_string(),
            problem,
        })
    };
    let Shard { index, count } = shard;
    if count > MAX_FILES {
        return refuse("split.count", count, format!("must be at most {MAX_FILES}"));
    }
    if index != 0 {
        let problem = format!("load the model by its first file, {}", ending(0, count));
        return refuse("split.no", index, problem);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(&ending(0, count))) else {
        let problem = format!(
            "the other files are found by name, so this one must be called NAME{} and lie beside them",
            ending(0, count)
        );
        return refuse("split.count", count, problem);
    };
    Ok((1..count)
        .map(|index| path.with_file_name(format!("{stem}{}", ending(index, count))))
        .collect())
}

/// How the name of file `index`, counted from 0, of `count` ends.
fn ending(index: u32, count: u32) -> String {
    format!("-{:05}-of-{count:05}.gguf", index + 1)
}
