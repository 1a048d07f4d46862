//! Model names: `[scheme://][host/][namespace/]model[:tag][@digest]`.
//!
//! A [`ModelName`] cannot hold an invalid name, so it is safe as a path and in a URL. The scheme says how to reach the
//! registry and is no part of the identity: equality, order and hash ignore it. Letters keep their case; which stored
//! model a name means, whatever the case, is the store's question ([`ModelName::is_same_model`]).
use crate::Digest;
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    path::PathBuf,
    str::FromStr,
};

/// Host when a name has none.
const DEFAULT_HOST: &str = "registry.ollama.ai";
/// Namespace when a name has none.
const DEFAULT_NAMESPACE: &str = "library";
/// Tag when a name has none.
const DEFAULT_TAG: &str = "latest";

/// A valid, fully qualified model name. Parsing fills in the defaults.
#[derive(Clone, Debug)]
pub struct ModelName {
    /// `host/namespace/model:tag`; errors carry names, so a name is small.
    full: Box<str>,
    /// Where host, namespace and model end in it.
    ends: [u16; 3],
    scheme: Option<Scheme>,
}

/// The scheme that a name was written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Http,
    Https,
}

/// Why text is not a model name.
#[derive(Debug, thiserror::Error)]
#[error("invalid model name")]
pub struct NameError;

impl ModelName {
    /// Registry host, `registry.ollama.ai` by default; may carry a port.
    pub fn host(&self) -> &str {
        self.parts()[0]
    }
    /// Namespace, `library` by default.
    pub fn namespace(&self) -> &str {
        self.parts()[1]
    }
    /// Model.
    pub fn model(&self) -> &str {
        self.parts()[2]
    }
    /// Tag, `latest` by default.
    pub fn tag(&self) -> &str {
        self.parts()[3]
    }
    /// Whether the name was written with `http://`.
    pub fn is_http(&self) -> bool {
        self.scheme == Some(Scheme::Http)
    }
    /// Whether the name was written with `https://`.
    pub fn is_https(&self) -> bool {
        self.scheme == Some(Scheme::Https)
    }
    /// `host/namespace/model:tag`, always in full.
    pub fn full(&self) -> String {
        self.full.to_string()
    }
    /// Host, namespace, model, tag.
    pub(crate) fn parts(&self) -> [&str; 4] {
        let [host, namespace, model] = self.ends.map(usize::from);
        [
            &self.full[..host],
            &self.full[host + 1..namespace],
            &self.full[namespace + 1..model],
            &self.full[model + 1..],
        ]
    }
    /// The name with those four parts, when each is valid.
    pub(crate) fn from_parts([host, namespace, model, tag]: [&str; 4]) -> Option<Self> {
        let valid = is_host(host) && is_namespace(namespace) && is_model(model) && is_model(tag);
        if !valid {
            return None;
        }
        let full = format!("{host}/{namespace}/{model}:{tag}").into_boxed_str();
        let host_end = host.len();
        let namespace_end = host_end + 1 + namespace.len();
        let model_end = namespace_end + 1 + model.len();
        let ends = [host_end, namespace_end, model_end]
            .map(|end| u16::try_from(end).expect("the parts have at most 590 bytes together"));
        Some(Self {
            full,
            ends,
            scheme: None,
        })
    }
    /// `host/namespace/model/tag`: where the manifest is, below the folder of all manifests.
    pub(crate) fn relative_path(&self) -> PathBuf {
        self.parts().iter().collect()
    }
    /// Whether both names mean the same model: equal but for the case of ASCII letters.
    pub fn is_same_model(&self, other: &Self) -> bool {
        let pairs = self.parts().into_iter().zip(other.parts());
        pairs
            .into_iter()
            .all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs))
    }
}

impl FromStr for ModelName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                (Some(Scheme::Http), rest)
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                (Some(Scheme::Https), rest)
            }
            Some(_) => return Err(NameError),
            None => (None, text),
        };
        let rest = match rest.rsplit_once('@') {
            Some((rest, digest)) => {
                digest.parse::<Digest>().map_err(|_| NameError)?;
                rest
            }
            None => rest,
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (rest, DEFAULT_TAG),
        };
        let mut parts = path.rsplitn(4, '/');
        let model = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
        let host = parts.next().unwrap_or(DEFAULT_HOST);
        if parts.next().is_some() {
            return Err(NameError);
        }
        let mut name = Self::from_parts([host, namespace, model, tag]).ok_or(NameError)?;
        name.scheme = scheme;
        Ok(name)
    }
}

fn is_host(text: &str) -> bool {
    is_part(text, 350, b"-.:")
}

fn is_namespace(text: &str) -> bool {
    is_part(text, 80, b"-")
}

/// Also the grammar of tags.
fn is_model(text: &str) -> bool {
    is_part(text, 80, b"-.")
}

/// 1 to `max_len` bytes: a letter, digit or `_`, then also the bytes of `inner`.
fn is_part(text: &str, max_len: usize, inner: &[u8]) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= max_len
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || inner.contains(&byte))
}

impl fmt::Display for ModelName {
    /// The shortest form that means the same, tag always shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [host, namespace, model, tag] = self.parts();
        let has_default_host = host == DEFAULT_HOST;
        if !has_default_host {
            write!(f, "{host}/")?;
        }
        if !has_default_host || namespace != DEFAULT_NAMESPACE {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{model}:{tag}")
    }
}

impl PartialEq for ModelName {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
impl Eq for ModelName {}
impl PartialOrd for ModelName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ModelName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}
impl Hash for ModelName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, full: &str, shortest: &str) {
        let name: ModelName = text.parse().unwrap();
        assert_eq!(
            (name.full(), name.to_string()),
            (full.into(), shortest.into())
        );
    }

    #[test]
    fn defaults_are_filled_in_and_left_off() {
        check(
            "llama3.2",
            "registry.ollama.ai/library/llama3.2:latest",
            "llama3.2:latest",
        );
        check("user/m:1b", "registry.ollama.ai/user/m:1b", "user/m:1b");
        check("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M");
        check(
            "localhost:5000/library/m",
            "localhost:5000/library/m:latest",
            "localhost:5000/library/m:latest",
        );
        check("http://h:1/n/m:t", "h:1/n/m:t", "h:1/n/m:t");
        check("_m", "registry.ollama.ai/library/_m:latest", "_m:latest");
        check(
            "Library/M",
            "registry.ollama.ai/Library/M:latest",
            "Library/M:latest",
        );
        let digest = Digest::of(b"");
        check(
            &format!("m:t@{digest}"),
            "registry.ollama.ai/library/m:t",
            "m:t",
        );
        check(
            &format!("m@{digest}"),
            "registry.ollama.ai/library/m:latest",
            "m:latest",
        );
    }

    #[test]
    fn invalid_names_are_refused() {
        let long = "a".repeat(81);
        let long_host = format!("{}/n/m", "h".repeat(351));
        let bad = [
            "",
            ":",
            "m:",
            ":t",
            "/",
            "/m",
            "n/",
            "a//m",
            "h/n/m/x",
            "a b",
            "m:t t",
            "-m",
            ".m",
            "..",
            "m:..",
            "m:-t",
            "n.x/m",
            "localhost:5000/m",
            "../m",
            "h/../m",
            "m@x",
            "m@",
            "ftp://h/n/m",
            "m\\x",
            "m\0",
            "é",
            "m:é",
            "m%2f",
            "http://",
            "h/n/m:t/x",
            &long,
            &long_host,
            "m\n",
            "~/m",
            "./m",
        ];
        for text in bad {
            assert!(text.parse::<ModelName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(80).parse::<ModelName>().is_ok());
    }

    #[test]
    fn the_scheme_is_remembered_and_no_identity() {
        let [plain, http, https] = ["h/n/m", "http://h/n/m", "HTTPS://h/n/m"]
            .map(|text| text.parse::<ModelName>().unwrap());
        assert!(http.is_http() && !http.is_https() && https.is_https() && !plain.is_http());
        assert!(plain == http && http == https);
    }

    #[test]
    fn case_is_kept_and_no_difference() {
        let [upper, lower, other] =
            ["Foo:Q4", "foo:q4", "foo:q5"].map(|text| text.parse::<ModelName>().unwrap());
        assert_eq!(upper.to_string(), "Foo:Q4");
        assert!(upper.is_same_model(&lower) && upper != lower && !lower.is_same_model(&other));
    }

    /// Parse ∘ print is the identity, for both printed forms, over random valid names.
    #[test]
    fn printing_parses_back() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut part = |inner: &[u8], max_len: usize| {
                let first = b"abzAZ019_";
                let mut text = String::from(char::from(first[random.usize(..first.len())]));
                for _ in 0..random.usize(..max_len) {
                    let all: Vec<u8> = first.iter().chain(inner).copied().collect();
                    text.push(char::from(all[random.usize(..all.len())]));
                }
                text
            };
            let host = [part(b"-.:", 20), DEFAULT_HOST.into()];
            let namespace = [part(b"-", 9), DEFAULT_NAMESPACE.into()];
            let (model, tag) = (part(b"-.", 79), [part(b"-.", 79), DEFAULT_TAG.into()]);
            let (h, n, t) = (random.usize(..2), random.usize(..2), random.usize(..2));
            let name = ModelName::from_parts([&host[h], &namespace[n], &model, &tag[t]]).unwrap();
            assert_eq!(name.to_string().parse::<ModelName>().unwrap(), name);
            assert_eq!(name.full().parse::<ModelName>().unwrap(), name);
            assert!(name.to_string().len() <= name.full().len());
        }
    }

    /// Whatever the bytes, a name that parses stays below its folder.
    #[test]
    fn a_valid_name_is_a_safe_path() {
        let mut random = fastrand::Rng::with_seed(8);
        let alphabet = b"a.:/@-_\\~ \0%Z9";
        let mut n_valid = 0;
        for _ in 0..200_000 {
            let len = random.usize(..9);
            let text: String = (0..len)
                .map(|_| char::from(alphabet[random.usize(..alphabet.len())]))
                .collect();
            let Ok(name) = text.parse::<ModelName>() else {
                continue;
            };
            n_valid += 1;
            let path = name.relative_path();
            assert_eq!(path.components().count(), 4, "{text:?}");
            assert!(
                path.components()
                    .all(|c| matches!(c, std::path::Component::Normal(_))),
                "{text:?}"
            );
        }
        assert!(n_valid > 1000, "{n_valid}");
    }
}
