//! AVX2 with the 256-bit byte dot product: cores of the "client" line since 2021 without AVX-512.

use super::avx2::Ymm;
use crate::dispatch::kernel_table;

kernel_table!(Ymm<true>, crate::Isa::AvxVnni, "avx2,fma,f16c,avxvnni");
