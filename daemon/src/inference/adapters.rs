//! Which adapters a request is computed with: those that it names, else those of its model.

use crate::{
    catalog::Record,
    error::ApiError,
    models::WantedAdapter,
    routes::{as_asked, model_name},
    state::App,
};
use slm_api::ollama::AdapterChoice;
use slm_registry::{Descriptor, Digest, Store};
use std::sync::Arc;

/// Most adapters of a request.
const MAX_ADAPTERS: usize = 8;

/// The adapters of a request to `record`. `chosen` stands in place of the model's own; an empty list is none.
///
/// # Errors
/// A choice that is wrong in itself, or names what is not there.
pub(crate) async fn choose(
    app: &Arc<App>,
    record: &Record,
    chosen: Option<Vec<AdapterChoice>>,
) -> Result<Vec<WantedAdapter>, ApiError> {
    let Some(chosen) = chosen else {
        let own = record.adapters.iter();
        return Ok(own.map(|layer| wanted(&app.store, layer, 1.0)).collect());
    };
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let all = app.blocking(move |app| {
        let mut all = Vec::new();
        for choice in chosen {
            all.extend(find(app, choice)?);
            if all.len() > MAX_ADAPTERS {
                return Err(ApiError::bad_request(format!(
                    "`adapters` may name at most {MAX_ADAPTERS} adapters"
                )));
            }
        }
        Ok(all)
    });
    all.await
}

/// What one choice means: one adapter, or all of a model.
fn find(app: &App, choice: AdapterChoice) -> Result<Vec<WantedAdapter>, ApiError> {
    let scale = choice.scale.unwrap_or(1.0) as f32;
    if !scale.is_finite() {
        return Err(ApiError::bad_request(
            "`scale` of an adapter must be a finite number",
        ));
    }
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (given(choice.model), given(choice.digest)) {
        (Some(model), None) => {
            let record = model_name(&model).and_then(|name| app.catalog.find(&name));
            let record = record.map_err(|error| as_asked(error, &model))?;
            if record.adapters.is_empty() {
                return Err(ApiError::bad_request(format!(
                    "model '{model}' has no adapter; create one with a Modelfile of FROM and ADAPTER"
                )));
            }
            let layers = record.adapters.iter();
            Ok(layers.map(|l| wanted(&app.store, l, scale)).collect())
        }
        (None, Some(digest)) => {
            let parsed = digest.parse::<Digest>().map_err(|error| {
                let text = format!(
                    "field `adapters`: {error}: a digest is `sha256:` and 64 hexadecimal digits"
                );
                ApiError::bad_request(text)
            });
            let digest = parsed?;
            let path = app.store.blob_path(&digest);
            let Ok(metadata) = std::fs::metadata(&path) else {
                return Err(ApiError::new(
                    http::StatusCode::NOT_FOUND,
                    format!("adapter '{digest}' not found"),
                ));
            };
            Ok(vec![WantedAdapter {
                digest,
                path,
                size_bytes: metadata.len(),
                scale,
            }])
        }
        _ => Err(ApiError::bad_request(
            "each of `adapters` names either a `model` that has an adapter, or the `digest` of one",
        )),
    }
}

fn wanted(store: &Store, layer: &Descriptor, scale: f32) -> WantedAdapter {
    WantedAdapter {
        digest: layer.digest,
        path: store.blob_path(&layer.digest),
        size_bytes: layer.size,
        scale,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, TestDaemon, golden_file, golden_model};
    use serde_json::{Value, json};

    fn golden_json(name: &str) -> Value {
        serde_json::from_slice(&golden_file(&format!("{name}.json"))).unwrap()
    }

    /// The beginning of the text that the references go on from: its tokens are theirs.
    const PROMPT: &str = "The old man counted twelve boats in the harbour, and wrote the number down before the rain came. Nobody asked him why; numbers";

    /// Has the tiny llama as `tiny`, and as `r8` and `r4` with an adapter each. Returns the adapters' digests too.
    async fn with_adapters() -> (TestDaemon, [String; 2]) {
        let daemon = TestDaemon::with_model().await;
        let mut digests = Vec::new();
        for name in ["r8", "r4"] {
            let digest = daemon
                .upload(&golden_model(&format!("lora-llama-{name}")))
                .await;
            let answer = create(
                &daemon,
                name,
                json!({"from": "tiny", "adapters": {"a.gguf": digest}}),
            )
            .await;
            assert_eq!(answer.json(), json!({"status": "success"}), "{answer:?}");
            digests.push(digest);
        }
        (daemon, digests.try_into().unwrap())
    }

    async fn create(daemon: &TestDaemon, name: &str, mut body: Value) -> Answer {
        body["model"] = json!(name);
        body["stream"] = json!(false);
        daemon.post("/api/create", &body.to_string()).await
    }

    async fn generate(daemon: &TestDaemon, model: &str, adapters: Value) -> Answer {
        let body = json!({
            "model": model, "prompt": PROMPT, "stream": false, "adapters": adapters,
            "options": {"temperature": 0, "num_predict": 10},
        });
        daemon.post("/api/generate", &body.to_string()).await
    }

    #[tokio::test]
    async fn a_request_chooses_adapters_and_all_share_the_weights() {
        let (daemon, [r8, r4]) = with_adapters().await;
        let references = golden_json("lora");
        let plain = golden_json("llama");
        let prompt = plain["prompt_tokens"].as_array().unwrap().clone();
        let check = async |model: &str, adapters: Value, greedy: &Value| {
            let answer = generate(&daemon, model, adapters).await.json();
            let tokens = answer["context"]
                .as_array()
                .unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(tokens[..prompt.len()], prompt[..]);
            let expected = &greedy["greedy"].as_array().unwrap()[..10];
            assert_eq!(&tokens[prompt.len()..], expected, "{model}");
        };
        let both = json!([{"model": "r8", "scale": 0.7}, {"digest": r4, "scale": -1.3}]);
        for _ in 0..2 {
            check("tiny", Value::Null, &plain).await;
            check(
                "tiny",
                json!([{"model": "R8", "scale": 0.7}]),
                &references[0],
            )
            .await;
            check("r4", json!([{"digest": r8, "scale": 0.7}]), &references[0]).await;
            check("r8", both.clone(), &references[1]).await;
            check("r8", json!([]), &plain).await;
        }
        // one model, whose size counts the adapters, each loaded once
        let running = daemon.app.models.running();
        assert_eq!(running.len(), 1);
        let without = TestDaemon::with_model().await;
        generate(&without, "tiny", Value::Null).await;
        let grown = running[0].size_bytes - without.app.models.running()[0].size_bytes;
        assert!((100_000..200_000).contains(&grown), "{grown}");

        let own = generate(&daemon, "r8", Value::Null).await.json();
        let named = generate(&daemon, "tiny", json!([{"model": "r8"}]))
            .await
            .json();
        assert_eq!(own["context"], named["context"]);
        let base = generate(&daemon, "tiny", Value::Null).await.json();
        assert_ne!(own["context"], base["context"]);
    }

    #[tokio::test]
    async fn conversations_and_vectors_have_adapters_too() {
        let (daemon, _) = with_adapters().await;
        let ask = async |path: &str, model: &str, adapters: Value| {
            let body = json!({
                "model": model, "adapters": adapters, "stream": false, "input": PROMPT, "prompt": PROMPT,
                "messages": [{"role": "user", "content": PROMPT}],
                "options": {"temperature": 0, "num_predict": 6},
            });
            let answer = daemon.post(path, &body.to_string()).await.json();
            let said = ["message", "embeddings", "embedding"].map(|key| answer[key].clone());
            assert!(said.iter().any(|value| !value.is_null()), "{answer}");
            said
        };
        for path in ["/api/chat", "/api/embed", "/api/embeddings"] {
            let plain = ask(path, "tiny", Value::Null).await;
            let own = ask(path, "r8", Value::Null).await;
            assert_ne!(own, plain, "{path}");
            assert_eq!(
                ask(path, "tiny", json!([{"model": "r8"}])).await,
                own,
                "{path}"
            );
            assert_eq!(ask(path, "r8", json!([])).await, plain, "{path}");
        }
    }

    #[tokio::test]
    async fn an_adapter_is_shown_and_made_again_to_the_same_digest() {
        let (daemon, [r8, r4]) = with_adapters().await;
        let show = async |model: &str| {
            let body = json!({"model": model}).to_string();
            daemon.post("/api/show", &body).await.json()
        };
        let shown = show("r8").await;
        assert_eq!(shown["adapters"], json!([{"digest": r8, "size": 110_528}]));
        assert!(show("tiny").await["adapters"].is_null());
        let blob = format!("/blobs/{}\n", r8.replace(':', "-"));
        let modelfile = shown["modelfile"].as_str().unwrap();
        let line = modelfile
            .lines()
            .find(|line| line.starts_with("ADAPTER "))
            .unwrap();
        assert!(format!("{line}\n").ends_with(&blob), "{modelfile}");

        let digest_of = async |model: &str| {
            let tags = daemon.get("/api/tags").await.json();
            let models = tags["models"].as_array().unwrap().clone();
            let model = models
                .into_iter()
                .find(|m| m["name"] == format!("{model}:latest"));
            model.unwrap()["digest"].clone()
        };
        let weights = daemon.upload(&golden_model("llama")).await;
        let files = json!({"files": {"m.gguf": weights}, "adapters": {"a.gguf": r8}});
        create(&daemon, "again", files).await;
        assert_eq!(digest_of("again").await, digest_of("r8").await);
        // another one takes its place
        create(
            &daemon,
            "other",
            json!({"from": "r8", "adapters": {"b.gguf": r4}}),
        )
        .await;
        assert_eq!(digest_of("other").await, digest_of("r4").await);
        // and what is made from a model keeps it
        create(&daemon, "kind", json!({"from": "r8", "system": "Be kind."})).await;
        assert_eq!(show("kind").await["adapters"], shown["adapters"]);
    }

    #[tokio::test]
    async fn choices_that_cannot_be_are_refused() {
        let (daemon, _) = with_adapters().await;
        let check = async |adapters: Value, status: u16, expected: &str| {
            let answer = generate(&daemon, "tiny", adapters).await;
            assert_eq!(answer.status.as_u16(), status, "{answer:?}");
            assert!(answer.error().contains(expected), "{answer:?}");
        };
        let zero = format!("sha256:{}", "0".repeat(64));
        check(json!([{"model": "gone"}]), 404, "model 'gone' not found").await;
        check(json!([{"model": "a b"}]), 400, "invalid model name").await;
        check(
            json!([{"model": "tiny"}]),
            400,
            "model 'tiny' has no adapter",
        )
        .await;
        check(json!([{"digest": zero}]), 404, "not found").await;
        check(json!([{"digest": "sha1:00"}]), 400, "invalid digest").await;
        check(json!([{"scale": 1}]), 400, "either a `model`").await;
        check(
            json!([{"model": "r8", "digest": zero}]),
            400,
            "either a `model`",
        )
        .await;
        check(
            json!([{"model": "r8", "scale": "much"}]),
            400,
            "field `adapters`",
        )
        .await;
        check(json!([{"model": "r8", "scale": 1e300}]), 400, "finite").await;
        check(json!({"model": "r8"}), 400, "field `adapters`").await;
        check(json!(vec![json!({"model": "r8"}); 9]), 400, "at most 8").await;
        // blobs that are no adapter, or one for another model
        let weights = daemon.upload(&golden_model("llama")).await;
        check(json!([{"digest": weights}]), 400, "no adapter").await;
        let text = daemon.upload(b"once upon a time").await;
        check(json!([{"digest": text}]), 400, "not a GGUF file").await;
        let other = daemon.upload(&golden_model("lora-qwen3-r4")).await;
        check(
            json!([{"digest": other}]),
            400,
            "`general.architecture` is qwen3",
        )
        .await;
        let wider = daemon.upload(&golden_model("lora-mistral-r8")).await;
        check(
            json!([{"digest": wider}]),
            400,
            "`blk.1.attn_k.weight.lora_b` has shape [8, 48] instead of [8, 32]",
        )
        .await;
    }

    #[tokio::test]
    async fn recipes_with_adapters_that_cannot_be_are_refused() {
        let (daemon, [r8, r4]) = with_adapters().await;
        let check = async |body: Value, expected: &str| {
            let answer = create(&daemon, "x", body).await;
            assert!(answer.error().contains(expected), "{answer:?}");
        };
        let with = |adapters: Value| json!({"from": "tiny", "adapters": adapters});
        check(
            with(json!({"a.gguf": r8, "b.gguf": r4})),
            "only one adapter",
        )
        .await;
        check(
            with(json!({"adapter_model.safetensors": r8})),
            "convert the adapter to GGUF first",
        )
        .await;
        check(with(json!({"/a.gguf": r8})), "file path must be relative").await;
        let zero = format!("sha256:{}", "0".repeat(64));
        check(with(json!({"a.gguf": zero})), "upload it with POST").await;
        let weights = daemon.upload(&golden_model("llama")).await;
        check(with(json!({"a.gguf": weights})), "is no adapter").await;
        check(
            json!({"files": {"m.gguf": r8}}),
            "is an adapter and no model",
        )
        .await;
        let other = daemon.upload(&golden_model("lora-qwen3-r4")).await;
        check(with(json!({"a.gguf": other})), "architecture `qwen3`").await;
        let text = daemon.upload(b"once upon a time").await;
        check(with(json!({"a.gguf": text})), "not in GGUF format").await;
    }
}
