//! Reading request bodies as lenient as Ollama does.
//!
//! The content type does not matter, keys match in any case, `null` is as good as absent, unknown keys are ignored. An
//! empty body and a value of the wrong type are 400, the latter with the name of the field. A body may be packed, with
//! gzip or zstd, as some coding agents send it. Half a character, as clients leave it that cut texts by UTF-16 units or write
//! in a code page, is U+FFFD.

use crate::error::ApiError;
use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_ENCODING};
use ruzstd::decoding::StreamingDecoder;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{borrow::Cow, io::Read, time::Duration};

/// The largest JSON body.
const MAX_BODY_BYTES: usize = 64 << 20;
/// How long a JSON body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A decoded JSON body.
pub(crate) struct LenientJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for LenientJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let bytes = read(body).await?;
        match Packing::of(&head.headers)? {
            None => decode(&bytes),
            Some(packing) => {
                let unpacked = move || packing.unpack(&bytes, MAX_BODY_BYTES);
                decode(&tokio::task::spawn_blocking(unpacked).await??)
            }
        }
        .map(Self)
    }
}

/// How a body is packed.
#[derive(Clone, Copy, Debug)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let name = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        match name.unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(None),
            b"gzip" | b"x-gzip" => Ok(Some(Self::Gzip)),
            b"zstd" => Ok(Some(Self::Zstd)),
            _ => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the request's content-encoding is none of `gzip`, `zstd` and `identity`",
            )),
        }
    }

    /// What it was before, of at most so many bytes.
    fn unpack(self, packed: &[u8], most: usize) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        let mut read = |reader: &mut dyn Read| {
            let mut reader = reader.take(most as u64 + 1);
            reader.read_to_end(&mut bytes)
        };
        let result = match self {
            Self::Gzip => read(&mut MultiGzDecoder::new(packed)),
            Self::Zstd => match StreamingDecoder::new(packed) {
                Ok(mut decoder) => read(&mut decoder),
                Err(error) => Err(std::io::Error::other(error.to_string())),
            },
        };
        match result {
            Ok(_) if bytes.len() > most => Err(too_long()),
            Ok(_) => Ok(bytes),
            Err(error) => Err(ApiError::bad_request(format!(
                "the request body is not packed as its content-encoding says: {error}"
            ))),
        }
    }
}

fn too_long() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the request body is longer than {MAX_BODY_BYTES} bytes"),
    )
}

async fn read(body: Body) -> Result<axum::body::Bytes, ApiError> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES);
    let Ok(bytes) = tokio::time::timeout(BODY_TIMEOUT, bytes).await else {
        return Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request body did not arrive within {BODY_TIMEOUT:?}"),
        ));
    };
    bytes.map_err(|error| {
        let is_too_long = std::error::Error::source(&error)
            .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
        if is_too_long {
            return too_long();
        }
        ApiError::bad_request(format!("cannot read the request body: {error}"))
    })
}

/// Decodes a body.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii().is_empty() {
        return Err(ApiError::bad_request("missing request body"));
    }
    let value: Value = serde_json::from_slice(bytes)
        .or_else(|error| match whole_characters(bytes) {
            Some(mended) => serde_json::from_str(&mended),
            None => Err(error),
        })
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let Value::Object(fields) = value else {
        return Err(ApiError::bad_request(
            "the request body must be a JSON object",
        ));
    };
    let fields = normalise(fields);
    serde_json::from_value(Value::Object(fields.clone())).map_err(|error| {
        let culprit = fields.into_iter().find_map(|(key, value)| {
            let alone = Value::Object(Map::from_iter([(key.clone(), value)]));
            let error = serde_json::from_value::<T>(alone).err()?;
            Some((format!("field `{key}`: {error}"), key))
        });
        match culprit {
            Some((text, key)) => ApiError::bad_request(text).of_field(key),
            None => ApiError::bad_request(error.to_string()),
        }
    })
}

/// JSON with U+FFFD for bytes that are no UTF-8, and for escapes of one half of a pair of UTF-16 without the other; `None`
/// where there are none.
fn whole_characters(json: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(json);
    let mut mended = matches!(text, Cow::Owned(_));
    let mut whole = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let len = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(Half::First), Some(Half::Second)) => 12,
            (Some(_), _) => {
                whole.push_str("\\ufffd");
                mended = true;
                rest = &escape[6..];
                continue;
            }
            // what is escaped may be a backslash
            (None, _) => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        whole.push_str(&escape[..len]);
        rest = &escape[len..];
    }
    whole.push_str(rest);
    mended.then_some(whole)
}

/// Halves of a pair of UTF-16.
enum Half {
    First,
    Second,
}

/// The half that a text's first six characters are an escape of.
fn surrogate(text: &str) -> Option<Half> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

/// Lower-case keys and no nulls, in the request itself, in its messages and in their tool calls. What belongs to the
/// user (options, tool definitions, arguments, schemas) stays as it is.
fn normalise(fields: Map<String, Value>) -> Map<String, Value> {
    let nested = |key: &str, value: Value| match (key, value) {
        ("messages" | "tool_calls", Value::Array(items)) => {
            let item = |item| match item {
                Value::Object(fields) => Value::Object(normalise(fields)),
                other => other,
            };
            Value::Array(items.into_iter().map(item).collect())
        }
        ("function", Value::Object(fields)) => Value::Object(normalise(fields)),
        (_, value) => value,
    };
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let key = key.to_lowercase();
            let value = nested(&key, value);
            (key, value)
        })
        .collect()
}

/// The text of an optional field, where an empty one is as good as none.
pub(crate) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_api::ollama::{ChatRequest, GenerateRequest, KeepAlive};

    #[test]
    fn keys_match_in_any_case_and_null_is_absent() {
        let request: GenerateRequest = decode(
            br#"{"Model":"m","PROMPT":"p","options":null,"system":null,"unknown":1,"Keep_Alive":-1}"#,
        )
        .unwrap();
        assert_eq!(
            (request.model.as_str(), request.prompt.as_str()),
            ("m", "p")
        );
        assert_eq!(request.options, None);
        assert_eq!(request.keep_alive, Some(KeepAlive::Seconds(-1.0)));
    }

    #[test]
    fn messages_are_lenient_too_but_arguments_are_the_users() {
        let request: ChatRequest = decode(
            br#"{"messages":[{"Role":"user","content":null,
                "Tool_Calls":[{"Function":{"Name":"f","Arguments":{"Key":null}}}]}]}"#,
        )
        .unwrap();
        let message = &request.messages[0];
        assert_eq!(
            (message.role.as_str(), message.content.as_str()),
            ("user", "")
        );
        assert_eq!(
            message.tool_calls.as_ref().unwrap()[0].to_string(),
            r#"{"function":{"name":"f","arguments":{"Key":null}}}"#
        );
    }

    #[test]
    fn halves_of_characters_are_replaced_and_all_else_stays() {
        #[track_caller]
        fn check(prompt: &[u8], expected: &str) {
            let body = [br#"{"prompt":""#, prompt, br#""}"#].concat();
            let request: GenerateRequest = decode(&body).unwrap();
            assert_eq!(request.prompt, expected);
        }
        check(br"cut \ud83e", "cut \u{fffd}");
        check(
            br"\uDD80 \ud83e\udd80\ud83e\n\ud83e\ud83e\udd80",
            "\u{fffd} 🦀\u{fffd}\n\u{fffd}🦀",
        );
        check(br"\\ud83e \ud83ex \u00e9", "\\ud83e \u{fffd}x é");
        check(b"gr\xfc\xdfe \xf0\x9f\xa6", "gr\u{fffd}\u{fffd}e \u{fffd}");
        check("größe 🦀".as_bytes(), "größe 🦀");
    }

    #[test]
    fn packed_bodies_are_unpacked_within_bounds() {
        let text = [br#"{"model":"m"}"#.as_slice(), &[b' '; 5000]].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &text).unwrap();
        let gzip = gzip.finish().unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(&text[..], level);
        for (packing, packed) in [(Packing::Gzip, gzip), (Packing::Zstd, zstd)] {
            assert!(packed.len() < text.len(), "{packing:?}");
            assert_eq!(packing.unpack(&packed, text.len()).unwrap(), text);
            let status = |packed: &[u8], most| packing.unpack(packed, most).unwrap_err().status();
            assert_eq!(status(&packed, text.len() - 1), 413);
            assert_eq!(status(&packed[..packed.len() / 2], text.len()), 400);
            assert_eq!(status(b"{}", 10), 400);
        }
        let named = |name: &'static str| {
            let headers = [(CONTENT_ENCODING, HeaderValue::from_static(name))];
            Packing::of(&HeaderMap::from_iter(headers))
        };
        assert!(matches!(named("GZIP"), Ok(Some(Packing::Gzip))));
        assert!(matches!(named("identity"), Ok(None)));
        assert_eq!(named("br").unwrap_err().status(), 415);
    }

    #[test]
    fn what_is_wrong_is_said() {
        #[track_caller]
        fn check(body: &[u8], expected: &str) {
            let error = decode::<GenerateRequest>(body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.message().contains(expected), "{}", error.message());
        }
        check(b"", "missing request body");
        check(b" \n", "missing request body");
        check(b"{", "EOF");
        check(b"[]", "must be a JSON object");
        check(br#"{"model":5}"#, "field `model`: invalid type");
        check(br#"{"prompt":"\ud83e"#, "EOF");
        check(b"{\"prompt\":\"\\", "EOF");
        check(
            br#"{"model":"m","think":1}"#,
            "field `think`: expected true, false, \"low\"",
        );
        check(
            br#"{"model":"m","keep_alive":true}"#,
            "field `keep_alive`: expected a number of seconds, or a duration",
        );
    }
}
