//! The local store of models and everything that names, fills and describes it.
//!
//! [`Store`] is the facade. The files under its root are the truth, in the layout of Ollama's store; the sled index is
//! a view of them that can be rebuilt. This crate alone writes under the models directory. A blob visible under its
//! digest is complete, verified, synced and read-only.

mod bundle;
mod digest;
mod error;
mod foreign;
mod from_files;
mod index;
mod manifest;
mod name;
pub mod paths;
mod provenance;
mod reference;
pub mod remote;
mod store;
mod tar;
#[doc(hidden)]
pub mod untrusted;

pub use bundle::{Export, Imported};
pub use digest::{Digest, DigestError, Hasher};
pub use error::Error;
pub use foreign::{Candidate, Found, Program, Source as ForeignSource};
pub use manifest::{Descriptor, Manifest, MediaType};
pub use name::{ModelName, NameError};
pub use provenance::{Original, Parent, Provenance, Via};
pub use reference::{Reference, ReferenceError};
pub use slm_modelfile as modelfile;
pub use slm_modelfile::{Modelfile, ModelfileError};
pub use store::{
    AdoptBy, Adopted, BlobFile, Garbage, GcLimits, Locations, ModelEntry, ModelUsage, MoveProgress,
    Moved, PartialFile, Pin, Place, Problem, Store, Trouble, Usage, Verified, VerifyEvent,
    repository,
};
