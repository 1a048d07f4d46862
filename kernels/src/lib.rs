//! Weight formats, their bytes and their arithmetic on every CPU tier, and the thread pool that runs it.
//!
//! [`Compute`] is one CPU tier and one thread pool; weights are packed once into a [`Matrix`] and multiplied with
//! [`Compute::matmul`]; [`KvLayer`] and [`Compute::attention`] are the other heavy half of a transformer layer.
//!
//! Knows no model, file, environment or log. Results do not depend on the number of threads or on how many columns
//! are computed together.
#![allow(
    unsafe_code,
    reason = "vector intrinsics and the thread pool; every block says why it is sound"
)]

pub mod format;

mod activations;
mod arch;
mod attention;
mod compute;
mod dispatch;
mod features;
mod half_float;
mod kv;
mod layout;
mod matmul;
mod matrix;
mod measure;
mod memory;
mod ops;
#[cfg(test)]
mod oracle;
mod pool;
mod portable;
mod recurrent;
#[cfg(test)]
mod tests;
mod tier;
mod unpack;

pub use activations::Activations;
pub use attention::{AttentionArgs, AttentionRun, AttentionScratch};
pub use compute::{Compute, RopeStyle, available_threads};
pub use dispatch::{Isa, UnknownIsa, UnsupportedCpu};
pub use features::cpu_features;
pub use kv::{KvAppend, KvLayer, KvPool, KvType, PAGE_POSITIONS, UnknownKvType};
pub use matrix::{Matrix, PackError};
pub use memory::GiveBack;
pub use recurrent::DeltaShape;
