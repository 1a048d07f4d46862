//! The four formats in which registries hold models, as tables: which media type and file name stands for which kind of
//! layer. How they are written is `push`'s matter, how they are read that of `package`.
//!
//! | | config | weights |
//! |---|---|---|
//! | Ollama | Docker's image config with facts about the model | `application/vnd.ollama.image.model` |
//! | CNCF ModelPack | `application/vnd.cncf.model.config.v1+json` | `application/vnd.cncf.model.weight.v1.raw` |
//! | Docker model artifact | `application/vnd.docker.ai.model.config.v0.1+json` | `application/vnd.docker.ai.gguf.v3` |
//! | KServe ModelCar | an OCI image's | a tar layer with `models/model.gguf` |
//!
//! In packages that are written here, annotations of the manifest carry manifest and config as the store had them, so
//! that whoever pulls the package gets the same model, by digest. Others ignore them.
use crate::MediaType;
use std::str::FromStr;

/// Where a package says what the manifest was.
pub(super) const MANIFEST_ANNOTATION: &str = "slm.ollama.manifest";
/// Where a package says what the config was.
pub(super) const CONFIG_ANNOTATION: &str = "slm.ollama.config";

pub(super) const MODELPACK_ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
pub(super) const MODELPACK_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
pub(super) const MODELPACK_WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
pub(super) const MODELPACK_WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
pub(super) const MODELPACK_DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
/// Name of the file that a ModelPack's layer is.
pub(super) const MODELPACK_FILE_PATH: &str = "org.cncf.model.filepath";
/// Name of the file that a layer is, for tools that know no better.
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// All layers of ModelPack, also those of its earlier name.
pub(super) const MODELPACK_PREFIXES: [&str; 2] =
    ["application/vnd.cncf.model.", "application/vnd.cnai.model."];

pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.ai.model.config.v0.1+json";
pub(super) const DOCKER_CONFIG_PREFIX: &str = "application/vnd.docker.ai.model.config.";
/// Docker's kinds of layers.
pub(super) const DOCKER_LAYERS: [(&str, MediaType); 5] = [
    ("application/vnd.docker.ai.gguf.v3", MediaType::Model),
    ("application/vnd.docker.ai.gguf.v3.lora", MediaType::Adapter),
    (
        "application/vnd.docker.ai.gguf.v3.mmproj",
        MediaType::Projector,
    ),
    ("application/vnd.docker.ai.license", MediaType::License),
    (DOCKER_JINJA, MediaType::Template),
];
pub(super) const DOCKER_JINJA: &str = "application/vnd.docker.ai.chat.template.jinja";

pub(super) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_IMAGE_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// How the media types of all layers of images begin, compressed or not.
pub(super) const IMAGE_LAYER_PREFIXES: [&str; 2] =
    [IMAGE_LAYER, "application/vnd.docker.image.rootfs.diff.tar"];
/// The folder of a ModelCar's files.
pub(super) const CAR_FOLDER: &str = "models";

/// A format to push in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the store has it, byte by byte.
    #[default]
    Ollama,
    /// CNCF ModelPack.
    ModelPack,
    /// Docker model artifact.
    Docker,
    /// KServe ModelCar: an image whose layers are tar archives of one file each.
    ModelCar,
}

impl Format {
    /// Every format under the name that people write.
    pub const ALL: [(&str, Self); 4] = [
        ("ollama", Self::Ollama),
        ("modelpack", Self::ModelPack),
        ("docker", Self::Docker),
        ("modelcar", Self::ModelCar),
    ];
}

/// Why a text names no format.
#[derive(Debug, thiserror::Error)]
#[error("unknown format `{0:.40}`; known are ollama, modelpack, docker and modelcar")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let known = Self::ALL
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        known
            .map(|(_, format)| *format)
            .ok_or_else(|| FormatError(text.to_owned()))
    }
}

/// Whether a template is written in Jinja, as far as one can tell from the outside.
pub(super) fn is_jinja(template: &[u8]) -> bool {
    template.windows(2).any(|pair| pair == b"{%")
}

/// The name of the file for the `n`-th layer of its kind, counted from 0; `None` for kinds that are no file.
pub(super) fn file_name(kind: &MediaType, is_jinja: bool, n: usize) -> Option<String> {
    let (stem, ending) = match kind {
        MediaType::Model => ("model", ".gguf"),
        MediaType::Projector => ("mmproj", ".gguf"),
        MediaType::Adapter => ("adapter", ".gguf"),
        MediaType::Template if is_jinja => ("chat_template", ".jinja"),
        MediaType::Template => ("template", ".gotmpl"),
        MediaType::System => ("system", ".txt"),
        MediaType::Params => ("params", ".json"),
        MediaType::Messages => ("messages", ".json"),
        MediaType::License => ("LICENSE", ""),
        MediaType::Config | MediaType::Other(_) => return None,
    };
    Some(match n {
        0 => format!("{stem}{ending}"),
        n => format!("{stem}-{}{ending}", n + 1),
    })
}

/// The kind of layer that a file is, by its name; `None` for what is no part of a model here.
pub(super) fn kind_of_file(path: &str) -> Option<MediaType> {
    let name = path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    Some(match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gguf") if name.contains("mmproj") => MediaType::Projector,
        Some("gguf") if begins(&["adapter", "lora"]) => MediaType::Adapter,
        Some("gguf") => MediaType::Model,
        Some("jinja") if begins(&["chat_template"]) => MediaType::Template,
        Some("gotmpl") if begins(&["template"]) => MediaType::Template,
        Some("txt") if begins(&["system"]) => MediaType::System,
        Some("json") if begins(&["params"]) => MediaType::Params,
        Some("json") if begins(&["messages"]) => MediaType::Messages,
        _ if begins(&["license", "licence"]) => MediaType::License,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_written_is_known_again() {
        for (kind, is_jinja) in [
            (MediaType::Model, false),
            (MediaType::Projector, false),
            (MediaType::Adapter, false),
            (MediaType::Template, false),
            (MediaType::Template, true),
            (MediaType::System, false),
            (MediaType::Params, false),
            (MediaType::Messages, false),
            (MediaType::License, false),
        ] {
            for n in [0, 1] {
                let name = file_name(&kind, is_jinja, n).unwrap();
                assert_eq!(kind_of_file(&name), Some(kind.clone()), "{name}");
            }
        }
        assert_eq!(
            kind_of_file("models/Qwen3-Q8_0.GGUF"),
            Some(MediaType::Model)
        );
        assert_eq!(kind_of_file("README.md"), None);
        assert_eq!(kind_of_file("config.json"), None);
    }

    #[test]
    fn formats_by_name() {
        assert_eq!("ModelCar".parse::<Format>().unwrap(), Format::ModelCar);
        let error = "zip".parse::<Format>().unwrap_err().to_string();
        assert!(
            error.contains("`zip`") && error.contains("modelpack"),
            "{error}"
        );
    }
}
