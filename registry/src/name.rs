//! Model names: `[scheme://][host/][namespace/]model[:tag]`.
use std::{fmt, str::FromStr};

/// A valid, fully qualified model name. Parsing fills in the defaults.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModelName {
    host: String,
    namespace: String,
    model: String,
    tag: String,
    insecure_http: bool,
}

/// Why text is not a model name.
#[derive(Debug, thiserror::Error)]
#[error("invalid model name")]
pub struct NameError;

impl ModelName {
    /// Registry host, `registry.ollama.ai` by default; may carry a port.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// Namespace, `library` by default.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
    /// Model.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// Tag, `latest` by default.
    pub fn tag(&self) -> &str {
        &self.tag
    }
    /// Whether the name was written with `http://`.
    pub fn is_http(&self) -> bool {
        self.insecure_http
    }
    /// `host/namespace/model:tag`, always in full.
    pub fn full(&self) -> String {
        todo!()
    }
}
impl FromStr for ModelName {
    type Err = NameError;
    fn from_str(_text: &str) -> Result<Self, NameError> {
        todo!()
    }
}
impl fmt::Display for ModelName {
    /// The shortest form that means the same, tag always shown.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
