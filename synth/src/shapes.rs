//! The models whose geometry can be written, and the tensors that each consists of.
//!
//! All have tied embeddings: the embedding matrix is the output matrix too.

use crate::vocabulary::VocabularyKind;

/// The geometry of a released model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// `general.architecture`.
    pub(crate) arch: &'static str,
    pub(crate) n_layers: usize,
    pub(crate) hidden: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) ffn: usize,
    pub(crate) vocab: usize,
    pub(crate) context: u32,
    pub(crate) theta: f32,
    pub(crate) eps: f32,
    /// Rotated dimensions, where they are not the whole head.
    pub(crate) n_rot: Option<usize>,
    pub(crate) window: Option<u32>,
    pub(crate) vocabulary: VocabularyKind,
}

const LLAMA: Shape = Shape {
    name: "smollm2-135m",
    arch: "llama",
    n_layers: 30,
    hidden: 576,
    n_heads: 9,
    n_kv_heads: 3,
    head_dim: 64,
    ffn: 1536,
    vocab: 49_152,
    context: 8192,
    theta: 1e5,
    eps: 1e-5,
    n_rot: None,
    window: None,
    vocabulary: VocabularyKind::Smollm,
};

const QWEN3: Shape = Shape {
    name: "qwen3-0.6b",
    arch: "qwen3",
    n_layers: 28,
    hidden: 1024,
    n_heads: 16,
    n_kv_heads: 8,
    head_dim: 128,
    ffn: 3072,
    vocab: 151_936,
    context: 40_960,
    theta: 1e6,
    eps: 1e-6,
    n_rot: None,
    window: None,
    vocabulary: VocabularyKind::Qwen,
};

/// Every model.
pub(crate) const SHAPES: &[Shape] = &[
    LLAMA,
    QWEN3,
    Shape {
        name: "qwen3-1.7b",
        hidden: 2048,
        ffn: 6144,
        ..QWEN3
    },
    Shape {
        name: "gemma3-1b",
        arch: "gemma3",
        n_layers: 26,
        hidden: 1152,
        n_heads: 4,
        n_kv_heads: 1,
        head_dim: 256,
        ffn: 6912,
        vocab: 262_144,
        context: 32_768,
        theta: 1e6,
        eps: 1e-6,
        n_rot: None,
        window: Some(512),
        vocabulary: VocabularyKind::Gemma,
    },
    Shape {
        name: "phi4-mini-3.8b",
        arch: "phi3",
        n_layers: 32,
        hidden: 3072,
        n_heads: 24,
        n_kv_heads: 8,
        head_dim: 128,
        ffn: 8192,
        vocab: 200_064,
        context: 131_072,
        theta: 1e4,
        eps: 1e-5,
        n_rot: Some(96),
        window: Some(262_144),
        vocabulary: VocabularyKind::Phi4,
    },
    Shape {
        name: "bitnet-2b4t",
        arch: "bitnet",
        n_layers: 30,
        hidden: 2560,
        n_heads: 20,
        n_kv_heads: 5,
        head_dim: 128,
        ffn: 6912,
        vocab: 128_256,
        context: 4096,
        theta: 5e5,
        eps: 1e-5,
        n_rot: None,
        window: None,
        vocabulary: VocabularyKind::Llama3,
    },
];

/// What a tensor is for, as far as its type depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Embedding and output in one.
    Head,
    /// `attn_v`, alone or fused with the others.
    Value,
    Down,
    Other,
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tensor {
    Matrix {
        name: String,
        n_rows: usize,
        n_cols: usize,
        role: Role,
        /// The layer; 0 outside of one.
        layer: usize,
    },
    /// Numbers from the first to the last in even steps.
    Vector {
        name: String,
        len: usize,
        from: f32,
        to: f32,
    },
}

impl Tensor {
    pub(crate) fn n_values(&self) -> usize {
        match self {
            Self::Matrix { n_rows, n_cols, .. } => n_rows * n_cols,
            Self::Vector { len, .. } => *len,
        }
    }
}

impl Shape {
    pub(crate) fn n_params(&self) -> usize {
        self.tensors().iter().map(Tensor::n_values).sum()
    }

    /// Every tensor in file order.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![Tensor::Matrix {
            name: "token_embd.weight".into(),
            n_rows: self.vocab,
            n_cols: self.hidden,
            role: Role::Head,
            layer: 0,
        }];
        for layer in 0..self.n_layers {
            self.layer(layer, &mut tensors);
        }
        let ones = |name: &str, len, to| Tensor::Vector {
            name: name.into(),
            len,
            from: 1.0,
            to,
        };
        tensors.push(ones("output_norm.weight", self.hidden, 1.0));
        if let Some(n_rot) = self.n_rot {
            tensors.push(ones("rope_factors_long.weight", n_rot / 2, 40.0));
            tensors.push(ones("rope_factors_short.weight", n_rot / 2, 1.5));
        }
        tensors
    }

    fn layer(&self, layer: usize, tensors: &mut Vec<Tensor>) {
        let (hidden, ffn, head_dim) = (self.hidden, self.ffn, self.head_dim);
        let (q_rows, kv_rows) = (self.n_heads * head_dim, self.n_kv_heads * head_dim);
        let (is_qwen, is_gemma) = (self.arch == "qwen3", self.arch == "gemma3");
        let (is_phi, is_bitnet) = (self.arch == "phi3", self.arch == "bitnet");
        let matrix = |tensors: &mut Vec<Tensor>, stem: &str, n_rows, n_cols, role| {
            tensors.push(Tensor::Matrix {
                name: format!("blk.{layer}.{stem}.weight"),
                n_rows,
                n_cols,
                role,
                layer,
            });
        };
        let norm = |tensors: &mut Vec<Tensor>, stem: &str, len, is_there: bool| {
            if is_there {
                tensors.push(Tensor::Vector {
                    name: format!("blk.{layer}.{stem}.weight"),
                    len,
                    from: 1.0,
                    to: 1.0,
                });
            }
        };
        norm(tensors, "attn_norm", hidden, true);
        if is_phi {
            let n_rows = q_rows + 2 * kv_rows;
            matrix(tensors, "attn_qkv", n_rows, hidden, Role::Value);
        } else {
            matrix(tensors, "attn_q", q_rows, hidden, Role::Other);
            matrix(tensors, "attn_k", kv_rows, hidden, Role::Other);
            matrix(tensors, "attn_v", kv_rows, hidden, Role::Value);
        }
        norm(tensors, "attn_q_norm", head_dim, is_qwen || is_gemma);
        norm(tensors, "attn_k_norm", head_dim, is_qwen || is_gemma);
        norm(tensors, "attn_sub_norm", hidden, is_bitnet);
        matrix(tensors, "attn_output", hidden, q_rows, Role::Other);
        norm(tensors, "post_attention_norm", hidden, is_gemma);
        norm(tensors, "ffn_norm", hidden, true);
        if is_phi {
            matrix(tensors, "ffn_up", 2 * ffn, hidden, Role::Other);
        } else {
            matrix(tensors, "ffn_gate", ffn, hidden, Role::Other);
            matrix(tensors, "ffn_up", ffn, hidden, Role::Other);
        }
        norm(tensors, "ffn_sub_norm", ffn, is_bitnet);
        matrix(tensors, "ffn_down", hidden, ffn, Role::Down);
        norm(tensors, "post_ffw_norm", hidden, is_gemma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_published_numbers() {
        #[track_caller]
        fn check(name: &str, millions: f64) {
            let shape = SHAPES.iter().find(|s| s.name == name).unwrap();
            let found = shape.n_params() as f64 / 1e6;
            assert!((found - millions).abs() < 0.06, "{name}: {found}");
        }
        check("smollm2-135m", 134.5);
        check("qwen3-0.6b", 596.0);
        check("qwen3-1.7b", 1720.6);
        check("gemma3-1b", 999.9);
        check("phi4-mini-3.8b", 3836.0);
        check("bitnet-2b4t", 2412.8);
    }
}
