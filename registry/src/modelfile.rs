//! Modelfiles: text in, [`Modelfile`] out, errors with their line.

/// A parsed Modelfile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modelfile {
    /// `FROM`: a model name or a path; the first is the base, more are extra GGUFs.
    pub from: Vec<String>,
    /// `PARAMETER`: name and value in order; typed by [`Modelfile::params_json`].
    pub parameters: Vec<(String, String)>,
    /// `TEMPLATE`.
    pub template: Option<String>,
    /// `SYSTEM`.
    pub system: Option<String>,
    /// `ADAPTER`.
    pub adapter: Option<String>,
    /// `LICENSE`, each.
    pub licenses: Vec<String>,
    /// `MESSAGE`: role and text.
    pub messages: Vec<(String, String)>,
    /// `RENDERER`.
    pub renderer: Option<String>,
    /// `PARSER`.
    pub parser: Option<String>,
    /// `REQUIRES`.
    pub requires: Option<String>,
    /// `DRAFT`.
    pub draft: Option<String>,
}

/// Where and why a Modelfile is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("(line {line}): {problem}")]
pub struct ModelfileError {
    /// 1-based.
    pub line: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Modelfile {
    /// Parses a Modelfile (UTF-8, or UTF-16 with BOM).
    ///
    /// # Errors
    /// The first wrong line.
    pub fn parse(_text: &[u8]) -> Result<Self, ModelfileError> {
        todo!()
    }
    /// The parameters as the typed JSON object that the params layer holds (`stop` always a list).
    pub fn params_json(&self) -> serde_json::Map<String, serde_json::Value> {
        todo!()
    }
}

impl std::fmt::Display for Modelfile {
    /// Text that parses back to the same value.
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
