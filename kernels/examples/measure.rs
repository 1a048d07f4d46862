//! Speed of the kernels on shapes of small models: `cargo run --release -p slm-kernels --example measure [tier] [threads]
//! [format]`.
//!
//! Decode streams several copies of the weights, more than caches hold, and is printed in GB/s of packed weights;
//! prefill is printed in billions of multiply-adds a second. The best of several runs counts: other work on the
//! machine only ever slows a run down.

use std::time::Instant;

use slm_kernels::format::QuantType;
use slm_kernels::{
    Activations, AttentionArgs, AttentionRun, AttentionScratch, Compute, KvLayer, KvPool, KvType,
    Matrix, available_threads,
};

/// Seconds of the fastest of some runs.
fn best(n_runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..n_runs).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

fn weights(quant_type: QuantType, n_rows: usize, n_cols: usize) -> Vec<u8> {
    let size = quant_type.tensor_bytes(n_rows, n_cols);
    let size = size.expect("whole blocks");
    (0..size as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 26) as u8)
        .collect()
}

#[expect(clippy::print_stdout, reason = "a program that prints")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let isa = arguments.next().map(|name| name.parse().expect("a tier"));
    let n_threads = arguments
        .next()
        .map_or(available_threads(), |n| n.parse().expect("a number"));
    let compute = Compute::new(n_threads, isa).expect("a tier of this CPU");
    let only = arguments.next();
    println!("{}, {} threads", compute.isa(), compute.n_threads());
    let mut scratch = Activations::default();

    let spin = best(20, || {
        for _ in 0..1000 {
            compute.parallel_for(2, 1, &|_| {});
        }
    });
    println!("empty region: {:.2} us", spin * 1e3);

    for (quant_type, n_rows, n_cols) in [
        (QuantType::Q4_1, 960, 576),
        (QuantType::Q4_1, 576, 576),
        (QuantType::Q4_1, 3072, 576),
        (QuantType::Q4_1, 576, 1536),
        (QuantType::Q8_0, 49152, 576),
        (QuantType::Q8_0, 4096, 1024),
        (QuantType::Q4_0, 4096, 1024),
        (QuantType::Q5_0, 4096, 1024),
        (QuantType::Q5_1, 4096, 1024),
        (QuantType::Q4K, 4096, 1024),
        (QuantType::Q5K, 4096, 1024),
        (QuantType::Q6K, 4096, 1024),
        (QuantType::Q4K, 1024, 3072),
        (QuantType::Q2K, 4096, 1024),
        (QuantType::Q3K, 4096, 1024),
        (QuantType::Iq4Nl, 4096, 1024),
        (QuantType::Tq2_0, 4096, 1024),
        (QuantType::F16, 4096, 1024),
    ] {
        if only.as_ref().is_some_and(|only| only != quant_type.name()) {
            continue;
        }
        let bytes = weights(quant_type, n_rows, n_cols);
        let start = Instant::now();
        let first = Matrix::pack(&compute, quant_type, n_rows, n_cols, &bytes).expect("weights");
        let pack = bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e9;
        let n_copies = (256 << 20) / first.size_bytes() + 1;
        let mut copies = vec![first];
        for _ in 1..n_copies {
            let copy = Matrix::pack(&compute, quant_type, n_rows, n_cols, &bytes);
            copies.push(copy.expect("weights"));
        }
        let x = noise(n_cols * 512);
        let mut y = vec![0.0; n_rows * 512];
        let decode = best(5, || {
            for matrix in &copies {
                let (x, y) = (&x[..n_cols], &mut y[..n_rows]);
                compute.matmul(&mut scratch, x, 1, &mut [(matrix, y)]);
            }
        });
        let gigabytes = copies.iter().map(Matrix::size_bytes).sum::<usize>() as f64 / 1e9;
        let warm = best(20, || {
            for _ in 0..10 {
                compute.matmul(
                    &mut scratch,
                    &x[..n_cols],
                    1,
                    &mut [(&copies[0], &mut y[..n_rows])],
                );
            }
        });
        let cached = 10.0 * copies[0].size_bytes() as f64 / 1e9 / warm;
        let rate = |n_tokens: usize, y: &mut [f32], scratch: &mut Activations| {
            let seconds = best(4 + 2048 / n_tokens, || {
                let (x, y) = (&x[..n_tokens * n_cols], &mut y[..n_tokens * n_rows]);
                compute.matmul(scratch, x, n_tokens, &mut [(&copies[0], y)]);
            });
            (n_rows * n_cols * n_tokens) as f64 / seconds / 1e9
        };
        let name = format!("{} {n_rows}x{n_cols}", quant_type.name());
        println!(
            "{name:18} pack {pack:4.2} GB/s | decode {:5.1} GB/s ({cached:5.1} cached, {:6.1} us) | GMAC/s at 4: {:5.1}, at 32: {:5.1}, at 512: {:5.1}",
            gigabytes / decode,
            warm * 1e5,
            rate(4, &mut y, &mut scratch),
            rate(32, &mut y, &mut scratch),
            rate(512, &mut y, &mut scratch),
        );
    }

    if only.is_some_and(|only| only != "attention") {
        return;
    }
    let types = KvType::ALL.into_iter().skip(1);
    let lengths = [128, 1024, 8192];
    for (kv_type, n_positions) in types.flat_map(|kv_type| lengths.map(|n| (kv_type, n))) {
        let (n_heads, n_kv_heads, head_dim) = (16, 8, 128);
        let pool = KvPool::default();
        let empty = || KvLayer::new(&pool, kv_type, n_kv_heads, head_dim, head_dim);
        let mut kv = empty();
        let keys = noise(n_positions * n_kv_heads * head_dim);
        let append = best(1, || kv.append(n_positions, &keys, &keys));
        // the longer, the more layers: the longest come from memory
        let n_layers = (n_positions / 256).max(1);
        let mut layers = vec![kv.clone()];
        while layers.len() < n_layers {
            let mut kv = empty();
            kv.append(n_positions, &keys, &keys);
            layers.push(kv);
        }
        let q = noise(512 * n_heads * head_dim);
        let mut out = vec![0.0; q.len()];
        let mut scratch = AttentionScratch::default();
        let mut time = |layers: &[KvLayer], n_tokens: usize| {
            let args = AttentionArgs {
                n_heads,
                scale: 0.125,
                is_causal: true,
                window: None,
                softcap: None,
            };
            let len = n_tokens * n_heads * head_dim;
            let seconds = best(5, || {
                for kv in layers {
                    let runs = [AttentionRun { kv, n_tokens }];
                    compute.attention(&mut scratch, &args, &runs, &q[..len], &mut out[..len]);
                }
            });
            seconds / layers.len() as f64
        };
        let one = time(&layers, 1);
        let n_many = n_positions.min(512);
        println!(
            "attention over {n_positions:4} of {}: append {:5.2} us each, one token {:6.1} us = {:4.1} GB/s, {n_many} tokens {:8.1} us",
            kv_type.name(),
            append * 1e6 / n_positions as f64,
            one * 1e6,
            kv.held_bytes() as f64 / one * 1e-9,
            time(&layers[..1], n_many) * 1e6,
        );
    }
    let x = noise(512 * 1536);
    let (mut gate, mut out) = (x.clone(), x.clone());
    let silu = best(10, || compute.silu_mul(&mut gate, &x));
    let norm = best(10, || compute.rms_norm(&x, &x[..768], 1e-5, &mut out));
    println!(
        "512 tokens: silu_mul 1536 {:.1} us, rms_norm 1024x768 {:.1} us",
        silu * 1e6,
        norm * 1e6
    );
}
