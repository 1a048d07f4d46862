//! Attention and its cache.

use super::{bits, each_tier, random_values};
use crate::{
    AttentionArgs, AttentionRun, AttentionScratch, Compute, Isa, KvAppend, KvLayer, KvPool, KvType,
    format::{QuantType, dequantize, quantize},
    oracle,
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
        let halves = |x: &[f32]| -> Vec<f32> {
            x.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect()
        };
        let coded = |x: &[f32], head_dim: usize, quant_type| -> Vec<f32> {
            let heads = x.chunks_exact(head_dim);
            heads.flat_map(|x| coded(x, quant_type)).collect()
        };
        let blocks = |quant_type| {
            (
                queries_of_codes(&data.q, self.head_dim),
                coded(&data.k, self.head_dim, quant_type),
                coded(&data.v, self.v_head_dim, quant_type),
            )
        };
        let (q, k, v) = match self.kv_type {
            KvType::F16 => (halves(&data.q), halves(&data.k), halves(&data.v)),
            KvType::F32 => (data.q.clone(), data.k.clone(), data.v.clone()),
            KvType::Q8_0 => blocks(QuantType::Q8_0),
            KvType::Q4_0 => blocks(QuantType::Q4_0),
        };
        // with codes, the weights of a page's positions are rounded to a 32,258th of the largest: by chance, as many as the
        // root of their number add up, times values of up to 2 and their offset
        let tolerance = match self.kv_type {
            KvType::F16 | KvType::F32 => 3e-6,
            KvType::Q8_0 | KvType::Q4_0 => 128f64.sqrt() * 4.0 / 32_258.0 / 3.0,
        };
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
                let error = (f64::from(*value) - expected).abs();
                assert!(
                    error < tolerance,
                    "{} {self:?}: row {row} dim {dim}: {value} instead of {expected}",
                    compute.isa()
                );
            }
        }
    }
}

/// What weights of this format are of the values of a head, zeroes behind them.
fn coded(head: &[f32], quant_type: QuantType) -> Vec<f32> {
    let mut values = head.to_vec();
    values.resize(head.len().next_multiple_of(32), 0.0);
    let mut bytes = vec![0; quant_type.row_bytes(values.len()).unwrap()];
    quantize(quant_type, &values, &mut bytes);
    dequantize(quant_type, &bytes, &mut values);
    values.truncate(head.len());
    values
}

/// What queries become where keys are codes: codes of 8 bits, with a scale for each 32 dimensions of a head.
fn queries_of_codes(q: &[f32], head_dim: usize) -> Vec<f32> {
    let blocks = q.chunks_exact(head_dim).flat_map(|head| head.chunks(32));
    let rounded = blocks.flat_map(|values| {
        let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let code = move |x: &f32| (x * (127.0 / largest)).round_ties_even();
        values.iter().map(move |x| code(x) * (largest / 127.0))
    });
    rounded.collect()
}

const CODED: [KvType; 2] = [KvType::Q8_0, KvType::Q4_0];

#[test]
fn attention_over_codes_is_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(11);
    for compute in each_tier(2) {
        for kv_type in CODED {
            for n_positions in [1, 2, 15, 16, 17, 127, 128, 129, 300] {
                for n_tokens in [1, n_positions.min(7)] {
                    Case {
                        n_positions,
                        n_tokens,
                        kv_type,
                        ..CASE
                    }
                    .check(&compute, &mut rng);
                }
            }
            for group in [1, 2, 3, 4, 5, 7, 8, 16] {
                for n_tokens in [1, 9] {
                    Case {
                        group,
                        n_tokens,
                        n_positions: 150,
                        kv_type,
                        ..CASE
                    }
                    .check(&compute, &mut rng);
                }
            }
            for (head_dim, v_head_dim) in [
                (16, 16),
                (24, 72),
                (80, 80),
                (128, 128),
                (192, 128),
                (256, 256),
                (1000, 48),
            ] {
                for group in [1, 2, 3] {
                    Case {
                        head_dim,
                        v_head_dim,
                        group,
                        n_tokens: 5,
                        kv_type,
                        ..CASE
                    }
                    .check(&compute, &mut rng);
                }
            }
            for window in [5, 16, 130] {
                Case {
                    window: Some(window),
                    n_positions: 300,
                    n_tokens: 40,
                    kv_type,
                    ..CASE
                }
                .check(&compute, &mut rng);
            }
        }
    }
}

/// Codes cost what their distance explains: a part of a value's size, of which the sum over many positions has less.
#[test]
fn codes_stay_near_what_they_stand_for() {
    let compute = Compute::new(1, None).unwrap();
    let case = |kv_type| Case {
        n_positions: 300,
        n_tokens: 20,
        kv_type,
        ..CASE
    };
    let data = case(KvType::F32).data(&mut fastrand::Rng::with_seed(12));
    let error = |kv_type| {
        let (case, exact) = (case(kv_type), case(KvType::F32));
        let out = case.run(&compute, &case.cache(&data), &data.q);
        let exact = exact.run(&compute, &exact.cache(&data), &data.q);
        let errors = out.iter().zip(exact).map(|(a, b)| (a - b).abs());
        errors.fold(0.0f32, f32::max)
    };
    let (f16, q8_0, q4_0) = (error(KvType::F16), error(KvType::Q8_0), error(KvType::Q4_0));
    assert!(f16 < 1e-3 && (1e-4..8e-3).contains(&q8_0), "{f16} {q8_0}");
    assert!((10.0 * q8_0..0.15).contains(&q4_0), "{q8_0} {q4_0}");
}

/// A block with a number that is none does not look like one without.
#[test]
fn codes_of_what_is_no_number_are_none_either() {
    for (kv_type, wrong) in [
        (KvType::Q8_0, f32::NAN),
        (KvType::Q4_0, f32::INFINITY),
        (KvType::Q4_0, f32::NAN),
    ] {
        let compute = Compute::new(1, None).unwrap();
        let case = Case { kv_type, ..CASE };
        let mut data = case.data(&mut fastrand::Rng::with_seed(13));
        data.v[33] = wrong;
        let out = case.run(&compute, &case.cache(&data), &data.q);
        assert!(out[32..64].iter().all(|x| x.is_nan()), "{kv_type:?}");
        assert!(out[..32].iter().all(|x| x.is_finite()), "{kv_type:?}");
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
        for (group, window, kv_type) in [
            (1, None, KvType::F16),
            (3, None, KvType::F16),
            (4, Some(50), KvType::F16),
            (3, Some(140), KvType::F16),
            (9, None, KvType::F16),
            (1, None, KvType::Q8_0),
            (2, Some(140), KvType::Q4_0),
            (3, None, KvType::Q4_0),
            (9, None, KvType::Q8_0),
        ] {
            let case = Case {
                group,
                window,
                kv_type,
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
fn what_all_threads_append_is_what_one_does() {
    let mut rng = fastrand::Rng::with_seed(11);
    let compute = Compute::new(4, None).unwrap();
    for kv_type in KvType::ALL {
        let case = Case { kv_type, ..CASE };
        let row = case.n_kv_heads * case.head_dim;
        let pool = KvPool::default();
        let values = random_values(&mut rng, 300 * row);
        // what is there before, and what comes: within a tile, over tiles, over pages, and nothing
        let lens = [(0, 1), (5, 3), (17, 130), (127, 2), (128, 256), (90, 0)];
        let mut alone: Vec<KvLayer> = Vec::new();
        for (before, _) in lens {
            let mut kv = case.empty(&pool);
            kv.append(before, &values[..before * row], &values[..before * row]);
            alone.push(kv);
        }
        // clones share the pages that they begin in
        let mut together = alone.clone();
        let part = |n: usize| &values[..n * row];
        for (kv, (_, n)) in alone.iter_mut().zip(lens) {
            kv.append(n, part(n), part(n));
        }
        let appends = together.iter_mut().zip(lens).map(|(kv, (_, n))| KvAppend {
            kv,
            n_tokens: n,
            k: part(n),
            v: part(n),
        });
        compute.append(appends.collect());
        for ((a, b), (before, n)) in alone.iter().zip(&together).zip(lens) {
            assert_eq!((a.len(), b.len()), (before + n, before + n));
            let case = Case {
                n_positions: before + n,
                n_tokens: 1,
                ..case
            };
            let q = random_values(&mut rng, case.n_kv_heads * case.group * case.head_dim);
            let [a, b] = [a, b].map(|kv| bits(&case.run(&compute, kv, &q)));
            assert_eq!(a, b, "{kv_type:?}: {n} behind {before}");
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
        (price(KvType::Q8_0, 3, 64), 3 * 4 * 34),
        (price(KvType::Q4_0, 3, 64), 3 * 4 * 18),
        (price(KvType::Q4_0, 1, 24), 2 * 18),
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
    for kv_type in KvType::ALL {
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

/// Who has many pages gets them from slabs, and what is free there can go although others of the slab are used.
#[test]
fn memory_of_free_pages_goes_back() {
    let pool = KvPool::default();
    let mut rng = fastrand::Rng::with_seed(14);
    let case = Case {
        n_kv_heads: 4,
        head_dim: 256,
        v_head_dim: 256,
        ..CASE
    };
    let row = case.n_kv_heads * case.head_dim;
    let k = random_values(&mut rng, 128 * row);
    let v = random_values(&mut rng, 128 * row);
    let (mut stays, mut goes) = (case.empty(&pool), case.empty(&pool));
    let page = stays.page_size();
    assert_eq!(page, 512 << 10);
    for _ in 0..10 {
        stays.append(128, &k, &v);
        goes.append(128, &k, &v);
    }
    assert_eq!(pool.bytes_in_use(), 20 * page);
    assert!(pool.bytes_free() < 4 * page, "a slab is not left over");
    let first = stays.page_bytes(0).unwrap().to_vec();
    drop(goes);
    assert!(pool.bytes_free() >= 10 * page);
    pool.trim();
    assert_eq!((pool.bytes_in_use(), pool.bytes_free()), (10 * page, 0));
    // their places are used again: the system has cleared them meanwhile
    let mut new = case.empty(&pool);
    for _ in 0..20 {
        let filled = new.push_page(|bytes| {
            let middle = bytes[page / 2..].iter().take(4096);
            assert!(middle.copied().all(|byte| byte == 0));
            bytes.copy_from_slice(&first);
            Ok::<_, ()>(())
        });
        assert!(filled.is_ok());
    }
    assert_eq!(pool.bytes_in_use(), 30 * page);
    for at in 0..20 {
        assert!(new.page_bytes(at) == Some(&first[..]), "page {at}");
    }
    for at in 0..10 {
        assert!(stays.page_bytes(at) == Some(&first[..]), "page {at}");
    }
    drop((stays, new));
    assert!(pool.bytes_free() >= 30 * page);
    pool.trim();
    assert_eq!((pool.bytes_in_use(), pool.bytes_free()), (0, 0));
}

#[test]
fn positions_let_go_change_nothing_that_is_seen() {
    let mut rng = fastrand::Rng::with_seed(9);
    for n_threads in [1, 3] {
        for compute in each_tier(n_threads) {
            for kv_type in KvType::ALL {
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

/// Pages that are carried over to another layer mean there what they meant here.
#[test]
fn pages_can_be_carried_over() {
    let compute = Compute::new(1, None).unwrap();
    for kv_type in KvType::ALL {
        let case = Case {
            n_positions: 300,
            n_tokens: 3,
            window: Some(100),
            kv_type,
            ..CASE
        };
        let data = case.data(&mut fastrand::Rng::with_seed(14));
        let kv = case.cache(&data);
        assert!(kv.page_bytes(2).is_none(), "this one is not full");
        let mut copy = case.empty(&KvPool::default());
        assert_eq!(copy.shape(), kv.shape());
        copy.skip_pages(1);
        let page = kv.page_bytes(1).unwrap();
        assert_eq!(page.len(), copy.page_size());
        let failed = copy.push_page(|_| Err("no bytes"));
        assert_eq!((failed, copy.len()), (Err("no bytes"), 128));
        let filled = copy.push_page(|bytes| -> Result<(), ()> {
            bytes.copy_from_slice(page);
            Ok(())
        });
        assert_eq!((filled, copy.len(), copy.first()), (Ok(()), 256, 128));
        assert!(copy.page_bytes(0).is_none(), "it was let go");
        assert_eq!(copy.page_bytes(1), Some(page));
        let (k_row, v_row) = (2 * case.head_dim, 2 * case.v_head_dim);
        copy.append(44, &data.k[256 * k_row..], &data.v[256 * v_row..]);
        let (here, there) = (
            case.run(&compute, &kv, &data.q),
            case.run(&compute, &copy, &data.q),
        );
        assert_eq!(bits(&here), bits(&there));
    }
}
