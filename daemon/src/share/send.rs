//! Manifests and blobs as they lie in the store, whole or in part, or only that they have not changed.

use super::{on_disk, refusal::Refusal};
use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use slm_registry::{Digest, ModelEntry, Store};
use std::{io::SeekFrom, ops::Range};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

/// Bytes of a blob that one connection holds in memory.
const CHUNK_BYTES: usize = 128 << 10;
/// Of a manifest that does not say what it is.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The manifest of `entry`, byte by byte.
pub(super) async fn manifest(
    store: Store,
    entry: ModelEntry,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let json = on_disk(move || store.manifest_json(&entry.name)).await?;
    // It may have been replaced since it was listed; these bytes are what they are.
    let digest = Digest::of(&json);
    let said: Option<serde_json::Value> = serde_json::from_slice(&json).ok();
    let said = said
        .as_ref()
        .and_then(|json| json.get("mediaType")?.as_str());
    let media_type = HeaderValue::from_str(said.unwrap_or(OCI_MANIFEST));
    let size = json.len() as u64;
    let head = Head::new(&digest, size);
    if head.is_known(headers) {
        return Ok(head.respond(StatusCode::NOT_MODIFIED, Body::empty()));
    }
    let mut response = head.respond(StatusCode::OK, Body::from(json));
    let media_type = media_type.unwrap_or(HeaderValue::from_static(OCI_MANIFEST));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// The blob `digest`, if a model has it.
pub(super) async fn blob(
    store: Store,
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let path = store.blob_path(&digest);
    let size = on_disk(move || store.published_blob(&digest)).await?;
    let size = size.ok_or_else(Refusal::blob_unknown)?;
    let head = Head::new(&digest, size);
    if head.is_known(headers) {
        return Ok(head.respond(StatusCode::NOT_MODIFIED, Body::empty()));
    }
    let (status, span) = match head.part(headers) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Span(span) => (StatusCode::PARTIAL_CONTENT, span),
        Part::Nothing => {
            let mut response = head.respond(StatusCode::RANGE_NOT_SATISFIABLE, Body::empty());
            set(
                &mut response,
                header::CONTENT_RANGE,
                format!("bytes */{size}"),
            );
            return Ok(response);
        }
    };
    let mut file = File::open(&path)
        .await
        .map_err(|error| Refusal::internal(&error))?;
    file.seek(SeekFrom::Start(span.start))
        .await
        .map_err(|error| Refusal::internal(&error))?;
    let n_bytes = span.end - span.start;
    let bytes = ReaderStream::with_capacity(file.take(n_bytes), CHUNK_BYTES);
    let mut response = head.respond(status, Body::from_stream(bytes));
    set(&mut response, header::CONTENT_LENGTH, n_bytes.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", span.start, span.end - 1);
        set(&mut response, header::CONTENT_RANGE, range);
    }
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, binary);
    Ok(response)
}

fn set(response: &mut Response, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What is known of an answer before its bytes.
struct Head {
    digest: String,
    etag: String,
    size: u64,
}

/// Which bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Span(Range<u64>),
    /// None that there are.
    Nothing,
}

impl Head {
    fn new(digest: &Digest, size: u64) -> Self {
        Self {
            digest: digest.to_string(),
            etag: format!("\"{digest}\""),
            size,
        }
    }

    /// Whether the client has it already.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get(header::IF_NONE_MATCH);
        let tags = tags.and_then(|tags| tags.to_str().ok()).unwrap_or_default();
        tags.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
    }

    /// One range is understood; several, or what is no range, mean everything, as HTTP allows.
    fn part(&self, headers: &HeaderMap) -> Part {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text(header::IF_RANGE).is_some_and(|tag| tag != self.etag) {
            return Part::Whole;
        }
        let range = text(header::RANGE).and_then(|range| range.strip_prefix("bytes="));
        range
            .and_then(|range| self.span(range))
            .unwrap_or(Part::Whole)
    }

    /// `5-9`, `5-` or `-9`; `None` for anything else.
    fn span(&self, range: &str) -> Option<Part> {
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (first, last) = range.trim().split_once('-')?;
        let span = if first.is_empty() {
            self.size.saturating_sub(number(last)?)..self.size
        } else if last.is_empty() {
            number(first)?..self.size
        } else {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            first..last.saturating_add(1).min(self.size)
        };
        Some(if span.is_empty() {
            Part::Nothing
        } else {
            Part::Span(span)
        })
    }

    fn respond(&self, status: StatusCode, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        set(&mut response, header::ETAG, self.etag.clone());
        let digest = http::HeaderName::from_static("docker-content-digest");
        set(&mut response, digest, self.digest.clone());
        let bytes = HeaderValue::from_static("bytes");
        response.headers_mut().insert(header::ACCEPT_RANGES, bytes);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_http_has_them() {
        let head = Head::new(&Digest::of(b"x"), 10);
        let part = |range: &str, condition: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            if let Some(condition) = condition {
                headers.insert(header::IF_RANGE, condition.parse().unwrap());
            }
            head.part(&headers)
        };
        for (range, expected) in [
            ("bytes=0-3", Part::Span(0..4)),
            ("bytes=4-", Part::Span(4..10)),
            ("bytes=-3", Part::Span(7..10)),
            ("bytes=-30", Part::Span(0..10)),
            ("bytes=9-99999999999999999999", Part::Span(9..10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=5-3", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-3", Part::Whole),
        ] {
            assert_eq!(part(range, None), expected, "{range}");
        }
        assert_eq!(part("bytes=0-3", Some(&head.etag)), Part::Span(0..4));
        assert_eq!(part("bytes=0-3", Some("\"other\"")), Part::Whole);
    }
}
