//! Layers with a state: convolution and delta rule.

use super::{bits, each_tier, random_values};
use crate::{DeltaShape, oracle};

#[test]
fn a_convolution_is_the_oracles_however_it_is_cut() {
    let mut rng = fastrand::Rng::with_seed(1);
    for compute in each_tier(3) {
        for (n_taps, n_channels, n_tokens) in [
            (3, 64, 9),
            (4, 100, 40),
            (1, 5, 3),
            (2, 16, 1),
            (7, 33, 4),
            (4, 3000, 30),
        ] {
            let taps = random_values(&mut rng, n_taps * n_channels);
            let history = random_values(&mut rng, (n_taps - 1) * n_channels);
            let x = random_values(&mut rng, n_tokens * n_channels);
            let all: Vec<&[f32]> = history
                .chunks_exact(n_channels)
                .chain(x.chunks_exact(n_channels))
                .collect();
            for silu in [false, true] {
                let mut whole = vec![f32::NAN; x.len()];
                let mut after = history.clone();
                compute.convolve(n_channels, &taps, &mut after, &x, silu, &mut whole);
                for (token, out) in whole.chunks_exact(n_channels).enumerate() {
                    for (channel, value) in out.iter().enumerate() {
                        let sum = oracle::convolve(&taps, &all[token..][..n_taps], channel);
                        let expected = if silu {
                            sum / (1.0 + (-sum).exp())
                        } else {
                            sum
                        };
                        assert!((f64::from(*value) - expected).abs() < 1e-5);
                    }
                }
                let last = all[all.len() - (n_taps - 1)..].concat();
                assert_eq!(bits(&after), bits(&last));
                for step in [1, 2, 5] {
                    let mut cut = vec![f32::NAN; x.len()];
                    let mut after = history.clone();
                    for (x, out) in x
                        .chunks(step * n_channels)
                        .zip(cut.chunks_mut(step * n_channels))
                    {
                        compute.convolve(n_channels, &taps, &mut after, x, silu, out);
                    }
                    assert_eq!(bits(&cut), bits(&whole), "steps of {step}");
                    assert_eq!(bits(&after), bits(&last));
                }
            }
        }
    }
}

#[test]
fn the_delta_rule_is_the_oracles_however_it_is_cut() {
    let mut rng = fastrand::Rng::with_seed(2);
    let shape = |n_k_heads, n_v_heads, k_head_dim, v_head_dim| DeltaShape {
        n_k_heads,
        n_v_heads,
        k_head_dim,
        v_head_dim,
    };
    let shapes = [
        shape(1, 1, 16, 16),
        shape(2, 4, 16, 16),
        shape(2, 6, 10, 24),
        shape(3, 3, 128, 128),
        shape(1, 2, 7, 5),
    ];
    for n_threads in [1, 3] {
        for compute in each_tier(n_threads) {
            for shape in shapes {
                let n_tokens = 20;
                let key_len = n_tokens * shape.n_k_heads * shape.k_head_dim;
                let value_len = n_tokens * shape.n_v_heads * shape.v_head_dim;
                // keys of length 1, as the rule wants them
                let keys = |values: Vec<f32>| {
                    let mut values = values;
                    for head in values.chunks_exact_mut(shape.k_head_dim) {
                        let norm = head.iter().map(|x| x * x).sum::<f32>().sqrt();
                        head.iter_mut().for_each(|x| *x /= norm);
                    }
                    values
                };
                let q = keys(random_values(&mut rng, key_len));
                let k = keys(random_values(&mut rng, key_len));
                let v = random_values(&mut rng, value_len);
                let factors = n_tokens * shape.n_v_heads;
                let decay: Vec<f32> = (0..factors).map(|_| 0.5 + rng.f32() / 2.0).collect();
                let beta: Vec<f32> = (0..factors).map(|_| rng.f32()).collect();

                let mut state = vec![0.0; shape.state_len()];
                let mut whole = vec![f32::NAN; value_len];
                compute.delta_rule(shape, &q, &k, &v, &decay, &beta, &mut state, &mut whole);
                for head in 0..shape.n_v_heads {
                    let mut truth = vec![vec![0.0; shape.v_head_dim]; shape.k_head_dim];
                    for token in 0..n_tokens {
                        let key =
                            (token * shape.n_k_heads + head % shape.n_k_heads) * shape.k_head_dim;
                        let value = token * shape.n_v_heads + head;
                        let columns = value * shape.v_head_dim..(value + 1) * shape.v_head_dim;
                        let expected = oracle::delta_rule(
                            &mut truth,
                            (
                                &q[key..][..shape.k_head_dim],
                                &k[key..][..shape.k_head_dim],
                                &v[columns.clone()],
                            ),
                            decay[value],
                            beta[value],
                        );
                        for (value, expected) in whole[columns].iter().zip(expected) {
                            assert!((f64::from(*value) - expected).abs() < 1e-5, "{shape:?}");
                        }
                    }
                }
                for step in [1, 7] {
                    let mut cut_state = vec![0.0; shape.state_len()];
                    let mut cut = vec![];
                    for first in (0..n_tokens).step_by(step) {
                        let n = step.min(n_tokens - first);
                        let part = |values: &[f32]| {
                            let row = values.len() / n_tokens;
                            values[first * row..(first + n) * row].to_vec()
                        };
                        let mut out = part(&whole);
                        compute.delta_rule(
                            shape,
                            &part(&q),
                            &part(&k),
                            &part(&v),
                            &part(&decay),
                            &part(&beta),
                            &mut cut_state,
                            &mut out,
                        );
                        cut.extend(out);
                    }
                    assert_eq!(bits(&cut), bits(&whole), "{shape:?}, steps of {step}");
                    assert_eq!(bits(&cut_state), bits(&state));
                }
            }
        }
    }
}
