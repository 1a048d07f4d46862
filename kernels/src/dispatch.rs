//! The CPU tiers: which there are, which this CPU can run, and the table of kernels of each.
//!
//! A tier is chosen once, in [`Compute::new`](crate::Compute::new); no kernel asks the CPU for its features.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::RopeStyle;
use crate::activations::{Group, RecordKind};
use crate::attention;
use crate::format::QuantType;
use crate::matmul::MatmulFn;
use crate::recurrent::{Convolution, DeltaTask};

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
    /// 128-bit vectors of AArch64.
    Neon,
    /// [`Isa::Neon`] and the byte dot product.
    NeonDotprod,
}

impl Isa {
    /// Every tier of every CPU architecture, slowest first.
    pub const ALL: &[Isa] = &[
        Isa::Portable,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512Vnni,
        Isa::Neon,
        Isa::NeonDotprod,
    ];

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
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => {
                is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
            }
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::NeonDotprod => false,
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
            Isa::Neon => "neon",
            Isa::NeonDotprod => "neon-dotprod",
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

/// One row of a layer norm: `x`, `weight`, `bias`, `eps`, `out`.
pub(crate) type LayerNormFn = unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32]);

/// The kernels of one tier.
///
/// Every pointer may be called once the tier's CPU features are proven, which [`table`] does; what else they need
/// stands at the generic functions that they are instances of.
pub(crate) struct KernelTable {
    pub(crate) isa: Isa,
    /// Groups of columns, widest first.
    pub(crate) widths: &'static [usize],
    pub(crate) matmul: fn(QuantType) -> MatmulFn,
    pub(crate) write_group: unsafe fn(RecordKind, &[f32], usize, Group, Range<usize>, *mut u32),
    /// One row: `x`, `weight`, `eps`, `out`.
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) layer_norm: LayerNormFn,
    pub(crate) add_assign: unsafe fn(&mut [f32], &[f32]),
    pub(crate) mul_assign: unsafe fn(&mut [f32], &[f32]),
    pub(crate) sigmoid_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) silu_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) gelu_tanh_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) relu_squared_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) gelu: unsafe fn(&mut [f32]),
    pub(crate) scale: unsafe fn(&mut [f32], f32),
    pub(crate) softcap: unsafe fn(&mut [f32], f32),
    /// One token: heads, `head_dim`, style, `cos`, `sin`.
    pub(crate) rope: unsafe fn(&mut [f32], usize, RopeStyle, &[f32], &[f32]),
    pub(crate) attention: attention::Kernels,
    /// One token: which, its output.
    pub(crate) convolve: unsafe fn(&Convolution<'_>, usize, &mut [f32]),
    /// One block of columns: its state, the outputs of all.
    pub(crate) delta_rule: unsafe fn(&DeltaTask<'_>, usize, *mut f32, *mut f32),
    #[cfg(test)]
    pub(crate) exp: unsafe fn(&mut [f32; 16]),
}

/// The table of `isa`: the only way to reach one.
///
/// # Errors
/// When this CPU lacks the tier.
pub(crate) fn table(isa: Isa) -> Result<&'static KernelTable, UnsupportedCpu> {
    if !isa.is_supported() {
        return Err(UnsupportedCpu { isa });
    }
    match isa {
        Isa::Portable => Ok(&crate::portable::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Ok(&crate::arch::x86_64::avx2::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Ok(&crate::arch::x86_64::avx_vnni::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Ok(&crate::arch::x86_64::avx512_vnni::TABLE),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => Err(UnsupportedCpu { isa }),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Ok(&crate::arch::aarch64::neon::TABLE),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => Ok(&crate::arch::aarch64::neon_dotprod::TABLE),
        #[cfg(not(target_arch = "aarch64"))]
        Isa::Neon | Isa::NeonDotprod => Err(UnsupportedCpu { isa }),
    }
}

/// Defines `TABLE`: the generic kernels, each inside a function that enables the tier's instructions, so that all of
/// it down to the intrinsics is compiled for them.
macro_rules! kernel_table {
    ($tier:ty, $isa:expr $(, $features:literal)?) => {
        use crate::dispatch::KernelTable;
        use crate::format::QuantType;
        use crate::{activations, attention, matmul, ops, recurrent, unpack};

        /// The kernels of this tier.
        pub(crate) static TABLE: KernelTable = KernelTable {
            isa: $isa,
            widths: <$tier as crate::tier::Tier>::WIDTHS,
            matmul: |quant_type| match quant_type {
                QuantType::F32 => matmul_floats::<unpack::F32>,
                QuantType::F16 => matmul_floats::<unpack::F16>,
                QuantType::Bf16 => matmul_floats::<unpack::Bf16>,
                QuantType::Q4_0 => matmul_codes::<unpack::Q4_0>,
                QuantType::Q4_1 => matmul_codes::<unpack::Q4_1>,
                QuantType::Q5_0 => matmul_codes::<unpack::Q5_0>,
                QuantType::Q5_1 => matmul_codes::<unpack::Q5_1>,
                QuantType::Q8_0 => matmul_codes::<unpack::Q8_0>,
                QuantType::Q2K => matmul_codes::<unpack::Q2K>,
                QuantType::Q3K => matmul_codes::<unpack::Q3K>,
                QuantType::Q4K => matmul_codes::<unpack::Q4K>,
                QuantType::Q5K => matmul_codes::<unpack::Q5K>,
                QuantType::Q6K => matmul_codes::<unpack::Q6K>,
                QuantType::Iq4Nl => matmul_codes::<unpack::Iq4Nl>,
                QuantType::Iq4Xs => matmul_codes::<unpack::Iq4Xs>,
                QuantType::Tq1_0 | QuantType::Tq2_0 => matmul_codes::<unpack::Tq>,
                QuantType::I2S => matmul_codes::<unpack::I2S>,
                QuantType::Mxfp4 => matmul_codes::<unpack::Mxfp4>,
            },
            write_group,
            rms_norm,
            layer_norm,
            add_assign,
            mul_assign,
            sigmoid_mul,
            silu_mul,
            gelu_tanh_mul,
            relu_squared_mul,
            gelu,
            scale,
            softcap,
            rope,
            attention: attention::Kernels {
                pack: attention_pack,
                block: attention_block,
                merge: attention_merge,
            },
            convolve,
            delta_rule,
            #[cfg(test)]
            exp,
        };

        $(#[target_feature(enable = $features)])?
        unsafe fn matmul_codes<F: unpack::Format>(job: &matmul::Job<'_>) {
            // SAFETY: the caller's promise.
            unsafe { matmul::matmul::<$tier, F>(job) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn matmul_floats<F: unpack::FloatFormat>(job: &matmul::Job<'_>) {
            // SAFETY: the caller's promise.
            unsafe { matmul::matmul_floats::<$tier, F>(job) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn write_group(
            kind: activations::RecordKind,
            x: &[f32],
            n_values: usize,
            group: activations::Group,
            values: std::ops::Range<usize>,
            records: *mut u32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { activations::write_group::<$tier>(kind, x, n_values, group, values, records) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::rms_norm::<$tier>(x, weight, eps, out) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::layer_norm::<$tier>(x, weight, bias, eps, out) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn add_assign(x: &mut [f32], y: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::add_assign::<$tier>(x, y) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn mul_assign(x: &mut [f32], y: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::mul_assign::<$tier>(x, y) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn sigmoid_mul(gate: &mut [f32], up: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::sigmoid_mul::<$tier>(gate, up) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn silu_mul(gate: &mut [f32], up: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::silu_mul::<$tier>(gate, up) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn gelu_tanh_mul(gate: &mut [f32], up: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::gelu_tanh_mul::<$tier>(gate, up) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn relu_squared_mul(gate: &mut [f32], up: &[f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::relu_squared_mul::<$tier>(gate, up) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn gelu(x: &mut [f32]) {
            // SAFETY: the caller's promise.
            unsafe { ops::gelu::<$tier>(x) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn scale(x: &mut [f32], factor: f32) {
            ops::scale(x, factor);
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn softcap(x: &mut [f32], cap: f32) {
            // SAFETY: the caller's promise.
            unsafe { ops::softcap::<$tier>(x, cap) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn rope(
            x: &mut [f32],
            head_dim: usize,
            style: crate::RopeStyle,
            cos: &[f32],
            sin: &[f32],
        ) {
            ops::rope(x, head_dim, style, cos, sin);
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn attention_pack(task: &attention::Task<'_>, packed: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { attention::pack::<$tier>(task, packed) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn attention_block(
            task: &attention::Task<'_>,
            queries: *const f32,
            block: usize,
            partial: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { attention::block::<$tier>(task, queries, block, partial) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn attention_merge(
            sum: *mut f32,
            other: *const f32,
            n_rows: usize,
            v_stride: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { attention::merge::<$tier>(sum, other, n_rows, v_stride) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn convolve(
            convolution: &recurrent::Convolution<'_>,
            token: usize,
            out: &mut [f32],
        ) {
            // SAFETY: the caller's promise.
            unsafe { recurrent::convolve::<$tier>(convolution, token, out) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn delta_rule(
            task: &recurrent::DeltaTask<'_>,
            block: usize,
            state: *mut f32,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { recurrent::delta_rule::<$tier>(task, block, state, out) }
        }

        #[cfg(test)]
        $(#[target_feature(enable = $features)])?
        unsafe fn exp(lanes: &mut [f32; 16]) {
            use crate::tier::Tier;
            // SAFETY: 16 lanes.
            unsafe {
                let x = <$tier>::load(lanes.as_ptr());
                <$tier>::store(lanes.as_mut_ptr(), <$tier>::exp(x));
            }
        }
    };
}

pub(crate) use kernel_table;
