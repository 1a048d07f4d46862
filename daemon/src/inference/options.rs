//! The options map: defaults, the model's params layer, the request, merged into what the engine wants.
//!
//! Unknown keys are logged and ignored, because clients send options of every age; a value of the wrong type is 400.

use crate::error::ApiError;
use serde_json::{Map, Value};
use slm_engine::{Grammar, KvType, SamplingParams, TokenId};

/// How to run one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunOptions {
    pub(crate) sampling: SamplingParams,
    /// Texts that end the answer.
    pub(crate) stop: Vec<String>,
    /// The form that the answer must have.
    pub(crate) grammar: Option<Grammar>,
    /// Whether JSON that the length limit cuts off is closed, so that it can be parsed.
    pub(crate) close_json: bool,
    /// Whether an answer ends behind its first call.
    pub(crate) one_call: bool,
    /// Whether tokens come with how likely they were, and how many alternatives with each.
    pub(crate) logprobs: Option<usize>,
    /// Whether those of the prompt come with that, too.
    pub(crate) prompt_logprobs: bool,
    /// Most tokens to generate; `None` is until the window is full.
    pub(crate) max_tokens: Option<usize>,
    /// Whether the model's own end does not end the answer.
    pub(crate) ignore_eos: bool,
    /// The window, where somebody chose one.
    pub(crate) num_ctx: Option<usize>,
    /// Tokens at the beginning that stay where others make room.
    pub(crate) num_keep: usize,
    /// Whether a prompt that is too long loses what can be spared of it.
    pub(crate) truncate: bool,
    /// Whether older tokens make room where the context is full.
    pub(crate) shift: bool,
    /// Compute threads, where somebody chose.
    pub(crate) n_threads: Option<usize>,
    /// How keys and values are stored, where somebody chose; a model that is loaded keeps what it has.
    pub(crate) kv_type: Option<KvType>,
    /// The model that guesses, where somebody chose; a model that is loaded keeps what it has.
    pub(crate) draft_model: Option<String>,
}

/// Most stop texts, and the longest: each generated token is compared with all of them.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;
/// Most tokens with a bias, and the greatest one.
const MAX_BIASES: usize = 1024;
const MAX_BIAS: f32 = 100.0;
/// Options that mean something elsewhere: layers on a GPU, batches. They change no result here.
const WITHOUT_EFFECT: &[&str] = &[
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "draft_num_predict",
];

impl RunOptions {
    /// Applies `layers` in order, later ones win.
    ///
    /// # Errors
    /// An option whose value has the wrong type.
    pub(crate) fn merge<'a>(
        layers: impl IntoIterator<Item = &'a Map<String, Value>>,
    ) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for layer in layers {
            for (key, value) in layer {
                if !value.is_null() {
                    options.apply(key, value)?;
                }
            }
        }
        Ok(options)
    }

    /// The same, with the form that `format` asks for.
    ///
    /// # Errors
    /// A format that is none, or beside another form.
    pub(crate) fn with_format(mut self, format: Option<&Value>) -> Result<Self, ApiError> {
        let form = super::grammar(format)?;
        if form.is_some() && self.grammar.is_some() {
            return Err(ApiError::bad_request(
                "`format` and the options \"grammar\" and \"regex\" exclude each other; leave one out",
            ));
        }
        self.grammar = form.or(self.grammar);
        Ok(self)
    }

    fn apply(&mut self, key: &str, value: &Value) -> Result<(), ApiError> {
        let sampling = &mut self.sampling;
        match key {
            "temperature" => sampling.temperature = float(key, value)?.max(0.0),
            "top_k" => sampling.top_k = count(integer(key, value)?).unwrap_or(0),
            "top_p" => sampling.top_p = float(key, value)?,
            "min_p" => sampling.min_p = float(key, value)?,
            "typical_p" => sampling.typical_p = float(key, value)?,
            "repeat_penalty" => sampling.repeat_penalty = float(key, value)?,
            "repeat_last_n" => {
                // -1 is the whole context
                sampling.repeat_last_n = count(integer(key, value)?).unwrap_or(usize::MAX);
            }
            "presence_penalty" => sampling.presence_penalty = float(key, value)?,
            "frequency_penalty" => sampling.frequency_penalty = float(key, value)?,
            "seed" => sampling.seed = u64::try_from(integer(key, value)?).ok(),
            "num_predict" => self.max_tokens = count(integer(key, value)?),
            "num_keep" => self.num_keep = count(integer(key, value)?).unwrap_or(usize::MAX),
            "num_ctx" => self.num_ctx = Some(count(integer(key, value)?).unwrap_or(0)),
            "num_thread" => {
                // more than the machine has would only slow it down
                let most = slm_kernels::available_threads();
                self.n_threads = count(integer(key, value)?)
                    .filter(|n| *n > 0)
                    .map(|n| n.min(most));
            }
            "logit_bias" => sampling.logit_bias = biases(key, value)?,
            "grammar" | "regex" => self.grammar = grammar(key, value, self.grammar.take())?,
            "close_json" => self.close_json = switch(key, value)?,
            "ignore_eos" => self.ignore_eos = switch(key, value)?,
            "stop" => self.stop = strings(key, value)?,
            "draft_model" => self.draft_model = text(key, value)?,
            "kv_cache_type" => self.kv_type = Some(kv_type(key, value)?),
            key if WITHOUT_EFFECT.contains(&key) => {}
            key => tracing::warn!(option = key, "unknown option ignored"),
        }
        Ok(())
    }
}

/// What is added to the logits of tokens, by their ids.
fn biases(key: &str, value: &Value) -> Result<Vec<(TokenId, f32)>, ApiError> {
    let wrong = || {
        ApiError::bad_request(format!(
            "`{key}` must be an object of at most {MAX_BIASES} token ids, each with a number from -{MAX_BIAS} to {MAX_BIAS}"
        ))
        .of_field("logit_bias")
    };
    let items = value.as_object().ok_or_else(wrong)?;
    if items.len() > MAX_BIASES {
        return Err(wrong());
    }
    let bias = |(token, bias): (&String, &Value)| {
        let bias = bias.as_f64().map(|bias| bias as f32);
        let bias = bias
            .filter(|bias| bias.abs() <= MAX_BIAS)
            .ok_or_else(wrong)?;
        Ok((token.trim().parse().map_err(|_| wrong())?, bias))
    };
    items.iter().map(bias).collect()
}

/// The form that an answer must have, as a grammar or a regular expression; an empty one is none.
fn grammar(key: &str, value: &Value, known: Option<Grammar>) -> Result<Option<Grammar>, ApiError> {
    let Some(text) = text(key, value)? else {
        return Ok(known);
    };
    match (known, key) {
        (None, "regex") => Ok(Some(Grammar::Regex(text))),
        (None, _) => Ok(Some(Grammar::of_text(text))),
        (Some(_), _) => Err(ApiError::bad_request(
            "options \"grammar\" and \"regex\" exclude each other; leave one out",
        )),
    }
}

fn switch(key: &str, value: &Value) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| wrong_type(key, "boolean"))
}

fn wrong_type(key: &str, expected: &str) -> ApiError {
    ApiError::bad_request(format!("option \"{key}\" must be of type {expected}"))
}

fn float(key: &str, value: &Value) -> Result<f32, ApiError> {
    let number = value.as_f64().map(|n| n as f32);
    number
        .filter(|n| n.is_finite())
        .ok_or_else(|| wrong_type(key, "float32"))
}

fn integer(key: &str, value: &Value) -> Result<i64, ApiError> {
    let whole = |n: f64| (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64);
    value
        .as_i64()
        .or_else(|| value.as_f64().and_then(whole))
        .ok_or_else(|| wrong_type(key, "integer"))
}

/// `None` for an empty one.
fn text(key: &str, value: &Value) -> Result<Option<String>, ApiError> {
    let text = value.as_str().ok_or_else(|| wrong_type(key, "string"))?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn kv_type(key: &str, value: &Value) -> Result<KvType, ApiError> {
    let name = text(key, value)?.unwrap_or_default();
    name.parse().map_err(|error| {
        ApiError::bad_request(format!("option \"{key}\" has an unknown value: {error}"))
    })
}

/// `None` for negative numbers.
fn count(number: i64) -> Option<usize> {
    usize::try_from(number).ok()
}

/// A list of texts; one text alone is a list of one. Empty ones would stop everything and are dropped.
fn strings(key: &str, value: &Value) -> Result<Vec<String>, ApiError> {
    let texts: Option<Vec<String>> = match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|i| i.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    let mut texts = texts.ok_or_else(|| wrong_type(key, "array"))?;
    texts.retain(|text| !text.is_empty());
    if texts.len() > MAX_STOPS || texts.iter().any(|text| text.len() > MAX_STOP_BYTES) {
        return Err(ApiError::bad_request(format!(
            "option \"{key}\" may hold at most {MAX_STOPS} texts of {MAX_STOP_BYTES} bytes"
        )));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(layers: &[Value]) -> Result<RunOptions, ApiError> {
        RunOptions::merge(layers.iter().map(|layer| layer.as_object().unwrap()))
    }

    #[test]
    fn the_request_beats_the_model_and_the_rest_is_default() {
        let model = json!({"temperature": 0.5, "top_k": 10, "stop": ["a"], "num_ctx": 512});
        let request =
            json!({"temperature": 0, "stop": "b", "seed": 42.0, "top_p": null, "bogus": 1});
        let options = merge(&[model, request]).unwrap();
        assert_eq!(options.sampling.temperature, 0.0);
        assert_eq!((options.sampling.top_k, options.sampling.top_p), (10, 0.9));
        assert_eq!(options.sampling.seed, Some(42));
        assert_eq!(options.stop, ["b"]);
        assert_eq!((options.num_ctx, options.max_tokens), (Some(512), None));
    }

    #[test]
    fn biases_and_forms_are_read_and_bounded() {
        let options = merge(&[json!({"logit_bias": {"5": -100, "7": 0.5}, "regex": "a+"})]);
        let options = options.unwrap();
        assert_eq!(options.sampling.logit_bias, [(5, -100.0), (7, 0.5)]);
        assert_eq!(options.grammar, Some(Grammar::Regex("a+".to_owned())));
        let lark = "start: \"a\"";
        let options = merge(&[json!({"grammar": lark, "regex": ""})]).unwrap();
        assert_eq!(options.grammar, Some(Grammar::Lark(lark.to_owned())));
        for wrong in [
            json!({"x": 1}),
            json!({"5": 101}),
            json!({"5": "1"}),
            json!([5]),
        ] {
            let error = merge(&[json!({"logit_bias": wrong})]).unwrap_err();
            assert_eq!(error.param(), Some("logit_bias"));
        }
        let many: Map<String, Value> = (0..1025).map(|i| (i.to_string(), json!(1))).collect();
        assert!(merge(&[json!({"logit_bias": many})]).is_err());
        let both = merge(&[json!({"grammar": lark, "regex": "a"})]).unwrap_err();
        assert!(both.message().contains("exclude each other"));
        let gbnf = "root ::= \"a\"";
        let options = merge(&[json!({"grammar": gbnf})]).unwrap();
        assert_eq!(options.grammar, Some(Grammar::Gbnf(gbnf.to_owned())));
    }

    #[test]
    fn negative_numbers_mean_what_they_mean() {
        let options = merge(&[json!({
            "num_predict": -2, "seed": -1, "repeat_last_n": -1, "top_k": -1, "num_ctx": -5
        })])
        .unwrap();
        assert_eq!((options.max_tokens, options.sampling.seed), (None, None));
        assert_eq!(options.sampling.repeat_last_n, usize::MAX);
        assert_eq!((options.sampling.top_k, options.num_ctx), (0, Some(0)));
        assert_eq!(
            merge(&[json!({"num_predict": 0})]).unwrap().max_tokens,
            Some(0)
        );
    }

    #[test]
    fn wrong_types_are_named() {
        #[track_caller]
        fn check(options: Value, expected: &str) {
            assert_eq!(merge(&[options]).unwrap_err().message(), expected);
        }
        check(
            json!({"num_ctx": "big"}),
            "option \"num_ctx\" must be of type integer",
        );
        check(
            json!({"num_ctx": 1.5}),
            "option \"num_ctx\" must be of type integer",
        );
        check(
            json!({"temperature": "hot"}),
            "option \"temperature\" must be of type float32",
        );
        check(
            json!({"kv_cache_type": "q5"}),
            "option \"kv_cache_type\" has an unknown value: keys and values are stored as one of f32, f16, q8_0, q4_0",
        );
        check(
            json!({"stop": [1]}),
            "option \"stop\" must be of type array",
        );
        assert!(merge(&[json!({"stop": vec!["x"; 65]})]).is_err());
    }
}
