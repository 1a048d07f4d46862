//! `GET /`, `HEAD /`: whether somebody is there. Some clients compare the words.

/// Answers.
pub(super) async fn answer() -> &'static str {
    "Ollama is running"
}
