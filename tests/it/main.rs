//! End-to-end tests, one module per subject. They need the fixtures that `cargo xtask test` fetches.

mod crash;
mod hostile;
mod parity;
mod pull;
mod registry_harness;
mod store;
