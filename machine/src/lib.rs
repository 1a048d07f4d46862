//! What this machine has, as far as a model's speed and size depend on it: memory that is left ([`memory`]), how fast it
//! is read ([`bandwidth`]), which cores may compute ([`cores`]), and settings of the system that make computing slow
//! ([`tuning`]).
//!
//! Facts, and how many threads follow from them; what else does is for the daemon and the command line to say. Whatever
//! cannot be read is `None`.

pub mod bandwidth;
pub mod cores;
pub mod memory;
pub mod tuning;
