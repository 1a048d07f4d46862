//! What can be pulled: the one grammar of everything that a person writes after `slm pull`.
//!
//! ```text
//! qwen3:0.6b   host/namespace/model:tag   …@sha256:<hex>      a registry of Ollama's dialect
//! hf.co/user/repo[:QUANT or file]                             Hugging Face
//! oci://host/repository[:tag][@sha256:<hex>]                  any OCI registry
//! slm://host[:port]/qwen3:0.6b                                another daemon that shares its models
//! https://host/path/file.gguf                                 a file on the web
//! ./file.gguf   /path/file.gguf   file:///path/file.gguf      a file
//! ```
use crate::{Digest, ModelName, NameError, modelfile::parts};
use std::{fmt, path::PathBuf, str::FromStr};

/// Hosts that mean Hugging Face; the first is how it is stored.
const HUGGING_FACE_HOSTS: [&str; 3] = ["hf.co", "huggingface.co", "www.huggingface.co"];
/// Namespace of models that have none where they come from.
const FILES_NAMESPACE: &str = "files";

/// Where daemons share their models when nobody says otherwise.
pub(crate) const SHARE_PORT: u16 = 11435;

/// Where a model is to come from. Parsing is the only way in, so [`Reference::name`] is valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    source: Source,
    name: ModelName,
}

/// The kinds of sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A registry; the repository's path, and tag or digest.
    Registry {
        repository: String,
        tag: String,
        pin: Option<Digest>,
    },
    /// A repository of Hugging Face, `user/repo`, and which of its files.
    HuggingFace { repo: String, file: Option<String> },
    /// Another daemon, `host:port`; the model is stored under its own name.
    Neighbor {
        address: String,
        pin: Option<Digest>,
    },
    /// A file on the web.
    Url(String),
    /// A file.
    File(PathBuf),
}

impl Reference {
    /// Under which name the model is stored.
    pub fn name(&self) -> &ModelName {
        &self.name
    }
    /// Whether it was written with `http://`.
    pub fn is_http(&self) -> bool {
        match &self.source {
            Source::Url(url) => url.starts_with("http://"),
            _ => self.name.is_http(),
        }
    }
    /// The file of this machine that it means, if it means one.
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.source {
            Source::File(path) => Some(path),
            _ => None,
        }
    }
    /// A text that parses as the same reference, without passwords and signatures in addresses.
    pub fn source_text(&self) -> String {
        let name = &self.name;
        match &self.source {
            Source::Registry {
                repository,
                tag,
                pin,
            } => {
                let pin = pin.map_or_else(String::new, |pin| format!("@{pin}"));
                let scheme = if name.is_http() { "http://" } else { "" };
                if *repository == format!("{}/{}", name.namespace(), name.model()) {
                    format!("{scheme}{}{pin}", name.full())
                } else {
                    format!("oci://{}/{repository}:{tag}{pin}", name.host())
                }
            }
            Source::HuggingFace { repo, file } => {
                let file = file.as_ref().map(|file| format!(":{file}"));
                format!(
                    "{}/{repo}{}",
                    HUGGING_FACE_HOSTS[0],
                    file.unwrap_or_default()
                )
            }
            Source::Neighbor { address, pin } => {
                let pin = pin.map_or_else(String::new, |pin| format!("@{pin}"));
                format!("slm://{address}/{name}{pin}")
            }
            Source::Url(url) => without_secrets(url),
            Source::File(path) => format!("file://{}", path.display()),
        }
    }
    /// The digest that the manifest must have, if the reference says one.
    pub fn pin(&self) -> Option<Digest> {
        match &self.source {
            Source::Registry { pin, .. } | Source::Neighbor { pin, .. } => *pin,
            _ => None,
        }
    }
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

impl From<ModelName> for Reference {
    /// The model of that name, from the registry that it names.
    fn from(name: ModelName) -> Self {
        let [_, namespace, model, tag] = name.parts();
        let source = Source::Registry {
            repository: format!("{namespace}/{model}"),
            tag: tag.to_owned(),
            pin: None,
        };
        Self { source, name }
    }
}

impl From<&ModelName> for Reference {
    fn from(name: &ModelName) -> Self {
        Self::from(name.clone())
    }
}

impl From<&Reference> for Reference {
    fn from(reference: &Reference) -> Self {
        reference.clone()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Url(url) => f.write_str(url),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Neighbor { address, .. } => write!(f, "slm://{address}/{}", self.name),
            _ => write!(f, "{}", self.name),
        }
    }
}

/// Why a text names nothing that could be pulled.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It begins as another source does, and does not go on so. Says how that is written.
    #[error("{NameError}; write it as {0}")]
    Form(&'static str),
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let form = |form| move |NameError| ReferenceError::Form(form);
        let file = form("a path that ends in `.gguf`, without `~`");
        let hugging_face =
            form("`hf.co/USER/REPOSITORY`, with `:FORMAT` behind where there are several files");
        let scheme = text
            .split_once("://")
            .map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        match scheme
            .as_ref()
            .map(|(scheme, rest)| (scheme.as_str(), *rest))
        {
            Some(("file", path)) => return of_file(path).map_err(file),
            Some(("oci", rest)) => {
                return of_oci(rest).map_err(form("`oci://HOST/REPOSITORY:TAG`"));
            }
            Some(("slm", rest)) => {
                return of_neighbor(rest).map_err(form("`slm://HOST/MODEL:TAG`"));
            }
            Some(("hf", rest)) => return of_hugging_face(rest).map_err(hugging_face),
            Some(("http" | "https", rest)) => {
                let path = rest.split(['?', '#']).next().unwrap_or_default();
                if is_gguf(path) && path.contains('/') {
                    return of_url(text, path).map_err(form("`https://HOST/FILE.gguf`"));
                }
                if let Some(rest) = after_hugging_face(rest) {
                    return of_hugging_face(rest).map_err(hugging_face);
                }
            }
            Some(_) => return Err(NameError.into()),
            None => {
                let is_path = ["/", "./", "../", "~/", ".\\"]
                    .iter()
                    .any(|p| text.starts_with(p));
                if is_path && is_gguf(text) {
                    return of_file(text).map_err(file);
                }
                if let Some(rest) = after_hugging_face(text) {
                    return of_hugging_face(rest).map_err(hugging_face);
                }
            }
        }
        Ok(of_registry(text)?)
    }
}

/// The address as it may be shown and stored: no user, no password, no signature.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

fn is_gguf(path: &str) -> bool {
    let ending = path.len().checked_sub(".gguf".len());
    let ending = ending.and_then(|at| path.get(at..));
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case(".gguf"))
}

fn after_hugging_face(text: &str) -> Option<&str> {
    let (host, rest) = text.split_once('/')?;
    let is_it = HUGGING_FACE_HOSTS
        .iter()
        .any(|other| host.eq_ignore_ascii_case(other));
    is_it.then_some(rest)
}

fn of_registry(text: &str) -> Result<Reference, NameError> {
    let name: ModelName = text.parse()?;
    let pin = text.rsplit_once('@').map(|(_, digest)| digest.parse());
    let mut reference = Reference::from(name);
    if let Source::Registry { pin: slot, .. } = &mut reference.source {
        *slot = pin.transpose().map_err(|_| NameError)?;
    }
    Ok(reference)
}

fn of_hugging_face(rest: &str) -> Result<Reference, NameError> {
    let (repo, file) = match rest.split_once(':') {
        Some((repo, file)) => (repo, Some(file)),
        None => (rest.trim_end_matches('/'), None),
    };
    let (user, model) = repo.split_once('/').ok_or(NameError)?;
    let stem = file.map(|file| {
        if is_gguf(file) {
            &file[..file.len() - 5]
        } else {
            file
        }
    });
    let name =
        ModelName::from_parts([HUGGING_FACE_HOSTS[0], user, model, stem.unwrap_or("latest")]);
    Ok(Reference {
        source: Source::HuggingFace {
            repo: repo.to_owned(),
            file: stem.filter(|file| *file != "latest").map(str::to_owned),
        },
        name: name.ok_or(NameError)?,
    })
}

fn of_oci(rest: &str) -> Result<Reference, NameError> {
    let (rest, pin) = match rest.rsplit_once('@') {
        Some((rest, pin)) => (rest, Some(pin.parse::<Digest>().map_err(|_| NameError)?)),
        None => (rest, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (rest, "latest"),
    };
    let (host, repository) = path.split_once('/').ok_or(NameError)?;
    // The grammar of the distribution protocol, loosely: no empty part, nothing that leads elsewhere.
    let is_good = |part: &str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && part.len() <= 128 && !part.starts_with('.') && part.bytes().all(is_word)
    };
    if repository.len() > 255 || !repository.split('/').all(is_good) {
        return Err(NameError);
    }
    let (namespace, model) = repository
        .rsplit_once('/')
        .unwrap_or(("library", repository));
    let name = ModelName::from_parts([host, &as_namespace(namespace), model, tag]);
    Ok(Reference {
        source: Source::Registry {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            pin,
        },
        name: name.ok_or(NameError)?,
    })
}

fn of_neighbor(rest: &str) -> Result<Reference, NameError> {
    let (host, rest) = rest.split_once('/').ok_or(NameError)?;
    let address = neighbor_address(host).ok_or(NameError)?;
    let mut reference = of_registry(rest)?;
    let pin = match &reference.source {
        Source::Registry { pin, .. } if !rest.contains("://") => *pin,
        _ => return Err(NameError),
    };
    reference.source = Source::Neighbor { address, pin };
    Ok(reference)
}

/// `host:port` of another daemon that is written as `host`, `host:port`, `[v6]` or `[v6]:port`; `None` for anything else.
pub(crate) fn neighbor_address(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ => (text, SHARE_PORT),
    };
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_good = match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => ModelName::from_parts([host, "n", "m", "t"]).is_some() && !host.contains(':'),
    };
    is_good.then(|| format!("{host}:{port}"))
}

fn of_url(text: &str, path: &str) -> Result<Reference, NameError> {
    let (authority, _) = path.split_once('/').ok_or(NameError)?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let url = text.split('#').next().unwrap_or_default();
    // The page about a file of Hugging Face means the file.
    let url = match after_hugging_face(path) {
        Some(_) => url.replacen("/blob/", "/resolve/", 1),
        None => url.to_owned(),
    };
    Ok(Reference {
        source: Source::Url(url),
        name: named_after_file(host, path).ok_or(NameError)?,
    })
}

fn of_file(path: &str) -> Result<Reference, NameError> {
    let path = if path.starts_with('~') {
        return Err(NameError);
    } else {
        PathBuf::from(path)
    };
    let name = path
        .to_str()
        .and_then(|path| named_after_file("localhost", path));
    Ok(Reference {
        name: name.ok_or(NameError)?,
        source: Source::File(path),
    })
}

/// `host/files/stem:latest`, letters that a name cannot have replaced.
fn named_after_file(host: &str, path: &str) -> Option<ModelName> {
    let file = path
        .rsplit(['/', '\\'])
        .next()
        .filter(|file| is_gguf(file))?;
    let stem = &file[..file.len() - ".gguf".len()];
    // the parts of a model are one model
    let model = as_model(parts::split_stem(stem).map_or(stem, |(name, _)| name));
    ModelName::from_parts([host, FILES_NAMESPACE, &model, "latest"])
}

/// A file's name as that of a model: letters that one cannot have are replaced.
pub(crate) fn as_model(stem: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let model: String = stem.chars().map(allowed).take(80).collect();
    model.trim_start_matches(['.', '-']).to_owned()
}

/// A path of an OCI repository in one part of a name.
fn as_namespace(path: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    path.chars().map(allowed).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, source: Source) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(
            (reference.name.full().as_str(), reference.source),
            (name, source)
        );
    }

    fn registry(repository: &str, tag: &str, pin: Option<Digest>) -> Source {
        Source::Registry {
            repository: repository.into(),
            tag: tag.into(),
            pin,
        }
    }

    fn hugging_face(repo: &str, file: Option<&str>) -> Source {
        Source::HuggingFace {
            repo: repo.into(),
            file: file.map(str::to_owned),
        }
    }

    #[test]
    fn every_kind_of_source() {
        let digest = Digest::of(b"x");
        check(
            "qwen3:0.6b",
            "registry.ollama.ai/library/qwen3:0.6b",
            registry("library/qwen3", "0.6b", None),
        );
        check(
            &format!("h:5/n/m:t@{digest}"),
            "h:5/n/m:t",
            registry("n/m", "t", Some(digest)),
        );
        check(
            "http://h/n/m",
            "h/n/m:latest",
            registry("n/m", "latest", None),
        );
        check(
            "hf.co/u/r-GGUF:Q4_K_M",
            "hf.co/u/r-GGUF:Q4_K_M",
            hugging_face("u/r-GGUF", Some("Q4_K_M")),
        );
        check(
            "huggingface.co/u/r",
            "hf.co/u/r:latest",
            hugging_face("u/r", None),
        );
        check(
            "https://huggingface.co/u/r/",
            "hf.co/u/r:latest",
            hugging_face("u/r", None),
        );
        check(
            "hf://u/r:m.Q8_0.gguf",
            "hf.co/u/r:m.Q8_0",
            hugging_face("u/r", Some("m.Q8_0")),
        );
        check(
            "oci://h:5/a/b.c/m:t",
            "h:5/a-b-c/m:t",
            registry("a/b.c/m", "t", None),
        );
        check(
            &format!("oci://h/m@{digest}"),
            "h/library/m:latest",
            registry("m", "latest", Some(digest)),
        );
        let neighbor = |address: &str, pin| Source::Neighbor {
            address: address.into(),
            pin,
        };
        check(
            "slm://box.local/qwen3:0.6b",
            "registry.ollama.ai/library/qwen3:0.6b",
            neighbor("box.local:11435", None),
        );
        check(
            &format!("slm://10.0.0.1:5/hf.co/u/r:Q8_0@{digest}"),
            "hf.co/u/r:Q8_0",
            neighbor("10.0.0.1:5", Some(digest)),
        );
        check(
            "slm://[fe80::1]/n/m",
            "registry.ollama.ai/n/m:latest",
            neighbor("[fe80::1]:11435", None),
        );
        let url = "https://user:pw@h.example:8/a/M%20x.Q4_0.gguf?download=true";
        check(
            &format!("{url}#frag"),
            "h.example:8/files/M-20x.Q4_0:latest",
            Source::Url(url.into()),
        );
        check(
            "https://huggingface.co/u/r/blob/main/m.gguf",
            "huggingface.co/files/m:latest",
            Source::Url("https://huggingface.co/u/r/resolve/main/m.gguf".into()),
        );
        check(
            "./a b/m.GGUF",
            "localhost/files/m:latest",
            Source::File("./a b/m.GGUF".into()),
        );
        check(
            "/d/m-00002-of-00003.gguf",
            "localhost/files/m:latest",
            Source::File("/d/m-00002-of-00003.gguf".into()),
        );
        check(
            "file:///d/m.gguf",
            "localhost/files/m:latest",
            Source::File("/d/m.gguf".into()),
        );
    }

    #[test]
    fn what_is_noted_of_a_source_means_it_again() {
        let digest = Digest::of(b"x");
        for text in [
            "qwen3:0.6b".to_owned(),
            format!("h:5/n/m:t@{digest}"),
            "http://h/n/m".to_owned(),
            "hf.co/u/r-GGUF:Q4_K_M".to_owned(),
            "hf.co/u/r".to_owned(),
            "oci://h:5/a/b.c/m:t".to_owned(),
            format!("oci://h/m@{digest}"),
            "https://h.example:8/a/M%20x.Q4_0.gguf".to_owned(),
            "/d/m.gguf".to_owned(),
        ] {
            let reference: Reference = text.parse().unwrap();
            let again: Reference = reference.source_text().parse().unwrap();
            assert_eq!(again, reference, "{text}");
            assert_eq!(again.is_http(), reference.is_http(), "{text}");
        }
        let secret: Reference = "https://u:pw@h/m.gguf?token=x".parse().unwrap();
        assert_eq!(secret.source_text(), "https://h/m.gguf");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let bad = [
            "",
            "oci://h",
            "oci://h/a//b",
            "oci://h/../b",
            "oci://h/A b",
            "oci://h/m@x",
            "ftp://h/m.gguf",
            "hf.co/u",
            "hf.co/u/r:a/b",
            "hf.co/u/r/x",
            "/m",
            "file:///m.bin",
            "m@sha256:1",
            "https://h/a/.gguf",
            "~/m.gguf",
            "slm://box",
            "slm://box/",
            "slm://box:x/m",
            "slm://user@box/m",
            "slm://[x]/m",
            "slm://box/http://h/n/m",
        ];
        for text in bad {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_source_that_is_half_right_is_told_how_it_is_written() {
        for (text, form) in [
            ("hf.co/none", "`hf.co/USER/REPOSITORY`"),
            ("hf://none", "`hf.co/USER/REPOSITORY`"),
            ("oci://host", "`oci://HOST/REPOSITORY:TAG`"),
            ("slm://host", "`slm://HOST/MODEL:TAG`"),
            ("file://~/m.gguf", "ends in `.gguf`, without `~`"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(
                error.starts_with("invalid model name; write it as "),
                "{error}"
            );
            assert!(error.contains(form), "{error}");
        }
        let error = "ftp://x/y".parse::<Reference>().unwrap_err().to_string();
        assert_eq!(error, "invalid model name");
    }

    #[test]
    fn a_registry_reference_is_a_name() {
        for text in ["m", "n/m:t", "h:5/n/m:t"] {
            let name: ModelName = text.parse().unwrap();
            assert_eq!(text.parse::<Reference>().unwrap(), Reference::from(name));
        }
    }
}
