//! The words on the wire, shared by daemon, command line and tests, and the client that speaks them.
//!
//! Types and codecs; no behaviour, and no defaults that change meaning.

pub mod client;
pub mod host;
pub mod ollama;
