//! All operations, in the words of who calls them.

use super::document::{Document, Group, Operations, anthropics, ollamas, openais};
use http::Method;
use serde_json::{Value, json};
use slm_api::{
    anthropic, bench, care, ollama, openai, rerank, responses, search, status, store, tokens,
};

/// What can go wrong where a model is looked up.
const LOOKUP: &[u16] = &[404, 500];
/// Where a model is loaded and computes.
const WORK: &[u16] = &[404, 500, 503];
/// Where others are asked for files.
const NETWORK: &[u16] = &[404, 500, 502, 503];

/// What tells clients of Anthropic's where both have a route, and what it is for.
const VERSION: (&str, &str) = (
    "anthropic-version",
    "With any version, answers and errors are in Anthropic's dialect",
);

const ABOUT: &str = "What slmd serves: Ollama's REST API, the parts of OpenAI's and Anthropic's that a local model can \
answer, and routes of its own for the store, for tokens and for whoever watches. Requests are read leniently: the content \
type does not matter, keys match in any case, `null` is as good as absent, unknown fields are ignored (of `/v1/…` they are \
named in the header `x-slm-warning`). Every error has a body in the dialect of its route, but for 403 to a foreign page, \
404 to an unknown path and 405. Streams are lines of JSON (`application/x-ndjson`) or server-sent events; the schema is \
that of one line or one event.";

/// The document.
pub(super) fn document() -> Value {
    let mut document = Document::new();
    let mut group = |name, about, errors, list: fn(&mut Operations)| {
        let mut operations = document.group(Group {
            name,
            about,
            errors,
        });
        list(&mut operations);
    };
    group(
        "generate",
        "Ollama's dialect: text, chats, vectors",
        ollamas,
        generate,
    );
    group(
        "models",
        "Ollama's dialect: the models of the store",
        ollamas,
        models,
    );
    group(
        "store",
        "slm's own: care of the store, bundles, other programs' files",
        ollamas,
        of_store,
    );
    group("tokens", "slm's own: texts and tokens", ollamas, of_tokens);
    group(
        "openai",
        "OpenAI's dialect, and rankings as several other servers have them",
        openais,
        of_openai,
    );
    group("anthropic", "Anthropic's dialect", anthropics, of_anthropic);
    group(
        "watch",
        "For supervisors, scrapers and browsers",
        ollamas,
        watch,
    );
    document.finish(&json!({
        "title": "slm",
        "version": env!("CARGO_PKG_VERSION"),
        "description": ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }))
}

fn text() -> Value {
    json!({"schema": {"type": "string"}})
}

fn generate(all: &mut Operations) {
    all.post(
        "/api/generate",
        "A prompt goes on. Without a prompt the model is loaded, or let go with `keep_alive` 0.",
    )
    .takes::<ollama::GenerateRequest>(&["model"])
    .answers::<ollama::GenerateResponse>()
    .lines::<ollama::GenerateResponse>()
    .fails(WORK);
    all.post("/api/chat", "The next turn of a conversation. Without messages the model is loaded, or let go with `keep_alive` 0.")
        .takes::<ollama::ChatRequest>(&["model"])
        .answers::<ollama::ChatResponse>()
        .lines::<ollama::ChatResponse>()
        .fails(WORK);
    all.post("/api/embed", "Vectors of texts, of length 1")
        .takes::<ollama::EmbedRequest>(&["model"])
        .answers::<ollama::EmbedResponse>()
        .fails(WORK);
    all.post(
        "/api/embeddings",
        "The vector of one text, as the model made it",
    )
    .takes::<ollama::EmbeddingsRequest>(&["model"])
    .answers::<ollama::EmbeddingsResponse>()
    .fails(WORK);
}

fn models(all: &mut Operations) {
    all.get(
        "/api/version",
        "The release of Ollama whose API this is, and what slm computes on",
    )
    .answers::<ollama::VersionResponse>();
    all.get("/api/tags", "The models of the store")
        .answers::<ollama::TagsResponse>()
        .fails(&[500]);
    all.get("/api/ps", "The loaded models")
        .answers::<ollama::PsResponse>();
    all.post("/api/show", "Everything about one model")
        .takes::<ollama::ShowRequest>(&["model"])
        .answers::<ollama::ShowResponse>()
        .fails(LOOKUP);
    all.post(
        "/api/create",
        "Makes a model of another, or of uploaded files",
    )
    .takes::<ollama::CreateRequest>(&["model"])
    .answers::<ollama::Progress>()
    .lines::<ollama::Progress>()
    .fails(NETWORK);
    all.post("/api/copy", "Gives a model a second name")
        .takes::<ollama::CopyRequest>(&["source", "destination"])
        .says_nothing(200, "Done")
        .fails(LOOKUP);
    all.any(
        &Method::DELETE,
        "/api/delete",
        "Removes a model, and the blobs that no other has",
    )
    .takes::<ollama::DeleteRequest>(&["model"])
    .says_nothing(200, "Done")
    .fails(LOOKUP);
    all.post("/api/pull", "Fetches a model from where its name says")
        .takes::<ollama::PullRequest>(&["model"])
        .answers::<ollama::Progress>()
        .lines::<ollama::Progress>()
        .fails(NETWORK);
    all.post("/api/push", "Sends a model to a registry")
        .takes::<ollama::PushRequest>(&["model"])
        .answers::<ollama::Progress>()
        .lines::<ollama::Progress>()
        .fails(NETWORK);
    let digest = json!({"type": "string", "pattern": "^sha256[:-][0-9a-fA-F]{64}$"});
    let path = "/api/blobs/{digest}";
    all.any(&Method::HEAD, path, "Whether a blob is there")
        .part("digest", "`sha256:…`", digest.clone())
        .says_nothing(200, "It is")
        .says_nothing(404, "It is not")
        .fails(&[400]);
    all.post(path, "Uploads a blob")
        .part("digest", "`sha256:…`", digest.clone())
        .takes_bytes("application/octet-stream")
        .says_nothing(200, "It was there already")
        .says_nothing(201, "It is there now");
    all.any(
        &Method::PUT,
        path,
        "Takes a file of the daemon's machine as a blob. Only clients of that machine may.",
    )
    .part("digest", "`sha256:…`", digest)
    .takes::<ollama::LinkBlobRequest>(&["path"])
    .says_nothing(200, "It was there already")
    .says_nothing(201, "It is there now")
    .fails(&[500]);
}

fn of_store(all: &mut Operations) {
    all.post("/api/search", "Models of the catalogue and of Hugging Face")
        .takes::<search::SearchRequest>(&[])
        .answers_as(json!({
            "type": "object", "required": ["catalog", "hugging_face"], "properties": {
                "catalog": {"type": "array", "items": {"type": "object"}},
                "hugging_face": {"type": "array", "items": {"type": "object"}},
                "error": {"type": "string"},
            },
        }));
    all.post("/api/swap", "Makes a model ready, then lets the others go")
        .takes::<ollama::SwapRequest>(&["model"])
        .answers::<ollama::SwapResponse>()
        .fails(WORK);
    all.post(
        "/api/verify",
        "Reads models again and compares digests, and repairs where asked to",
    )
    .takes::<care::VerifyRequest>(&[])
    .lines::<care::VerifyLine>()
    .fails(&[503]);
    all.post(
        "/api/gc",
        "What no model needs, and its removal where asked for",
    )
    .takes::<care::GcRequest>(&[])
    .answers::<care::GcResponse>()
    .fails(&[500]);
    all.get("/api/df", "What takes how much room")
        .answers::<care::DfResponse>()
        .fails(&[500]);
    all.get(
        "/api/outdated",
        "Which models have changed where they came from. Asks their sources.",
    )
    .answers::<care::OutdatedResponse>()
    .fails(&[500, 503]);
    all.post(
        "/api/update",
        "Fetches a model anew from where it came from",
    )
    .takes::<care::UpdateRequest>(&["model"])
    .lines::<ollama::Progress>()
    .fails(LOOKUP);
    all.post(
        "/api/rollback",
        "Puts the earlier version of a model in place",
    )
    .takes::<care::RollbackRequest>(&["model"])
    .answers::<care::RollbackResponse>()
    .fails(LOOKUP);
    all.post("/api/path", "Where the files of a model are")
        .takes::<store::PathRequest>(&["model"])
        .answers::<store::PathResponse>()
        .fails(LOOKUP);
    all.get("/api/blobs", "All blobs")
        .answers::<store::BlobsResponse>()
        .fails(&[500]);
    all.post("/api/export", "Models as one file, with all that they need")
        .takes::<store::ExportRequest>(&["models"])
        .says(
            200,
            "A tar file in the layout of OCI images",
            "application/x-tar",
            json!({}),
        )
        .fails(WORK);
    all.post("/api/import", "Takes models from such a file")
        .parameter(
            "header",
            "slm-as",
            "Another name for the one model",
            json!({"type": "string"}),
        )
        .takes_bytes("application/x-tar")
        .answers::<store::ImportResponse>();
    all.post("/api/adopt/find", "Models that other programs have on the daemon's machine. Only clients of that machine may.")
        .takes::<store::AdoptRequest>(&[])
        .answers::<store::AdoptFound>()
        .fails(&[500]);
    all.post(
        "/api/adopt",
        "Takes such models into the store, sharing their files. Only clients of that machine may.",
    )
    .takes::<store::AdoptRequest>(&[])
    .lines::<ollama::Progress>();
    for (path, summary) in [
        ("/api/archive", "Moves a model's blobs to the archive"),
        ("/api/unarchive", "Moves them back"),
    ] {
        all.post(path, summary)
            .takes::<store::ArchiveRequest>(&["model"])
            .lines::<ollama::Progress>()
            .fails(LOOKUP);
    }
}

fn of_tokens(all: &mut Operations) {
    all.post("/api/tokenize", "The tokens of a text")
        .takes::<tokens::TokenizeRequest>(&["model"])
        .answers::<tokens::TokenizeResponse>()
        .fails(WORK);
    all.post("/api/detokenize", "The text of tokens")
        .takes::<tokens::DetokenizeRequest>(&["model"])
        .answers::<tokens::DetokenizeResponse>()
        .fails(WORK);
    all.post(
        "/api/apply-template",
        "What a model reads for a conversation",
    )
    .takes::<ollama::ChatRequest>(&["model", "messages"])
    .answers::<tokens::ApplyTemplateResponse>()
    .fails(WORK);
}

fn of_openai(all: &mut Operations) {
    let done = &["[DONE]"];
    all.post("/v1/chat/completions", "The next turn of a conversation")
        .takes::<openai::ChatRequest>(&["model", "messages"])
        .answers::<openai::ChatCompletion>()
        .events::<openai::ChatCompletion>(done)
        .fails(WORK);
    all.post("/v1/completions", "Texts go on")
        .takes::<openai::CompletionRequest>(&["model", "prompt"])
        .answers::<openai::Completion>()
        .events::<openai::Completion>(done)
        .fails(WORK);
    all.post("/v1/embeddings", "Vectors of texts")
        .takes::<openai::EmbeddingsRequest>(&["model", "input"])
        .answers::<openai::EmbeddingsResponse>()
        .fails(WORK);
    all.post(
        "/v1/rerank",
        "Texts in the order of how near they are to another",
    )
    .takes::<rerank::RerankRequest>(&["model", "query", "documents"])
    .answers::<rerank::RerankResponse>()
    .fails(WORK);
    all.post("/v1/score", "How near texts are to others")
        .takes::<rerank::ScoreRequest>(&["model", "text_1", "text_2"])
        .answers::<rerank::ScoreResponse>()
        .fails(WORK);
    let event = json!({
        "type": "object",
        "required": ["type", "sequence_number"],
        "properties": {
            "type": {"type": "string", "description": "`response.created`, `response.output_text.delta`, …; also the event's name"},
            "sequence_number": {"type": "integer", "minimum": 0},
        },
    });
    all.post("/v1/responses", "An answer that knows those before it")
        .takes::<responses::ResponsesRequest>(&["model", "input"])
        .answers::<responses::Response>()
        .events_as(&event, &[])
        .fails(WORK);
    let path = "/v1/responses/{id}";
    let id = json!({"type": "string"});
    let part = ("id", "As the answer's `id` says");
    all.get(path, "An answer that is kept")
        .part(part.0, part.1, id.clone())
        .answers::<responses::Response>()
        .fails(&[400, 404]);
    all.any(&Method::DELETE, path, "Forgets an answer, and ends it where it is in progress")
        .part(part.0, part.1, id.clone())
        .answers_as(json!({
            "type": "object",
            "required": ["id", "object", "deleted"],
            "properties": {
                "id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"type": "boolean"},
            },
        }))
        .fails(&[400, 404]);
    all.post(
        "/v1/responses/{id}/cancel",
        "Ends an answer that is in progress",
    )
    .part(part.0, part.1, id.clone())
    .answers::<responses::Response>()
    .fails(&[400, 404]);
    all.get("/v1/responses/{id}/input_items", "What an answer answers")
        .part(part.0, part.1, id)
        .parameter(
            "query",
            "order",
            "`asc`, or `desc`: the last first",
            json!({"enum": ["asc", "desc"]}),
        )
        .parameter(
            "query",
            "limit",
            "Items at most",
            json!({"type": "integer", "minimum": 1, "maximum": 100}),
        )
        .parameter(
            "query",
            "after",
            "The id of the item ahead of the first",
            json!({"type": "string"}),
        )
        .answers_as(json!({
            "type": "object",
            "required": ["object", "data", "first_id", "last_id", "has_more"],
            "properties": {
                "object": {"const": "list"},
                "data": {"type": "array", "items": {"type": "object"}},
                "first_id": {"type": ["string", "null"]},
                "last_id": {"type": ["string", "null"]},
                "has_more": {"type": "boolean"},
            },
        }))
        .fails(&[400, 404]);
    all.get("/v1/models", "The models of the store")
        .answers::<openai::ModelList>()
        .fails(&[500])
        .or_to::<anthropic::ModelList>(VERSION.0, VERSION.1, anthropics);
    all.get(
        "/v1/models/{name}",
        "One of them. The name may have slashes.",
    )
    .part("name", "A model's name", json!({"type": "string"}))
    .answers::<openai::Model>()
    .fails(&[400, 404, 500])
    .or_to::<anthropic::Model>(VERSION.0, VERSION.1, anthropics);
}

fn of_anthropic(all: &mut Operations) {
    all.post("/v1/messages", "The next turn of a conversation")
        .takes::<anthropic::MessagesRequest>(&["model", "messages", "max_tokens"])
        .answers::<anthropic::Message>()
        .events::<anthropic::Event>(&[])
        .fails(WORK);
    all.post(
        "/v1/messages/count_tokens",
        "How many tokens a model would read",
    )
    .takes::<anthropic::MessagesRequest>(&["model", "messages"])
    .answers::<anthropic::TokenCount>()
    .fails(WORK);
}

fn watch(all: &mut Operations) {
    all.get("/", "Whether somebody is there. Browsers get the web page.")
        .says(200, "The answer", "text/plain", text())
        .says(200, "The answer", "text/html", text());
    all.get("/ui/{name}", "A file of the web page")
        .part("name", "A file's name", json!({"type": "string"}))
        .says(200, "The file", "text/html", text())
        .says(200, "The file", "text/css", text())
        .says(200, "The file", "text/javascript", text())
        .says(200, "The file", "image/svg+xml", text())
        .says_nothing(304, "The client has it")
        .says(404, "There is none", "text/plain", text());
    all.get("/openapi.json", "This document")
        .answers_as(json!({"type": "object"}));
    all.get("/api/status", "Memory, sums and the last requests")
        .answers::<status::StatusResponse>();
    all.get(
        "/api/bench",
        "What benchmarks have measured on this machine",
    )
    .answers::<bench::BenchResponse>()
    .fails(&[500]);
    all.get("/metrics", "Figures for Prometheus")
        .says(200, "The answer", "application/openmetrics-text", text())
        .fails(&[500]);
    let state = json!({
        "type": "object", "required": ["status"], "properties": {"status": {"type": "string"}},
    });
    all.get("/health", "Whether the daemon answers at all")
        .answers_as(state.clone());
    all.get("/ready", "Whether it takes work")
        .answers_as(state)
        .fails(&[503]);
}
