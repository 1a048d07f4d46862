//! `POST /api/search`: models of the catalogue, with how they fit this machine, and those of Hugging Face. A search that
//! cannot reach it answers with what the catalogue has, and says why that is all.

use crate::{body::LenientJson, error::ApiError, state::App};
use axum::{Json, extract::State};
use slm_api::{search::SearchRequest, web};
use slm_catalog::{
    Catalog, Machine, hub,
    query::Query,
    search::{Found, entries},
};
use std::sync::{Arc, OnceLock};

/// The longest query.
const MAX_QUERY_BYTES: usize = 300;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<SearchRequest>,
) -> Result<Json<Found>, ApiError> {
    if request.query.len() > MAX_QUERY_BYTES {
        return Err(ApiError::bad_request("the query is too long"));
    }
    let query = Query {
        text: request.query,
        ..Query::default()
    };
    let mut found = Found::default();
    // without a word it would be all of a million models
    if !query.text.trim().is_empty() {
        match of_hugging_face(&app, &query).await {
            Ok(repositories) => found.hugging_face = repositories,
            Err(error) => found.error = Some(error),
        }
    }
    found.catalog = app
        .blocking(move |app| {
            let catalog = Catalog::built_in().map_err(|e| ApiError::internal(e.to_string()))?;
            Ok::<_, ApiError>(entries(&catalog, &query, &machine(app)))
        })
        .await?;
    Ok(Json(found))
}

async fn of_hugging_face(app: &App, query: &Query) -> Result<Vec<hub::Repository>, String> {
    let endpoint = app.config.network.hugging_face();
    let (url, words) = hub::request(endpoint, &query.text);
    let answer = web::get(&url, &words, hub::MAX_ANSWER_BYTES, hub::TIMEOUT).await;
    let body = answer.map_err(|error| error.to_string())?;
    hub::parse(&body, query).map_err(|_| format!("`{endpoint}` does not answer as Hugging Face"))
}

/// This machine as it is now. The bandwidth of its memory is measured once.
fn machine(app: &App) -> Machine {
    static BANDWIDTH: OnceLock<Option<u64>> = OnceLock::new();
    let left = slm_machine::memory::available_bytes();
    Machine {
        memory: [left, app.config.memory].into_iter().flatten().min(),
        bandwidth: *BANDWIDTH.get_or_init(slm_machine::bandwidth::measure),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::TestDaemon;
    use axum::{Json, Router, extract::Query, routing::get};
    use serde_json::{Value, json};
    use std::collections::HashMap;

    async fn hub() -> String {
        let answer = |Query(words): Query<HashMap<String, String>>| async move {
            assert_eq!(words["filter"], "gguf");
            Json(json!([{"id": format!("who/{}-1B-GGUF", words["search"]), "downloads": 3}]))
        };
        let router = Router::new().route("/api/models", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    async fn search(daemon: &TestDaemon, query: &str) -> Value {
        let body = json!({"query": query}).to_string();
        daemon.post("/api/search", &body).await.json()
    }

    #[tokio::test]
    async fn the_catalogue_and_hugging_face_are_searched() {
        let endpoint = hub().await;
        let daemon = TestDaemon::with(|config| {
            std::sync::Arc::get_mut(&mut config.network)
                .unwrap()
                .hugging_face_endpoint = Some(endpoint);
        });
        let found = search(&daemon, "qwen3").await;
        let pulls = found["catalog"].as_array().unwrap();
        assert!(
            pulls.len() >= 3
                && pulls
                    .iter()
                    .all(|m| m["pull"].as_str().unwrap().starts_with("qwen3:")),
            "{found}"
        );
        assert!(
            pulls[0]["file_bytes"].as_u64().unwrap() > 100_000_000,
            "{found}"
        );
        assert_eq!(
            found["hugging_face"],
            json!([{"pull": "hf.co/who/qwen3-1B-GGUF", "downloads": 3, "licence": null, "parameters": 1_000_000_000}])
        );
        assert_eq!(found.get("error"), None);
        // nobody is asked for everything
        let all = search(&daemon, " ").await;
        assert!(all["catalog"].as_array().unwrap().len() >= 16);
        assert_eq!(all["hugging_face"], json!([]));
    }

    #[tokio::test]
    async fn a_hub_that_cannot_be_asked_is_told() {
        let daemon = TestDaemon::with(|config| {
            let network = std::sync::Arc::get_mut(&mut config.network).unwrap();
            network.hugging_face_endpoint = Some("http://127.0.0.1:1".to_owned());
        });
        let found = search(&daemon, "qwen3").await;
        assert!(
            found["error"].as_str().unwrap().contains("127.0.0.1:1"),
            "{found}"
        );
        assert!(!found["catalog"].as_array().unwrap().is_empty());
        let long = json!({"query": "x".repeat(400)}).to_string();
        assert_eq!(daemon.post("/api/search", &long).await.status, 400);
    }
}
