//! Small models worth having, and which of their files fits a machine.
//!
//! The facts are in `models.yaml`, which is part of the program: no network is needed. [`model`] holds them, [`size`] how
//! large files and memory are, [`fit`] what follows for a machine, [`query`] how people look for models. Arithmetic only:
//! what a machine has is told by others.

pub mod fit;
pub mod model;
pub mod query;
pub mod size;

pub use fit::{Choice, Fit, Machine};
pub use model::{Catalog, Class, Kind, Model, Variant};
