//! Care of the store in the words of the API, for routes and for commands that run without a daemon.

use crate::{error::ApiError, pulls::Pulls};
use futures_util::{StreamExt, stream};
use slm_api::care::{
    DfModel, DfResponse, GcFile, GcRequest, GcResponse, GcVersion, OutdatedModel, OutdatedResponse,
    ShowOriginal, ShowProvenance, StoreProblem, VerifyLine, VerifyRequest, VerifySummary,
};
use slm_registry::{
    Digest, GcLimits, ModelEntry, ModelName, PartialFile, Problem, Provenance, Store, Trouble,
    Verified, VerifyEvent, Via,
    remote::{self, Freshness, PullEvent, PullOptions},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Time between two lines that only say how far it is.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// So many sources are asked at once.
const MAX_QUESTIONS: usize = 6;

/// Where the lines of a verification go.
pub(crate) type Lines = mpsc::Sender<Result<VerifyLine, ApiError>>;

/// A checked request to verify.
#[derive(Debug)]
pub(crate) struct Verification {
    names: Vec<ModelName>,
    /// How to repair, if that is wanted.
    repair: Option<PullOptions>,
}

impl Verification {
    /// Checks a request.
    ///
    /// # Errors
    /// What is no model name.
    pub(crate) fn check(request: &VerifyRequest, pulls: &Pulls) -> Result<Self, ApiError> {
        let names = request.models.iter();
        let names = names.map(|name| crate::routes::model_name(name));
        let repair = request.repair.unwrap_or(false);
        Ok(Self {
            names: names.collect::<Result<_, _>>()?,
            repair: repair.then(|| pulls.options(request.insecure.unwrap_or(false))),
        })
    }

    /// Verifies, and repairs if that is wanted; the last line has the summary. Stops soon after nobody listens any more.
    pub(crate) async fn run(self, store: Store, lines: Lines) {
        let last = self.try_run(store, &lines).await;
        let _reader_may_be_gone = lines.send(last).await;
    }

    async fn try_run(self, store: Store, lines: &Lines) -> Result<VerifyLine, ApiError> {
        let (verified, problems) = {
            let (store, lines) = (store.clone(), lines.clone());
            tokio::task::spawn_blocking(move || look(&store, &self.names, &lines)).await??
        };
        let mut n_repaired = 0;
        if let Some(options) = self.repair {
            for problem in &problems {
                n_repaired += usize::from(mend(&store, problem, &options, lines).await?);
            }
        }
        let is_whole = verified.n_problems == n_repaired;
        Ok(VerifyLine {
            status: if is_whole { "success" } else { "damaged" }.to_owned(),
            summary: Some(VerifySummary {
                models: verified.n_models,
                blobs: verified.n_blobs,
                bytes: verified.n_bytes,
                problems: verified.n_problems,
                repaired: n_repaired,
            }),
            ..VerifyLine::default()
        })
    }
}

fn look(
    store: &Store,
    names: &[ModelName],
    lines: &Lines,
) -> Result<(Verified, Vec<Problem>), ApiError> {
    let is_cancelled = AtomicBool::new(false);
    let mut problems = Vec::new();
    let mut told: Option<Instant> = None;
    let verified = store.verify(names, &is_cancelled, |event| {
        let line = match event {
            VerifyEvent::Bytes { completed, total } => {
                let is_due = told.is_none_or(|told| told.elapsed() >= REPORT_INTERVAL);
                if !is_due && completed < total {
                    return;
                }
                told = Some(Instant::now());
                progress("verifying", completed, total)
            }
            VerifyEvent::Problem(problem) => {
                let line = about("problem", &problem, None);
                problems.push(problem);
                line
            }
        };
        if lines.blocking_send(Ok(line)).is_err() {
            is_cancelled.store(true, Ordering::Relaxed);
        }
    })?;
    if is_cancelled.into_inner() {
        return Err(ApiError::canceled());
    }
    Ok((verified, problems))
}

/// Fetches what is damaged again; whether that went well.
async fn mend(
    store: &Store,
    problem: &Problem,
    options: &PullOptions,
    lines: &Lines,
) -> Result<bool, ApiError> {
    let mut told: Option<Instant> = None;
    let report = |event: PullEvent| {
        let PullEvent::Blob {
            total, completed, ..
        } = event
        else {
            return;
        };
        if told.is_none_or(|told| told.elapsed() >= REPORT_INTERVAL) || completed == total {
            told = Some(Instant::now());
            // A line that is lost says nothing that the next does not.
            let _ = lines.try_send(Ok(progress("repairing", completed, total)));
        }
    };
    let mended = tokio::select! {
        mended = remote::repair(store, problem, options, report) => mended,
        () = lines.closed() => return Err(ApiError::canceled()),
    };
    let is_mended = mended.is_ok();
    let line = match mended {
        Ok(()) => about("repaired", problem, None),
        Err(error) => about("not repaired", problem, Some(ApiError::from(error))),
    };
    let sent = lines.send(Ok(line)).await;
    sent.map_err(|_| ApiError::canceled())?;
    Ok(is_mended)
}

fn progress(status: &str, completed: u64, total: u64) -> VerifyLine {
    VerifyLine {
        status: status.to_owned(),
        total: Some(total),
        completed: Some(completed),
        ..VerifyLine::default()
    }
}

fn about(status: &str, problem: &Problem, error: Option<ApiError>) -> VerifyLine {
    let (kind, reason) = match &problem.trouble {
        Trouble::Manifest { reason } => (
            "manifest",
            format!("{reason}; pull or create the model again, or remove it"),
        ),
        Trouble::Missing => ("missing", "the blob is not there".to_owned()),
        Trouble::Size { actual } => {
            let wanted = problem.size.unwrap_or_default();
            (
                "size",
                format!("the blob has {actual} bytes and should have {wanted}"),
            )
        }
        Trouble::Damaged { actual } => ("damaged", format!("its bytes hash to {actual}")),
        Trouble::Unreadable { reason } => {
            ("unreadable", format!("the blob cannot be read: {reason}"))
        }
    };
    let models = problem.models.iter();
    VerifyLine {
        status: status.to_owned(),
        problem: Some(StoreProblem {
            kind: kind.to_owned(),
            digest: problem.digest.map(|digest| digest.to_string()),
            models: models.map(ModelName::to_string).collect(),
            reason,
            error: error.map(|error| error.message().to_owned()),
        }),
        ..VerifyLine::default()
    }
}

/// Removes what nobody needs, or shows it. Blocks on the disk.
///
/// # Errors
/// The disk.
pub(crate) fn gc(store: &Store, request: &GcRequest) -> Result<GcResponse, ApiError> {
    let mut limits = GcLimits::default();
    if let Some(seconds) = request.older_than {
        let age = Duration::from_secs(seconds);
        (limits.blob_age, limits.partial_age) = (age, age);
    }
    if request.history.unwrap_or(false) {
        limits.version_age = Duration::ZERO;
    }
    let remove = request.remove.unwrap_or(false);
    let garbage = store.collect_garbage(&limits, !remove)?;
    let blobs = garbage.blobs.iter().map(|(digest, size)| GcFile {
        digest: digest.to_string(),
        size: *size,
    });
    let versions = garbage.versions.iter().map(|(name, digest)| GcVersion {
        name: name.to_string(),
        digest: digest.to_string(),
    });
    Ok(GcResponse {
        removed: remove,
        bytes: garbage.n_bytes(),
        blobs: blobs.collect(),
        partials: partials(&garbage.partials),
        versions: versions.collect(),
        blocked_by: garbage.blocked_by.map(|name| name.to_string()),
    })
}

fn partials(files: &[PartialFile]) -> Vec<GcFile> {
    let files = files.iter().map(|partial| GcFile {
        digest: partial.digest.to_string(),
        size: partial.size,
    });
    files.collect()
}

/// What takes how much of the disk. Blocks on it.
///
/// # Errors
/// The disk.
pub(crate) fn df(store: &Store) -> Result<DfResponse, ApiError> {
    let usage = store.usage()?;
    let models = usage.models.iter().map(|model| DfModel {
        name: model.name.to_string(),
        own: model.own,
        shared: model.shared,
        earlier: model.earlier,
    });
    Ok(DfResponse {
        models: models.collect(),
        partials: partials(&usage.partials),
        blobs: usage.blobs,
        earlier: usage.earlier,
        unreferenced: usage.unreferenced,
        free: usage.free,
    })
}

/// How all models compare with where they came from.
///
/// # Errors
/// A store that cannot be listed. A source that cannot be asked is a row of the answer.
pub(crate) async fn outdated(
    store: &Store,
    options: PullOptions,
) -> Result<OutdatedResponse, ApiError> {
    let mut entries = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.list()).await??
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let options = Arc::new(options);
    let rows = entries.into_iter().map(|entry| {
        let (store, options) = (store.clone(), Arc::clone(&options));
        async move { compare(&store, entry, &options).await }
    });
    let rows: Vec<_> = stream::iter(rows).buffered(MAX_QUESTIONS).collect().await;
    Ok(OutdatedResponse { models: rows })
}

async fn compare(store: &Store, entry: ModelEntry, options: &PullOptions) -> OutdatedModel {
    let asked = remote::freshness(store, &entry.name, options).await;
    let (status, revision, error) = match asked {
        Ok(Freshness::Current) => ("current", None, None),
        Ok(Freshness::Outdated(revision)) => ("outdated", revision, None),
        Ok(Freshness::Pinned) => ("pinned", None, None),
        Ok(Freshness::Gone) => ("gone", None, None),
        Ok(Freshness::Local) => ("local", None, None),
        Ok(Freshness::Unknown) => ("unknown", None, None),
        Err(error) => {
            let error = ApiError::from(error);
            ("unreachable", None, Some(error.message().to_owned()))
        }
    };
    let source = {
        let (store, name) = (store.clone(), entry.name.clone());
        tokio::task::spawn_blocking(move || store.provenance(&name)).await
    };
    let noted = source.ok().and_then(Result::ok).flatten();
    OutdatedModel {
        name: entry.name.to_string(),
        digest: entry.digest.to_string(),
        status: status.to_owned(),
        source: noted.and_then(|noted| noted.source),
        revision,
        error,
    }
}

/// Where a model came from, on the wire.
pub(crate) fn of_provenance(noted: Provenance) -> ShowProvenance {
    let originals = noted.originals.into_iter().map(|original| ShowOriginal {
        name: original.name,
        digest: original.digest.to_string(),
    });
    let at = i64::try_from(noted.time).ok();
    let at = at.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    ShowProvenance {
        via: match noted.via {
            Via::Pull => "pull",
            Via::Create => "create",
        }
        .to_owned(),
        source: noted.source,
        revision: noted.revision,
        originals: originals.collect(),
        license: noted.license,
        parent: noted
            .parent
            .map(|parent| format!("{}@{}", parent.name, parent.digest)),
        at: at.unwrap_or_default().to_string(),
    }
}

/// Of an update, in one line: what the model is now.
pub(crate) fn news(before: Digest, after: Digest) -> String {
    if before == after {
        return "up to date".to_owned();
    }
    let short = |digest: Digest| digest.hex()[..12].to_owned();
    format!(
        "updated from {} to {}; `slm rollback` goes back",
        short(before),
        short(after)
    )
}
