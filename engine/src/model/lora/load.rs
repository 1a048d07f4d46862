//! An adapter's GGUF to packed matrices, each checked against the tensor of the model that it changes.
//!
//! Tensors come in pairs, `NAME.lora_a` and `NAME.lora_b`, where `NAME` is that of the model's tensor. Anything else in
//! the file would change the model in a way that is not known here, and is refused by name.

use super::{Adapter, Delta, Inner, Targets, targets::Target};
use crate::{
    LoadError, memory,
    model::{
        DecoderSpec, ModelFiles,
        weights::{self, Loader},
    },
};
use slm_gguf::Gguf;
use slm_kernels::{Compute, Isa};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

/// The table that tokens are looked up in.
const EMBEDDING: &str = "token_embd.weight";
/// Tokens from which on an adapter is to work, where it is one of that kind.
const INVOCATION_KEY: &str = "adapter.alora.invocation_tokens";

/// The model that an adapter is for.
pub(in crate::model) struct Base<'a> {
    pub(in crate::model) architecture: &'a str,
    pub(in crate::model) spec: &'a DecoderSpec,
    pub(in crate::model) targets: &'a Arc<Targets>,
    pub(in crate::model) isa: Isa,
}

impl Adapter {
    /// Maps, checks and packs an adapter's file.
    pub(in crate::model) fn load(path: &Path, base: &Base<'_>) -> Result<Self, LoadError> {
        let files = ModelFiles::open(path)?;
        let gguf = files.gguf()?;
        let alpha = read_alpha(&gguf, base.architecture)?;
        memory::check(weights::packed_bytes(&gguf))?;
        // the model's own threads may be at work meanwhile
        let compute = Compute::new(1, Some(base.isa)).map_err(|e| LoadError::Cpu(e.to_string()))?;
        let loader = Loader::new(files.as_slice(), &gguf, &compute);
        let pairs = Pairs {
            loader: &loader,
            gguf: &gguf,
            alpha,
        };
        let (mut deltas, mut embedding, mut size_bytes) = (HashMap::new(), None, 0);
        for name in pairs.names()? {
            if name == EMBEDDING {
                let delta = pairs.embedding(base.spec)?;
                size_bytes += delta.a.size_bytes() + delta.b.size_bytes();
                embedding = Some(delta);
                continue;
            }
            let Some(target) = base.targets.get(name) else {
                return Err(LoadError::Adapter(format!(
                    "it changes `{name}`, which is no matrix of this model that adapters can change; is it for another model?"
                )));
            };
            let mut last = None;
            for (slot, delta) in pairs.deltas(name, target)? {
                if last.replace(Arc::as_ptr(&delta.a)) != Some(Arc::as_ptr(&delta.a)) {
                    size_bytes += delta.a.size_bytes();
                }
                size_bytes += delta.b.size_bytes();
                deltas.insert(slot, delta);
            }
        }
        Ok(Self(Arc::new(Inner {
            targets: Arc::clone(base.targets),
            deltas,
            embedding,
            size_bytes,
        })))
    }
}

/// Checks what the file says it is. Returns `alpha`, where it counts.
fn read_alpha(gguf: &Gguf<'_>, architecture: &str) -> Result<Option<f32>, LoadError> {
    const ALPHA_KEY: &str = "adapter.lora.alpha";
    let metadata = gguf.metadata();
    let expect = |key: &str, expected: &str, advice: &str| {
        let found = metadata.opt_string(key)?.unwrap_or("missing");
        if found == expected {
            return Ok(());
        }
        Err(LoadError::Hparam {
            key: key.to_owned(),
            value: found.to_owned(),
            problem: format!("must be `{expected}`{advice}"),
        })
    };
    expect("general.type", "adapter", ": the file is no adapter")?;
    expect(
        "adapter.type",
        "lora",
        ", the only kind that can be applied",
    )?;
    let advice = ", as the model's is: the adapter is for another model";
    expect("general.architecture", architecture, advice)?;
    if let Some(tokens) = metadata.opt_array(INVOCATION_KEY)?
        && !tokens.is_empty()
    {
        return Err(LoadError::Hparam {
            key: INVOCATION_KEY.to_owned(),
            value: format!("a list of {}", tokens.len()),
            problem: "adapters that begin to work within a text (aLoRA) cannot be applied; use a plain LoRA adapter".to_owned(),
        });
    }
    match metadata.opt_f32(ALPHA_KEY)? {
        None | Some(0.0) => Ok(None),
        Some(alpha) if alpha.is_finite() => Ok(Some(alpha)),
        Some(alpha) => Err(LoadError::Hparam {
            key: ALPHA_KEY.to_owned(),
            value: alpha.to_string(),
            problem: "must be a finite number".to_owned(),
        }),
    }
}

/// The pairs of matrices of a file.
struct Pairs<'a> {
    loader: &'a Loader<'a>,
    gguf: &'a Gguf<'a>,
    alpha: Option<f32>,
}

impl<'a> Pairs<'a> {
    /// The names of the tensors that are changed, sorted.
    fn names(&self) -> Result<Vec<&'a str>, LoadError> {
        // of each name, whether A and B are there
        let mut found: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
        for info in self.gguf.tensors() {
            let part = [".lora_a", ".lora_b"].map(|suffix| info.name.strip_suffix(suffix));
            match part {
                [Some(name), _] => found.entry(name).or_default()[0] = true,
                [_, Some(name)] => found.entry(name).or_default()[1] = true,
                [None, None] => {
                    return Err(LoadError::Adapter(format!(
                        "it has a tensor `{}`, which is no part of a pair `.lora_a` and `.lora_b`; texts would be wrong without it",
                        info.name
                    )));
                }
            }
        }
        let alone = found.iter().find(|(_, parts)| parts.contains(&false));
        if let Some((name, [has_a, _])) = alone {
            let missing = if *has_a { "lora_b" } else { "lora_a" };
            return Err(weights::missing(&format!("{name}.{missing}")));
        }
        if found.is_empty() {
            return Err(LoadError::Adapter("it changes nothing".to_owned()));
        }
        Ok(found.into_keys().collect())
    }

    /// Values of dimension `dimension` of a tensor.
    fn extent(&self, name: &str, dimension: usize) -> usize {
        let info = self.gguf.tensor(name);
        let extent = info.and_then(|info| info.shape.get(dimension).copied());
        extent.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
    }

    /// Of the token embeddings: `A` has a row for each token.
    fn embedding(&self, spec: &DecoderSpec) -> Result<Delta, LoadError> {
        let [a, b] = ["a", "b"].map(|part| format!("{EMBEDDING}.lora_{part}"));
        let rank = self.extent(&a, 0);
        Ok(Delta {
            a: Arc::new(self.loader.matrix(&a, spec.vocab_size, rank)?),
            b: self.loader.matrix(&b, spec.hidden_size, rank)?,
            alpha: self.alpha,
        })
    }

    /// One for each part of the tensor called `name`.
    fn deltas(&self, name: &str, target: &Target) -> Result<Vec<(super::Slot, Delta)>, LoadError> {
        let [a, b] = ["a", "b"].map(|part| format!("{name}.lora_{part}"));
        let rank = self.extent(&a, 1);
        let n = target.n_matrices;
        let mut shared = None;
        let parts = target.parts.iter().map(|part| {
            let a = match &shared {
                Some((index, a)) if *index == part.index => Arc::clone(a),
                _ => {
                    let rows = part.index * rank..(part.index + 1) * rank;
                    let a = self.loader.part(&a, [n, rank, target.n_cols], &[rows])?;
                    let a = Arc::new(a);
                    shared = Some((part.index, Arc::clone(&a)));
                    a
                }
            };
            let b = self.loader.part(&b, [n, target.n_rows, rank], &part.rows)?;
            let alpha = self.alpha;
            Ok((part.slot, Delta { a, b, alpha }))
        });
        parts.collect()
    }
}
