//! Keys by which some family computes otherwise, found in a file of a family that knows nothing of them.
//!
//! What a family knows it asks for. A key from here that nothing asked for would change what the model says, so the file
//! is refused, unless the value stands for what is computed anyway. Keys that come with tensors of their own are not
//! here: those have no place in the model either. Keys that no family has are left alone, since files hold many that
//! only describe.

use super::spec::Hparams;
use crate::LoadError;
use slm_gguf::Value;

/// Each key with the values that change nothing. llama.cpp writes all it knows into the files it saves, caps of scores
/// and logits with the values of Gemma 2 whatever the family, so that those values say nothing.
const KEYS: &[(&str, &[f64])] = &[
    ("attention.causal", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.relative_buckets_count", &[0.0]),
    ("attention.rope_pattern", &[1.0]),
    ("attention.scale", &[0.0]),
    ("attention.shared_kv_layers", &[0.0]),
    ("attention.sliding_window", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attention.value_scale", &[0.0, 1.0]),
    ("attn_logit_softcapping", &[0.0, 50.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("expert_group_scale", &[0.0, 1.0]),
    ("final_logit_softcapping", &[0.0, 30.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("num_loops", &[0.0, 1.0]),
    ("rescale_every_n_layers", &[0.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("rope.scaling.alpha", &[0.0, 1.0]),
    ("rope.scaling.yarn_ext_factor", &[-1.0, 0.0]),
    ("router_logit_softcapping", &[0.0, 30.0]),
    ("swiglu_clamp_exp", &[0.0]),
    ("swiglu_clamp_shexp", &[0.0]),
    ("swin_norm", &[0.0]),
    ("use_parallel_residual", &[0.0]),
];

/// # Errors
/// The first key that would be ignored and changes something.
pub(super) fn refuse(hparams: &Hparams<'_>) -> Result<(), LoadError> {
    for (name, neutral) in KEYS {
        let Some(value) = hparams.ignored(name) else {
            continue;
        };
        let changes = |value: &Value<'_>| {
            let number = number(value);
            !number.is_some_and(|number| neutral.contains(&number))
        };
        let changed_by = match value {
            Value::Array(values) => values.iter().find(changes),
            value => changes(value).then_some(*value),
        };
        if let Some(value) = changed_by {
            let problem = "is not known in this architecture, so that texts would be wrong";
            return hparams.refuse(name, shown(&value), problem);
        }
    }
    Ok(())
}

/// # Errors
/// An activation that is stated, was not asked for, and has none of the `names` of the one that is computed.
pub(super) fn refuse_other_activations(
    hparams: &Hparams<'_>,
    names: &[&str],
) -> Result<(), LoadError> {
    const KEY: &str = "hidden_activation";
    if hparams.ignored(KEY).is_none() {
        return Ok(());
    }
    match hparams.opt_string(KEY)? {
        Some(stated) if !names.contains(&stated) => {
            let problem = format!("supported in this architecture are: {}", names.join(", "));
            hparams.refuse(KEY, stated, problem)
        }
        _ => Ok(()),
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::F32(x) => Some(f64::from(*x)),
        Value::F64(x) => Some(*x),
        Value::Bool(is_set) => Some(f64::from(u8::from(*is_set))),
        value => value.as_integer().map(|n| n as f64),
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Bool(is_set) => is_set.to_string(),
        value => number(value).map_or_else(|| format!("{value:?}"), |number| number.to_string()),
    }
}
