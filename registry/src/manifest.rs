//! Manifests: which blobs make up a model.
use crate::Digest;

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
    /// Config plus layers in bytes.
    pub fn size(&self) -> u64 {
        self.config.size + self.layers.iter().map(|l| l.size).sum::<u64>()
    }
    /// Parses manifest JSON (Docker schema 2 or OCI).
    ///
    /// # Errors
    /// JSON that is no manifest.
    pub fn parse(_json: &[u8]) -> Result<Self, crate::Error> {
        todo!()
    }
    /// Compact JSON in the registry's field order.
    pub fn to_json(&self) -> Vec<u8> {
        todo!()
    }
}
