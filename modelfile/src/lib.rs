//! Modelfiles: text in, [`Modelfile`] out, errors with their line and column.
//!
//! The lexer cuts the text into instructions, the parser gives them meaning, [`parameter`] knows the type of each
//! `PARAMETER`. Printing a Modelfile gives text that parses back to the same value.
mod lexer;
mod parameter;
mod parser;
pub mod parts;
mod print;
#[cfg(test)]
mod tests;

pub use parameter::{ParameterError, ParameterKind, parameter_kind};

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

/// A place in a Modelfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1-based.
    pub line: usize,
    /// In characters, 1-based.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Where and why a Modelfile is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct ModelfileError {
    /// `None` when it is no single place.
    pub place: Option<Place>,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl std::fmt::Display for ModelfileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            None => f.write_str(&self.problem),
            Some(place) => write!(f, "({place}): {}", self.problem),
        }
    }
}

impl std::error::Error for ModelfileError {}

/// Something that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelfileWarning {
    /// Where.
    pub place: Place,
    /// What was skipped and why.
    pub message: String,
}

impl std::fmt::Display for ModelfileWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}): {}", self.place, self.message)
    }
}

/// A Modelfile, with what a person may want to be told about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub modelfile: Modelfile,
    /// What was skipped.
    pub warnings: Vec<ModelfileWarning>,
    /// Where the value of each of [`Modelfile::from`] is.
    pub from_places: Vec<Place>,
    /// Where the value of [`Modelfile::adapter`] is.
    pub adapter_place: Option<Place>,
    /// Where the value of [`Modelfile::draft`] is.
    pub draft_place: Option<Place>,
}

impl Modelfile {
    /// Parses a Modelfile (UTF-8, or UTF-16 with BOM). Retired parameters are skipped with a warning in the log.
    ///
    /// # Errors
    /// The first wrong line.
    pub fn parse(text: &[u8]) -> Result<Self, ModelfileError> {
        let parsed = Self::parse_in_detail(text)?;
        for warning in parsed.warnings {
            tracing::warn!(%warning, "Modelfile");
        }
        Ok(parsed.modelfile)
    }
    /// As [`Modelfile::parse`], for callers who talk with a person about it.
    ///
    /// # Errors
    /// The first wrong place.
    pub fn parse_in_detail(text: &[u8]) -> Result<Parsed, ModelfileError> {
        parser::parse(&lexer::decode(text)?)
    }
    /// The parameters as the typed JSON object that the params layer holds (`stop` always a list). Parameters that are
    /// unknown or do not fit their type are left out; a parsed Modelfile has none.
    pub fn params_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut params = serde_json::Map::new();
        for (name, text) in &self.parameters {
            let Ok(value) = parameter::typed(name, text) else {
                continue;
            };
            if parameter_kind(name) == Some(ParameterKind::Strings) {
                let list = params
                    .entry(name.clone())
                    .or_insert_with(|| serde_json::Value::Array(Vec::new()));
                if let serde_json::Value::Array(list) = list {
                    list.push(value);
                }
            } else {
                params.insert(name.clone(), value);
            }
        }
        params
    }
}
