//! Which tensor gets which type: the mixes of llama-quantize, without an importance matrix.

use crate::shapes::{Role, Shape};
use slm_gguf::TensorType;
use std::{fmt, str::FromStr};

/// A mix, by its name and the number that files know it by (`general.file_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    name: &'static str,
    pub(crate) file_type: u32,
    base: TensorType,
    head: TensorType,
    /// What `attn_v` and `ffn_down` get in the layers that matter more.
    better: Option<Better>,
}

/// The layers that matter more, and their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    /// The first and last eighth, and every third between.
    Spread(TensorType),
    /// The first four for `attn_v`, the first eighth for `ffn_down`.
    First(TensorType),
}

const fn plain(name: &'static str, file_type: u32, base: TensorType, head: TensorType) -> Mix {
    Mix {
        name,
        file_type,
        base,
        head,
        better: None,
    }
}

const fn better(mix: Mix, better: Better) -> Mix {
    Mix {
        better: Some(better),
        ..mix
    }
}

use TensorType as T;

const MIXES: &[Mix] = &[
    plain("F32", 0, T::F32, T::F32),
    plain("F16", 1, T::F16, T::F16),
    plain("BF16", 32, T::BF16, T::BF16),
    plain("Q4_0", 2, T::Q4_0, T::Q6_K),
    plain("Q4_1", 3, T::Q4_1, T::Q6_K),
    plain("Q5_0", 8, T::Q5_0, T::Q6_K),
    plain("Q5_1", 9, T::Q5_1, T::Q6_K),
    plain("Q8_0", 7, T::Q8_0, T::Q8_0),
    better(
        plain("Q4_K_S", 14, T::Q4_K, T::Q6_K),
        Better::First(T::Q5_K),
    ),
    better(
        plain("Q4_K_M", 15, T::Q4_K, T::Q6_K),
        Better::Spread(T::Q6_K),
    ),
    better(
        plain("Q5_K_M", 17, T::Q5_K, T::Q6_K),
        Better::Spread(T::Q6_K),
    ),
    plain("Q6_K", 18, T::Q6_K, T::Q6_K),
    // BitNet is released with its embedding in 16 bits
    plain("TQ2_0", 37, T::TQ2_0, T::F16),
];

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = MIXES.iter().find(|m| m.name.eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| {
            let names: Vec<String> = MIXES.iter().map(|m| m.name.to_lowercase()).collect();
            format!("the mixes are {}", names.join(", "))
        })
    }
}

impl Mix {
    /// The type of a matrix with rows of `n_cols`.
    pub(crate) fn type_of(
        self,
        shape: &Shape,
        role: Role,
        layer: usize,
        n_cols: usize,
    ) -> TensorType {
        let n_layers = shape.n_layers;
        let wanted = match (role, self.better) {
            (Role::Head, _) => self.head,
            (Role::Value | Role::Down, Some(Better::Spread(better)))
                if matters_more(layer, n_layers) =>
            {
                better
            }
            (Role::Value, Some(Better::First(better))) if layer < 4 => better,
            (Role::Down, Some(Better::First(better))) if layer < n_layers / 8 => better,
            _ => self.base,
        };
        fitting(wanted, n_cols)
    }
}

fn matters_more(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

/// The type that takes the place of one whose blocks do not divide the rows.
fn fitting(wanted: TensorType, n_cols: usize) -> TensorType {
    let fits = |t: TensorType| (n_cols as u64).is_multiple_of(t.block_len());
    if fits(wanted) {
        return wanted;
    }
    let smaller = match wanted {
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        T::TQ2_0 => T::Q4_0,
        _ => T::F16,
    };
    if fits(smaller) { smaller } else { T::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::SHAPES;

    #[test]
    fn half_of_the_layers_of_a_medium_mix_matter_more() {
        let layers: Vec<usize> = (0..28).filter(|&layer| matters_more(layer, 28)).collect();
        assert_eq!(layers, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
        assert_eq!((0..32).filter(|&l| matters_more(l, 32)).count(), 16);
    }

    #[test]
    fn types_of_tensors() {
        let [small, qwen, ..] = SHAPES else {
            unreachable!("there are several")
        };
        #[track_caller]
        fn check(mix: &str, shape: &Shape, role: Role, layer: usize, expected: TensorType) {
            let mix: Mix = mix.parse().unwrap();
            assert_eq!(mix.type_of(shape, role, layer, shape.hidden), expected);
        }
        check("q4_0", qwen, Role::Head, 0, T::Q6_K);
        check("q4_0", qwen, Role::Down, 0, T::Q4_0);
        check("q4_k_m", qwen, Role::Value, 5, T::Q6_K);
        check("q4_k_m", qwen, Role::Value, 6, T::Q4_K);
        check("q4_k_m", qwen, Role::Other, 5, T::Q4_K);
        check("q4_k_s", qwen, Role::Down, 2, T::Q5_K);
        check("q4_k_s", qwen, Role::Down, 3, T::Q4_K);
        check("q8_0", qwen, Role::Head, 0, T::Q8_0);
        // rows of 576 are no whole blocks of 256
        check("q4_k_m", small, Role::Head, 0, T::Q8_0);
        check("q4_k_m", small, Role::Other, 0, T::Q5_0);
        check("q4_0", small, Role::Head, 0, T::Q8_0);
        assert_eq!(fitting(T::Q4_0, 40), T::F16);
    }
}
