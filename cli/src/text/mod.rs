//! Pure text: how sizes, counts and times are written, tables laid out, words wrapped and names compared.
//!
//! The forms are Ollama's, since people and scripts know them. Nothing here prints.

pub(crate) mod cut;
pub(crate) mod duration;
pub(crate) mod nearest;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod wrap;
