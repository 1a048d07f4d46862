//! Weight formats, their bytes and their arithmetic on every CPU tier, and the thread pool that runs it.
//!
//! Knows no model, file, environment or log. Results do not depend on the number of threads or on how many columns
//! are computed together.
#![allow(
    unsafe_code,
    reason = "vector intrinsics and the thread pool; every block says why it is sound"
)]

pub mod format;
