//! Every blob read again and compared with its name, on several threads.
use super::{Shared, Store, ingest, manifests};
use crate::{Digest, Error, Manifest, ModelName};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// More threads than this read no disk faster.
const MAX_THREADS: usize = 16;

/// What is wrong with a blob or a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The manifest cannot be read or is none.
    Manifest {
        /// Why.
        reason: String,
    },
    /// The blob is not there.
    Missing,
    /// The blob has another size than manifests say.
    Size {
        /// Its size.
        actual: u64,
    },
    /// The blob's bytes are others than its name says.
    Damaged {
        /// Their digest.
        actual: Digest,
    },
    /// The blob cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// Something that is wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub trouble: Trouble,
    /// The blob; `None` for a manifest.
    pub digest: Option<Digest>,
    /// The blob's size by the manifests, if one speaks of it.
    pub size: Option<u64>,
    /// The models that it belongs to.
    pub models: Vec<ModelName>,
}

/// How far a verification is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyEvent {
    /// So many bytes are read of so many.
    Bytes {
        /// Read.
        completed: u64,
        /// In all.
        total: u64,
    },
    /// Something is wrong.
    Problem(Problem),
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Models.
    pub n_models: usize,
    /// Blobs.
    pub n_blobs: usize,
    /// Their bytes.
    pub n_bytes: u64,
    /// Problems reported.
    pub n_problems: usize,
}

/// A blob to look at.
struct Task {
    digest: Digest,
    /// On the disk, if it is there.
    found: Option<u64>,
    /// By the manifests.
    wanted: Option<u64>,
    models: Vec<ModelName>,
}

impl Store {
    /// Reads the blobs of `names`, or of all models and all that no model uses, and compares them with their digests;
    /// looks at the manifests too. `report` hears of progress and problems, from several threads in turn. Ends early, as if
    /// there were no more, when `is_cancelled` becomes true.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name, or a store that cannot be listed. What is wrong with its content is no error.
    pub fn verify(
        &self,
        names: &[ModelName],
        is_cancelled: &AtomicBool,
        report: impl FnMut(VerifyEvent) + Send,
    ) -> Result<Verified, Error> {
        let shared = &self.shared;
        let mut verified = Verified::default();
        let report = Mutex::new(report);
        let tell = |event| {
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report(event);
        };
        let (mut tasks, problems) = tasks(shared, names, &mut verified)?;
        // The largest first, so that no thread is left alone with it at the end.
        tasks.sort_by_key(|task| std::cmp::Reverse((task.found, task.digest)));
        let total = tasks.iter().filter_map(|task| task.found).sum();
        let n_problems = AtomicUsize::new(problems.len());
        for problem in problems {
            tell(VerifyEvent::Problem(problem));
        }
        let completed = Mutex::new(0);
        let count = |n_bytes: usize| {
            let mut completed = completed.lock().unwrap_or_else(PoisonError::into_inner);
            *completed += n_bytes as u64;
            let completed = *completed;
            tell(VerifyEvent::Bytes { completed, total });
        };
        let next = AtomicUsize::new(0);
        let n_cores = thread::available_parallelism().map_or(1, usize::from);
        let n_threads = n_cores.min(MAX_THREADS).min(tasks.len());
        thread::scope(|scope| {
            for _ in 0..n_threads {
                scope.spawn(|| {
                    while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                        && !is_cancelled.load(Ordering::Relaxed)
                    {
                        let Some(trouble) = look_at(shared, task, is_cancelled, &count) else {
                            continue;
                        };
                        n_problems.fetch_add(1, Ordering::Relaxed);
                        tell(VerifyEvent::Problem(Problem {
                            trouble,
                            digest: Some(task.digest),
                            size: task.wanted.or(task.found),
                            models: task.models.clone(),
                        }));
                    }
                });
            }
        });
        verified.n_blobs = tasks.len();
        verified.n_bytes = total;
        verified.n_problems = n_problems.into_inner();
        Ok(verified)
    }
}

/// What to look at, and what is wrong with the manifests.
fn tasks(
    shared: &Shared,
    names: &[ModelName],
    verified: &mut Verified,
) -> Result<(Vec<Task>, Vec<Problem>), Error> {
    let models = if names.is_empty() {
        shared.all_manifests()?
    } else {
        let found = names.iter().map(|name| shared.resolve(name));
        found.collect::<Result<_, _>>()?
    };
    verified.n_models = models.len();
    let sizes: HashMap<Digest, u64> = {
        let blobs = shared.all_blobs()?;
        blobs
            .into_iter()
            .map(|blob| (blob.digest, blob.size))
            .collect()
    };
    let mut wanted: HashMap<Digest, (Option<u64>, Vec<ModelName>)> = HashMap::new();
    let mut problems = Vec::new();
    for found in models {
        let manifest = manifests::read(&found.path).and_then(|json| Manifest::parse(&json));
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                problems.push(Problem {
                    trouble: Trouble::Manifest {
                        reason: error.to_string(),
                    },
                    digest: None,
                    size: None,
                    models: vec![found.name],
                });
                continue;
            }
        };
        let mut seen = HashSet::new();
        for blob in manifest.blobs().filter(|blob| seen.insert(blob.digest)) {
            let (size, models) = wanted.entry(blob.digest).or_default();
            // Of manifests that disagree, the one that the blob is not like.
            if size.is_none() || *size == sizes.get(&blob.digest).copied() {
                *size = Some(blob.size);
            }
            models.push(found.name.clone());
        }
    }
    if names.is_empty() {
        for digest in sizes.keys() {
            wanted.entry(*digest).or_default();
        }
    }
    let tasks = wanted.into_iter().map(|(digest, (size, models))| Task {
        digest,
        found: sizes.get(&digest).copied(),
        wanted: size,
        models,
    });
    Ok((tasks.collect(), problems))
}

/// What is wrong with a blob.
fn look_at(
    shared: &Shared,
    task: &Task,
    is_cancelled: &AtomicBool,
    count: &impl Fn(usize),
) -> Option<Trouble> {
    let path = match shared.locate(&task.digest) {
        Ok(Some(blob)) => blob.path,
        Ok(None) => shared.hot_blob_path(&task.digest),
        // A file of another program that may be whole is no use either.
        Err(error) => {
            return Some(Trouble::Unreadable {
                reason: error.to_string(),
            });
        }
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        // It may have been removed with its models since they were listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_wanted = task
                .models
                .iter()
                .any(|name| is_blob_of(shared, name, task));
            return is_wanted.then_some(Trouble::Missing);
        }
        Err(error) => return Some(unreadable(&error)),
    };
    let size = match file.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(unreadable(&error)),
    };
    if task.wanted.is_some_and(|wanted| wanted != size) {
        return Some(Trouble::Size { actual: size });
    }
    let mut hasher = crate::Hasher::default();
    let read = ingest::for_each_chunk(&mut &file, |chunk| {
        hasher.update(chunk);
        count(chunk.len());
        match is_cancelled.load(Ordering::Relaxed) {
            true => Err(Error::Source {
                source: io::ErrorKind::Interrupted.into(),
            }),
            false => Ok(()),
        }
    });
    match read {
        Ok(()) => {
            let actual = hasher.digest();
            (actual != task.digest).then_some(Trouble::Damaged { actual })
        }
        Err(_) if is_cancelled.load(Ordering::Relaxed) => None,
        Err(Error::Source { source }) => Some(unreadable(&source)),
        Err(error) => Some(Trouble::Unreadable {
            reason: error.to_string(),
        }),
    }
}

fn unreadable(error: &io::Error) -> Trouble {
    Trouble::Unreadable {
        reason: error.to_string(),
    }
}

fn is_blob_of(shared: &Shared, name: &ModelName, task: &Task) -> bool {
    let found = shared.resolve(name);
    found.is_ok_and(|found| shared.blobs_of(&found).contains(&task.digest))
}
