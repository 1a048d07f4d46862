//! The words on the wire, shared by daemon, command line and tests, and the client that speaks them.
//!
//! Types and codecs; no behaviour, and no defaults that change meaning. [`ollama`] holds the bodies, [`openai`] and
//! [`responses`] those of OpenAI's dialect, [`anthropic`] of Anthropic's, [`rerank`] what several other servers have,
//! [`bench`], [`care`], [`status`], [`store`] and [`tokens`] those that only slm has, [`ndjson`] the framing of streams, [`host`] where
//! the daemon is to be found, [`client`] the calls, [`web`] a request to others, [`size`], [`rate`] and [`age`] the spelling of bytes, of
//! bytes per second and of time, [`bar`] what a line of progress has room for.

pub mod age;
pub mod anthropic;
pub mod bar;
pub mod bench;
pub mod care;
pub mod client;
mod client_error;
mod client_events;
mod client_store;
pub mod host;
pub mod ndjson;
pub mod ollama;
pub mod openai;
pub mod rate;
pub mod rerank;
pub mod responses;
pub mod search;
pub mod size;
pub mod status;
pub mod store;
pub mod tokens;
pub mod web;

pub use client::Client;
pub use client_error::ClientError;
pub use client_events::Events;
pub use client_store::Bundle;
pub use host::Host;
