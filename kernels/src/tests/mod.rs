//! Every tier that this CPU has against the truths of `oracle`, and against itself in other company.

mod attention;
mod matmul;
mod ops;
mod pool;
mod recurrent;

use crate::{Compute, Isa};

/// A compute of each supported tier.
fn each_tier(n_threads: usize) -> impl Iterator<Item = Compute> {
    let tiers = Isa::ALL.iter().filter(|isa| isa.is_supported());
    tiers.map(move |isa| Compute::new(n_threads, Some(*isa)).expect("a supported tier"))
}

/// Numbers from −1 to 1.
fn random_values(rng: &mut fastrand::Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.f32() * 2.0 - 1.0).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
