//! The words on the wire, shared by daemon, command line and tests, and the client that speaks them.
//!
//! Types and codecs; no behaviour, and no defaults that change meaning. [`ollama`] holds the bodies, [`care`] those
//! that only slm has, [`ndjson`] the
//! framing of streams, [`host`] where the daemon is to be found, [`client`] the calls, [`rate`] the spelling of bytes per second.

pub mod care;
pub mod client;
mod client_error;
pub mod host;
pub mod ndjson;
pub mod ollama;
pub mod rate;

pub use client::Client;
pub use client_error::ClientError;
pub use host::Host;
