//! What a request is about, by its path.

use super::refusal::Refusal;
use slm_registry::{Digest, ModelEntry};

/// No honest path is longer.
const MAX_PATH_BYTES: usize = 1024;

/// One thing that can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v2/`: whether the protocol is spoken.
    Base,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/PATH/tags/list`.
    Tags { path: String },
    /// `/v2/PATH/manifests/REFERENCE`.
    Manifest { path: String, reference: Version },
    /// `/v2/PATH/blobs/DIGEST`, whatever the path.
    Blob { digest: Digest },
}

/// Which manifest of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tag(String),
    Digest(Digest),
}

impl Target {
    /// Reads a path.
    ///
    /// # Errors
    /// When it means nothing here.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        if path.len() > MAX_PATH_BYTES {
            return Err(Refusal::no_route());
        }
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(Refusal::no_route)?,
            None => return Err(Refusal::no_route()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        if let Some(path) = rest.strip_suffix("/tags/list") {
            let path = path.to_owned();
            return Ok(Self::Tags { path });
        }
        let mut parts = rest.rsplitn(3, '/');
        let (last, kind, path) = (parts.next(), parts.next(), parts.next());
        let (Some(last), Some(kind), Some(path)) = (last, kind, path) else {
            return Err(Refusal::no_route());
        };
        match kind {
            "blobs" => {
                let digest = last.parse().map_err(|_| Refusal::bad_digest())?;
                Ok(Self::Blob { digest })
            }
            "manifests" => {
                let path = path.to_owned();
                let reference = Version::parse(last)?;
                Ok(Self::Manifest { path, reference })
            }
            // Where an upload would begin or go on.
            "uploads" => Err(Refusal::unsupported()),
            _ if rest.contains("/blobs/uploads/") => Err(Refusal::unsupported()),
            _ => Err(Refusal::no_route()),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return text
                .parse()
                .map(Self::Digest)
                .map_err(|_| Refusal::bad_digest());
        }
        Ok(Self::Tag(text.to_owned()))
    }

    /// The model that it means among those of a repository: a tag spelled like it, else one that differs in case only.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(&self, entries: Vec<ModelEntry>) -> Result<ModelEntry, Refusal> {
        let rank = |entry: &ModelEntry| match self {
            Self::Digest(digest) => (entry.digest == *digest).then_some(0),
            Self::Tag(tag) if entry.name.tag() == tag => Some(0),
            Self::Tag(tag) if entry.name.tag().eq_ignore_ascii_case(tag) => Some(1),
            Self::Tag(_) => None,
        };
        let found = entries
            .into_iter()
            .filter_map(|entry| Some((rank(&entry)?, entry)));
        let found = found.min_by_key(|(rank, _)| *rank);
        found
            .map(|(_, entry)| entry)
            .ok_or_else(Refusal::manifest_unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol() {
        let digest = Digest::of(b"x");
        let manifest = |path: &str, reference| Target::Manifest {
            path: path.into(),
            reference,
        };
        for (path, target) in [
            ("/v2", Target::Base),
            ("/v2/", Target::Base),
            ("/v2/_catalog", Target::Catalog),
            (
                "/v2/library/m/tags/list",
                Target::Tags {
                    path: "library/m".into(),
                },
            ),
            (
                "/v2/hf.co/u/r/manifests/Q4_K_M",
                manifest("hf.co/u/r", Version::Tag("Q4_K_M".into())),
            ),
            (
                "/v2/library/blobs/manifests/latest",
                manifest("library/blobs", Version::Tag("latest".into())),
            ),
        ] {
            assert_eq!(Target::parse(path).unwrap(), target, "{path}");
        }
        let by_digest = Target::parse(&format!("/v2/a/b/manifests/{digest}")).unwrap();
        assert_eq!(by_digest, manifest("a/b", Version::Digest(digest)));
        let blob = Target::parse(&format!("/v2/a/b/blobs/{digest}")).unwrap();
        assert_eq!(blob, Target::Blob { digest });
        for path in [
            "/",
            "/v20/",
            "/v1/_catalog",
            "/api/tags",
            "/v2/m",
            "/v2/a/b/other/c",
            "/v2/a/blobs/sha256:1",
            "/v2/a/manifests/md5:1",
            "/v2/a/blobs/../../etc/passwd",
        ] {
            assert!(Target::parse(path).is_err(), "{path}");
        }
    }
}
