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
    magnitude: f64,
}

/// Cosines and sines of a step, each `[n_tokens, n_rot / 2]`, times the magnitude.
#[derive(Debug, Default)]
pub(super) struct Angles {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
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
            magnitude: f64::from(spec.magnitude),
        }
    }

    /// Fills `angles` for the `n_tokens` positions from `first`.
    pub(super) fn fill(&self, angles: &mut Angles, first: usize, n_tokens: usize) {
        let Angles { cos, sin } = angles;
        cos.clear();
        sin.clear();
        for position in first..first + n_tokens {
            for frequency in &self.frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push((c * self.magnitude) as f32);
                sin.push((s * self.magnitude) as f32);
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
            factors: Some("rope_freqs.weight"),
            magnitude: 1.5,
        };
        let rope = Rope::new(&spec, Some(&[1.0, 4.0]));
        let mut angles = Angles::default();
        rope.fill(&mut angles, 6, 2);
        // pair 0: p/2; pair 1: p/2 · 100^(-1/2) / 4
        let expected: Vec<f64> = vec![3.0, 0.075, 3.5, 0.0875];
        for (i, angle) in expected.iter().enumerate() {
            assert!(
                (f64::from(angles.cos[i]) - 1.5 * angle.cos()).abs() < 2e-7,
                "{i}"
            );
            assert!(
                (f64::from(angles.sin[i]) - 1.5 * angle.sin()).abs() < 2e-7,
                "{i}"
            );
        }
    }
}
