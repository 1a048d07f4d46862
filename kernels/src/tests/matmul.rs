//! Packing and matrix products.

use std::borrow::Cow;

use super::{bits, each_tier, random_values};
use crate::format::{QuantType, dequantize, quantize};
use crate::{Activations, Compute, Isa, Matrix, PackError, oracle};

/// Where a block's half floats are.
fn half_fields(quant_type: QuantType) -> &'static [usize] {
    match quant_type {
        QuantType::F32 | QuantType::Bf16 => &[],
        QuantType::F16 | QuantType::Q4_0 | QuantType::Q5_0 | QuantType::Q8_0 => &[0],
        QuantType::Q4_1 | QuantType::Q5_1 | QuantType::Q4K | QuantType::Q5K => &[0, 2],
        QuantType::Q2K => &[80, 82],
        QuantType::Q3K => &[108],
        QuantType::Q6K => &[208],
        QuantType::Iq4Nl | QuantType::Iq4Xs => &[0],
        QuantType::Tq1_0 => &[52],
        QuantType::Tq2_0 => &[64],
        QuantType::I2S | QuantType::Mxfp4 => &[],
    }
}

/// Makes all scales of a tensor what `scale` gives, which for `MXFP4` is rounded down to a power of two.
fn set_scales(quant_type: QuantType, bytes: &mut [u8], mut scale: impl FnMut() -> f32) {
    let n_blocks_bytes = bytes.len() - quant_type.tail_bytes();
    let (blocks, tail) = bytes.split_at_mut(n_blocks_bytes);
    for block in blocks.chunks_exact_mut(quant_type.block_bytes()) {
        for &at in half_fields(quant_type) {
            block[at..at + 2].copy_from_slice(&half::f16::from_f32(scale()).to_le_bytes());
        }
        if quant_type == QuantType::Mxfp4 {
            block[0] = (scale().abs().max(1e-9).log2() as i32 + 128) as u8;
        }
    }
    if quant_type == QuantType::I2S {
        tail[..4].copy_from_slice(&scale().to_le_bytes());
    }
}

/// Row `row` of a tensor as a tensor of its own.
fn row_of(quant_type: QuantType, bytes: &[u8], row: usize, n_cols: usize) -> Cow<'_, [u8]> {
    let part = quant_type.part(bytes, row * n_cols..(row + 1) * n_cols);
    part.expect("the tensor has the row")
}

/// Blocks of random bits whose scales are sane numbers.
fn random_blocks(rng: &mut fastrand::Rng, quant_type: QuantType, n_values: usize) -> Vec<u8> {
    let n_bytes = quant_type.tensor_bytes(1, n_values).expect("whole blocks");
    let mut bytes: Vec<u8> = (0..n_bytes).map(|_| rng.u8(..)).collect();
    if matches!(quant_type, QuantType::F32 | QuantType::Bf16) {
        quantize(quant_type, &random_values(rng, n_values), &mut bytes);
    }
    set_scales(quant_type, &mut bytes, || (rng.f32() - 0.3) * 0.1);
    bytes
}

/// Blocks of values that alternate between two: codes are as large as they get.
fn extreme_blocks(quant_type: QuantType, n_values: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..n_values)
        .map(|i| if i % 3 == 0 { -1.0 } else { 1.0 })
        .collect();
    let mut bytes = vec![0; quant_type.tensor_bytes(1, n_values).expect("whole blocks")];
    quantize(quant_type, &values, &mut bytes);
    bytes
}

fn product(compute: &Compute, matrix: &Matrix, x: &[f32], n_tokens: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; n_tokens * matrix.n_rows()];
    compute.matmul(
        &mut Activations::default(),
        x,
        n_tokens,
        &mut [(matrix, &mut out)],
    );
    out
}

#[track_caller]
fn check(
    compute: &Compute,
    quant_type: QuantType,
    n_rows: usize,
    bytes: &[u8],
    x: &[f32],
    n_tokens: usize,
) {
    let n_cols = x.len() / n_tokens;
    let matrix = Matrix::pack(compute, quant_type, n_rows, n_cols, bytes).unwrap();
    let out = product(compute, &matrix, x, n_tokens);
    for (token, x) in x.chunks_exact(n_cols).enumerate() {
        for row in 0..n_rows {
            let truth = oracle::dot(quant_type, &row_of(quant_type, bytes, row, n_cols), x);
            let value = out[token * n_rows + row];
            assert!(
                truth.admits(value),
                "{} {} {n_rows}x{n_cols}, token {token} of {n_tokens}, row {row}: {value} instead of {truth:?}",
                compute.isa(),
                quant_type.name(),
            );
        }
    }
}

fn shapes(quant_type: QuantType) -> Vec<(usize, usize)> {
    let mut shapes = Vec::new();
    for n_cols in [32, 64, 128, 256, 384, 576, 768, 1536] {
        for n_rows in [1, 15, 16, 17, 192, 576] {
            let is_small = n_rows * n_cols <= 64 * 1536;
            if quant_type.row_bytes(n_cols).is_some() && is_small {
                shapes.push((n_rows, n_cols));
            }
        }
    }
    shapes
}

#[test]
fn products_are_the_oracles() {
    let mut rng = fastrand::Rng::with_seed(1);
    for compute in each_tier(2) {
        for &quant_type in QuantType::ALL {
            for (n_rows, n_cols) in shapes(quant_type) {
                let n_tokens = rng.usize(1..=4);
                let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
                let x = random_values(&mut rng, n_tokens * n_cols);
                check(&compute, quant_type, n_rows, &bytes, &x, n_tokens);
            }
            for n_tokens in [1, 2, 3, 5, 7, 8, 11, 12, 13, 25, 33] {
                let (n_rows, n_cols) = (17, 1024);
                let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
                let x = random_values(&mut rng, n_tokens * n_cols);
                check(&compute, quant_type, n_rows, &bytes, &x, n_tokens);
            }
        }
    }
}

#[test]
fn products_of_extremes_are_the_oracles() {
    let n_cols = 1536;
    let activations: [fn(usize) -> f32; 4] = [
        |_| 127.0,
        |_| -127.0,
        |i| if i % 2 == 0 { 127.0 } else { -127.0 },
        |i| if i % 32 < 31 { 0.0 } else { 1e4 },
    ];
    for compute in each_tier(1) {
        for &quant_type in QuantType::ALL {
            let n_bytes = quant_type.tensor_bytes(16, n_cols).unwrap();
            for activation in activations {
                for n_tokens in [1, 4] {
                    let x: Vec<f32> = (0..n_tokens * n_cols).map(activation).collect();
                    check(
                        &compute,
                        quant_type,
                        16,
                        &extreme_blocks(quant_type, 16 * n_cols),
                        &x,
                        n_tokens,
                    );
                    let zeroes = vec![0.0; n_tokens * n_cols];
                    check(
                        &compute,
                        quant_type,
                        16,
                        &extreme_blocks(quant_type, 16 * n_cols),
                        &zeroes,
                        n_tokens,
                    );
                    if quant_type != QuantType::F32
                        && quant_type != QuantType::F16
                        && quant_type != QuantType::Bf16
                    {
                        // All bits of all codes, and scales of 1.
                        let mut bytes = vec![0xff; n_bytes];
                        set_scales(quant_type, &mut bytes, || 1.0);
                        check(&compute, quant_type, 16, &bytes, &x, n_tokens);
                    }
                }
            }
        }
    }
}

/// With scales of one, a product of one block is an integer, which floats hold exactly.
#[test]
fn sums_of_codes_are_exact() {
    let mut rng = fastrand::Rng::with_seed(2);
    for compute in each_tier(1) {
        for quant_type in [
            QuantType::Q4_0,
            QuantType::Q5_0,
            QuantType::Q8_0,
            QuantType::Iq4Nl,
        ] {
            let row_bytes = quant_type.block_bytes();
            let mut bytes = random_blocks(&mut rng, quant_type, 16 * 32);
            for (row, block) in bytes.chunks_exact_mut(row_bytes).enumerate() {
                block[..2].copy_from_slice(&half::f16::ONE.to_le_bytes());
                match row {
                    0 => block[2..].fill(0xff),
                    1 => block[2..].fill(0),
                    2 => block[2..].fill(0x80),
                    3 => block[2..].fill(0x7f),
                    _ => {}
                }
            }
            let matrix = Matrix::pack(&compute, quant_type, 16, 32, &bytes).unwrap();
            for pattern in 0..8 {
                let mut x: Vec<f32> = (0..32).map(|_| rng.i32(-127..=127) as f32).collect();
                match pattern {
                    0 => x.fill(127.0),
                    1 => x.fill(-127.0),
                    2 => x
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, x)| *x = [127.0, -127.0][i % 2]),
                    _ => x[5] = 127.0,
                }
                let x = [&x[..], &x[..], &x[..]].concat();
                for n_tokens in [1, 3] {
                    let out = product(&compute, &matrix, &x[..32 * n_tokens], n_tokens);
                    for (row, block) in bytes.chunks_exact(row_bytes).enumerate() {
                        let mut weights = [0.0; 32];
                        dequantize(quant_type, block, &mut weights);
                        let sum: i32 = weights
                            .iter()
                            .zip(&x)
                            .map(|(w, x)| *w as i32 * *x as i32)
                            .sum();
                        assert_eq!(
                            out[row],
                            sum as f32,
                            "{} {}",
                            compute.isa(),
                            quant_type.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn columns_do_not_depend_on_their_company() {
    let mut rng = fastrand::Rng::with_seed(3);
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        let computes = [1, 2, 3].map(|n| Compute::new(n, Some(isa)).unwrap());
        for &quant_type in QuantType::ALL {
            for (n_rows, n_cols) in [(33, 1024), (192, 768), (17, 256)] {
                let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
                let matrix =
                    Matrix::pack(&computes[1], quant_type, n_rows, n_cols, &bytes).unwrap();
                let x = random_values(&mut rng, 33 * n_cols);
                let alone: Vec<f32> = x
                    .chunks_exact(n_cols)
                    .flat_map(|x| product(&computes[0], &matrix, x, 1))
                    .collect();
                for compute in &computes {
                    for n_tokens in [1, 2, 3, 4, 7, 12, 19, 31, 33] {
                        let together = product(compute, &matrix, &x[..n_tokens * n_cols], n_tokens);
                        assert_eq!(
                            bits(&together),
                            bits(&alone[..n_tokens * n_rows]),
                            "{isa} {} {n_tokens} tokens",
                            quant_type.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn several_matrices_share_one_region() {
    let mut rng = fastrand::Rng::with_seed(4);
    for compute in each_tier(2) {
        for n_tokens in [1, 5] {
            let n_cols = 512;
            let x = random_values(&mut rng, n_tokens * n_cols);
            let shapes = [
                (QuantType::Q4K, 40),
                (QuantType::Q6K, 16),
                (QuantType::Q8_0, 1),
                (QuantType::F16, 33),
            ];
            let matrices = shapes.map(|(quant_type, n_rows)| {
                let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
                Matrix::pack(&compute, quant_type, n_rows, n_cols, &bytes).unwrap()
            });
            let mut outs = shapes.map(|(_, n_rows)| vec![f32::NAN; n_tokens * n_rows]);
            let mut outputs: Vec<_> = matrices
                .iter()
                .zip(&mut outs)
                .map(|(matrix, out)| (matrix, &mut out[..]))
                .collect();
            compute.matmul(&mut Activations::default(), &x, n_tokens, &mut outputs);
            for (matrix, out) in matrices.iter().zip(&outs) {
                assert_eq!(bits(out), bits(&product(&compute, matrix, &x, n_tokens)));
            }
        }
    }
}

#[test]
fn runs_of_tokens_have_matrices_of_their_own() {
    let mut rng = fastrand::Rng::with_seed(9);
    for compute in each_tier(2) {
        let n_cols = 256;
        let runs = [3, 0, 1, 14, 0, 2];
        let n_tokens: usize = runs.iter().sum();
        let x = random_values(&mut rng, n_tokens * n_cols);
        let outputs = [(QuantType::Q4K, 40), (QuantType::F16, 17)];
        let matrices = outputs.map(|(quant_type, n_rows)| {
            let pack = |_| {
                let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
                Matrix::pack(&compute, quant_type, n_rows, n_cols, &bytes).unwrap()
            };
            runs.map(pack)
        });
        let [first, second] = matrices.each_ref().map(|all| all.each_ref());
        let mut outs = outputs.map(|(_, n_rows)| vec![f32::NAN; n_tokens * n_rows]);
        let [out, other] = &mut outs;
        compute.matmul_by_runs(
            &mut Activations::default(),
            &x,
            &runs,
            &mut [(&first[..], &mut out[..]), (&second[..], &mut other[..])],
        );
        for (matrices, out) in [first, second].iter().zip(&outs) {
            let (mut x, mut out) = (&x[..], &out[..]);
            for (matrix, n) in matrices.iter().zip(runs) {
                let expected = product(&compute, matrix, &x[..n * n_cols], n);
                assert_eq!(bits(&out[..n * matrix.n_rows()]), bits(&expected));
                (x, out) = (&x[n * n_cols..], &out[n * matrix.n_rows()..]);
            }
        }
    }
}

#[test]
fn packed_rows_expand_as_their_source() {
    let mut rng = fastrand::Rng::with_seed(5);
    let compute = Compute::new(2, None).unwrap();
    for &quant_type in QuantType::ALL {
        for (n_rows, n_cols) in shapes(quant_type) {
            let bytes = random_blocks(&mut rng, quant_type, n_rows * n_cols);
            let matrix = Matrix::pack(&compute, quant_type, n_rows, n_cols, &bytes).unwrap();
            assert_eq!((matrix.n_rows(), matrix.n_cols()), (n_rows, n_cols));
            let (mut expected, mut row_values) = (vec![0.0; n_cols], vec![0.0; n_cols]);
            for row in 0..n_rows {
                let source = row_of(quant_type, &bytes, row, n_cols);
                dequantize(quant_type, &source, &mut expected);
                matrix.dequantize_row(row, &mut row_values);
                assert_eq!(
                    bits(&row_values),
                    bits(&expected),
                    "{} row {row}",
                    quant_type.name()
                );
            }
        }
    }
}

/// Every exponent: those of subnormal scales, and those whose products are as large as a float gets.
#[test]
fn all_exponents_of_mxfp4_are_computed() {
    for compute in each_tier(1) {
        let mut bytes = vec![0; 256 * 17];
        for (e, block) in (0..=255).zip(bytes.chunks_exact_mut(17)) {
            block.fill(0x11);
            block[0] = e;
        }
        let x: Vec<f32> = (0..32).map(|i| if i == 3 { 1.0 } else { 0.0 }).collect();
        let matrix = Matrix::pack(&compute, QuantType::Mxfp4, 256, 32, &bytes).unwrap();
        let out = product(&compute, &matrix, &x, 1);
        for (row, value) in out.into_iter().enumerate() {
            let mut weights = [0.0; 32];
            matrix.dequantize_row(row, &mut weights);
            // The code is 127, and what one means a half float.
            let d = half::f16::from_f32(1.0 / 127.0).to_f64();
            let expected = f64::from(weights[3]) * 127.0 * d;
            let error = (f64::from(value) - expected).abs();
            let least = f64::from(f32::from_bits(1 << 10));
            assert!(
                error <= expected.abs() * 1e-5 + least,
                "exponent {row}: {value} {expected}"
            );
        }
    }
}

/// Packed weights are about as large as the file's: a token reads all of them.
#[test]
fn packing_hardly_adds_bytes() {
    for &quant_type in QuantType::ALL {
        let packed = Matrix::packed_bytes(quant_type, 4096, 4096).unwrap();
        let ratio = packed as f64 / quant_type.tensor_bytes(4096, 4096).unwrap() as f64;
        // Five values to a byte would be slow to read.
        let limit = if quant_type == QuantType::Tq1_0 {
            1.23
        } else {
            1.05
        };
        assert!(ratio <= limit, "{}: {ratio:.3}", quant_type.name());
    }
}

#[test]
fn tensors_of_one_scale_are_refused_without_it() {
    let compute = Compute::new(1, None).unwrap();
    let pack = |n_rows, n_cols, n_bytes| {
        Matrix::pack(&compute, QuantType::I2S, n_rows, n_cols, &vec![0; n_bytes]).map(|_| ())
    };
    assert_eq!(pack(2, 128, 96), Ok(()));
    for n_bytes in [0, 31, 32, 64, 95, 97] {
        let length = matches!(
            pack(2, 128, n_bytes),
            Err(PackError::Length { expected: 96, .. })
        );
        assert!(length, "{n_bytes} bytes");
    }
    assert!(matches!(pack(2, 64, 64), Err(PackError::Shape { .. })));
    assert!(matches!(pack(0, 128, 32), Err(PackError::Shape { .. })));
    let no_columns = Matrix::packed_bytes(QuantType::Tq1_0, 1, usize::MAX & !255);
    assert_eq!(no_columns, None);
}

#[test]
fn wrong_bytes_are_refused() {
    let compute = Compute::new(1, None).unwrap();
    let pack = |n_rows, n_cols, n_bytes| {
        Matrix::pack(&compute, QuantType::Q4_0, n_rows, n_cols, &vec![0; n_bytes]).map(|_| ())
    };
    assert!(matches!(
        pack(2, 33, 36),
        Err(PackError::Shape { n_cols: 33, .. })
    ));
    assert!(matches!(pack(0, 32, 0), Err(PackError::Shape { .. })));
    assert!(matches!(pack(2, 0, 0), Err(PackError::Shape { .. })));
    assert!(matches!(
        pack(2, 32, 35),
        Err(PackError::Length {
            expected: 36,
            actual: 35,
            ..
        })
    ));
    assert!(matches!(
        pack(usize::MAX, 32, 18),
        Err(PackError::Length { .. })
    ));
    assert!(matches!(
        pack(usize::MAX, usize::MAX & !31, 18),
        Err(PackError::Length { .. })
    ));
    assert_eq!(
        pack(2, 32, 35).unwrap_err().to_string(),
        "a Q4_0 matrix of 2 x 32 has 36 bytes, not 35"
    );
}

#[test]
#[should_panic(expected = "the activations' length")]
fn a_wrong_length_panics() {
    let compute = Compute::new(1, None).unwrap();
    let matrix = Matrix::pack(&compute, QuantType::Q4_0, 1, 32, &[0; 18]).unwrap();
    product(&compute, &matrix, &[0.0; 31], 1);
}
