//! Small models worth having, and which of their files fits a machine.
//!
//! The facts are in `models.yaml`, which is part of the program: no network is needed. [`model`] holds them, [`size`] how
//! large files and memory are, [`fit`] what follows for a machine, [`query`] how people look for models, [`search`] what they
//! find, [`hub`] what Hugging Face is asked and says. No I/O: what a machine has, and what others answer, is given.

pub mod fit;
pub mod hub;
pub mod model;
pub mod query;
pub mod search;
pub mod size;

pub use fit::{Choice, Fit, Machine};
pub use model::{Catalog, Class, Kind, Model, Variant};
