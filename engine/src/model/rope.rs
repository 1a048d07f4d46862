//! Rotary position embedding: angles per position.
//!
//! Angle of pair i at position p: `p / linear_factor · theta^(−2i/n_rot) / factor_i` (RoFormer, arXiv 2104.09864; the
//! divisors are Llama 3.1's `rope_freqs`). Computed in f64 and stored as f32, since repeated f32 products drift at far
//! positions.

use super::RopeSpec;

/// The frequencies of one kind of layer.
#[derive(Debug)]
pub(super) struct Rope {
    /// `[n_rot / 2]`, radians per position.
    frequencies: Vec<f64>,
}

impl Rope {
    /// `factors`: divisors per pair, `[n_rot / 2]`.
    pub(super) fn new(spec: &RopeSpec, factors: Option<&[f32]>) -> Self {
        let frequency = |i: usize| {
            let base = f64::from(spec.theta).powf(-2.0 * i as f64 / spec.n_rot as f64)
                / f64::from(spec.linear_factor);
            base / factors.map_or(1.0, |f| f64::from(f[i]))
        };
        Self {
            frequencies: (0..spec.n_rot / 2).map(frequency).collect(),
        }
    }

    /// Fills `cos` and `sin`, each `[n_tokens, n_rot / 2]`, for the positions from `first`.
    pub(super) fn angles(
        &self,
        first: usize,
        n_tokens: usize,
        cos: &mut Vec<f32>,
        sin: &mut Vec<f32>,
    ) {
        cos.clear();
        sin.clear();
        for position in first..first + n_tokens {
            for frequency in &self.frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_kernels::RopeStyle;

    #[test]
    fn angles_follow_the_formula_and_the_factors_divide() {
        let spec = RopeSpec {
            style: RopeStyle::Norm,
            n_rot: 4,
            theta: 100.0,
            linear_factor: 2.0,
        };
        let rope = Rope::new(&spec, Some(&[1.0, 4.0]));
        let (mut cos, mut sin) = (vec![], vec![]);
        rope.angles(6, 2, &mut cos, &mut sin);
        // pair 0: p/2; pair 1: p/2 · 100^(-1/2) / 4
        let expected: Vec<f64> = vec![3.0, 0.075, 3.5, 0.0875];
        for (i, angle) in expected.iter().enumerate() {
            assert!((f64::from(cos[i]) - angle.cos()).abs() < 1e-7, "{i}");
            assert!((f64::from(sin[i]) - angle.sin()).abs() < 1e-7, "{i}");
        }
    }
}
