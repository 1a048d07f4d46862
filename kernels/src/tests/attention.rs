//! Attention and its cache.

use super::{bits, each_tier, random_values};
use crate::{
    AttentionArgs, AttentionRun, AttentionScratch, Compute, Isa, KvLayer, KvPool, KvType, oracle,
};

#[derive(Clone, Copy, Debug)]
struct Case {
    n_positions: usize,
    n_tokens: usize,
    n_kv_heads: usize,
    group: usize,
    head_dim: usize,
    v_head_dim: usize,
    is_causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    kv_type: KvType,
}

const CASE: Case = Case {
    n_positions: 40,
    n_tokens: 1,
    n_kv_heads: 2,
    group: 3,
    head_dim: 64,
    v_head_dim: 64,
    is_causal: true,
    window: None,
    softcap: None,
    kv_type: KvType::F16,
};

struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn data(&self, rng: &mut fastrand::Rng) -> Data {
        let scaled = |values: Vec<f32>| values.into_iter().map(|x| x * 4.0).collect();
        Data {
            q: scaled(random_values(
                rng,
                self.n_tokens * self.n_kv_heads * self.group * self.head_dim,
            )),
            k: random_values(rng, self.n_positions * self.n_kv_heads * self.head_dim),
            v: random_values(rng, self.n_positions * self.n_kv_heads * self.v_head_dim),
        }
    }

    fn cache(&self, data: &Data) -> KvLayer {
        let mut kv = self.empty(&KvPool::default());
        kv.append(self.n_positions, &data.k, &data.v);
        kv
    }

    fn empty(&self, pool: &KvPool) -> KvLayer {
        KvLayer::new(
            pool,
            self.kv_type,
            self.n_kv_heads,
            self.head_dim,
            self.v_head_dim,
        )
    }

    fn args(&self) -> AttentionArgs {
        AttentionArgs {
            n_heads: self.n_kv_heads * self.group,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            is_causal: self.is_causal,
            window: self.window,
            softcap: self.softcap,
        }
    }

    fn run(&self, compute: &Compute, kv: &KvLayer, q: &[f32]) -> Vec<f32> {
        let n_heads = self.n_kv_heads * self.group;
        let n_tokens = q.len() / (n_heads * self.head_dim);
        let mut out = vec![f32::NAN; n_tokens * n_heads * self.v_head_dim];
        compute.attention(
            &mut AttentionScratch::default(),
            &self.args(),
            &[AttentionRun { kv, n_tokens }],
            q,
            &mut out,
        );
        out
    }

    #[track_caller]
    fn check(&self, compute: &Compute, rng: &mut fastrand::Rng) {
        let data = self.data(rng);
        let out = self.run(compute, &self.cache(&data), &data.q);
        let rounded = |x: &[f32]| -> Vec<f32> {
            match self.kv_type {
                KvType::F16 => x.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect(),
                KvType::F32 => x.to_vec(),
            }
        };
        let (q, k, v) = (rounded(&data.q), rounded(&data.k), rounded(&data.v));
        let keys: Vec<&[f32]> = k.chunks_exact(self.head_dim).collect();
        let values: Vec<&[f32]> = v.chunks_exact(self.v_head_dim).collect();
        let n_heads = self.n_kv_heads * self.group;
        for (row, (q, out)) in q
            .chunks_exact(self.head_dim)
            .zip(out.chunks_exact(self.v_head_dim))
            .enumerate()
        {
            let (token, head) = (row / n_heads, row % n_heads);
            let at = self.n_positions - self.n_tokens + token;
            let sees = |p: usize| match self.window {
                Some(window) if self.is_causal => p <= at && at - p < window,
                Some(window) => p.abs_diff(at) <= window / 2,
                None => p <= at || !self.is_causal,
            };
            let seen = |all: &[&'_ [f32]]| -> Vec<Vec<f32>> {
                (0..self.n_positions)
                    .filter(|p| sees(*p))
                    .map(|p| all[p * self.n_kv_heads + head / self.group].to_vec())
                    .collect()
            };
            let (keys, values) = (seen(&keys), seen(&values));
            let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
            let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
            let expected = oracle::attention(q, &keys, &values, self.args().scale, self.softcap);
            for (dim, (value, expected)) in out.iter().zip(expected).enumerate() {
                assert!(
                    (f64::from(*value) - expected).abs() < 3e-6,
                    "{} {self:?}: row {row} dim {dim}: {value} instead of {expected}",
                    compute.isa()
                );
            }
        }
    }
}

#[test]
fn attention_is_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(1);
    for compute in each_tier(2) {
        for n_positions in [1, 2, 15, 16, 17, 100, 127, 128, 129, 300] {
            Case {
                n_positions,
                ..CASE
            }
            .check(&compute, &mut rng);
            Case {
                n_positions,
                n_tokens: n_positions,
                ..CASE
            }
            .check(&compute, &mut rng);
            Case {
                n_positions,
                n_tokens: n_positions.min(7),
                kv_type: KvType::F32,
                ..CASE
            }
            .check(&compute, &mut rng);
        }
        for group in [1, 2, 3, 4, 5, 7, 8, 16] {
            for n_tokens in [1, 9] {
                Case {
                    group,
                    n_tokens,
                    n_positions: 150,
                    ..CASE
                }
                .check(&compute, &mut rng);
            }
        }
        for head_dim in [16, 24, 64, 80, 96, 128, 256, 512] {
            Case {
                head_dim,
                v_head_dim: head_dim,
                n_tokens: 5,
                ..CASE
            }
            .check(&compute, &mut rng);
            Case {
                head_dim,
                v_head_dim: 72,
                n_tokens: 3,
                ..CASE
            }
            .check(&compute, &mut rng);
        }
        for window in [1, 5, 16, 17, 130, 1000] {
            for n_tokens in [1, 40, 300] {
                Case {
                    window: Some(window),
                    n_positions: 300,
                    n_tokens,
                    ..CASE
                }
                .check(&compute, &mut rng);
            }
        }
        Case {
            softcap: Some(3.0),
            n_tokens: 20,
            ..CASE
        }
        .check(&compute, &mut rng);
        for window in [
            None,
            Some(1),
            Some(2),
            Some(31),
            Some(300),
            Some(usize::MAX),
        ] {
            for (n_positions, kv_type) in [(1, KvType::F32), (17, KvType::F16), (300, KvType::F32)]
            {
                Case {
                    is_causal: false,
                    window,
                    n_positions,
                    n_tokens: n_positions,
                    kv_type,
                    ..CASE
                }
                .check(&compute, &mut rng);
            }
        }
    }
}

/// A token gets the same whatever runs beside it: other tokens, and threads over its own positions.
#[test]
fn rows_do_not_depend_on_their_company() {
    let mut rng = fastrand::Rng::with_seed(2);
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        let computes = [1, 2, 3].map(|n| Compute::new(n, Some(isa)).unwrap());
        for (group, window) in [
            (1, None),
            (3, None),
            (4, Some(50)),
            (3, Some(140)),
            (9, None),
        ] {
            let case = Case {
                group,
                window,
                n_positions: 400,
                n_tokens: 400,
                ..CASE
            };
            let data = case.data(&mut rng);
            let row = case.n_kv_heads * group * case.head_dim;
            let expected = case.run(&computes[0], &case.cache(&data), &data.q);
            for compute in &computes {
                let together = case.run(compute, &case.cache(&data), &data.q);
                assert_eq!(bits(&together), bits(&expected), "{isa}");
                // Step by step, in runs of 1 to 30 tokens.
                let mut kv = case.empty(&KvPool::default());
                let mut first = 0;
                while first < case.n_positions {
                    let n = rng.usize(1..=30).min(case.n_positions - first);
                    let kv_row = case.n_kv_heads * case.head_dim;
                    kv.append(
                        n,
                        &data.k[first * kv_row..][..n * kv_row],
                        &data.v[first * kv_row..][..n * kv_row],
                    );
                    let out = case.run(compute, &kv, &data.q[first * row..][..n * row]);
                    assert_eq!(
                        bits(&out),
                        bits(&expected[first * row..][..n * row]),
                        "{isa} at {first}"
                    );
                    first += n;
                }
            }
        }
    }
}

#[test]
fn truncated_positions_are_gone() {
    let mut rng = fastrand::Rng::with_seed(3);
    for compute in each_tier(1) {
        let case = Case {
            n_positions: 30,
            n_tokens: 3,
            ..CASE
        };
        let data = case.data(&mut rng);
        let expected = case.run(&compute, &case.cache(&data), &data.q);
        let mut kv = case.cache(&data);
        let row = case.n_kv_heads * case.head_dim;
        kv.append(40, &vec![f32::NAN; 40 * row], &vec![f32::NAN; 40 * row]);
        assert_eq!(kv.len(), 70);
        kv.truncate(100);
        assert_eq!(kv.len(), 70);
        kv.truncate(30);
        assert_eq!(kv.len(), 30);
        assert_eq!(bits(&case.run(&compute, &kv, &data.q)), bits(&expected));
        kv.truncate(20);
        kv.append(10, &data.k[20 * row..], &data.v[20 * row..]);
        assert_eq!(bits(&case.run(&compute, &kv, &data.q)), bits(&expected));
        kv.truncate(0);
        assert!(kv.is_empty());
    }
}

#[test]
fn a_position_has_a_price() {
    let price = |kv_type, n_heads, head_dim| {
        let kv = KvLayer::new(&KvPool::default(), kv_type, n_heads, head_dim, head_dim);
        (kv.bytes_per_position(), kv.bytes_at(1), kv.bytes_at(129))
    };
    for (layer, bytes) in [
        (price(KvType::F16, 3, 64), 3 * 128 * 2),
        (price(KvType::F32, 3, 64), 3 * 128 * 4),
        (price(KvType::F16, 1, 24), (24 + 32) * 2),
    ] {
        assert_eq!(layer, (bytes, 128 * bytes, 256 * bytes));
    }
}

/// Sequences of different lengths in one call get what each gets alone.
#[test]
fn sequences_do_not_depend_on_their_company() {
    let mut rng = fastrand::Rng::with_seed(4);
    for n_threads in [1, 3] {
        for compute in each_tier(n_threads) {
            for (window, lengths) in [
                (None, &[(1, 1), (700, 1), (130, 1), (16, 1)][..]),
                (None, &[(300, 1), (300, 40), (0, 0), (129, 129), (5, 2)]),
                (Some(60), &[(300, 1), (64, 64), (200, 3)]),
            ] {
                let cases: Vec<Case> = lengths
                    .iter()
                    .map(|&(n_positions, n_tokens)| Case {
                        n_positions,
                        n_tokens,
                        window,
                        ..CASE
                    })
                    .collect();
                let data: Vec<Data> = cases.iter().map(|case| case.data(&mut rng)).collect();
                let caches: Vec<KvLayer> = cases
                    .iter()
                    .zip(&data)
                    .map(|(case, data)| case.cache(data))
                    .collect();
                let runs: Vec<AttentionRun<'_>> = cases
                    .iter()
                    .zip(&caches)
                    .map(|(case, kv)| AttentionRun {
                        kv,
                        n_tokens: case.n_tokens,
                    })
                    .collect();
                let q: Vec<f32> = data.iter().flat_map(|data| data.q.clone()).collect();
                let mut out = vec![f32::NAN; q.len()];
                compute.attention(
                    &mut AttentionScratch::default(),
                    &cases[0].args(),
                    &runs,
                    &q,
                    &mut out,
                );
                let alone: Vec<f32> = cases
                    .iter()
                    .zip(&caches)
                    .zip(&data)
                    .flat_map(|((case, kv), data)| case.run(&compute, kv, &data.q))
                    .collect();
                assert_eq!(bits(&out), bits(&alone), "{} {lengths:?}", compute.isa());
            }
        }
    }
}

/// A clone goes its own way from any position on, and neither sees what the other writes.
#[test]
fn clones_share_pages_until_they_part() {
    let mut rng = fastrand::Rng::with_seed(5);
    let compute = Compute::new(1, None).unwrap();
    for kv_type in [KvType::F16, KvType::F32] {
        let case = Case {
            n_positions: 300,
            n_tokens: 3,
            kv_type,
            ..CASE
        };
        let (data, other) = (case.data(&mut rng), case.data(&mut rng));
        let expected = case.run(&compute, &case.cache(&data), &data.q);
        let row = case.n_kv_heads * case.head_dim;
        let pool = KvPool::default();
        let mut kv = case.empty(&pool);
        kv.append(300, &data.k, &data.v);
        let page = kv.bytes_at(1);
        assert_eq!(pool.bytes_in_use(), 3 * page);
        for at in [300, 290, 256, 200, 128, 1, 0] {
            let mut clone = kv.clone();
            clone.truncate(at);
            assert_eq!(pool.bytes_in_use(), 3 * page, "a clone at {at} shares all");
            clone.append(300 - at, &other.k[at * row..], &other.v[at * row..]);
            let (mut k, mut v) = (data.k[..at * row].to_vec(), data.v[..at * row].to_vec());
            k.extend(&other.k[at * row..]);
            v.extend(&other.v[at * row..]);
            let mut parted = case.empty(&KvPool::default());
            parted.append(300, &k, &v);
            let in_clone = case.run(&compute, &clone, &data.q);
            assert_eq!(
                bits(&in_clone),
                bits(&case.run(&compute, &parted, &data.q)),
                "at {at}"
            );
            assert_eq!(
                bits(&case.run(&compute, &kv, &data.q)),
                bits(&expected),
                "at {at}"
            );
            let n_shared = if at == 300 { 3 } else { at / 128 };
            assert_eq!(
                pool.bytes_in_use(),
                (6 - n_shared) * page,
                "a clone at {at}"
            );
        }
        drop(kv);
        assert_eq!(pool.bytes_in_use(), 0);
        assert!(pool.bytes_free() >= 3 * page);
        pool.trim();
        assert_eq!(pool.bytes_free(), 0);
    }
}

/// Pages go round: a cache that grows and shrinks takes no more memory from the system.
#[test]
fn pages_are_used_again() {
    let pool = KvPool::default();
    let mut kv = CASE.empty(&pool);
    let row = CASE.n_kv_heads * CASE.head_dim;
    let values = vec![0.5; 200 * row];
    let page = kv.bytes_at(1);
    for _ in 0..5 {
        kv.append(200, &values, &values);
        assert_eq!((pool.bytes_in_use(), pool.bytes_free()), (2 * page, 0));
        kv.truncate(100);
        assert_eq!((pool.bytes_in_use(), pool.bytes_free()), (page, page));
        kv.truncate(0);
    }
    assert_eq!((pool.bytes_in_use(), pool.bytes_free()), (0, 2 * page));
}

#[test]
fn positions_let_go_change_nothing_that_is_seen() {
    let mut rng = fastrand::Rng::with_seed(9);
    for n_threads in [1, 3] {
        for compute in each_tier(n_threads) {
            for kv_type in [KvType::F16, KvType::F32] {
                let case = Case {
                    n_positions: 700,
                    n_tokens: 40,
                    window: Some(100),
                    kv_type,
                    ..CASE
                };
                let data = case.data(&mut rng);
                let whole = case.run(&compute, &case.cache(&data), &data.q);
                let (k_row, v_row) = (2 * case.head_dim, 2 * case.v_head_dim);
                let mut kv = case.empty(&KvPool::default());
                for first in (0..700).step_by(35) {
                    kv.let_go((first + 1usize).saturating_sub(100));
                    kv.append(
                        35,
                        &data.k[first * k_row..][..35 * k_row],
                        &data.v[first * v_row..][..35 * v_row],
                    );
                }
                assert_eq!((kv.len(), kv.first()), (700, 512));
                // the last 40 queries see from 561 on
                assert_eq!(bits(&case.run(&compute, &kv, &data.q)), bits(&whole));
                kv.truncate(612);
                kv.append(88, &data.k[612 * k_row..], &data.v[612 * v_row..]);
                assert_eq!(bits(&case.run(&compute, &kv, &data.q)), bits(&whole));
                kv.truncate(0);
                assert_eq!((kv.len(), kv.first()), (0, 0));
                kv.append(700, &data.k, &data.v);
                assert_eq!(bits(&case.run(&compute, &kv, &data.q)), bits(&whole));
            }
        }
    }
}

#[test]
#[should_panic(expected = "holds all positions that are seen")]
fn a_query_that_sees_what_was_let_go_is_refused() {
    let compute = Compute::new(1, None).unwrap();
    let case = Case {
        n_positions: 300,
        window: Some(200),
        ..CASE
    };
    let data = case.data(&mut fastrand::Rng::with_seed(1));
    let mut kv = case.cache(&data);
    kv.let_go(256);
    case.run(&compute, &kv, &data.q);
}
