//! What can go wrong with the store and the registry.
//!
//! A variant names what was being done, with the values a person needs; [`Error::hint`] says what to do about it.
use crate::{Digest, ModelName};
use std::{io, path::Path, path::PathBuf, time::Duration};

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No manifest under that name.
    #[error("model '{name}' not found")]
    NotFound {
        /// Short form.
        name: ModelName,
    },
    /// The model was never replaced, or what was before has been let go.
    #[error("no earlier version of '{name}' is kept")]
    NoEarlierVersion {
        /// Short form.
        name: ModelName,
    },
    /// Bytes and digest disagree.
    #[error("digest mismatch, expected \"{expected}\", got \"{actual}\"")]
    DigestMismatch {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
    /// A file of the store cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the store cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source of an ingest failed.
    #[error("cannot read the bytes to store")]
    Source {
        /// Why.
        source: io::Error,
    },
    /// A manifest is not understood.
    #[error("the manifest is not valid: {reason}")]
    Manifest {
        /// What is wrong.
        reason: String,
    },
    /// A manifest refers to a blob that is not in the store, or is there with another size.
    #[error("blob {digest} of the model is not in the store or has not {size} bytes")]
    MissingBlob {
        /// Which.
        digest: Digest,
        /// Its size by the manifest.
        size: u64,
    },
    /// A blob is a file of another program, and that is not what it was.
    #[error("`{}`, which a model uses by reference, {reason}", path.display())]
    ReferenceLost {
        /// Which blob.
        digest: Digest,
        /// The file.
        path: PathBuf,
        /// What happened to it.
        reason: &'static str,
    },
    /// A model of a store that is only read cannot be changed.
    #[error("model '{name}' is in a store that is only read: `{}`", path.display())]
    SharedModel {
        /// Which.
        name: ModelName,
        /// Its manifest.
        path: PathBuf,
    },
    /// There is nowhere to move blobs to.
    #[error("there is no archive")]
    NoArchive,
    /// The archive has the blobs of another store.
    #[error("the archive `{}` belongs to the store `{owner}`", path.display())]
    ForeignArchive {
        /// The archive.
        path: PathBuf,
        /// The models directory of the other store.
        owner: String,
    },
    /// The archive is where the blobs are anyway: to move one would be to remove it.
    #[error("the archive `{}` is the models directory itself", path.display())]
    ArchiveIsStore {
        /// The archive.
        path: PathBuf,
    },
    /// The folder for the archive has what this store has not put there.
    #[error("`{}` cannot be the archive: it has models or blobs of another store", path.display())]
    ArchiveInUse {
        /// The folder.
        path: PathBuf,
    },
    /// What is to be imported is no bundle of models, or a damaged one.
    #[error("what is imported is no whole bundle of models: {reason}")]
    Bundle {
        /// What is wrong.
        reason: String,
    },
    /// A bundle leaves out blobs that the store lacks.
    #[error("the bundle leaves out what is not here either: {missing}")]
    BundleIncomplete {
        /// Their digests, the first few.
        missing: String,
    },
    /// A bundle has more models than could be stored.
    #[error("the import stopped after {}, which are here now", list(models))]
    ImportStopped {
        /// The models that were stored.
        models: Vec<ModelName>,
        /// Why the next could not be.
        source: Box<Error>,
    },
    /// More models than one bundle may have.
    #[error("a bundle has at most {limit} models, and these are {n_models}")]
    TooManyModels {
        /// How many were asked for.
        n_models: usize,
        /// How many may be.
        limit: usize,
    },
    /// A bundle cannot be written to where it goes.
    #[error("cannot write the bundle")]
    BundleWrite {
        /// Why.
        source: io::Error,
    },
    /// A blob that should be small is not.
    #[error("blob {digest} has {size} bytes, at most {limit} are read into memory")]
    BlobTooLarge {
        /// Which.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Another process keeps the index.
    #[error("the models directory `{}` is in use by another process{}", path.display(), number(*holder))]
    IndexLocked {
        /// The models directory.
        path: PathBuf,
        /// Its process id, if it said so.
        holder: Option<u32>,
    },
    /// The disk has less room than the model needs.
    #[error("the model needs {needed} more bytes and `{}` has {available} left", path.display())]
    NoSpace {
        /// Bytes to download.
        needed: u64,
        /// Bytes free.
        available: u64,
        /// The models directory.
        path: PathBuf,
    },
    /// Nothing says where a damaged blob could be had again.
    #[error("nothing was noted of where {} came from", list(models))]
    NoSource {
        /// The models that have the blob.
        models: Vec<ModelName>,
    },
    /// What a damaged blob came from gives models, and no single blobs.
    #[error("it came from `{source_text}`, which cannot be asked for single blobs")]
    NoSingleBlobs {
        /// What was pulled.
        source_text: String,
    },
    /// The registry has no such model.
    #[error("pull model manifest: file does not exist")]
    RemoteNotFound {
        /// What was asked for.
        name: ModelName,
    },
    /// The registry wants to know who asks.
    #[error("pull model manifest: unauthorized: `{}` gives `{name}` only to those who log in", name.host())]
    Unauthorized {
        /// What was asked for.
        name: ModelName,
    },
    /// The registry wants to know who pushes, or does not let them.
    #[error("push: unauthorized: `{}` takes `{name}` only from those who log in", name.host())]
    PushUnauthorized {
        /// What was pushed.
        name: ModelName,
    },
    /// Nothing can be pushed there.
    #[error("`{destination}` is no place in a registry to push to")]
    NotPushable {
        /// What was asked for.
        destination: String,
    },
    /// The registry refuses or fails with a status.
    #[error("{doing}: {status}: {body}")]
    RemoteStatus {
        /// What was being done: `pull model manifest`, `pull blob …`.
        doing: String,
        /// HTTP status.
        status: u16,
        /// What the registry says about it, shortened.
        body: String,
    },
    /// The registry answers with something that is not the protocol.
    #[error("the answer of `{host}` is not understood: {reason}")]
    Protocol {
        /// Host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry cannot be reached.
    #[error("cannot reach the model registry `{host}`: {reason}")]
    Unreachable {
        /// Host.
        host: String,
        /// Innermost cause.
        reason: String,
    },
    /// The registry wants to be left alone for longer than a pull waits.
    #[error("`{host}` asks to wait {} s before the next request", wait.as_secs())]
    AskedToWait {
        /// Host.
        host: String,
        /// How long.
        wait: Duration,
    },
    /// A download failed again and again.
    #[error("max retries exceeded: {reason}")]
    RetriesExhausted {
        /// What happened the last time.
        reason: String,
    },
    /// A download is complete and wrong.
    #[error("digest mismatch, file must be downloaded again: want {want}, got {got}")]
    DownloadCorrupted {
        /// Asked for.
        want: Digest,
        /// Got.
        got: Digest,
    },
    /// A program that keeps credentials for Docker does not do so for us.
    #[error("cannot ask `{helper}` for credentials: {reason}")]
    CredentialHelper {
        /// The program.
        helper: String,
        /// What is wrong.
        reason: String,
    },
    /// A file changed while it was fetched.
    #[error("`{host}` has another file under that address than when the download began")]
    Changed {
        /// Host.
        host: String,
    },
    /// What was fetched or named is no model.
    #[error("`{what}` is no GGUF file that can be used: {reason}")]
    NotGguf {
        /// Address or name.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A connection without protection was not agreed to.
    #[error("`{host}` is to be asked without TLS")]
    Insecure {
        /// Host.
        host: String,
    },
    /// The manifest is not the one that was asked for by its digest.
    #[error("`{name}` is {got} at the registry, not {want}")]
    OtherManifest {
        /// What was asked for.
        name: ModelName,
        /// Its digest, as it was asked for.
        want: Digest,
        /// What the registry has.
        got: Digest,
    },
    /// A repository has no file to take.
    #[error("{reason}")]
    NoFile {
        /// What was looked for, and what there is.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot set up the HTTP client: {reason}")]
    Client {
        /// Innermost cause.
        reason: String,
    },
}

fn number(process: Option<u32>) -> String {
    process.map_or_else(String::new, |id| format!(" with the id {id}"))
}

/// The names, for a sentence.
fn list(models: &[ModelName]) -> String {
    match models {
        [] => "it".to_owned(),
        models => {
            let names: Vec<String> = models.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        }
    }
}

/// Foreign text, fit for an error: one line of at most 500 characters that can be printed.
pub(crate) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 500;
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = printable.take(MAX_CHARS).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Error {
    /// Makes the closure that `map_err` wants: a read of `path` failed.
    pub(crate) fn read(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read {
            path: path.as_ref().to_owned(),
            source,
        }
    }
    /// Makes the closure that `map_err` wants: a write of `path` failed.
    pub(crate) fn write(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// What the user can do now, as one imperative sentence.
    pub fn hint(&self) -> Option<String> {
        const FREE_SPACE: &str = "free disk space, remove a model with `slm rm` or what nobody needs with \
                                  `slm gc`, or choose another models directory with `SLM_MODELS`";
        let hint = match self {
            Self::NotFound { name } => {
                format!("pull it with `slm pull {name}`, or see what is there with `slm list`")
            }
            Self::NoEarlierVersion { name } => format!(
                "pull the version that you want by its digest, `slm pull {name}@sha256:…`, or create it again"
            ),
            Self::DigestMismatch { .. } => {
                "send the bytes again, and check that the source is what it should be".into()
            }
            Self::Write { source, .. } if is_disk_full(source) => FREE_SPACE.into(),
            Self::Read { path, source } | Self::Write { path, source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                format!(
                    "check who owns `{}`, or choose another models directory with `SLM_MODELS`",
                    path.display()
                )
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "choose a models directory on a writable disk with `SLM_MODELS`".into()
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; if it is a blob, pull or create the model again".into()
            }
            Self::Read { .. } | Self::Write { .. } => "check the disk, and try again".into(),
            Self::Source { .. } => "send the bytes again".into(),
            Self::Manifest { .. } => {
                "check that the name means a model, and pull or create it again".into()
            }
            Self::MissingBlob { .. } => "pull or create the model again".into(),
            Self::ReferenceLost { .. } => {
                "put the file back as it was, adopt it again with `slm adopt`, or pull the model"
                    .into()
            }
            Self::SharedModel { .. } => {
                "ask who keeps that store, or give the model a name of your own with `slm cp`".into()
            }
            Self::NoArchive => {
                "set `SLM_MODELS_ARCHIVE` to a folder on the other disk, for the daemon".into()
            }
            Self::ForeignArchive { path, .. } => format!(
                "choose another folder with `SLM_MODELS_ARCHIVE`; if that store has moved, correct `{}`",
                path.join("slm-archive").display()
            ),
            Self::ArchiveIsStore { .. } => {
                "choose a folder on another disk with `SLM_MODELS_ARCHIVE`, for the daemon".into()
            }
            Self::ArchiveInUse { path } => format!(
                "choose an empty folder with `SLM_MODELS_ARCHIVE`, or read that store with `SLM_MODELS_SHARED`; if it is \
                 the archive of this store, write the path of the models directory into `{}`",
                path.join("slm-archive").display()
            ),
            Self::Bundle { .. } => {
                "check that it is a file that `slm export` wrote, and copy it again".into()
            }
            Self::BundleIncomplete { .. } => {
                "export again without `--without`, or with the list that `slm list --digests` prints here".into()
            }
            Self::ImportStopped { source, .. } => return source.hint(),
            Self::TooManyModels { .. } => "export them as several bundles".into(),
            Self::BundleWrite { source } if is_disk_full(source) => "free disk space".into(),
            Self::BundleWrite { .. } => "check the disk, and try again".into(),
            Self::BlobTooLarge { .. } => {
                "check the model: templates, parameters, licences and configs are small".into()
            }
            Self::IndexLocked { .. } => {
                "use the running daemon, stop it first, or choose another models directory with \
                 `SLM_MODELS`"
                    .into()
            }
            Self::NoSpace { .. } => FREE_SPACE.into(),
            Self::NoSource { models } if models.is_empty() => {
                "remove what no model uses with `slm gc --older-than 0`".into()
            }
            Self::NoSource { .. } | Self::NoSingleBlobs { .. } => {
                "pull the model again, or create it again from its files".into()
            }
            Self::RemoteNotFound { name } => format!(
                "check the spelling of name and tag: `{}` has no `{}/{}:{}`",
                name.host(),
                name.namespace(),
                name.model(),
                name.tag()
            ),
            Self::Unauthorized { name } if name.host() == "hf.co" => {
                "check the spelling of the name; for a gated or private repository set `HF_TOKEN`, and accept its \
                 conditions on its page"
                    .into()
            }
            Self::Unauthorized { name } => format!(
                "check the spelling of the name, or log in with `slm login {}`",
                name.host()
            ),
            Self::PushUnauthorized { name } => format!(
                "log in with `slm login {}`, as a user who may write there",
                name.host()
            ),
            Self::NotPushable { .. } => {
                "write the destination as `HOST/NAMESPACE/MODEL:TAG` or `oci://HOST/REPOSITORY:TAG`"
                    .into()
            }
            Self::RemoteStatus { status: 412, .. } => {
                "update slm: the registry asks for a newer client".into()
            }
            Self::RemoteStatus { status: 429, .. } => {
                "wait a few minutes: the registry limits how often it is asked".into()
            }
            Self::RemoteStatus {
                status: 500..=599, ..
            } => "try again later: the registry has a problem of its own".into(),
            Self::RemoteStatus { .. } => "check the name and what the registry says".into(),
            Self::Protocol { host, .. } => {
                format!("check that `{host}` is a model registry, and no proxy answers for it")
            }
            Self::Unreachable { host, reason } => unreachable_hint(host, reason),
            Self::AskedToWait { .. } => {
                "pull again after that time: finished bytes are kept".into()
            }
            Self::RetriesExhausted { .. } => {
                "check the network and pull again: finished bytes are kept".into()
            }
            Self::DownloadCorrupted { .. } => {
                "pull again: the damaged file was discarded; if it happens again, something \
                 between here and the registry changes the bytes"
                    .into()
            }
            Self::CredentialHelper { .. } => {
                "mend or remove `credsStore` and `credHelpers` in Docker's `config.json`, or log in with `slm login`"
                    .into()
            }
            Self::Changed { .. } => "pull again: the new file is fetched from its beginning".into(),
            Self::NotGguf { .. } => {
                "check that the address is the one of the file itself, not of a page about it".into()
            }
            Self::Insecure { .. } => "write `https://`, or pass `--insecure`".into(),
            Self::OtherManifest { name, .. } => {
                format!("pull `{name}` without a digest for what the registry has now")
            }
            Self::NoFile { .. } => "choose one of the files that there are".into(),
            Self::Client { .. } => "check the proxy and certificate settings".into(),
        };
        Some(hint)
    }
}

/// Whether the disk, or this user's share of it, is full.
fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded].contains(&error.kind())
}

fn unreachable_hint(host: &str, reason: &str) -> String {
    if reason.contains("certificate") {
        return format!(
            "check the clock and the proxy; for a private registry set `SLM_CA_FILE` to the \
             certificate of the authority that signed `{host}`"
        );
    }
    if reason.contains("proxy authorization required") {
        return "write user and password into the proxy's address: \
                `HTTPS_PROXY=http://user:password@host:port`"
            .into();
    }
    if reason.contains("tunnel error") {
        return format!(
            "check that the proxy of `HTTPS_PROXY` may reach `{host}`, or name the host in `NO_PROXY`"
        );
    }
    if reason.contains("InvalidContentType") || reason.contains("corrupt message") {
        return format!(
            "write `http://{host}/…` or pass `--insecure`: the registry seems to speak plain HTTP"
        );
    }
    "check the network connection; behind a proxy, set `HTTPS_PROXY` for the process that pulls"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_free() {
        let full = |kind: io::ErrorKind| Error::write("/m/blobs/x")(kind.into());
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(full(kind).hint().unwrap().contains("slm rm"));
        }
        let denied = full(io::ErrorKind::PermissionDenied).hint().unwrap();
        assert!(denied.contains("who owns `/m/blobs/x`"), "{denied}");
    }

    #[test]
    fn an_unreachable_registry_says_why_and_what_to_try() {
        let hint = |reason: &str| {
            let (host, reason) = ("h:5".to_owned(), reason.to_owned());
            Error::Unreachable { host, reason }.hint().unwrap()
        };
        assert!(hint("connection refused").contains("network"));
        assert!(hint("invalid peer certificate: UnknownIssuer").contains("SLM_CA_FILE"));
        let wants_password = hint("tunnel error: proxy authorization required");
        assert!(wants_password.contains("user:password"));
        assert!(hint("tunnel error: unsuccessful").contains("NO_PROXY"));
        assert!(hint("received corrupt message of type InvalidContentType").contains("http://h:5"));
    }
}
