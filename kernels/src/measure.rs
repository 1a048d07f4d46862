//! What this machine can do at best: how fast memory streams, and how many byte products a second the tier's dot
//! product makes.
//!
//! Both are measured, on the threads and the tier of a [`Compute`], as the best of several passes: other work on the
//! machine only ever slows a pass down. They are ceilings to hold the kernels against, and use none of their code.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::memory::{AlignedBytes, Shared};
use crate::{Compute, Isa};

/// Passes of which the best counts.
const N_PASSES: usize = 7;
/// Bytes that a thread reads at once, at least.
const GRAIN_BYTES: usize = 1 << 20;
/// How long one pass of products takes, about.
const PASS_TIME: Duration = Duration::from_millis(8);
/// Rounds of the loop of products at first; doubled until a pass is long enough.
const FIRST_ROUNDS: u64 = 1 << 14;

impl Compute {
    /// Bytes a second that all threads together read in order from a buffer of `buffer_bytes`, which must be larger
    /// than the caches for this to be the memory's speed. `None` when the system has no such buffer to give.
    pub fn measure_bandwidth(&self, buffer_bytes: usize) -> Option<f64> {
        let n_grains = (buffer_bytes / GRAIN_BYTES).max(1);
        let mut buffer = AlignedBytes::zeroed(n_grains * GRAIN_BYTES)?;
        let start = Shared(buffer.as_mut_slice().as_mut_ptr());
        self.parallel_for(n_grains, 1, &|range| {
            for grain in range {
                // SAFETY: grains lie within the buffer and do not overlap, and each is written once. Pages that were
                // never written would all be the same one of zeroes.
                unsafe {
                    start
                        .get()
                        .add(grain * GRAIN_BYTES)
                        .write_bytes(1, GRAIN_BYTES)
                };
            }
        });
        let words: &[u64] = bytemuck::cast_slice(buffer.as_slice());
        let grain_words = GRAIN_BYTES / size_of::<u64>();
        let seconds = best(|| {
            self.parallel_for(n_grains, 1, &|range| {
                black_box(sum(
                    &words[range.start * grain_words..range.end * grain_words]
                ));
            });
        });
        Some((n_grains * GRAIN_BYTES) as f64 / seconds)
    }

    /// Multiply-adds of bytes a second, of all threads together: the tier's widest instruction for them, on registers
    /// alone. `None` for tiers without such a loop.
    pub fn measure_peak_macs(&self) -> Option<f64> {
        let (products, per_round) = products_of(self.isa())?;
        let n_threads = self.n_threads();
        let pass = |n_rounds: u64| {
            self.parallel_for(n_threads, 1, &|range| {
                for _ in range {
                    // SAFETY: a `Compute` of this tier exists, which proved the CPU.
                    unsafe { products(n_rounds) };
                }
            });
        };
        let mut n_rounds = FIRST_ROUNDS;
        loop {
            let start = Instant::now();
            pass(n_rounds);
            if start.elapsed() >= PASS_TIME {
                break;
            }
            n_rounds *= 2;
        }
        let seconds = best(|| pass(n_rounds));
        Some((n_rounds * per_round * n_threads as u64) as f64 / seconds)
    }
}

/// Seconds of the fastest pass.
fn best(mut pass: impl FnMut()) -> f64 {
    let times = (0..N_PASSES).map(|_| {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min).max(1e-9)
}

/// The sum, in as many lanes as keep loads the only limit.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in words.chunks_exact(16) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// A loop of so many rounds. May be called where the CPU has the tier.
type Products = unsafe fn(u64);

/// The loop of a tier, and how many products a round makes.
fn products_of(isa: Isa) -> Option<(Products, u64)> {
    #[cfg(target_arch = "x86_64")]
    let n_chains = x86_64::N_CHAINS as u64;
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Portable => Some((x86_64::sse2, 8 * n_chains)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some((x86_64::avx2, 32 * n_chains)),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Some((x86_64::avx_vnni, 32 * n_chains)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some((x86_64::avx512_vnni, 64 * n_chains)),
        #[allow(unreachable_patterns, reason = "tiers of other CPUs, as they come")]
        _ => None,
    }
}

/// Independent chains, enough to hide the instruction's latency, each step of which needs the one before it, so that
/// nothing can be left out.
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    pub(super) const N_CHAINS: usize = 12;

    macro_rules! chains {
        ($name:ident, $features:literal, $splat:ident, |$chain:ident, $w:ident, $x:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(n_rounds: u64) {
                let ($w, $x) = black_box(($splat(1), $splat(3)));
                let mut chains = black_box([$splat(5); N_CHAINS]);
                for _ in 0..n_rounds {
                    for $chain in &mut chains {
                        *$chain = $step;
                    }
                }
                black_box((chains, $w));
            }
        };
    }

    // 16-bit products in pairs, the widest that every x86-64 has for bytes
    chains!(sse2, "sse2", _mm_set1_epi16, |c, w, x| _mm_madd_epi16(
        *c, x
    ));
    // bytes in pairs; what it takes to add them up in 32 bits comes on top
    chains!(avx2, "avx2", _mm256_set1_epi8, |c, w, x| {
        _mm256_maddubs_epi16(*c, x)
    });
    chains!(avx_vnni, "avx2,avxvnni", _mm256_set1_epi8, |c, w, x| {
        _mm256_dpbusd_avx_epi32(*c, w, x)
    });
    chains!(
        avx512_vnni,
        "avx512f,avx512vnni",
        _mm512_set1_epi8,
        |c, w, x| _mm512_dpbusd_epi32(*c, w, x)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ceilings are positive, finite and far below what no machine has.
    #[test]
    fn every_tier_of_this_cpu_has_ceilings() {
        for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
            let compute = Compute::new(1, Some(isa)).unwrap();
            let bandwidth = compute.measure_bandwidth(4 << 20).unwrap();
            assert!((1e6..1e14).contains(&bandwidth), "{isa}: {bandwidth}");
            let peak = compute.measure_peak_macs();
            assert_eq!(peak.is_some(), cfg!(target_arch = "x86_64"), "{isa}");
            assert!(
                peak.is_none_or(|peak| (1e6..1e14).contains(&peak)),
                "{isa}: {peak:?}"
            );
        }
    }

    #[test]
    fn a_buffer_that_cannot_be_had_is_none() {
        let compute = Compute::new(1, None).unwrap();
        assert_eq!(compute.measure_bandwidth(isize::MAX as usize / 2), None);
    }
}
