//! 256-bit vectors, in pairs: AVX2 with FMA and F16C, with or without the byte dot product of AVX-VNNI.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::dispatch::kernel_table;
use crate::memory::LINE;
use crate::tier::Tier;

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

// SAFETY of every block below: the intrinsics need the instructions that callers of a `Tier` promise, and pointers are
// read and written within the 16 lanes that they promise.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one comment for all, above"
)]
impl<const VNNI: bool> Tier for Ymm<VNNI> {
    const WIDTHS: &'static [usize] = &[4, 2, 1];
    const SIGNED_BYTES: bool = !VNNI;

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
    unsafe fn dot_columns<const V: usize, const N: usize>(
        max_code: i32,
        sums: &mut [Self::I; N],
        codes: *const u8,
        x: *const i32,
    ) {
        // Loops are kept rolled: their accumulators then stay in the 16 registers. Unrolled, the compiler mixes columns
        // and moves everything through memory.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if VNNI {
                for v in 0..hidden(V) {
                    let code = Self::load_i(codes.add(v * LINE));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(x.add(v * N + n).read());
                        *sum = both!(|h| _mm256_dpbusd_avx_epi32(sum[h], code[h], x));
                    }
                }
            } else if max_code <= 31 {
                // 2 · 15 · 127 · 8 = 30480 and 2 · 31 · 127 · 4 = 31496 fit 16 bits.
                let run = if max_code <= 15 { V } else { 4 };
                for first in (0..V).step_by(run) {
                    let mut pairs = [[_mm256_setzero_si256(); 2]; N];
                    for v in first..first + hidden(run) {
                        let code = Self::load_i(codes.add(v * LINE));
                        for (n, pairs) in pairs.iter_mut().enumerate() {
                            let x = _mm256_set1_epi32(x.add(v * N + n).read());
                            *pairs = both!(|h| _mm256_add_epi16(
                                pairs[h],
                                _mm256_maddubs_epi16(code[h], x)
                            ));
                        }
                    }
                    for (sum, pairs) in sums.iter_mut().zip(pairs) {
                        *sum =
                            both!(|h| _mm256_add_epi32(sum[h], _mm256_madd_epi16(pairs[h], ones)));
                    }
                }
            } else if max_code <= 63 {
                // 2 · 63 · 127 · 2 = 32004 fits 16 bits.
                for v in (0..hidden(V)).step_by(2) {
                    let a = Self::load_i(codes.add(v * LINE));
                    let b = Self::load_i(codes.add((v + 1) * LINE));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let xa = _mm256_set1_epi32(x.add(v * N + n).read());
                        let xb = _mm256_set1_epi32(x.add((v + 1) * N + n).read());
                        *sum = both!(|h| {
                            let pairs = _mm256_add_epi16(
                                _mm256_maddubs_epi16(a[h], xa),
                                _mm256_maddubs_epi16(b[h], xb),
                            );
                            _mm256_add_epi32(sum[h], _mm256_madd_epi16(pairs, ones))
                        });
                    }
                }
            } else {
                for v in 0..hidden(V) {
                    let code = Self::load_i(codes.add(v * LINE));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(x.add(v * N + n).read());
                        *sum = both!(|h| _mm256_add_epi32(sum[h], signed_product(code[h], x)));
                    }
                }
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
    unsafe fn load_i8(source: *const i8) -> Self::F {
        unsafe {
            both!(|h| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(
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
