//! Manifests: which blobs make up a model.
//!
//! [`Manifest::parse`] reads what registries and other stores write (Docker schema 2, OCI). It is a view: the bytes that
//! were received are what is stored, and their SHA-256 is the model's digest. [`Manifest::to_json`] is for manifests
//! that are made here.
use crate::{Digest, Error, error::one_line};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Media type of a manifest as Docker and Ollama say it.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a manifest as OCI says it.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// No honest manifest is larger.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 << 20;

const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_PREFIX: &str = "application/vnd.ollama.image.";
const MAX_LAYERS: usize = 4096;

/// Kind of a layer, by its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// The config JSON.
    Config,
    /// GGUF weights.
    Model,
    /// GGUF of an image or audio encoder.
    Projector,
    /// GGUF LoRA adapter.
    Adapter,
    /// Prompt template (Go or Jinja).
    Template,
    /// System text.
    System,
    /// JSON object of options.
    Params,
    /// JSON array of messages.
    Messages,
    /// Licence text.
    License,
    /// Anything else: kept, ignored.
    Other(String),
}

/// The word after `application/vnd.ollama.image.` of each kind of layer.
const LAYER_KINDS: [(&str, MediaType); 8] = [
    ("model", MediaType::Model),
    ("projector", MediaType::Projector),
    ("adapter", MediaType::Adapter),
    ("template", MediaType::Template),
    ("system", MediaType::System),
    ("params", MediaType::Params),
    ("messages", MediaType::Messages),
    ("license", MediaType::License),
];

impl FromStr for MediaType {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == CONFIG {
            return Ok(Self::Config);
        }
        let word = text.strip_prefix(LAYER_PREFIX);
        let known = LAYER_KINDS.iter().find(|(kind, _)| word == Some(kind));
        Ok(known.map_or_else(|| Self::Other(text.to_owned()), |(_, kind)| kind.clone()))
    }
}

impl fmt::Display for MediaType {
    /// The media type as it stands in a manifest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str(CONFIG),
            Self::Other(text) => f.write_str(text),
            kind => {
                let known = LAYER_KINDS.iter().find(|(_, other)| other == kind);
                let (word, _) = known.expect("every other variant is in LAYER_KINDS");
                write!(f, "{LAYER_PREFIX}{word}")
            }
        }
    }
}

/// One referenced blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Kind.
    pub media_type: MediaType,
    /// Address.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// The blobs of one model: config and layers in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Config blob.
    pub config: Descriptor,
    /// Layers in order.
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// The first layer of `media_type`.
    pub fn layer(&self, media_type: &MediaType) -> Option<&Descriptor> {
        self.layers.iter().find(|l| l.media_type == *media_type)
    }
    /// Layers in order, then the config: everything the model consists of.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().chain([&self.config])
    }
    /// Config plus layers in bytes.
    pub fn size(&self) -> u64 {
        self.blobs()
            .fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
    /// Parses manifest JSON (Docker schema 2 or OCI).
    ///
    /// # Errors
    /// JSON that is no manifest.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let fail = |reason: String| Error::Manifest {
            reason: one_line(&reason),
        };
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(fail(format!(
                "it has {} bytes, at most {MAX_MANIFEST_BYTES} are read",
                json.len()
            )));
        }
        let wire: WireManifest =
            serde_json::from_slice(json).map_err(|error| fail(error.to_string()))?;
        if wire.schema_version != 2 {
            return Err(fail(format!(
                "its schema version is {}, not 2",
                wire.schema_version
            )));
        }
        if let Some(media_type) = wire.media_type
            && ![DOCKER_MANIFEST, OCI_MANIFEST].contains(&media_type.as_str())
        {
            return Err(fail(format!(
                "its media type is `{media_type:.100}`, which is no model"
            )));
        }
        let config = wire
            .config
            .ok_or_else(|| fail("it has no config".to_owned()))?;
        if wire.layers.len() > MAX_LAYERS {
            return Err(fail(format!("it has {} layers", wire.layers.len())));
        }
        let manifest = Self {
            config: config.parse()?,
            layers: wire
                .layers
                .into_iter()
                .map(WireDescriptor::parse)
                .collect::<Result<_, _>>()?,
        };
        if manifest.size() > i64::MAX as u64 {
            return Err(fail("its sizes are impossible".to_owned()));
        }
        Ok(manifest)
    }
    /// Compact JSON in the registry's field order.
    pub fn to_json(&self) -> Vec<u8> {
        let wire = WireManifest {
            schema_version: 2,
            media_type: Some(DOCKER_MANIFEST.to_owned()),
            config: Some(WireDescriptor::print(&self.config)),
            layers: self.layers.iter().map(WireDescriptor::print).collect(),
        };
        serde_json::to_vec(&wire).expect("strings, numbers and lists always serialise")
    }
}

/// The media type that a manifest says it has.
pub(crate) fn stated_media_type(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<WireManifest>(json)
        .ok()?
        .media_type
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<WireDescriptor>,
    #[serde(default)]
    layers: Vec<WireDescriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl WireDescriptor {
    fn parse(self) -> Result<Descriptor, Error> {
        let Ok(media_type) = self.media_type.parse();
        let digest = self.digest.parse().map_err(|_| Error::Manifest {
            reason: one_line(&format!("`{:.100}` is no sha256 digest", self.digest)),
        })?;
        Ok(Descriptor {
            media_type,
            digest,
            size: self.size,
        })
    }
    fn print(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.to_string(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: MediaType, size: u64) -> Descriptor {
        Descriptor {
            digest: Digest::of(media_type.to_string().as_bytes()),
            media_type,
            size,
        }
    }

    #[test]
    fn a_manifest_in_the_registrys_own_words() {
        let digest = Digest::of(b"");
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{digest}","size":3}},"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"{digest}","size":40}},{{"mediaType":"application/vnd.ollama.image.tensor","digest":"{digest}","size":2}}]}}"#
        );
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.config.media_type, MediaType::Config);
        assert_eq!(manifest.layer(&MediaType::Model).unwrap().size, 40);
        assert_eq!(manifest.size(), 45);
        let other = MediaType::Other("application/vnd.ollama.image.tensor".into());
        assert_eq!(manifest.layers[1].media_type, other);
        assert_eq!(manifest.to_json(), json.as_bytes());
    }

    #[test]
    fn printing_parses_back() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..500 {
            let layers = (0..random.usize(..6)).map(|_| {
                let kinds = LAYER_KINDS.iter().map(|(_, kind)| kind.clone());
                let mut kinds: Vec<_> = kinds.collect();
                kinds.push(MediaType::Other("text/\"strange\"; é".into()));
                let kind = kinds[random.usize(..kinds.len())].clone();
                descriptor(kind, random.u64(..1 << 50))
            });
            let layers = layers.collect();
            let manifest = Manifest {
                config: descriptor(MediaType::Config, 7),
                layers,
            };
            assert_eq!(Manifest::parse(&manifest.to_json()).unwrap(), manifest);
        }
    }

    #[test]
    fn an_oci_manifest_is_read_too() {
        let digest = Digest::of(b"x");
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":1}},"layers":[],"annotations":{{"a":"b"}}}}"#
        );
        assert_eq!(
            Manifest::parse(json.as_bytes()).unwrap().config.digest,
            digest
        );
    }

    #[test]
    fn what_a_manifest_says_in_errors_is_short_and_printable() {
        let text = format!("\\u001b[31m\\n{}", "x".repeat(5000));
        for json in [
            format!(r#"{{"schemaVersion":"{text}"}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"{text}"}}"#),
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{text}","size":1}}}}"#
            ),
        ] {
            let line = Manifest::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(
                line.len() < 600 && !line.contains(char::is_control),
                "{line:?}"
            );
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_a_reason() {
        let digest = Digest::of(b"x");
        let with = |size: &str, digest: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":{size}}},"layers":[]}}"#
            )
        };
        let digest = digest.to_string();
        assert!(Manifest::parse(with("1", &digest).as_bytes()).is_ok());
        let cases = [
            (String::new(), "EOF"),
            ("<html>".into(), "expected value"),
            ("[]".into(), "invalid"),
            ("{}".into(), "schemaVersion"),
            (r#"{"schemaVersion":1}"#.into(), "schema version is 1"),
            (r#"{"schemaVersion":2}"#.into(), "no config"),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#
                    .into(),
                "no model",
            ),
            (with("-1", &digest), "invalid value"),
            (with("1", "sha256:12"), "no sha256 digest"),
            (with("18446744073709551615", &digest), "impossible"),
            (" ".repeat(MAX_MANIFEST_BYTES + 1), "at most"),
        ];
        for (json, reason) in cases {
            let error = Manifest::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
