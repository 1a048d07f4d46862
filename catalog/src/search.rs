//! What is found for a query: models of the catalogue, each with the file that a machine would get, and of others.

use crate::{Catalog, Fit, Machine, Model, Variant, hub::Repository, query::Query};
use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// Of the catalogue.
    pub catalog: Vec<Entry>,
    /// Of Hugging Face.
    pub hugging_face: Vec<Repository>,
    /// Why that could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A model of the catalogue, with the file that this machine would get.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The model.
    #[serde(flatten)]
    pub model: Model,
    /// The file for this machine.
    pub pull: String,
    /// How that fits.
    #[serde(flatten)]
    pub fit: Fit,
    /// All its files, in the order of `variants`.
    pub variant_fits: Vec<Fit>,
}

/// The models of the catalogue that are meant, in its order.
pub fn entries(catalog: &Catalog, query: &Query, machine: &Machine) -> Vec<Entry> {
    let wanted = catalog.models.iter().filter(|model| query.matches(model));
    wanted
        .filter_map(|model| {
            let (chosen, fit) = machine.variant(model)?;
            let fit_of = |variant: &Variant| machine.fit(model, variant);
            Some(Entry {
                model: model.clone(),
                pull: chosen.pull.clone(),
                fit,
                variant_fits: model.variants.iter().map(fit_of).collect(),
            })
        })
        .collect()
}
