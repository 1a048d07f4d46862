//! 128-bit vectors, in fours: NEON, with or without the byte dot product.
//!
//! Both multiply signed bytes: codes up to 63 are that already, and 8-bit codes become it by their upper bit.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::dispatch::kernel_table;
use crate::tier::Tier;

kernel_table!(Quads<false>, crate::Isa::Neon, "neon");

/// Four 128-bit registers a vector. `DOTPROD` says whether the byte dot product is one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Quads<const DOTPROD: bool>;

/// `f` on all quarters.
macro_rules! each {
    (|$quarter:ident| $value:expr) => {
        [
            {
                let $quarter = 0;
                $value
            },
            {
                let $quarter = 1;
                $value
            },
            {
                let $quarter = 2;
                $value
            },
            {
                let $quarter = 3;
                $value
            },
        ]
    };
}

/// Adds to each lane the products of four signed bytes. The intrinsic is younger than the compilers we build with.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut acc: int32x4_t, codes: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers; the function enables the instruction.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {codes:v}.16b, {x:v}.16b",
            acc = inout(vreg) acc,
            codes = in(vreg) codes,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// [`sdot`] with four bytes of `x` for all lanes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const LANE: u32>(mut acc: int32x4_t, codes: int8x16_t, x: int8x16_t) -> int32x4_t {
    const { assert!(LANE < 4) };
    // SAFETY: arithmetic on registers; the function enables the instruction.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {codes:v}.16b, {x:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            codes = in(vreg) codes,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Widens half floats; the intrinsics want a type that is not stable everywhere.
#[inline(always)]
fn widen_halves(low: uint16x4_t) -> float32x4_t {
    let wide;
    // SAFETY: arithmetic on registers, in every NEON. It may set flags of the FPU.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {low:v}.4h",
            wide = lateout(vreg) wide,
            low = in(vreg) low,
            options(pure, nomem, nostack),
        );
    }
    wide
}

/// Codes as signed bytes: those of 8 bits are stored with 128 added.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn to_signed(max_code: i32, codes: int32x4_t) -> int8x16_t {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = vreinterpretq_s8_s32(codes);
        if max_code <= 63 {
            codes
        } else {
            veorq_s8(codes, vdupq_n_s8(i8::MIN))
        }
    }
}

/// Products of the low and of the high eight bytes.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn products(codes: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            vmull_s8(vget_low_s8(codes), vget_low_s8(x)),
            vmull_high_s8(codes, x),
        ]
    }
}

/// Adds [`products`] to `[low, high]`.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn add_products(
    [low, high]: [int16x8_t; 2],
    codes: int8x16_t,
    x: int8x16_t,
) -> [int16x8_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            vmlal_s8(low, vget_low_s8(codes), vget_low_s8(x)),
            vmlal_high_s8(high, codes, x),
        ]
    }
}

/// `Σ codes[v] · x[v]` in each lane, for signed codes of at most `max_code` in size.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn sums_of_products(max_code: i32, codes: [int8x16_t; 4], x: [int8x16_t; 4]) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let ab = add_products(products(codes[0], x[0]), codes[1], x[1]);
        if max_code <= 63 {
            // 4 · 63 · 127 = 32004 still fits 16 bits.
            let abc = add_products(ab, codes[2], x[2]);
            let [low, high] = add_products(abc, codes[3], x[3]);
            if max_code <= 31 {
                // 2 · 4 · 31 · 127 = 31496 too.
                vpaddlq_s16(vpaddq_s16(low, high))
            } else {
                vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
            }
        } else {
            // 2 · 128 · 127 = 32512 still fits 16 bits.
            let cd = add_products(products(codes[2], x[2]), codes[3], x[3]);
            vpaddq_s32(
                vpadalq_s16(vpaddlq_s16(ab[0]), cd[0]),
                vpadalq_s16(vpaddlq_s16(ab[1]), cd[1]),
            )
        }
    }
}

// SAFETY of every block below: the intrinsics need the instructions that callers of a `Tier` promise, and pointers are
// read and written within the 16 lanes that they promise.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one comment for all, above"
)]
impl<const DOTPROD: bool> Tier for Quads<DOTPROD> {
    const WIDTHS: &'static [usize] = &[4, 2, 1];
    const SIGNED_BYTES: bool = true;

    type I = [int32x4_t; 4];
    type F = [float32x4_t; 4];

    #[inline(always)]
    unsafe fn load_i(source: *const u8) -> Self::I {
        unsafe { each!(|q| vreinterpretq_s32_u8(vld1q_u8(source.add(16 * q)))) }
    }

    #[inline(always)]
    unsafe fn store_i(target: *mut u8, v: Self::I) {
        unsafe {
            each!(|q| vst1q_u8(target.add(16 * q), vreinterpretq_u8_s32(v[q])));
        }
    }

    #[inline(always)]
    unsafe fn store_low_bytes(target: *mut u8, v: Self::I) {
        unsafe {
            let words = each!(|q| vreinterpretq_s16_s32(v[q]));
            let low = vreinterpretq_u8_s16(vuzp1q_s16(words[0], words[1]));
            let high = vreinterpretq_u8_s16(vuzp1q_s16(words[2], words[3]));
            vst1q_u8(target, vuzp1q_u8(low, high));
        }
    }

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> Self::I {
        unsafe { [vdupq_n_s32(value); 4] }
    }

    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        unsafe { each!(|q| vaddq_s32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn mul_i(a: Self::I, b: Self::I) -> Self::I {
        unsafe { each!(|q| vmulq_s32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(a: Self::I, b: Self::I) -> Self::I {
        unsafe {
            each!(|q| {
                let (a, b) = (vreinterpretq_s16_s32(a[q]), vreinterpretq_s16_s32(b[q]));
                let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
                vpaddq_s32(low, vmull_high_s16(a, b))
            })
        }
    }

    #[inline(always)]
    unsafe fn widen_u8(source: *const u8) -> Self::I {
        unsafe {
            let bytes = vld1q_u8(source);
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_high_u16(low),
                vmovl_u16(vget_low_u16(high)),
                vmovl_high_u16(high),
            ]
            .map(|lanes| vreinterpretq_s32_u32(lanes))
        }
    }

    #[inline(always)]
    unsafe fn widen_i8(source: *const i8) -> Self::I {
        unsafe {
            let bytes = vld1q_s8(source);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I {
        unsafe { each!(|q| vandq_s32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I {
        unsafe { each!(|q| vorrq_s32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::I) -> Self::I {
        unsafe {
            let by = vdupq_n_s32(N as i32);
            each!(|q| vshlq_s32(a[q], by))
        }
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::I) -> Self::I {
        unsafe {
            let by = vdupq_n_s32(-(N as i32));
            each!(|q| vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a[q]), by)))
        }
    }

    #[inline(always)]
    unsafe fn dot16(
        max_code: i32,
        acc: Self::I,
        codes: [Self::I; 4],
        x: *const i32,
        stride: usize,
    ) -> Self::I {
        unsafe {
            let [a, b, c, d] = codes;
            let codes = each!(|q| [
                to_signed(max_code, a[q]),
                to_signed(max_code, b[q]),
                to_signed(max_code, c[q]),
                to_signed(max_code, d[q]),
            ]);
            if DOTPROD && stride == 1 {
                let x = vld1q_s8(x.cast());
                each!(|q| {
                    let [a, b, c, d] = codes[q];
                    let sum = sdot_lane::<0>(acc[q], a, x);
                    let sum = sdot_lane::<1>(sum, b, x);
                    let sum = sdot_lane::<2>(sum, c, x);
                    sdot_lane::<3>(sum, d, x)
                })
            } else {
                let x = each!(|v| vreinterpretq_s8_s32(vdupq_n_s32(x.add(v * stride).read())));
                if DOTPROD {
                    each!(|q| {
                        let [a, b, c, d] = codes[q];
                        sdot(sdot(sdot(sdot(acc[q], a, x[0]), b, x[1]), c, x[2]), d, x[3])
                    })
                } else {
                    each!(|q| vaddq_s32(acc[q], sums_of_products(max_code, codes[q], x)))
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self::F {
        unsafe { each!(|q| vld1q_f32(source.add(4 * q))) }
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, v: Self::F) {
        unsafe {
            each!(|q| vst1q_f32(target.add(4 * q), v[q]));
        }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self::F {
        unsafe { each!(|q| widen_halves(vld1_u16(source.add(4 * q)))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self::F {
        unsafe { each!(|q| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(source.add(4 * q))))) }
    }

    #[inline(always)]
    unsafe fn load_u8(source: *const u8) -> Self::F {
        unsafe {
            let bytes = vld1q_u8(source);
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            [
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_high_u16(low)),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_high_u16(high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vaddq_f32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vsubq_f32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vmulq_f32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vdivq_f32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        unsafe { each!(|q| vfmaq_f32(c[q], a[q], b[q])) }
    }

    // Not the instructions of that name: they return NaN when either is.
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vbslq_f32(vcgtq_f32(a[q], b[q]), a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        unsafe { each!(|q| vbslq_f32(vcltq_f32(a[q], b[q]), a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn zero_where_less(x: Self::F, limit: Self::F, value: Self::F) -> Self::F {
        unsafe {
            each!(|q| {
                let kept = vbicq_u32(vreinterpretq_u32_f32(value[q]), vcltq_f32(x[q], limit[q]));
                vreinterpretq_f32_u32(kept)
            })
        }
    }

    #[inline(always)]
    unsafe fn to_float(v: Self::I) -> Self::F {
        unsafe { each!(|q| vcvtq_f32_s32(v[q])) }
    }

    #[inline(always)]
    unsafe fn bits(v: Self::F) -> Self::I {
        unsafe { each!(|q| vreinterpretq_s32_f32(v[q])) }
    }

    #[inline(always)]
    unsafe fn from_bits(v: Self::I) -> Self::F {
        unsafe { each!(|q| vreinterpretq_f32_s32(v[q])) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        unsafe {
            asm!(
                "prfm pldl2keep, [{address}]",
                address = in(reg) address,
                options(readonly, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], indices: Self::I) -> Self::I {
        unsafe {
            let table = vld1q_u8(table.as_ptr());
            each!(|q| vreinterpretq_s32_u8(vqtbl1q_u8(table, vreinterpretq_u8_s32(indices[q]))))
        }
    }
}
