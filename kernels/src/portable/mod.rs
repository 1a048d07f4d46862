//! The tier that every CPU has, on the `wide` crate: SSE2 on x86-64, NEON on AArch64.

use bytemuck::cast;
use wide::{f32x16, i16x32, i32x16, u8x16, u32x16};

use crate::dispatch::kernel_table;
use crate::tier::Tier;

kernel_table!(Portable, crate::Isa::Portable);

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Tier for Portable {
    const WIDTHS: &'static [usize] = &[4, 2, 1];
    const SIGNED_BYTES: bool = false;

    type I = u32x16;
    type F = f32x16;

    #[inline(always)]
    unsafe fn load_i(source: *const u8) -> u32x16 {
        // SAFETY: the caller's promise of 64 bytes.
        u32x16::new(unsafe { source.cast::<[u32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store_i(target: *mut u8, v: u32x16) {
        // SAFETY: the caller's promise of 64 bytes.
        unsafe { target.cast::<[u32; 16]>().write_unaligned(v.to_array()) }
    }

    #[inline(always)]
    unsafe fn store_low_bytes(target: *mut u8, v: u32x16) {
        // SAFETY: the caller's promise of 16 bytes.
        unsafe {
            target
                .cast::<[u8; 16]>()
                .write_unaligned(v.to_array().map(|lane| lane as u8))
        }
    }

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> u32x16 {
        u32x16::splat(value as u32)
    }

    #[inline(always)]
    unsafe fn add_i(a: u32x16, b: u32x16) -> u32x16 {
        a + b
    }

    #[inline(always)]
    unsafe fn mul_i(a: u32x16, b: u32x16) -> u32x16 {
        a * b
    }

    #[inline(always)]
    unsafe fn dot_pairs(a: u32x16, b: u32x16) -> u32x16 {
        cast::<i32x16, u32x16>(cast::<u32x16, i16x32>(a).dot(cast(b)))
    }

    #[inline(always)]
    unsafe fn widen_u8(source: *const u8) -> u32x16 {
        // SAFETY: the caller's promise of 16 bytes.
        u32x16::new(unsafe { source.cast::<[u8; 16]>().read() }.map(u32::from))
    }

    #[inline(always)]
    unsafe fn widen_i8(source: *const i8) -> u32x16 {
        // SAFETY: the caller's promise of 16 bytes.
        u32x16::new(unsafe { source.cast::<[i8; 16]>().read() }.map(|byte| i32::from(byte) as u32))
    }

    #[inline(always)]
    unsafe fn and(a: u32x16, b: u32x16) -> u32x16 {
        a & b
    }

    #[inline(always)]
    unsafe fn or(a: u32x16, b: u32x16) -> u32x16 {
        a | b
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: u32x16) -> u32x16 {
        a << N
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: u32x16) -> u32x16 {
        a >> N
    }

    #[inline(always)]
    unsafe fn dot16(
        _max_code: i32,
        mut acc: u32x16,
        codes: [u32x16; 4],
        x: *const i32,
        stride: usize,
    ) -> u32x16 {
        let even_bytes = u32x16::splat(0x00ff_00ff);
        for (v, &code) in codes.iter().enumerate() {
            // SAFETY: the caller's promise of four dwords.
            let [x0, x1, x2, x3] = unsafe { x.add(v * stride).read() }.to_le_bytes();
            let pair = |low: u8, high: u8| -> i16x32 {
                let low = u32::from(i16::from(low as i8) as u16);
                let high = u32::from(i16::from(high as i8) as u16);
                cast(u32x16::splat(low | high << 16))
            };
            let even: i16x32 = cast(code & even_bytes);
            let odd: i16x32 = cast((code >> 8) & even_bytes);
            acc += cast::<i32x16, u32x16>(even.dot(pair(x0, x2)));
            acc += cast::<i32x16, u32x16>(odd.dot(pair(x1, x3)));
        }
        acc
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> f32x16 {
        // SAFETY: the caller's promise of 16 floats.
        f32x16::new(unsafe { source.cast::<[f32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, v: f32x16) {
        // SAFETY: the caller's promise of 16 floats.
        unsafe { target.cast::<[f32; 16]>().write_unaligned(v.to_array()) }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> f32x16 {
        // SAFETY: the caller's promise of 16 values.
        let halves =
            u32x16::new(unsafe { source.cast::<[u16; 16]>().read_unaligned() }.map(u32::from));
        let sign = (halves & u32x16::splat(0x8000)) << 16;
        // The half's exponent and fraction in the float's places are the value divided by 2^112, exactly; infinities
        // and NaNs alone need their exponent raised.
        let magnitude = (halves & u32x16::splat(0x7fff)) << 13;
        let rebias = f32x16::splat(f32::from_bits((127 + 112) << 23));
        let value = cast::<u32x16, f32x16>(magnitude) * rebias;
        let is_finite = cast::<u32x16, f32x16>(magnitude)
            .simd_lt(cast::<u32x16, f32x16>(u32x16::splat(0x7c00 << 13)));
        let special = cast::<u32x16, f32x16>(magnitude | u32x16::splat(0x7f80_0000));
        let value = is_finite.select(value, special);
        cast(cast::<f32x16, u32x16>(value) | sign)
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> f32x16 {
        // SAFETY: the caller's promise of 16 values.
        let halves = unsafe { source.cast::<[u16; 16]>().read_unaligned() };
        f32x16::new(halves.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    unsafe fn load_u8(source: *const u8) -> f32x16 {
        // SAFETY: the caller's promise of 16 bytes.
        f32x16::new(unsafe { source.cast::<[u8; 16]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> f32x16 {
        f32x16::splat(value)
    }

    #[inline(always)]
    unsafe fn add(a: f32x16, b: f32x16) -> f32x16 {
        a + b
    }

    #[inline(always)]
    unsafe fn sub(a: f32x16, b: f32x16) -> f32x16 {
        a - b
    }

    #[inline(always)]
    unsafe fn mul(a: f32x16, b: f32x16) -> f32x16 {
        a * b
    }

    #[inline(always)]
    unsafe fn div(a: f32x16, b: f32x16) -> f32x16 {
        a / b
    }

    #[inline(always)]
    unsafe fn mul_add(a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn max(a: f32x16, b: f32x16) -> f32x16 {
        b.simd_lt(a).select(a, b)
    }

    #[inline(always)]
    unsafe fn min(a: f32x16, b: f32x16) -> f32x16 {
        a.simd_lt(b).select(a, b)
    }

    #[inline(always)]
    unsafe fn zero_where_less(x: f32x16, limit: f32x16, value: f32x16) -> f32x16 {
        x.simd_lt(limit).select(f32x16::splat(0.0), value)
    }

    #[inline(always)]
    unsafe fn to_float(v: u32x16) -> f32x16 {
        f32x16::from_i32x16(cast(v))
    }

    #[inline(always)]
    unsafe fn bits(v: f32x16) -> u32x16 {
        cast(v)
    }

    #[inline(always)]
    unsafe fn from_bits(v: u32x16) -> f32x16 {
        cast(v)
    }

    #[inline(always)]
    unsafe fn prefetch(_address: *const u8) {}

    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], indices: u32x16) -> u32x16 {
        let table = u8x16::new(*table);
        let [a, b, c, d]: [u8x16; 4] = cast(indices);
        cast([
            table.shuffle(a),
            table.shuffle(b),
            table.shuffle(c),
            table.shuffle(d),
        ])
    }
}
