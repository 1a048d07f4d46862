//! Repositories of Hugging Face: what files there are, and which of them is meant.
//!
//! The list of files comes from the API, with sizes and SHA-256 digests; the choice is a function of that list alone.
use super::client::{Failure, Remote};
use crate::{Digest, Error, modelfile::parts};
use serde::Deserialize;
use std::collections::BTreeSet;

/// No list of files is larger.
const MAX_LIST_BYTES: usize = 16 << 20;
/// What to take when nobody says, the best first.
const PREFERRED: [&str; 14] = [
    "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_K_XL", "IQ4_XS", "IQ4_NL", "Q4_1", "Q5_K_M", "Q5_K_S", "Q5_0",
    "Q6_K", "Q8_0", "BF16", "F16",
];
/// How the label of a weight format begins.
const LABELS: [&str; 7] = ["Q", "IQ", "TQ", "F16", "BF16", "F32", "MXFP4"];
/// So many files are named in an error.
const MAX_NAMED: usize = 30;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepoFile {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) digest: Option<Digest>,
}

/// The files at the newest revision of `repo`.
pub(super) async fn list(
    remote: &Remote,
    endpoint: &str,
    repo: &str,
) -> Result<Vec<RepoFile>, Error> {
    let url = format!("{endpoint}/api/models/{repo}/tree/main?recursive=true");
    let json = match remote
        .fetch("list the files of the repository", &url, MAX_LIST_BYTES)
        .await
    {
        Err(Failure::Final(Error::RemoteStatus { status: 404, .. })) => {
            let name = remote.name().clone();
            return Err(Error::RemoteNotFound { name });
        }
        fetched => fetched.map_err(Failure::into_error)?,
    };
    parse(&json).map_err(|reason| Error::Protocol {
        host: "hf.co".to_owned(),
        reason,
    })
}

/// The commit that `main` of `repo` means now, if it can be had: nothing depends on it.
pub(super) async fn commit(remote: &Remote, endpoint: &str, repo: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Revision {
        sha: String,
    }
    let url = format!("{endpoint}/api/models/{repo}/revision/main");
    let json = remote
        .fetch("ask for the revision", &url, MAX_LIST_BYTES)
        .await;
    let revision: Revision = serde_json::from_slice(&json.ok()?).ok()?;
    let is_commit = (7..=64).contains(&revision.sha.len())
        && revision.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then_some(revision.sha)
}

fn parse(json: &[u8]) -> Result<Vec<RepoFile>, String> {
    #[derive(Deserialize)]
    struct Item {
        #[serde(rename = "type")]
        kind: String,
        path: String,
        #[serde(default)]
        size: u64,
        lfs: Option<Lfs>,
    }
    #[derive(Deserialize)]
    struct Lfs {
        oid: String,
        size: u64,
    }
    let items: Vec<Item> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let files = items.into_iter().filter(|item| item.kind == "file");
    let files = files.map(|item| RepoFile {
        digest: item.lfs.as_ref().and_then(|lfs| {
            format!("sha256:{}", lfs.oid.trim_start_matches("sha256:"))
                .parse()
                .ok()
        }),
        size: item.lfs.map_or(item.size, |lfs| lfs.size),
        path: item.path,
    });
    Ok(files.collect())
}

/// What was chosen and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// One file, or the parts of one model in order.
    pub(super) files: Vec<RepoFile>,
    /// One line for a person.
    pub(super) why: String,
}

/// The file of `repo` that `wanted` means: a weight format, or a file's name; the preferred format without one.
pub(super) fn choose(
    repo: &str,
    files: Vec<RepoFile>,
    wanted: Option<&str>,
) -> Result<Choice, Error> {
    let no_file = |reason: String| Error::NoFile { reason };
    let models: Vec<RepoFile> = files
        .into_iter()
        .filter(|file| is_model(&file.path))
        .collect();
    if models.is_empty() {
        return Err(no_file(format!(
            "`hf.co/{repo}` has no GGUF file of a model"
        )));
    }
    let labels: BTreeSet<String> = models
        .iter()
        .map(|file| label_or_name(&file.path))
        .collect();
    let n_labels = labels.len();
    let listed: Vec<String> = labels.into_iter().take(MAX_NAMED).collect();
    let mut there = listed.join(", ");
    if n_labels > MAX_NAMED {
        there.push_str(" and others");
    }
    let is_meant = |file: &&RepoFile| match wanted {
        Some(wanted) => {
            let is_label =
                label(&file.path).is_some_and(|label| label.eq_ignore_ascii_case(wanted));
            is_label || stem(&file.path).eq_ignore_ascii_case(wanted)
        }
        None => true,
    };
    let mut meant: Vec<&RepoFile> = models.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let wanted = wanted.unwrap_or_default();
        return Err(no_file(format!(
            "`hf.co/{repo}` has no `{wanted}`; there is {there}"
        )));
    }
    meant.sort_by_key(|file| (rank(&file.path), file.path.len(), file.path.clone()));
    let whole = meant.iter().find(|file| !is_shard(&file.path));
    let files = match whole {
        Some(file) => vec![(*file).clone()],
        None => all_parts(&models, meant[0]).map_err(|missing| {
            no_file(format!(
                "`{}` of `hf.co/{repo}` is a model in parts, and `{missing}` is missing; there is {there}",
                label_or_name(&meant[0].path)
            ))
        })?,
    };
    let size = files
        .iter()
        .fold(0, |sum: u64, file| sum.saturating_add(file.size));
    let megabytes = size.div_ceil(1_000_000);
    let mut why = match files.as_slice() {
        [file] => format!("choosing {} ({megabytes} MB)", file.path),
        several => format!(
            "choosing {} and its other {} parts ({megabytes} MB)",
            several[0].path,
            several.len() - 1
        ),
    };
    if wanted.is_none() && n_labels > 1 {
        why.push_str(&format!(" of {there}; another is `hf.co/{repo}:FORMAT`"));
    }
    Ok(Choice { files, why })
}

/// All parts of the model that `part` belongs to, in order, or the name of one that is missing.
fn all_parts(files: &[RepoFile], part: &RepoFile) -> Result<Vec<RepoFile>, String> {
    let folder = part.path.rfind('/').map_or("", |at| &part.path[..=at]);
    let Some(names) = parts::all_of(&part.path[folder.len()..]) else {
        return Err(part.path.clone());
    };
    names
        .map(|name| {
            let path = format!("{folder}{name}");
            let found = files.iter().find(|file| file.path == path);
            found.cloned().ok_or(path)
        })
        .collect()
}

/// A GGUF file with a model's weights: no image encoder, no matrix of importances.
pub(crate) fn is_model(path: &str) -> bool {
    let stem = stem(path).to_ascii_lowercase();
    let is_gguf = path.to_ascii_lowercase().ends_with(".gguf");
    is_gguf && !stem.contains("mmproj") && !stem.contains("imatrix")
}

/// The file's name without folders and ending.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.len().saturating_sub(".gguf".len());
    name.get(..end).unwrap_or_default()
}

fn is_shard(path: &str) -> bool {
    parts::split_stem(stem(path)).is_some()
}

/// The weight format that a file's name ends with, in capitals: `Q4_K_M`, `UD-Q4_K_XL`.
fn label(path: &str) -> Option<String> {
    let stem = stem(path);
    let stem = parts::split_stem(stem).map_or(stem, |(name, _)| name);
    let upper = stem.to_ascii_uppercase();
    let start = upper.rfind(['-', '.']).map_or(0, |at| at + 1);
    let last = &upper[start..];
    let is_label = LABELS.iter().any(|label| match last.strip_prefix(label) {
        Some(rest) if label.len() < 3 => rest.starts_with(|c: char| c.is_ascii_digit()),
        Some(rest) => rest.is_empty() || rest.starts_with('_'),
        None => false,
    });
    let is_dynamic = upper[..start].ends_with("-UD-") || &upper[..start] == "UD-";
    match (is_label, is_dynamic) {
        (false, _) => None,
        (true, true) => Some(format!("UD-{last}")),
        (true, false) => Some(last.to_owned()),
    }
}

pub(crate) fn label_or_name(path: &str) -> String {
    label(path).unwrap_or_else(|| stem(path).to_owned())
}

fn rank(path: &str) -> usize {
    let label = label(path).unwrap_or_default();
    let label = label.strip_prefix("UD-").unwrap_or(&label);
    let place = PREFERRED.iter().position(|preferred| *preferred == label);
    place.unwrap_or(PREFERRED.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<RepoFile> {
        let file = |path: &&str| RepoFile {
            path: (*path).to_owned(),
            size: 1_500_000,
            digest: None,
        };
        paths.iter().map(file).collect()
    }

    #[track_caller]
    fn chosen(paths: &[&str], wanted: Option<&str>) -> String {
        choose("u/r", files(paths), wanted).unwrap().files[0]
            .path
            .clone()
    }

    #[test]
    fn labels_are_what_names_end_with() {
        let label = |path: &str| label(path).unwrap_or_default();
        assert_eq!(label("Qwen3-0.6B-Q4_K_M.gguf"), "Q4_K_M");
        assert_eq!(label("sub/m.q8_0.gguf"), "Q8_0");
        assert_eq!(label("m-UD-Q4_K_XL.gguf"), "UD-Q4_K_XL");
        assert_eq!(label("Q4/m-IQ2_XXS-00001-of-00002.gguf"), "IQ2_XXS");
        assert_eq!(label("m-bf16.gguf"), "BF16");
        assert_eq!(label("Qwen-Quick.gguf"), "");
        assert_eq!(label("m.gguf"), "");
        assert_eq!(label("é-Q4_0.gguf"), "Q4_0");
    }

    #[test]
    fn the_preferred_format_or_the_one_asked_for() {
        let all = [
            "m-Q2_K.gguf",
            "m-Q8_0.gguf",
            "m-Q4_K_M.gguf",
            "mmproj-m-F16.gguf",
            "README.md",
            "imatrix.gguf",
        ];
        assert_eq!(chosen(&all, None), "m-Q4_K_M.gguf");
        assert_eq!(chosen(&all, Some("q8_0")), "m-Q8_0.gguf");
        assert_eq!(chosen(&all, Some("m-Q2_K")), "m-Q2_K.gguf");
        assert_eq!(chosen(&all[..2], None), "m-Q8_0.gguf");
        assert_eq!(chosen(&["only.gguf"], None), "only.gguf");
        assert_eq!(
            chosen(&["m-UD-Q4_K_XL.gguf", "m-Q4_K_M.gguf"], Some("UD-Q4_K_XL")),
            "m-UD-Q4_K_XL.gguf"
        );
        let choice = choose("u/r", files(&all), None).unwrap();
        assert_eq!(
            choice.why,
            "choosing m-Q4_K_M.gguf (2 MB) of Q2_K, Q4_K_M, Q8_0; another is `hf.co/u/r:FORMAT`"
        );
    }

    #[test]
    fn what_is_not_there_is_said_with_what_there_is() {
        let error =
            |paths: &[&str], wanted| choose("u/r", files(paths), wanted).unwrap_err().to_string();
        assert_eq!(
            error(&["m-Q2_K.gguf", "m-Q8_0.gguf"], Some("Q4_0")),
            "`hf.co/u/r` has no `Q4_0`; there is Q2_K, Q8_0"
        );
        assert!(error(&["model.safetensors"], None).contains("no GGUF file"));
        let shards = [
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q8_0-00002-of-00002.gguf",
            "m-Q2_K.gguf",
        ];
        let choice = choose("u/r", files(&shards), Some("Q8_0")).unwrap();
        assert_eq!(choice.files, files(&shards[..2]));
        assert_eq!(
            choice.why,
            "choosing m-Q8_0-00001-of-00002.gguf and its other 1 parts (3 MB)"
        );
        assert!(
            error(&shards[1..], Some("Q8_0"))
                .contains("is a model in parts, and `m-Q8_0-00001-of-00002.gguf` is missing")
        );
        assert_eq!(chosen(&shards, None), "m-Q2_K.gguf");
    }

    #[test]
    fn the_list_of_files_as_the_api_has_it() {
        let oid = Digest::of(b"x").hex();
        let json = format!(
            r#"[{{"type":"directory","path":"d","oid":"1","size":0}},{{"type":"file","path":"a.gguf","oid":"2","size":130,
            "lfs":{{"oid":"{oid}","size":9000000000,"pointerSize":130}}}},{{"type":"file","path":"README.md","oid":"3",
            "size":7,"xetHash":"h"}}]"#
        );
        let files = parse(json.as_bytes()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(
            (files[0].size, files[0].digest),
            (9_000_000_000, Some(Digest::of(b"x")))
        );
        assert_eq!((files[1].size, files[1].digest), (7, None));
        assert!(parse(b"{\"error\":1}").is_err());
    }
}
