//! The route table: a router that remembers which paths it was given, so that the document at `/openapi.json` can be
//! held against it.

use crate::state::App;
use axum::{Router, routing::MethodRouter};
use std::sync::Arc;

/// Paths, each with what answers there.
pub(super) struct Table {
    router: Router<Arc<App>>,
    paths: Vec<&'static str>,
}

impl Table {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Vec::new(),
        }
    }

    /// One path more, in axum's notation.
    pub(super) fn route(mut self, path: &'static str, answers: MethodRouter<Arc<App>>) -> Self {
        self.router = self.router.route(path, answers);
        self.paths.push(path);
        self
    }

    /// The paths of another table, too.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.paths.extend(other.paths);
        self
    }

    /// What answers.
    pub(super) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }

    /// All paths.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[&'static str] {
        &self.paths
    }
}
