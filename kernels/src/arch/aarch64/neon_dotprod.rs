//! NEON with the byte dot product: cores since 2018, and all with Armv8.4.

use super::neon::Quads;
use crate::dispatch::kernel_table;

kernel_table!(Quads<true>, crate::Isa::NeonDotprod, "neon,dotprod");
