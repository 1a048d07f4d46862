//! What every route shares.

use crate::{
    catalog::Catalog, config::Config, cpu::CpuChoice, error::ApiError, models::Models,
    observe::Observed, pulls::Pulls, responses::Responses, routes::Rendered, shutdown::Shutdown,
};
use slm_registry::{ModelEntry, Store};
use std::sync::Arc;

/// The parts of a running daemon. Routes hold it behind an `Arc`.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) cpu: CpuChoice,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) models: Models,
    pub(crate) pulls: Pulls,
    pub(crate) observed: Observed,
    /// Answers that clients may go on from.
    pub(crate) responses: Responses,
    pub(crate) tags: Rendered,
    pub(crate) shutdown: Shutdown,
    /// Whether the listener is on loopback: then foreign `Host` names are refused.
    pub(crate) is_loopback: bool,
}

impl App {
    /// Puts the parts together.
    pub(crate) fn new(config: Config, store: Store, is_loopback: bool) -> Arc<Self> {
        Arc::new(Self {
            catalog: Catalog::new(store.clone()),
            models: Models::new(&config),
            cpu: CpuChoice::of(&config),
            pulls: Pulls::new(store.clone(), &config),
            observed: Observed::default(),
            responses: Responses::default(),
            tags: Rendered::default(),
            shutdown: Shutdown::default(),
            config,
            store,
            is_loopback,
        })
    }

    /// The models of the store.
    pub(crate) async fn listing(self: &Arc<Self>) -> Result<Arc<Vec<ModelEntry>>, ApiError> {
        match self.store.kept_listing() {
            Some(entries) => Ok(entries),
            None => self.blocking(|app| Ok(app.store.listing()?)).await,
        }
    }

    /// Runs something that blocks on the disk, off the runtime.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app)).await?
    }
}
