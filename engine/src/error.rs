//! Why a model cannot be loaded. Texts from the file are shortened and escaped where they are shown.
use slm_gguf::shown;
use std::path::PathBuf;

/// Why a file cannot become a running model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be opened or mapped.
    #[error("cannot open model file `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The container is damaged.
    #[error("the model file is damaged or not a GGUF file")]
    Gguf(#[from] slm_gguf::Error),
    /// No code for this architecture.
    #[error(
        "architecture `{}` is not supported; supported are: {supported}",
        shown(found)
    )]
    UnknownArchitecture {
        /// What the file says.
        found: String,
        /// Comma-separated list.
        supported: String,
    },
    /// A model that was to guess for another cannot.
    #[error("the draft model cannot guess for this model: {0}")]
    Draft(String),
    /// The model makes vectors, and text is wanted.
    #[error("the model makes vectors (embeddings) and cannot write text")]
    NoText,
    /// The tokenizer in the file cannot be used.
    #[error("the model's tokenizer cannot be used: {0}")]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// A tensor is absent, or has another shape or type than the architecture needs.
    #[error("tensor `{}` {problem}", shown(name))]
    Tensor {
        /// The tensor.
        name: String,
        /// `is missing`, `has shape … instead of …`, …
        problem: String,
    },
    /// A hyper-parameter contradicts others.
    #[error("`{}` is {}: {problem}", shown(key), shown(value))]
    Hparam {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// It would not fit.
    #[error("model requires more system memory ({}) than is available ({})", gib(*needed_bytes), gib(*available_bytes))]
    OutOfMemory {
        /// Weights, KV cache and scratch.
        needed_bytes: u64,
        /// What the machine or the cgroup has left.
        available_bytes: u64,
    },
    /// The file is an adapter that cannot be applied to the model.
    #[error("the adapter cannot be applied: {0}")]
    Adapter(String),
    /// The requested CPU tier cannot run here.
    #[error("{0}")]
    Cpu(String),
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_a_file_are_short_and_printable_in_errors() {
        let text = "\u{1b}[31m\n\u{202e}".to_owned() + &"x".repeat(10_000);
        let errors: [Box<dyn std::error::Error>; 5] = [
            Box::new(LoadError::UnknownArchitecture {
                found: text.clone(),
                supported: "llama".into(),
            }),
            Box::new(LoadError::Tensor {
                name: text.clone(),
                problem: "is missing".into(),
            }),
            Box::new(LoadError::Hparam {
                key: text.clone(),
                value: text.clone(),
                problem: "must be 1".into(),
            }),
            Box::new(crate::tokenizer::TokenizerError::UnknownModel {
                found: text.clone(),
            }),
            Box::new(crate::tokenizer::TokenizerError::UnknownPreTokenizer {
                found: text,
                known: "default".into(),
            }),
        ];
        for error in errors {
            let line = error.to_string();
            assert!(line.len() < 400, "{line}");
            assert!(!line.contains(['\u{1b}', '\n', '\u{202e}']), "{line:?}");
            assert!(line.contains("\\u{1b}[31m\\n"), "{line}");
        }
    }
}
