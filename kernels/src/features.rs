//! Which instruction sets that matter here this CPU has, for people who ask why a tier was chosen.

/// Names of the instruction sets that a tier asks for or may one day, as far as this CPU has them, oldest first.
pub fn cpu_features() -> Vec<&'static str> {
    macro_rules! found {
        ($detected:ident: $($feature:tt),*) => {
            [$(($feature, std::arch::$detected!($feature))),*]
                .into_iter()
                .filter_map(|(name, is_there)| is_there.then_some(name))
                .collect()
        };
    }
    #[cfg(target_arch = "x86_64")]
    return found!(
        is_x86_feature_detected: "sse2", "ssse3", "sse4.1", "avx", "f16c", "fma", "avx2", "avxvnni", "avx512f",
        "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512bf16"
    );
    #[cfg(target_arch = "aarch64")]
    return found!(
        is_aarch64_feature_detected: "neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2"
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_runs_has_its_features() {
        let features = cpu_features();
        let has_avx2 = ["avx2", "fma", "f16c"].iter().all(|f| features.contains(f));
        assert_eq!(crate::Isa::Avx2.is_supported(), has_avx2);
    }
}
