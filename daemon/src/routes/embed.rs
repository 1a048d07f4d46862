//! `POST /api/embed` and the older `POST /api/embeddings`: texts to vectors. A disconnect cancels the work.

use super::{as_asked, model_name};
use crate::{
    body::LenientJson,
    caller::{Caller, Client},
    error::ApiError,
    inference::{self, Job, RunOptions, Text, Texts, Vectors},
    models::KeepFor,
    state::App,
};
use axum::{Json, extract::State};
use serde_json::{Map, Value};
use slm_api::ollama::{
    AdapterChoice, EmbedRequest, EmbedResponse, EmbeddingsRequest, EmbeddingsResponse, KeepAlive,
};
use std::{sync::Arc, time::Instant};

/// Most texts in one request.
pub(super) const MAX_TEXTS: usize = 8192;

/// Answers `/api/embed`.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<EmbedRequest>,
) -> Result<Json<EmbedResponse>, ApiError> {
    let began = Instant::now();
    let texts = Texts {
        texts: plain(texts(request.input)?),
        truncate: request.truncate.unwrap_or(true),
        dimensions: request
            .dimensions
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0),
        normalize: true,
    };
    if request.model.is_empty() {
        return Err(ApiError::no_model(""));
    }
    let run = Run {
        options: request.options,
        adapters: request.adapters,
        keep_alive: request.keep_alive,
        client,
    };
    let done = vectors(&app, began, &request.model, run, texts).await?;
    let (vectors, metrics) =
        done.map_or_else(Default::default, |done| (done.vectors, done.metrics));
    Ok(Json(EmbedResponse {
        model: request.model,
        embeddings: vectors,
        total_duration: metrics.total_duration,
        load_duration: metrics.load_duration,
        prompt_eval_count: metrics.prompt_eval_count,
    }))
}

/// Answers `/api/embeddings`: one text, and the vector as the model made it.
pub(super) async fn answer_old(
    State(app): State<Arc<App>>,
    Caller(client): Caller,
    LenientJson(request): LenientJson<EmbeddingsRequest>,
) -> Result<Json<EmbeddingsResponse>, ApiError> {
    let began = Instant::now();
    if request.model.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let texts = Texts {
        texts: plain(texts(Some(Value::String(request.prompt)))?),
        truncate: true,
        dimensions: None,
        normalize: false,
    };
    let run = Run {
        options: request.options,
        adapters: request.adapters,
        keep_alive: request.keep_alive,
        client,
    };
    let done = vectors(&app, began, &request.model, run, texts).await?;
    let vector = done.and_then(|done| done.vectors.into_iter().next());
    Ok(Json(EmbeddingsResponse {
        embedding: vector.unwrap_or_default(),
    }))
}

fn plain(texts: Vec<String>) -> Vec<Text> {
    texts.into_iter().map(Text::Plain).collect()
}

/// A text, a list of texts, or nothing.
fn texts(input: Option<Value>) -> Result<Vec<String>, ApiError> {
    let invalid = || ApiError::bad_request("invalid input type");
    let texts = match input {
        None => Vec::new(),
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => {
            let text = |item| match item {
                Value::String(text) => Ok(text),
                _ => Err(invalid()),
            };
            items.into_iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(invalid()),
    };
    if texts.len() > MAX_TEXTS {
        return Err(ApiError::bad_request(format!(
            "`input` has {} texts, and at most {MAX_TEXTS} may be sent at once",
            texts.len()
        )));
    }
    Ok(texts)
}

/// How a request wants its model to be run.
pub(super) struct Run {
    pub(super) options: Option<Map<String, Value>>,
    pub(super) adapters: Option<Vec<AdapterChoice>>,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) client: Client,
}

/// The vectors; `None` where there are no texts, and the model is only loaded, or unloaded.
pub(super) async fn vectors(
    app: &Arc<App>,
    began: Instant,
    model: &str,
    run: Run,
    texts: Texts,
) -> Result<Option<Vectors>, ApiError> {
    let Run {
        options,
        adapters,
        keep_alive,
        client,
    } = run;
    let name = model_name(model)?;
    let record = app.blocking(move |app| app.catalog.find(&name)).await;
    let record = record.map_err(|error| as_asked(error, model))?;
    let keep = KeepFor::from_wire(keep_alive.as_ref())?;
    if texts.texts.is_empty() && keep.is_some_and(KeepFor::is_zero) {
        app.models.unload(&record.weights_key);
        return Ok(None);
    }
    let options = options.unwrap_or_default();
    let adapters = inference::choose_adapters(app, &record, adapters).await?;
    let job = Job {
        adapters,
        options: RunOptions::merge([&record.params, &options])?,
        record,
        keep,
        client,
        began,
    };
    if texts.texts.is_empty() {
        inference::load(app, &job).await?;
        return Ok(None);
    }
    inference::embed(app, &job, texts).await.map(Some)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, TestDaemon, golden_model};
    use serde_json::{Value, json};

    /// Has `vec`, a BERT with a window of 128 tokens.
    async fn with_encoder() -> TestDaemon {
        let daemon = TestDaemon::new();
        daemon.create("vec", &golden_model("bert-mean")).await;
        daemon
    }

    async fn embed(daemon: &TestDaemon, mut body: Value) -> Answer {
        let fields = body.as_object_mut().unwrap();
        fields.entry("model").or_insert(json!("vec"));
        daemon.post("/api/embed", &body.to_string()).await
    }

    fn vectors(answer: &Answer) -> Vec<Vec<f64>> {
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.json()["embeddings"].clone()).unwrap()
    }

    fn length(vector: &[f64]) -> f64 {
        vector.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    #[track_caller]
    fn is_near(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < tolerance, "off by {worst}");
    }

    #[track_caller]
    fn check_error(answer: &Answer, status: u16, error: &str) {
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (status, error)
        );
    }

    #[tokio::test]
    async fn one_text_and_several() {
        let daemon = with_encoder().await;
        let one = embed(&daemon, json!({"input": "the first text"})).await;
        let first = &vectors(&one)[0];
        assert_eq!(first.len(), 64);
        assert!((length(first) - 1.0).abs() < 1e-5);
        assert_eq!(one.json()["model"], "vec");
        for figure in ["total_duration", "load_duration", "prompt_eval_count"] {
            assert!(one.json()[figure].as_u64().unwrap() > 0, "{figure}");
        }
        let input = ["another", "the first text", "the first text"];
        let several = embed(&daemon, json!({ "input": input })).await;
        let all = vectors(&several);
        assert_eq!((all.len(), &all[1], &all[2]), (3, first, first));
        is_near(&all[1], first, 1e-7);
        let count = |answer: &Answer| answer.json()["prompt_eval_count"].as_u64().unwrap();
        let alone = embed(&daemon, json!({"input": "another"})).await;
        assert_eq!(count(&several), 2 * count(&one) + count(&alone));
    }

    #[tokio::test]
    async fn dimensions_are_cut_and_made_unit_again() {
        let daemon = with_encoder().await;
        let whole = embed(&daemon, json!({"input": "text"})).await;
        let cut = embed(&daemon, json!({"input": "text", "dimensions": 8})).await;
        let (whole, cut) = (&vectors(&whole)[0], &vectors(&cut)[0]);
        let scale = length(&whole[..8]);
        let expected: Vec<f64> = whole[..8].iter().map(|x| x / scale).collect();
        is_near(cut, &expected, 1e-6);
        for dimensions in [0, -1, 64, 1000] {
            let body = json!({"input": "text", "dimensions": dimensions});
            assert_eq!(&vectors(&embed(&daemon, body).await)[0], whole);
        }
    }

    #[tokio::test]
    async fn nothing_loads_and_unloads() {
        let daemon = with_encoder().await;
        for body in [json!({}), json!({"input": ""}), json!({"input": []})] {
            let answer = embed(&daemon, body).await;
            assert_eq!(answer.json(), json!({"model": "vec", "embeddings": []}));
            let ps = daemon.get("/api/ps").await.json();
            assert_eq!(ps["models"][0]["name"], "vec:latest");
            assert_eq!(ps["models"][0]["context_length"], 128);
            let unload = json!({"keep_alive": 0});
            embed(&daemon, unload).await;
            assert_eq!(daemon.get("/api/ps").await.json(), json!({"models": []}));
        }
    }

    #[tokio::test]
    async fn long_texts_are_cut_to_the_window_or_refused() {
        let daemon = with_encoder().await;
        let with_window = |input: &str, num_ctx: i64, truncate: bool| {
            let options = json!({ "num_ctx": num_ctx });
            let body = json!({"input": input, "truncate": truncate, "options": options});
            let daemon = &daemon;
            async move { embed(daemon, body).await }
        };
        // every letter is a token
        let short = with_window("q", 0, true).await;
        let cut = with_window("q q q q q", 3, true).await;
        assert_eq!(vectors(&cut), vectors(&short));
        assert_eq!(cut.json()["prompt_eval_count"], 3);
        let long = "q ".repeat(300);
        let cut = with_window(&long, 100_000, true).await;
        assert_eq!(cut.json()["prompt_eval_count"], 128);
        vectors(&with_window(&"q ".repeat(126), 128, false).await);
        for (answer, error) in [
            (
                with_window("q q", 3, false).await,
                "the input length exceeds the context length",
            ),
            (
                with_window("q q", 1, true).await,
                "input after truncation exceeds maximum context length",
            ),
            (
                with_window("q q q", 0, true).await,
                "input exceeds maximum context length and cannot be truncated further",
            ),
        ] {
            check_error(&answer, 400, error);
        }
    }

    #[tokio::test]
    async fn what_is_no_text_is_refused() {
        let daemon = with_encoder().await;
        for input in [json!(1), json!({"a": 1}), json!(["a", 1])] {
            let answer = embed(&daemon, json!({ "input": input })).await;
            check_error(&answer, 400, "invalid input type");
        }
        let many = vec!["a"; 8193];
        let answer = embed(&daemon, json!({ "input": many })).await;
        let why = "`input` has 8193 texts, and at most 8192 may be sent at once";
        check_error(&answer, 400, why);
        let answer = embed(&daemon, json!({"model": "no", "input": "a"})).await;
        check_error(&answer, 404, "model 'no' not found");
    }

    #[tokio::test]
    async fn the_older_route_gives_one_vector_as_it_is() {
        let daemon = with_encoder().await;
        let old = |body: Value| {
            let daemon = &daemon;
            async move { daemon.post("/api/embeddings", &body.to_string()).await }
        };
        let answer = old(json!({"model": "vec", "prompt": "the first text"})).await;
        let raw: Vec<f64> = serde_json::from_value(answer.json()["embedding"].clone()).unwrap();
        assert!(length(&raw) > 2.0, "{}", length(&raw));
        let unit: Vec<f64> = raw.iter().map(|x| x / length(&raw)).collect();
        let new = embed(&daemon, json!({"input": "the first text"})).await;
        is_near(&vectors(&new)[0], &unit, 1e-6);
        let empty = old(json!({"model": "vec"})).await;
        assert_eq!(empty.json(), json!({"embedding": []}));
        let nameless = old(json!({"prompt": "text"})).await;
        check_error(&nameless, 400, "model is required");
    }

    #[tokio::test]
    async fn encoders_say_what_they_can_do_and_refuse_the_rest() {
        let daemon = with_encoder().await;
        daemon.create("last", &golden_model("qwen3-embed")).await;
        daemon.create("tiny", &golden_model("llama")).await;
        for (model, capability) in [
            ("vec", "embedding"),
            ("last", "embedding"),
            ("tiny", "completion"),
        ] {
            let body = json!({ "model": model }).to_string();
            let show = daemon.post("/api/show", &body).await.json();
            assert_eq!(show["capabilities"], json!([capability]), "{model}");
        }
        for model in ["vec", "last"] {
            let prompt = json!({"model": model, "prompt": "hi"}).to_string();
            let answer = daemon.post("/api/generate", &prompt).await;
            let why = format!("\"{model}\" does not support generate");
            check_error(&answer, 400, &why);
            let messages = json!([{"role": "user", "content": "hi"}]);
            let chat = json!({"model": model, "messages": messages}).to_string();
            let answer = daemon.post("/api/chat", &chat).await;
            check_error(&answer, 400, &format!("\"{model}\" does not support chat"));
        }
        // as with Ollama, what writes text makes vectors too
        let answer = embed(&daemon, json!({"model": "tiny", "input": "a text"})).await;
        assert_eq!(vectors(&answer)[0].len(), 64);
    }

    /// A window that nobody chose grows with the text, up to what the model was trained for.
    #[tokio::test]
    async fn an_automatic_window_grows_with_the_longest_text() {
        let daemon = TestDaemon::with(|config| config.context_length = None);
        daemon.create("last", &golden_model("qwen3-embed")).await;
        let input = ["a", &"b c ".repeat(1000)];
        let answer = embed(&daemon, json!({"model": "last", "input": input})).await;
        let count = answer.json()["prompt_eval_count"].as_u64().unwrap();
        assert!((513..600).contains(&count), "{count}");
    }
}
