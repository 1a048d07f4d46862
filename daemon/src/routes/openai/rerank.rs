//! `POST /v1/rerank` and `POST /v1/score`: how near texts are to each other, by their vectors. A disconnect cancels the
//! work.
//!
//! Both texts are read for themselves, so that a model is needed that makes vectors for this. Cross-encoders, which read
//! two texts together, are refused.

use super::{Error, find, id, now};
use crate::{
    body::LenientJson,
    caller::{Caller, Client},
    catalog::{Capability, Record},
    error::ApiError,
    inference::{Text, Texts},
    routes::{
        embed::{MAX_TEXTS, Run, vectors},
        wishes::Ignored,
    },
    state::App,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use slm_api::{
    ollama::KeepAlive,
    openai::EmbeddingsUsage,
    rerank::{Document, Ranked, RerankRequest, RerankResponse, Score, ScoreRequest, ScoreResponse},
};
use std::{sync::Arc, time::Instant};

/// Puts documents in order.
pub(super) async fn rerank(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<RerankRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let ignored = Ignored::of(&request.rest, &["user"]);
    ignored.check(&app)?;
    check(&*find(&app, &request.model).await?)?;
    if request.query.is_empty() {
        return Err(ApiError::bad_request("`query` is required")
            .of_field("query")
            .into());
    }
    let documents = texts(request.documents, "documents")?;
    let mut all = vec![request.query];
    all.extend(documents.iter().cloned());
    let call = Call {
        app: &app,
        began,
        client,
        model: &request.model,
        truncate: request.truncate,
        keep_alive: request.keep_alive,
    };
    let (vectors, usage) = call.vectors(all).await?;
    let (query, vectors) = vectors
        .split_first()
        .map_or((&[][..], &[][..]), |(q, v)| (q, v));
    let wants_texts = request.return_documents.unwrap_or(false);
    let ranked = vectors.iter().zip(documents).enumerate();
    let mut results: Vec<Ranked> = ranked
        .map(|(index, (vector, text))| Ranked {
            index,
            relevance_score: cosine(query, vector),
            document: wants_texts.then_some(Document { text }),
        })
        .collect();
    // stable: what is equally near stays in the request's order
    results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    results.truncate(request.top_n.unwrap_or(usize::MAX));
    let response = RerankResponse {
        id: id("rerank-"),
        model: request.model,
        results,
        usage,
    };
    Ok(ignored.tell(Json(response).into_response()))
}

/// Compares pairs.
pub(super) async fn score(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    request: Result<LenientJson<ScoreRequest>, ApiError>,
) -> Result<Response, Error> {
    let began = Instant::now();
    let LenientJson(request) = request?;
    let ignored = Ignored::of(&request.rest, &["user", "encoding_format"]);
    ignored.check(&app)?;
    check(&*find(&app, &request.model).await?)?;
    let list = |value: Value| match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    let first = texts(list(request.text_1), "text_1")?;
    let second = texts(list(request.text_2), "text_2")?;
    let (n_first, n_second) = (first.len(), second.len());
    if n_first != n_second && n_first != 1 {
        let text = format!(
            "`text_1` has {n_first} texts and `text_2` has {n_second}: as many are needed, or one `text_1`"
        );
        return Err(ApiError::bad_request(text).of_field("text_1").into());
    }
    let call = Call {
        app: &app,
        began,
        client,
        model: &request.model,
        truncate: request.truncate,
        keep_alive: request.keep_alive,
    };
    let (vectors, usage) = call.vectors([first, second].concat()).await?;
    let (first, second) = vectors.split_at(n_first.min(vectors.len()));
    let pairs = first.iter().cycle().zip(second).enumerate();
    let data = pairs.map(|(index, (a, b))| Score {
        index,
        object: "score".to_owned(),
        score: cosine(a, b),
    });
    let response = ScoreResponse {
        id: id("score-"),
        object: "list".to_owned(),
        created: now(),
        model: request.model,
        data: data.collect(),
        usage,
    };
    Ok(ignored.tell(Json(response).into_response()))
}

/// Refuses models whose vectors are not made for this.
fn check(record: &Record) -> Result<(), ApiError> {
    let name = record.name.full();
    let text = if record.gguf.is_reranker {
        format!(
            "{name} is a cross-encoder, which reads both texts together; these are not supported, use an embedding model"
        )
    } else if !record.can(Capability::Embedding) {
        format!("{name} does not make vectors to compare texts by; use an embedding model")
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(text).of_field("model"))
}

/// Texts, or objects that have one.
fn texts(items: Vec<Value>, field: &'static str) -> Result<Vec<String>, ApiError> {
    let wrong = |text: String| ApiError::bad_request(text).of_field(field);
    if items.is_empty() {
        return Err(wrong(format!("`{field}` is empty")));
    }
    // the query is one more
    if items.len() >= MAX_TEXTS {
        let n = items.len();
        return Err(wrong(format!(
            "`{field}` has {n} texts, and at most {} may be sent at once",
            MAX_TEXTS - 1
        )));
    }
    let text = |item: Value| match item {
        Value::String(text) => Ok(text),
        Value::Object(mut fields) => match fields.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("an object in `{field}` needs a `text`")),
        },
        _ => Err(format!("`{field}` must be texts, or objects with a `text`")),
    };
    let texts = items.into_iter().map(text);
    texts.map(|text| text.map_err(wrong)).collect()
}

/// What is asked of a model.
struct Call<'a> {
    app: &'a Arc<App>,
    began: Instant,
    client: Client,
    model: &'a str,
    truncate: Option<bool>,
    keep_alive: Option<KeepAlive>,
}

impl Call<'_> {
    /// Vectors of length 1, one for each text.
    async fn vectors(self, all: Vec<String>) -> Result<(Vec<Vec<f32>>, EmbeddingsUsage), ApiError> {
        let texts = Texts {
            texts: all.into_iter().map(Text::Plain).collect(),
            truncate: self.truncate.unwrap_or(true),
            dimensions: None,
            normalize: true,
        };
        let run = Run {
            options: None,
            adapters: None,
            keep_alive: self.keep_alive,
            client: self.client,
        };
        let done = vectors(self.app, self.began, self.model, run, texts).await?;
        let (vectors, metrics) =
            done.map_or_else(Default::default, |done| (done.vectors, done.metrics));
        let n_tokens = metrics.prompt_eval_count.unwrap_or(0);
        let usage = EmbeddingsUsage {
            prompt_tokens: n_tokens,
            total_tokens: n_tokens,
        };
        Ok((vectors, usage))
    }
}

/// Of vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>().clamp(-1.0, 1.0) as f32
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, TestDaemon, golden_model};
    use serde_json::{Value, json};

    async fn post(daemon: &TestDaemon, path: &str, body: Value) -> Answer {
        daemon.post(path, &body.to_string()).await
    }

    #[tokio::test]
    async fn documents_are_ordered_by_the_cosine_of_their_vectors() {
        let daemon = TestDaemon::with_model().await;
        daemon.create("vec", &golden_model("bert-mean")).await;
        let texts = [
            "a small boat",
            "rain and wind",
            "the sea is wide",
            "a small boat",
        ];
        let body = json!({"model": "vec", "input": texts});
        let embedded = post(&daemon, "/api/embed", body).await.json();
        let vectors: Vec<Vec<f64>> =
            serde_json::from_value(embedded["embeddings"].clone()).unwrap();
        let expected =
            |i: usize| -> f64 { vectors[0].iter().zip(&vectors[i]).map(|(a, b)| a * b).sum() };
        let documents = json!([texts[1], {"text": texts[2]}, texts[3]]);
        let body = json!({"model": "vec", "query": texts[0], "documents": documents, "return_documents": true});
        let ranked = post(&daemon, "/v1/rerank", body.clone()).await.json();
        let results = ranked["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["index"]), (3, &json!(2)));
        assert!(results.is_sorted_by(|a, b| {
            a["relevance_score"].as_f64() >= b["relevance_score"].as_f64()
        }));
        for result in results {
            let index = result["index"].as_u64().unwrap() as usize;
            let score = result["relevance_score"].as_f64().unwrap();
            assert!((score - expected(index + 1)).abs() < 1e-5, "{result}");
            assert_eq!(result["document"]["text"], texts[index + 1]);
        }
        assert!(ranked["usage"]["total_tokens"].as_u64().unwrap() > 8);
        let mut first = body;
        first["top_n"] = json!(1);
        first["return_documents"] = json!(false);
        let first = post(&daemon, "/v1/rerank", first).await.json();
        assert_eq!(first["results"].as_array().unwrap().len(), 1);
        assert!(first["results"][0].get("document").is_none());

        let body = json!({"model": "vec", "text_1": texts[0], "text_2": [texts[1], texts[2]]});
        let scored = post(&daemon, "/v1/score", body).await.json();
        for index in [0, 1] {
            let item = &scored["data"][index];
            let score = item["score"].as_f64().unwrap();
            assert!((score - expected(index + 1)).abs() < 1e-5, "{item}");
            assert_eq!(item["index"], index);
        }
        for (path, body, message) in [
            (
                "/v1/rerank",
                json!({"model": "tiny", "query": "a", "documents": ["b"]}),
                "use an embedding model",
            ),
            (
                "/v1/rerank",
                json!({"model": "vec", "query": "a", "documents": []}),
                "`documents` is empty",
            ),
            (
                "/v1/rerank",
                json!({"model": "vec", "documents": ["b"]}),
                "`query` is required",
            ),
            (
                "/v1/score",
                json!({"model": "vec", "text_1": ["a", "b"], "text_2": "c"}),
                "as many are needed",
            ),
        ] {
            let refused = post(&daemon, path, body).await;
            assert_eq!(refused.status, 400, "{refused:?}");
            let text = refused.json()["error"]["message"].to_string();
            assert!(text.contains(message), "{text}");
        }
    }
}
