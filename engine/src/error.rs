//! Why a model cannot be loaded.
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
    #[error("architecture `{found}` is not supported; supported are: {supported}")]
    UnknownArchitecture {
        /// What the file says.
        found: String,
        /// Comma-separated list.
        supported: String,
    },
    /// The model makes vectors, and text is wanted.
    #[error("the model makes vectors (embeddings) and cannot write text")]
    NoText,
    /// The tokenizer in the file cannot be used.
    #[error("the model's tokenizer cannot be used: {0}")]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// A tensor is absent, or has another shape or type than the architecture needs.
    #[error("tensor `{name}` {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// `is missing`, `has shape … instead of …`, …
        problem: String,
    },
    /// A hyper-parameter contradicts others.
    #[error("`{key}` is {value}: {problem}")]
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
