//! 256-bit vectors, in pairs: AVX2 with FMA and F16C, with or without the byte dot product of AVX-VNNI.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::dispatch::kernel_table;
use crate::memory::LINE;
use crate::tier::{Tier, scale_products};

kernel_table!(Ymm<false>, crate::Isa::Avx2, "avx2,fma,f16c");

/// Pairs of 256-bit registers. `VNNI` says whether the byte dot product is one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Ymm<const VNNI: bool>;

/// `f` on both halves.
macro_rules! both {
    (|$half:ident| $value:expr) => {
        [
            {
                let $half = 0;
                $value
            },
            {
                let $half = 1;
                $value
            },
        ]
    };
}

/// `value`, in a way that the compiler does not know it to be a constant.
#[inline(always)]
fn hidden(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// Sums of four products of codes, stored with 128 added, and activations: |code| · (± activation).
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn signed_product(codes: __m256i, x: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = _mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

/// [`Tier::dot_columns`] without the byte dot product; pairs of sums in 16 bits are multiplied with `scale`.
///
/// # Safety
/// The CPU has AVX2; otherwise as for [`Tier::dot_columns`].
#[inline(always)]
unsafe fn add_scaled_pairs<const V: usize, const N: usize>(
    max_code: i32,
    sums: &mut [[__m256i; 2]; N],
    codes: *const u8,
    x: *const i32,
    scale: [__m256i; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if max_code <= 63 {
            // 2 · 15 · 127 · 8 = 30480, 2 · 31 · 127 · 4 = 31496 and 2 · 63 · 127 · 2 = 32004 fit 16 bits.
            let run = match max_code {
                0..=15 => V,
                16..=31 => 4,
                _ => 2,
            };
            for first in (0..V).step_by(run) {
                let (codes, x) = (codes.add(first * LINE), x.add(first * N));
                let mut pairs = [[_mm256_setzero_si256(); 2]; N];
                match (run, four(&mut pairs)) {
                    (2, Some(pairs)) => four_columns_of_2(pairs, codes, x),
                    (4, Some(pairs)) => four_columns_of_4(pairs, codes, x),
                    _ => {
                        // Kept rolled: the sums then stay in registers.
                        for v in 0..hidden(run) {
                            let code = load(codes.add(v * LINE));
                            for (n, pairs) in pairs.iter_mut().enumerate() {
                                let x = _mm256_set1_epi32(x.add(v * N + n).read());
                                *pairs = both!(|h| _mm256_add_epi16(
                                    pairs[h],
                                    _mm256_maddubs_epi16(code[h], x)
                                ));
                            }
                        }
                    }
                }
                for (sum, pairs) in sums.iter_mut().zip(pairs) {
                    *sum =
                        both!(|h| _mm256_add_epi32(sum[h], _mm256_madd_epi16(pairs[h], scale[h])));
                }
            }
        } else if let Some(sums) = four(sums) {
            for v in 0..V {
                four_columns_of_bytes(sums, codes.add(v * LINE), x.add(4 * v), &scale);
            }
        } else {
            // |code| · (± activation) is at most 2 · 128 · 127 = 32512 a pair.
            for v in 0..V {
                let code = load(codes.add(v * LINE));
                let magnitude = load(codes.add((8 + v) * LINE));
                for (n, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(x.add(v * N + n).read());
                    *sum = both!(|h| {
                        let signed = _mm256_sign_epi8(x, code[h]);
                        let pairs = _mm256_maddubs_epi16(magnitude[h], signed);
                        _mm256_add_epi32(sum[h], _mm256_madd_epi16(pairs, scale[h]))
                    });
                }
            }
        }
    }
}

/// The columns, if there are four.
#[inline(always)]
fn four<const N: usize>(columns: &mut [[__m256i; 2]; N]) -> Option<&mut [[__m256i; 2]; 4]> {
    columns.as_mut_slice().try_into().ok()
}

/// # Safety
/// The CPU has AVX2, and 64 bytes are there.
#[inline(always)]
unsafe fn load(source: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe { both!(|h| _mm256_loadu_si256(source.cast::<__m256i>().add(h))) }
}

/// One vector of codes of [`four_columns!`] with column `$n`.
macro_rules! column_step {
    (first, $v:literal, $n:literal, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd {x}, dword ptr [{xs} + 16*",
            $v,
            " + 4*",
            $n,
            "]\n",
            "vpmaddubsw {",
            $low,
            "}, {c}, {x}\n",
            "vpmaddubsw {",
            $high,
            "}, {d}, {x}\n",
        )
    };
    (next, $v:literal, $n:literal, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd {x}, dword ptr [{xs} + 16*",
            $v,
            " + 4*",
            $n,
            "]\n",
            "vpmaddubsw {t}, {c}, {x}\n",
            "vpaddw {",
            $low,
            "}, {",
            $low,
            "}, {t}\n",
            "vpmaddubsw {u}, {d}, {x}\n",
            "vpaddw {",
            $high,
            "}, {",
            $high,
            "}, {u}\n",
        )
    };
}

/// One vector of codes of [`four_columns!`].
macro_rules! vector_step {
    ($which:ident, $v:literal) => {
        concat!(
            "vmovdqu {c}, ymmword ptr [{codes} + 64*",
            $v,
            "]\n",
            "vmovdqu {d}, ymmword ptr [{codes} + 64*",
            $v,
            " + 32]\n",
            column_step!($which, $v, 0, "p0", "p1"),
            column_step!($which, $v, 1, "p2", "p3"),
            column_step!($which, $v, 2, "p4", "p5"),
            column_step!($which, $v, 3, "p6", "p7"),
        )
    };
}

/// Defines the sums in 16 bits of a short run of vectors with four columns. By hand, since they take 13 of 16 registers
/// and the compiler would move some of them through memory.
macro_rules! four_columns {
    ($name:ident, $($v:literal)*) => {
        /// # Safety
        /// The CPU has AVX2; the vectors and, for each, four columns are there.
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $name(pairs: &mut [[__m256i; 2]; 4], codes: *const u8, x: *const i32) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!(vector_step!(first, 0), $(vector_step!(next, $v)),*),
                    codes = in(reg) codes,
                    xs = in(reg) x,
                    p0 = out(ymm_reg) pairs[0][0],
                    p1 = out(ymm_reg) pairs[0][1],
                    p2 = out(ymm_reg) pairs[1][0],
                    p3 = out(ymm_reg) pairs[1][1],
                    p4 = out(ymm_reg) pairs[2][0],
                    p5 = out(ymm_reg) pairs[2][1],
                    p6 = out(ymm_reg) pairs[3][0],
                    p7 = out(ymm_reg) pairs[3][1],
                    c = out(ymm_reg) _,
                    d = out(ymm_reg) _,
                    x = out(ymm_reg) _,
                    t = out(ymm_reg) _,
                    u = out(ymm_reg) _,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        }
    };
}

four_columns!(four_columns_of_2, 1);
four_columns!(four_columns_of_4, 1 2 3);

/// One column of [`four_columns_of_bytes`].
macro_rules! byte_step {
    ($n:literal, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd {x}, dword ptr [{xs} + 4*",
            $n,
            "]\n",
            "vpsignb {t}, {x}, {c}\n",
            "vpsignb {x}, {x}, {d}\n",
            "vpmaddubsw {t}, {m}, {t}\n",
            "vpmaddubsw {x}, {n}, {x}\n",
            "vpmaddwd {t}, {t}, ymmword ptr [{scale}]\n",
            "vpmaddwd {x}, {x}, ymmword ptr [{scale} + 32]\n",
            "vpaddd {",
            $low,
            "}, {",
            $low,
            "}, {t}\n",
            "vpaddd {",
            $high,
            "}, {",
            $high,
            "}, {x}\n",
        )
    };
}

/// Adds the scaled products of a vector of split codes and four columns: 14 registers. |code| · (± activation) is at
/// most 2 · 128 · 127 = 32512 a pair.
///
/// # Safety
/// The CPU has AVX2; codes, their magnitudes 8 lines further and four columns are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four_columns_of_bytes(
    sums: &mut [[__m256i; 2]; 4],
    codes: *const u8,
    x: *const i32,
    scale: &[__m256i; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vmovdqu {c}, ymmword ptr [{codes}]",
            "vmovdqu {d}, ymmword ptr [{codes} + 32]",
            "vmovdqu {m}, ymmword ptr [{codes} + 8*64]",
            "vmovdqu {n}, ymmword ptr [{codes} + 8*64 + 32]",
            byte_step!(0, "s0", "s1"),
            byte_step!(1, "s2", "s3"),
            byte_step!(2, "s4", "s5"),
            byte_step!(3, "s6", "s7"),
            codes = in(reg) codes,
            xs = in(reg) x,
            scale = in(reg) scale,
            s0 = inout(ymm_reg) sums[0][0],
            s1 = inout(ymm_reg) sums[0][1],
            s2 = inout(ymm_reg) sums[1][0],
            s3 = inout(ymm_reg) sums[1][1],
            s4 = inout(ymm_reg) sums[2][0],
            s5 = inout(ymm_reg) sums[2][1],
            s6 = inout(ymm_reg) sums[3][0],
            s7 = inout(ymm_reg) sums[3][1],
            c = out(ymm_reg) _,
            d = out(ymm_reg) _,
            m = out(ymm_reg) _,
            n = out(ymm_reg) _,
            x = out(ymm_reg) _,
            t = out(ymm_reg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}

// SAFETY of every block below: the intrinsics need the instructions that callers of a `Tier` promise, and pointers are
// read and written within the 16 lanes that they promise.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one comment for all, above"
)]
impl<const VNNI: bool> Tier for Ymm<VNNI> {
    const WIDTHS: &'static [usize] = &[4, 2, 1];
    const SIGNED_BYTES: bool = !VNNI;
    const SPLITS_BYTES: bool = !VNNI;

    type I = [__m256i; 2];
    type F = [__m256; 2];

    #[inline(always)]
    unsafe fn load_i(source: *const u8) -> Self::I {
        unsafe { both!(|h| _mm256_loadu_si256(source.cast::<__m256i>().add(h))) }
    }

    #[inline(always)]
    unsafe fn store_i(target: *mut u8, v: Self::I) {
        unsafe { both!(|h| _mm256_storeu_si256(target.cast::<__m256i>().add(h), v[h])) };
    }

    #[inline(always)]
    unsafe fn store_low_bytes(target: *mut u8, v: Self::I) {
        unsafe {
            let low = _mm256_set1_epi32(0xff);
            let words =
                _mm256_packus_epi32(_mm256_and_si256(v[0], low), _mm256_and_si256(v[1], low));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(target.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> Self::I {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_add_epi32(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn mul_i(a: Self::I, b: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_mullo_epi32(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(a: Self::I, b: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_madd_epi16(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn widen_u8(source: *const u8) -> Self::I {
        unsafe { both!(|h| _mm256_cvtepu8_epi32(_mm_loadl_epi64(source.add(8 * h).cast()))) }
    }

    #[inline(always)]
    unsafe fn widen_i8(source: *const i8) -> Self::I {
        unsafe { both!(|h| _mm256_cvtepi8_epi32(_mm_loadl_epi64(source.add(8 * h).cast()))) }
    }

    #[inline(always)]
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_and_si256(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_or_si256(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_sll_epi32(a[h], _mm_cvtsi32_si128(N as i32))) }
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::I) -> Self::I {
        unsafe { both!(|h| _mm256_srl_epi32(a[h], _mm_cvtsi32_si128(N as i32))) }
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
            let x: [__m256i; 4] = [
                _mm256_set1_epi32(x.read()),
                _mm256_set1_epi32(x.add(stride).read()),
                _mm256_set1_epi32(x.add(2 * stride).read()),
                _mm256_set1_epi32(x.add(3 * stride).read()),
            ];
            let [a, b, c, d] = codes;
            if VNNI {
                both!(|h| {
                    let sum = _mm256_dpbusd_avx_epi32(acc[h], a[h], x[0]);
                    let sum = _mm256_dpbusd_avx_epi32(sum, b[h], x[1]);
                    let sum = _mm256_dpbusd_avx_epi32(sum, c[h], x[2]);
                    _mm256_dpbusd_avx_epi32(sum, d[h], x[3])
                })
            } else {
                let ones = _mm256_set1_epi16(1);
                if max_code <= 31 {
                    // 4 · 2 · 31 · 127 = 31496 still fits 16 bits.
                    both!(|h| {
                        let ab = _mm256_add_epi16(
                            _mm256_maddubs_epi16(a[h], x[0]),
                            _mm256_maddubs_epi16(b[h], x[1]),
                        );
                        let cd = _mm256_add_epi16(
                            _mm256_maddubs_epi16(c[h], x[2]),
                            _mm256_maddubs_epi16(d[h], x[3]),
                        );
                        let sum = _mm256_madd_epi16(_mm256_add_epi16(ab, cd), ones);
                        _mm256_add_epi32(acc[h], sum)
                    })
                } else if max_code <= 63 {
                    // 2 · 2 · 63 · 127 = 32004 still fits 16 bits.
                    both!(|h| {
                        let ab = _mm256_add_epi16(
                            _mm256_maddubs_epi16(a[h], x[0]),
                            _mm256_maddubs_epi16(b[h], x[1]),
                        );
                        let cd = _mm256_add_epi16(
                            _mm256_maddubs_epi16(c[h], x[2]),
                            _mm256_maddubs_epi16(d[h], x[3]),
                        );
                        let sum = _mm256_add_epi32(
                            _mm256_madd_epi16(ab, ones),
                            _mm256_madd_epi16(cd, ones),
                        );
                        _mm256_add_epi32(acc[h], sum)
                    })
                } else {
                    // Back to signed codes; |code| · (± activation) is at most 2 · 128 · 127 = 32512 a pair.
                    both!(|h| {
                        let ab = _mm256_add_epi32(
                            signed_product(a[h], x[0]),
                            signed_product(b[h], x[1]),
                        );
                        let cd = _mm256_add_epi32(
                            signed_product(c[h], x[2]),
                            signed_product(d[h], x[3]),
                        );
                        _mm256_add_epi32(acc[h], _mm256_add_epi32(ab, cd))
                    })
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn split(codes: Self::I) -> [Self::I; 2] {
        unsafe {
            let signed = both!(|h| _mm256_xor_si256(codes[h], _mm256_set1_epi8(i8::MIN)));
            [signed, both!(|h| _mm256_abs_epi8(signed[h]))]
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const V: usize, const N: usize>(
        max_code: i32,
        sums: &mut [Self::I; N],
        codes: *const u8,
        x: *const i32,
    ) {
        unsafe {
            if VNNI {
                for v in 0..hidden(V) {
                    let code = Self::load_i(codes.add(v * LINE));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(x.add(v * N + n).read());
                        *sum = both!(|h| _mm256_dpbusd_avx_epi32(sum[h], code[h], x));
                    }
                }
            } else {
                let ones = [_mm256_set1_epi16(1); 2];
                add_scaled_pairs::<V, N>(max_code, sums, codes, x, ones);
            }
        }
    }

    /// Twice in 16 bits: what adds the pairs of sums then scales them, for nothing.
    #[inline(always)]
    unsafe fn scale_of_panel(scale: Self::I) -> Self::I {
        unsafe {
            if VNNI {
                scale
            } else {
                let low = Self::and(scale, Self::splat_i(0xffff));
                Self::or(low, Self::shl::<16>(scale))
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_scaled<const V: usize, const N: usize>(
        max_code: i32,
        totals: &mut [Self::I; N],
        codes: *const u8,
        x: *const i32,
        scale: *const u8,
    ) {
        unsafe {
            if VNNI {
                scale_products::<Self, V, N>(max_code, totals, codes, x, scale);
            } else {
                let scale = Self::load_i(scale);
                add_scaled_pairs::<V, N>(max_code, totals, codes, x, scale);
            }
        }
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self::F {
        unsafe { both!(|h| _mm256_loadu_ps(source.add(8 * h))) }
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, v: Self::F) {
        unsafe { both!(|h| _mm256_storeu_ps(target.add(8 * h), v[h])) };
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self::F {
        unsafe { both!(|h| _mm256_cvtph_ps(_mm_loadu_si128(source.cast::<__m128i>().add(h)))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self::F {
        unsafe {
            both!(|h| {
                let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast::<__m128i>().add(h)));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_u8(source: *const u8) -> Self::F {
        unsafe {
            both!(|h| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(
                source.add(8 * h).cast()
            ))))
        }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_add_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_sub_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_mul_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_div_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_fmadd_ps(a[h], b[h], c[h])) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_max_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        unsafe { both!(|h| _mm256_min_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn zero_where_less(x: Self::F, limit: Self::F, value: Self::F) -> Self::F {
        unsafe {
            both!(|h| _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x[h], limit[h]), value[h]))
        }
    }

    #[inline(always)]
    unsafe fn to_float(v: Self::I) -> Self::F {
        unsafe { both!(|h| _mm256_cvtepi32_ps(v[h])) }
    }

    #[inline(always)]
    unsafe fn bits(v: Self::F) -> Self::I {
        unsafe { both!(|h| _mm256_castps_si256(v[h])) }
    }

    #[inline(always)]
    unsafe fn from_bits(v: Self::I) -> Self::F {
        unsafe { both!(|h| _mm256_castsi256_ps(v[h])) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], indices: Self::I) -> Self::I {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            both!(|h| _mm256_shuffle_epi8(table, indices[h]))
        }
    }
}
