//! Which tensor gets which type: the mixes of llama-quantize, without an importance matrix.

use slm_gguf::{Gguf, TensorInfo, TensorType as T};
use std::{collections::HashMap, fmt, str::FromStr};

/// A mix of types, such as `Q4_K_M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    name: &'static str,
    /// What files know it by (`general.file_type`).
    pub(super) file_type: u32,
    base: T,
    head: T,
    better: Option<Better>,
}

/// What gets better types than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    /// Values and the way down of the first and last eighth of layers, and of every third between; joined projections.
    Medium,
    /// Values of the first four layers, the way down of the first eighth.
    Small,
}

const fn plain(name: &'static str, file_type: u32, base: T) -> Mix {
    Mix {
        name,
        file_type,
        base,
        head: base,
        better: None,
    }
}

const fn of_k(name: &'static str, file_type: u32, better: Better) -> Mix {
    Mix {
        head: T::Q6_K,
        better: Some(better),
        ..plain(name, file_type, T::Q4_K)
    }
}

const MIXES: &[Mix] = &[
    plain("F32", 0, T::F32),
    plain("F16", 1, T::F16),
    plain("BF16", 32, T::BF16),
    plain("Q8_0", 7, T::Q8_0),
    of_k("Q4_K_S", 14, Better::Small),
    of_k("Q4_K_M", 15, Better::Medium),
];

/// There is no such mix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unsupported quantization type {0} - supported types are F32, F16, BF16, Q4_K_S, Q4_K_M, Q8_0"
)]
pub struct UnknownMix(String);

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Mix {
    type Err = UnknownMix;

    /// In any case; `Q4_K` is `Q4_K_M`.
    fn from_str(name: &str) -> Result<Self, UnknownMix> {
        let wanted = match name.eq_ignore_ascii_case("Q4_K") {
            true => "Q4_K_M",
            false => name,
        };
        let found = MIXES
            .iter()
            .find(|mix| mix.name.eq_ignore_ascii_case(wanted));
        let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        found.copied().ok_or(UnknownMix(shown))
    }
}

/// Parts of names of matrices that keep their type: small ones, and those of what is no text.
const KEPT: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "position_embd.weight",
    "token_types.weight",
    "ssm_conv1d.weight",
    "shortconv.conv.weight",
    "attn_rel_b.weight",
    "time_mix_",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "mm.",
];

/// Whether a mix says the type of this tensor.
pub(super) fn is_mixed(info: &TensorInfo<'_>) -> bool {
    info.name.ends_with("weight")
        && (2..=3).contains(&info.shape.len())
        && !info.name.starts_with("v.")
        && !KEPT.iter().any(|part| info.name.contains(part))
}

/// The tensors of a kind, by layer: which one each is of how many.
struct Ranks<'a>(HashMap<&'a str, (usize, usize)>);

impl<'a> Ranks<'a> {
    fn of(gguf: &Gguf<'a>, kind: &str) -> Self {
        let of_kind = gguf.tensors().iter().filter(|info| is_of(info.name, kind));
        let mut names: Vec<&'a str> = of_kind.map(|info| info.name).collect();
        names.sort_by_key(|name| layer(name));
        let n = names.len();
        let ranks = names.into_iter().enumerate();
        Self(ranks.map(|(rank, name)| (name, (rank, n))).collect())
    }

    fn is(&self, name: &str, matters: impl Fn(usize, usize) -> bool) -> bool {
        self.0.get(name).is_some_and(|&(rank, n)| matters(rank, n))
    }
}

/// `blk.7.ffn_down.weight` and `blk.7.ffn_down_exps.weight` are of the kind `ffn_down`.
fn is_of(name: &str, kind: &str) -> bool {
    let word = name.split('.').nth(2).unwrap_or_default();
    word == kind || word.strip_suffix("_exps") == Some(kind)
}

fn layer(name: &str) -> usize {
    let number = name.split('.').nth(1);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A mix for one model.
pub(super) struct Types<'a> {
    mix: Mix,
    head: &'static str,
    values: Ranks<'a>,
    downs: Ranks<'a>,
}

impl<'a> Types<'a> {
    pub(super) fn new(mix: Mix, gguf: &Gguf<'a>) -> Self {
        const HEAD: &str = "output.weight";
        Self {
            mix,
            head: match gguf.tensor(HEAD) {
                Some(_) => HEAD,
                None => "token_embd.weight",
            },
            values: Ranks::of(gguf, "attn_v"),
            downs: Ranks::of(gguf, "ffn_down"),
        }
    }

    /// The type of a tensor, which is its own where the mix says nothing.
    pub(super) fn of(&self, info: &TensorInfo<'_>) -> T {
        if !is_mixed(info) {
            return info.tensor_type;
        }
        let name = info.name;
        let wanted = match self.mix.better {
            _ if name == self.head => self.mix.head,
            Some(Better::Medium) if self.is_better(name, matters_more, matters_more) => T::Q6_K,
            Some(Better::Medium) if is_of(name, "attn_qkv") => T::Q5_K,
            Some(Better::Small)
                if self.is_better(name, |rank, _| rank < 4, |rank, n| rank < n / 8) =>
            {
                T::Q5_K
            }
            _ => self.mix.base,
        };
        fitting(wanted, info.shape.first().copied().unwrap_or(0))
    }

    /// Whether a tensor is among the values or the ways down that matter more, by their rank of how many.
    fn is_better(
        &self,
        name: &str,
        value: impl Fn(usize, usize) -> bool,
        down: impl Fn(usize, usize) -> bool,
    ) -> bool {
        self.values.is(name, value) || self.downs.is(name, down)
    }
}

fn matters_more(rank: usize, n: usize) -> bool {
    let eighth = n / 8;
    rank < eighth || rank >= 7 * n / 8 || (rank - eighth) % 3 == 2
}

/// The type that takes the place of one whose blocks do not divide the rows.
fn fitting(wanted: T, n_cols: u64) -> T {
    let fits = |t: T| n_cols.is_multiple_of(t.block_len());
    let smaller = match wanted {
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        _ => T::F16,
    };
    let choices = [wanted, smaller, T::F16];
    choices.into_iter().find(|t| fits(*t)).unwrap_or(T::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_go_by_their_names_in_any_case() {
        let named = |name: &str| name.parse::<Mix>().map(|mix| mix.to_string());
        assert_eq!(named("q4_k"), Ok("Q4_K_M".to_owned()));
        assert_eq!(named("bf16"), Ok("BF16".to_owned()));
        let error = named("Q2_K\n").unwrap_err().to_string();
        assert!(
            error.starts_with("unsupported quantization type Q2_K - "),
            "{error}"
        );
    }

    #[test]
    fn types_are_those_that_llama_quantize_chose() {
        for (name, mix) in [("qwen3-q8_0", "q8_0"), ("qwen3-q4_k_m", "q4_k_m")] {
            let root = env!("CARGO_MANIFEST_DIR");
            let bytes = std::fs::read(format!("{root}/../tests/data/golden/{name}.gguf")).unwrap();
            let gguf = Gguf::parse(&bytes).unwrap();
            let types = Types::new(mix.parse().unwrap(), &gguf);
            for info in gguf.tensors() {
                assert_eq!(types.of(info), info.tensor_type, "{name}: {}", info.name);
            }
        }
    }

    #[test]
    fn half_of_the_layers_of_a_medium_mix_matter_more() {
        let layers: Vec<usize> = (0..28).filter(|&layer| matters_more(layer, 28)).collect();
        assert_eq!(layers, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
        assert_eq!((0..32).filter(|&l| matters_more(l, 32)).count(), 16);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_another_type() {
        assert_eq!(fitting(T::Q4_K, 512), T::Q4_K);
        assert_eq!(fitting(T::Q4_K, 576), T::Q5_0);
        assert_eq!(fitting(T::Q6_K, 576), T::Q8_0);
        assert_eq!(fitting(T::Q8_0, 40), T::F16);
    }
}
