//! The CPU tiers: which there are, which this CPU can run, and the table of kernels of each.
//!
//! A tier is chosen once, in [`Compute::new`](crate::Compute::new); no kernel asks the CPU for its features.

use std::fmt;
use std::str::FromStr;

/// A CPU tier: a set of instructions that one instance of every kernel is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every CPU of the target architecture has.
    Portable,
    /// 256-bit integers, FMA and F16C.
    Avx2,
    /// [`Isa::Avx2`] and the 256-bit byte dot product.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL and the 512-bit byte dot product.
    Avx512Vnni,
}

impl Isa {
    /// Every tier, slowest first.
    pub const ALL: &[Isa] = &[Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni];

    /// Whether this CPU has the instructions of the tier.
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => has_avx2() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                has_avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => false,
        }
    }

    /// The fastest tier that this CPU can run.
    pub fn best() -> Isa {
        supported().last().unwrap_or(Isa::Portable)
    }
}

/// The tiers that this CPU can run, slowest first.
fn supported() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_supported())
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni => "avx512-vnni",
        })
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Isa::ALL
            .iter()
            .copied()
            .find(|isa| isa.to_string() == name)
            .ok_or_else(|| UnknownIsa { name: name.into() })
    }
}

/// A name that is no tier's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no CPU tier; the tiers are: {}", list(Isa::ALL.iter().copied()))]
pub struct UnknownIsa {
    /// What was asked for.
    pub name: String,
}

/// A tier that this CPU lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this CPU cannot run `{isa}`; it can run: {}", list(supported()))]
pub struct UnsupportedCpu {
    /// What was asked for.
    pub isa: Isa,
}

fn list(tiers: impl Iterator<Item = Isa>) -> String {
    let names: Vec<String> = tiers.map(|isa| isa.to_string()).collect();
    names.join(", ")
}
