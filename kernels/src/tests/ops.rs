//! Small operations.

use super::{bits, each_tier, random_values};
use crate::{Compute, Isa, RopeStyle, UnsupportedCpu, dispatch, oracle};

#[track_caller]
fn check_near(what: &str, value: f32, expected: f64, ulps: f64) {
    let bound = ulps * (expected.abs() * f64::from(f32::EPSILON)).max(f64::from(f32::MIN_POSITIVE));
    assert!(
        (f64::from(value) - expected).abs() <= bound,
        "{what}: {value:e} instead of {expected:e}"
    );
}

#[test]
fn exp_is_right_to_two_ulps() {
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        let table = dispatch::table(*isa).unwrap();
        let exp = |mut lanes: [f32; 16]| {
            // SAFETY: the table proved the CPU.
            unsafe { (table.exp)(&mut lanes) };
            lanes
        };
        let mut x = -87.3f32;
        while x < 88.0 {
            let lanes = std::array::from_fn(|lane| x + lane as f32 * 1e-3);
            for (x, value) in lanes.iter().zip(exp(lanes)) {
                check_near(
                    &format!("{isa} exp({x})"),
                    value,
                    f64::from(x.min(88.0)).exp(),
                    2.0,
                );
            }
            x += 0.016;
        }
        assert_eq!(exp([0.0; 16]), [1.0; 16]);
        assert_eq!(exp([-0.0; 16]), [1.0; 16]);
        assert_eq!(exp([f32::NEG_INFINITY; 16]), [0.0; 16]);
        assert_eq!(exp([-1e30; 16]), [0.0; 16]);
        assert_eq!(exp([-87.4; 16]), [0.0; 16]);
        assert!(
            exp([f32::INFINITY; 16])
                .iter()
                .all(|value| *value > 1e38 && value.is_finite())
        );
        assert!(exp([f32::NAN; 16]).iter().all(|value| value.is_nan()));
    }
}

#[test]
fn rms_norm_is_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(1);
    for compute in each_tier(2) {
        for n in [1, 15, 16, 17, 64, 576, 1000] {
            for n_rows in [1, 3, 40] {
                let (x, weight) = (
                    random_values(&mut rng, n * n_rows),
                    random_values(&mut rng, n),
                );
                let mut out = vec![f32::NAN; x.len()];
                compute.rms_norm(&x, &weight, 1e-5, &mut out);
                for (x, out) in x.chunks_exact(n).zip(out.chunks_exact(n)) {
                    for (value, expected) in out.iter().zip(oracle::rms_norm(x, &weight, 1e-5)) {
                        check_near("rms_norm", *value, expected, 8.0);
                    }
                }
            }
        }
    }
}

#[test]
fn layer_norm_is_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(5);
    for compute in each_tier(2) {
        for n in [1, 15, 16, 17, 64, 384, 1000] {
            for n_rows in [1, 3, 40] {
                let mut values = |n: usize| random_values(&mut rng, n);
                let (x, weight, bias) = (values(n * n_rows), values(n), values(n));
                let mut out = vec![f32::NAN; x.len()];
                compute.layer_norm(&x, &weight, &bias, 1e-5, &mut out);
                for (x, out) in x.chunks_exact(n).zip(out.chunks_exact(n)) {
                    let expected = oracle::layer_norm(x, &weight, &bias, 1e-5);
                    for (value, expected) in out.iter().zip(expected) {
                        assert!((f64::from(*value) - expected).abs() < 4e-6, "{n}");
                    }
                }
            }
        }
    }
}

#[test]
fn gelu_is_the_error_functions() {
    for compute in each_tier(3) {
        let x: Vec<f32> = (-2700..=2700).map(|i| i as f32 * 0.005).collect();
        let mut out = x.clone();
        compute.gelu(&mut out);
        for (x, value) in x.iter().zip(&out) {
            let error = (f64::from(*value) - oracle::gelu(*x)).abs();
            let bound = 3.0 * f64::from(f32::EPSILON) * f64::from(x.abs());
            assert!(error <= bound, "gelu({x}): {value}");
        }
        let mut far = [-1e30f32, -200.0, 200.0, 1e30, f32::NAN];
        compute.gelu(&mut far);
        assert_eq!(far[..4], [0.0, 0.0, 200.0, 1e30]);
        assert!(far[4].is_nan());
    }
}

#[test]
fn sums_and_silu_are_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(2);
    for compute in each_tier(3) {
        for n in [1, 15, 16, 17, 576, 100_001] {
            let x: Vec<f32> = random_values(&mut rng, n)
                .iter()
                .map(|x| x * 100.0)
                .collect();
            let y = random_values(&mut rng, n);
            let mut sum = x.clone();
            compute.add_assign(&mut sum, &y);
            let mut gate = x.clone();
            compute.silu_mul(&mut gate, &y);
            for i in 0..n {
                assert_eq!(sum[i], x[i] + y[i]);
                if x[i] > -87.0 {
                    check_near("silu", gate[i], oracle::silu(x[i]) * f64::from(y[i]), 8.0);
                } else {
                    assert!(gate[i].abs() < 1e-35);
                }
            }
        }
    }
}

#[test]
fn the_other_gates_and_scaling_are_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(4);
    for compute in each_tier(3) {
        for n in [1, 15, 16, 17, 576, 100_001] {
            let x: Vec<f32> = random_values(&mut rng, n).iter().map(|x| x * 6.0).collect();
            let y = random_values(&mut rng, n);
            let (mut gelu, mut relu, mut scaled) = (x.clone(), x.clone(), x.clone());
            let (mut sigmoid, mut product) = (x.clone(), x.clone());
            compute.sigmoid_mul(&mut sigmoid, &y);
            compute.mul_assign(&mut product, &y);
            compute.gelu_tanh_mul(&mut gelu, &y);
            compute.relu_squared_mul(&mut relu, &y);
            compute.scale(&mut scaled, 0.3);
            for i in 0..n {
                // The tails are tiny next to x, and so is their error.
                let expected = oracle::gelu_tanh(x[i]) * f64::from(y[i]);
                let bound = 4.0 * f64::from(f32::EPSILON) * f64::from((x[i] * y[i]).abs());
                let error = (f64::from(gelu[i]) - expected).abs();
                assert!(
                    error <= bound + 1e-37,
                    "gelu({}) * {}: {}",
                    x[i],
                    y[i],
                    gelu[i]
                );
                assert_eq!(relu[i], x[i].max(0.0) * x[i].max(0.0) * y[i]);
                assert_eq!(scaled[i], x[i] * 0.3);
                assert_eq!(product[i], x[i] * y[i]);
                let expected = f64::from(y[i]) / (1.0 + f64::from(-x[i]).exp());
                check_near("sigmoid", sigmoid[i], expected, 8.0);
            }
        }
        let far = [-1e30f32, -200.0, 200.0, 1e30, f32::NAN];
        let (mut gelu, mut relu) = (far, far);
        compute.gelu_tanh_mul(&mut gelu, &[1.0; 5]);
        compute.relu_squared_mul(&mut relu, &[1.0; 5]);
        assert!(gelu[..2].iter().all(|value| value.abs() < 1e-7), "{gelu:?}");
        assert_eq!(gelu[2..4], far[2..4]);
        assert_eq!(relu[..3], [0.0, 0.0, 40_000.0]);
        assert!(gelu[4].is_nan() && relu[4].is_nan());
    }
}

#[test]
fn a_softcap_is_a_scaled_tanh() {
    let mut rng = fastrand::Rng::with_seed(5);
    for compute in each_tier(3) {
        for (n, cap) in [(1, 1.0f32), (15, 50.0), (17, 0.3), (100_001, 30.0)] {
            let x: Vec<f32> = random_values(&mut rng, n)
                .iter()
                .map(|x| x * 40.0)
                .collect();
            let mut capped = x.clone();
            compute.softcap(&mut capped, cap);
            for (x, capped) in x.iter().zip(capped) {
                let expected = f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh();
                let error = (f64::from(capped) - expected).abs() / f64::from(cap);
                assert!(error < 4e-7, "{x} capped at {cap}: {capped}");
            }
        }
        let mut far = [f32::NEG_INFINITY, -1e30, 1e30, f32::INFINITY, f32::NAN];
        compute.softcap(&mut far, 30.0);
        assert_eq!(far[..4], [-30.0, -30.0, 30.0, 30.0]);
        assert!(far[4].is_nan());
    }
}

#[test]
fn rows_are_gathered_and_summed_with_weights() {
    let mut rng = fastrand::Rng::with_seed(6);
    for compute in each_tier(3) {
        for (width, n_out) in [(1, 1), (7, 40), (576, 100)] {
            let x = random_values(&mut rng, 30 * width);
            let rows: Vec<usize> = (0..n_out).map(|_| rng.usize(..30)).collect();
            let mut gathered = vec![f32::NAN; n_out * width];
            compute.gather_rows(&x, width, &rows, &mut gathered);
            let terms: Vec<(usize, f32)> = (0..3 * n_out)
                .map(|_| (rng.usize(..30), rng.f32()))
                .collect();
            let mut sums = vec![f32::NAN; n_out * width];
            compute.sum_rows(&x, width, &terms, 3, &mut sums);
            for i in 0..n_out {
                for column in 0..width {
                    let at = |row: usize| x[row * width + column];
                    assert_eq!(gathered[i * width + column], at(rows[i]));
                    let terms = terms[3 * i..][..3].iter();
                    let sum: f64 = terms
                        .map(|&(row, w)| f64::from(w) * f64::from(at(row)))
                        .sum();
                    assert!((f64::from(sums[i * width + column]) - sum).abs() < 1e-6);
                }
            }
        }
    }
}

#[test]
fn rope_is_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(3);
    for compute in each_tier(2) {
        for style in [RopeStyle::Norm, RopeStyle::Neox] {
            for (n_tokens, n_heads, head_dim, n_rot) in [
                (1, 1, 2, 2),
                (3, 3, 64, 64),
                (2, 2, 128, 96),
                (5, 1, 80, 20),
                (300, 9, 64, 64),
            ] {
                let x = random_values(&mut rng, n_tokens * n_heads * head_dim);
                let angles: Vec<f32> = (0..n_tokens * n_rot / 2).map(|_| rng.f32() * 6.0).collect();
                let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
                let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
                let mut out = x.clone();
                compute.rope(&mut out, n_heads, head_dim, n_rot, style, &cos, &sin);
                for (index, (x, out)) in x
                    .chunks_exact(head_dim)
                    .zip(out.chunks_exact(head_dim))
                    .enumerate()
                {
                    let pairs = index / n_heads * n_rot / 2..(index / n_heads + 1) * n_rot / 2;
                    let expected = oracle::rope(x, style, &cos[pairs.clone()], &sin[pairs]);
                    for (value, expected) in out.iter().zip(expected) {
                        assert!((f64::from(*value) - expected).abs() < 1e-6);
                    }
                    assert_eq!(bits(&x[n_rot..]), bits(&out[n_rot..]));
                }
            }
        }
    }
}

#[test]
fn tiers_have_names() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse(), Ok(*isa));
    }
    assert_eq!(
        "avx3".parse::<Isa>().unwrap_err().to_string(),
        "`avx3` is no CPU tier; the tiers are: portable, avx2, avx-vnni, avx512-vnni, neon, neon-dotprod"
    );
    assert!(Isa::best().is_supported());
    assert!(Isa::Portable.is_supported());
    for isa in Isa::ALL.iter().filter(|isa| !isa.is_supported()) {
        let error = Compute::new(1, Some(*isa)).err();
        assert_eq!(error, Some(UnsupportedCpu { isa: *isa }));
    }
    let text = UnsupportedCpu {
        isa: Isa::Avx512Vnni,
    }
    .to_string();
    assert!(
        text.starts_with("this CPU cannot run `avx512-vnni`; it can run: portable"),
        "{text}"
    );
    assert_eq!(Compute::new(2, None).unwrap().isa(), Isa::best());
}
