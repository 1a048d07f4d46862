//! End-to-end tests, one module per subject. They need the fixtures that `cargo xtask test` fetches.
mod registry_harness;
