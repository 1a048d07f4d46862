//! Rotary position embedding: angles per position.
//!
//! Angle of pair i at position p: `p / linear_factor · theta^(−2i/n_rot) / factor_i` (RoFormer, arXiv 2104.09864; the
//! divisors are Llama 3.1's `rope_freqs`, or one of "longrope"'s two sets). YaRN (arXiv 2309.00071) divides by
//! `linear_factor` only where a pair turns slowly. Computed in f64 and stored as f32, since repeated f32 products drift at
//! far positions.

use super::{RopeSpec, YarnSpec};
use std::f64::consts::TAU;

/// The frequencies of one kind of layer.
#[derive(Debug)]
pub(super) struct Rope {
    /// `[n_rot / 2]`, radians per position.
    frequencies: Vec<f64>,
    /// In their place, for long sequences.
    long_frequencies: Option<Vec<f64>>,
    magnitude: f64,
}

/// Divisors of frequencies that a file has, per pair, `[n_rot / 2]`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Factors<'a> {
    pub(super) short: Option<&'a [f32]>,
    /// For long sequences.
    pub(super) long: Option<&'a [f32]>,
}

/// Cosines and sines of a step, each `[n_tokens, n_rot / 2]`, times the magnitude.
#[derive(Debug, Default)]
pub(super) struct Angles {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

impl Angles {
    pub(super) fn clear(&mut self) {
        self.cos.clear();
        self.sin.clear();
    }
}

impl Rope {
    /// `factors` are used as far as the spec asks for them.
    pub(super) fn new(spec: &RopeSpec, factors: Factors<'_>) -> Self {
        let long = spec.long.as_ref().and(factors.long);
        Self {
            frequencies: frequencies(spec, spec.factors.and(factors.short)),
            long_frequencies: long.map(|long| frequencies(spec, Some(long))),
            magnitude: f64::from(spec.magnitude),
        }
    }

    /// Adds the `n_tokens` positions from `first`, of a long sequence or another, to `angles`.
    pub(super) fn extend(&self, angles: &mut Angles, first: usize, n_tokens: usize, is_long: bool) {
        let Angles { cos, sin } = angles;
        let long = self.long_frequencies.as_ref().filter(|_| is_long);
        let frequencies = long.unwrap_or(&self.frequencies);
        for position in first..first + n_tokens {
            for frequency in frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push((c * self.magnitude) as f32);
                sin.push((s * self.magnitude) as f32);
            }
        }
    }
}

fn frequencies(spec: &RopeSpec, factors: Option<&[f32]>) -> Vec<f64> {
    let (theta, n_rot) = (f64::from(spec.theta), spec.n_rot as f64);
    let frequency = |i: usize| {
        let base = theta.powf(-2.0 * i as f64 / n_rot) / factors.map_or(1.0, |f| f64::from(f[i]));
        let stretched = base / f64::from(spec.linear_factor);
        let kept = spec
            .yarn
            .as_ref()
            .map_or(0.0, |yarn| kept(yarn, theta, n_rot, i));
        stretched * (1.0 - kept) + base * kept
    };
    (0..spec.n_rot / 2).map(frequency).collect()
}

/// How much of the frequency of pair `i` YaRN keeps: all up to the pair that turns `beta_fast` times within the original
/// context, nothing from the one that turns `beta_slow` times, evenly less between.
fn kept(yarn: &YarnSpec, theta: f64, n_rot: f64, i: usize) -> f64 {
    // The pair that turns `n` times.
    let pair = |n: f32| {
        n_rot * (yarn.original_context as f64 / (f64::from(n) * TAU)).ln() / (2.0 * theta.ln())
    };
    let first = pair(yarn.beta_fast).floor().max(0.0);
    let last = pair(yarn.beta_slow).ceil().min(n_rot - 1.0);
    let lost = (i as f64 - first) / (last - first).max(0.001);
    (1.0 - lost.clamp(0.0, 1.0)) * f64::from(yarn.kept)
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
            yarn: None,
            factors: Some("rope_freqs.weight"),
            long: None,
            magnitude: 1.5,
        };
        let factors = Factors {
            short: Some(&[1.0, 4.0]),
            long: Some(&[8.0, 8.0]),
        };
        let rope = Rope::new(&spec, factors);
        let mut angles = Angles::default();
        rope.extend(&mut angles, 6, 2, true);
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
    fn plain(n_rot: usize, theta: f32) -> RopeSpec {
        RopeSpec {
            style: RopeStyle::Neox,
            n_rot,
            theta,
            linear_factor: 1.0,
            yarn: None,
            factors: None,
            long: None,
            magnitude: 1.0,
        }
    }

    #[track_caller]
    fn assert_near(values: &[f64], expected: &[f64]) {
        assert_eq!(values.len(), expected.len());
        for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
            assert!(
                (value / expected - 1.0).abs() < 1e-6,
                "{i}: {value} instead of {expected}"
            );
        }
    }

    /// With theta = e^8 and 16 dimensions, pair i turns `original / 2π · e^-i` times in the original context. 2π e^4
    /// positions: pair 4 turns once, pair 2 turns e² times. Between them the mix is even: of pair 3, half is kept.
    #[test]
    fn yarn_keeps_fast_pairs_stretches_slow_ones_and_mixes_those_between() {
        let spec = RopeSpec {
            linear_factor: 4.0,
            yarn: Some(YarnSpec {
                original_context: 343, // 2π e^4 = 343.05; rounded outwards to whole pairs
                beta_fast: 7.3,        // e² = 7.39
                beta_slow: 1.0,
                kept: 1.0,
            }),
            ..plain(16, 8.0f32.exp())
        };
        let pair = |i: i32| (-f64::from(i)).exp();
        let stretched = |i: i32| pair(i) / 4.0;
        let expected = [
            pair(0),
            pair(1),
            pair(2),
            (pair(3) + stretched(3)) / 2.0,
            stretched(4),
            stretched(5),
            stretched(6),
            stretched(7),
        ];
        assert_near(&frequencies(&spec, None), &expected);
        // Of no room between first and last pair, the step is steep; a kept share below one mixes everywhere.
        let yarn = YarnSpec {
            original_context: 343,
            beta_fast: 1.0,
            beta_slow: 1.0,
            kept: 0.5,
        };
        let spec = RopeSpec {
            yarn: Some(yarn),
            ..spec
        };
        let half = |i: i32| (pair(i) + stretched(i)) / 2.0;
        let frequencies = frequencies(&spec, None);
        assert_near(&frequencies[..4], &[0, 1, 2, 3].map(half));
        assert_near(&frequencies[4..], &[4, 5, 6, 7].map(stretched));
    }

    /// Qwen2.5's own statement: factor 4 of 32768 positions, theta 1e6, heads of 128. By the formula, pairs up to 23 keep
    /// their frequencies (64 · ln(32768 / 64π) / ln 1e6 = 23.6) and pairs from 40 on lose all (64 · ln(32768 / 2π) / ln 1e6
    /// = 39.65); pair 30 keeps (40 - 30) / 17.
    #[test]
    fn yarn_with_released_figures() {
        let spec = RopeSpec {
            linear_factor: 4.0,
            yarn: Some(YarnSpec {
                original_context: 32768,
                beta_fast: 32.0,
                beta_slow: 1.0,
                kept: 1.0,
            }),
            ..plain(128, 1e6)
        };
        let found = frequencies(&spec, None);
        let base = frequencies(&plain(128, 1e6), None);
        assert_near(&found[..=23], &base[..=23]);
        let kept = 10.0 / 17.0;
        assert_near(&[found[30]], &[base[30] * (kept + (1.0 - kept) / 4.0)]);
        let quarters: Vec<f64> = base[40..].iter().map(|f| f / 4.0).collect();
        assert_near(&found[40..], &quarters);
    }

    #[test]
    fn long_sequences_have_divisors_of_their_own() {
        let spec = RopeSpec {
            factors: Some("short"),
            long: Some(crate::model::LongSpec {
                factors: "long",
                beyond: 8,
            }),
            ..plain(4, 100.0)
        };
        let factors = Factors {
            short: Some(&[1.0, 2.0]),
            long: Some(&[4.0, 5.0]),
        };
        let rope = Rope::new(&spec, factors);
        let mut angles = Angles::default();
        for (is_long, expected) in [(false, [1.0f32, 0.05]), (true, [0.25, 0.02])] {
            angles.clear();
            rope.extend(&mut angles, 1, 1, is_long);
            for (sin, expected) in angles.sin.iter().zip(expected) {
                assert!((sin - expected.sin()).abs() < 1e-7);
            }
        }
    }
}
