//! End-to-end tests, one module per subject. They need the fixtures that `cargo xtask test` fetches.
#![expect(
    clippy::print_stdout,
    reason = "figures and seeds, which the test runner shows when a test fails"
)]

mod airgap;
mod bench;
mod browser;
mod care;
mod chat;
mod cli;
mod clients;
mod crash;
mod embed;
mod eval;
mod full_disk;
mod hostile;
mod idle;
mod larger_models;
mod many;
mod modelfile;
mod openapi;
mod parity;
mod pull;
mod push;
mod python;
mod registry_harness;
mod serve;
mod setup;
mod share;
mod soak;
mod store;
mod structured;
mod tls;
