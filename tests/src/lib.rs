//! The harness of the end-to-end tests: real programs, real sockets, temporary homes.
//!
//! [`Home`] is one user's world: a models directory, an address for the daemon and nothing of the machine's own
//! settings. [`Daemon`] is a running `slmd` in it, [`Home::slm`] the command line. [`Registry`] is Debian's
//! `docker-registry`, [`FlakyProxy`] the bad network before it, [`Http`] a client that can also misbehave, and
//! [`store_problems`] the judge of what is left on the disk.
//!
//! A harness that cannot do its part panics with a sentence that says what to do: a test must never pass because
//! something was missing. Every wait is bounded. Processes are ended by their own id.

mod browser;
mod certificates;
mod clients;
mod connect_proxy;
mod crane;
mod daemon;
mod fixtures;
mod home;
mod http;
mod program;
mod proxy;
mod pushed;
mod registry;
mod split;
mod store;

pub use browser::{browser, browser_script, node};
pub use certificates::{Authority, Identity};
pub use clients::{client_script, clients_node};
pub use connect_proxy::ConnectProxy;
pub use crane::{CraneRegistry, crane, run_crane};
pub use daemon::Daemon;
pub use fixtures::{data, fixture, golden_json, golden_model, large_python, python, starter_model};
pub use home::{Home, free_port};
pub use http::{Answer, AnswerStream, Http, Request};
pub use program::{Finished, Running};
pub use proxy::FlakyProxy;
pub use pushed::{Repository, blobs as pushed_blobs};
pub use registry::{Registry, TestModel};
pub use split::split_gguf;
pub use store::{sha256_hex, store_problems};
