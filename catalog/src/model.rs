//! [`Catalog`]: the models, as `models.yaml` has them.

use serde::{Deserialize, Serialize};

/// The catalogue of this program.
const BUILT_IN: &str = include_str!("../models.yaml");

/// A catalogue that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the catalogue of models cannot be read: {0}; report it, with the version of slm")]
pub struct CatalogError(#[from] serde_yaml::Error);

/// Models, small ones first.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// Every model.
    pub models: Vec<Model>,
}

/// How large a model is, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Below a billion parameters.
    Micro,
    /// One to three billion.
    Small,
    /// Above.
    Medium,
}

/// What a model makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    #[default]
    Text,
    /// Vectors.
    Embedding,
}

/// A model of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Short name, such as `qwen3:0.6b`; some are Ollama's names too.
    pub name: String,
    /// The name without a size.
    pub family: String,
    /// How large.
    pub class: Class,
    /// What it makes.
    #[serde(default)]
    pub kind: Kind,
    /// Number of weights.
    pub parameters: u64,
    /// Those of the token embedding among them.
    pub embedding: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: u64,
    /// Weights of an image encoder that comes along in the same download.
    #[serde(default)]
    pub vision: u64,
    /// Whether rows are no multiple of 256.
    #[serde(default)]
    pub uneven: bool,
    /// Licence, as Hugging Face names it.
    pub licence: String,
    /// Tokens of context that it was trained for.
    pub context: u64,
    /// Layers that remember keys and values.
    pub layers: u64,
    /// Heads of keys and values in each.
    pub kv_heads: u64,
    /// Values of a head.
    pub head_size: u64,
    /// Layers that remember few positions.
    #[serde(default)]
    pub window: Option<Window>,
    /// What to use it for.
    pub good_at: String,
    /// A repository of Hugging Face with GGUF files.
    #[serde(default)]
    pub hugging_face: Option<String>,
    /// Its files, the recommended one first.
    pub variants: Vec<Variant>,
}

/// Layers that remember no more than a number of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many layers do.
    pub layers: u64,
    /// How many positions.
    pub positions: u64,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// How weights are stored, such as `Q4_K_M`.
    pub quantization: String,
    /// What to pull.
    pub pull: String,
}

impl Catalog {
    /// The catalogue that is part of the program.
    ///
    /// # Errors
    /// Never, as long as the tests of this crate pass.
    pub fn built_in() -> Result<Self, CatalogError> {
        Self::read(BUILT_IN)
    }

    /// Reads a catalogue.
    ///
    /// # Errors
    /// What is no YAML, lacks a field or has an unknown one.
    pub fn read(yaml: &str) -> Result<Self, CatalogError> {
        let models = serde_yaml::from_str(yaml)?;
        Ok(Self { models })
    }

    /// The models of a family, in the order of the catalogue.
    pub fn family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Model> {
        let is_of = move |model: &&Model| model.family.eq_ignore_ascii_case(family);
        self.models.iter().filter(is_of)
    }

    /// The model and file that a name stands for: a variant's own, or the model's short one, which stands for the variant
    /// that Ollama's library has under it: with four bits, where there is one.
    pub fn find(&self, name: &str) -> Option<(&Model, &Variant)> {
        let of_variant = self.models.iter().find_map(|model| {
            let mut variants = model.variants.iter();
            let variant = variants.find(|variant| variant.pull.eq_ignore_ascii_case(name))?;
            Some((model, variant))
        });
        of_variant.or_else(|| {
            let mut models = self.models.iter();
            let model = models.find(|model| model.name.eq_ignore_ascii_case(name))?;
            let mut variants = model.variants.iter();
            let four_bits = variants.find(|variant| variant.quantization == "Q4_K_M");
            Some((model, four_bits.or_else(|| model.variants.first())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_built_in_catalogue_is_sound() {
        let catalog = Catalog::built_in().expect("it is read");
        assert!(catalog.models.len() >= 16);
        let mut names = HashSet::new();
        for model in &catalog.models {
            assert!(names.insert(&model.name), "{} twice", model.name);
            assert!(
                model.name.starts_with(&format!("{}:", model.family)),
                "{}",
                model.name
            );
            assert!(model.embedding < model.parameters, "{}", model.name);
            assert!(!model.variants.is_empty(), "{}", model.name);
            let class = match model.parameters / 1_000_000 {
                0..950 => Class::Micro,
                950..3000 => Class::Small,
                _ => Class::Medium,
            };
            assert_eq!(model.class, class, "{}", model.name);
            if let Some(window) = model.window {
                assert!(window.layers < model.layers, "{}", model.name);
            }
            for variant in &model.variants {
                assert!(
                    crate::size::bits(&variant.quantization, false).is_some(),
                    "{}: {}",
                    model.name,
                    variant.quantization
                );
                assert!(names.insert(&variant.pull), "{} twice", variant.pull);
            }
        }
    }

    #[test]
    fn names_are_found() {
        let catalog = Catalog::built_in().expect("it is read");
        let found = |name: &str| {
            let (model, variant) = catalog.find(name)?;
            Some((model.name.clone(), variant.quantization.clone()))
        };
        let of = |name: &str, quantization: &str| Some((name.to_owned(), quantization.to_owned()));
        assert_eq!(found("qwen3:0.6b-q8_0"), of("qwen3:0.6b", "Q8_0"));
        assert_eq!(found("Qwen3:0.6B"), of("qwen3:0.6b", "Q4_K_M"));
        assert_eq!(found("gemma3:270m"), of("gemma3:270m", "Q8_0"));
        assert_eq!(found("qwen3"), None);
        assert_eq!(catalog.family("qwen3").count(), 3);
        assert_eq!(catalog.family("absent").count(), 0);
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        for bad in ["a: [", "- name: x", "- { name: x, unknown: 1 }"] {
            assert!(Catalog::read(bad).is_err(), "{bad}");
        }
    }
}
