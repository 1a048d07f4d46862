//! Cross-origin requests of browsers: local pages and desktop applications may, others must be allowed by the user.

use super::host_check::{host_of, is_own_name};
use crate::state::App;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;

const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
const HEADERS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,OpenAI-Beta,x-api-key,\
anthropic-version,anthropic-beta,anthropic-dangerous-direct-browser-access,x-stainless-arch,\
x-stainless-async,x-stainless-custom-poll-interval,x-stainless-helper-method,x-stainless-lang,x-stainless-os,\
x-stainless-package-version,x-stainless-poll-helper,x-stainless-retry-count,x-stainless-runtime,\
x-stainless-runtime-version,x-stainless-timeout";
const MAX_AGE: &str = "43200";
/// Origins that may always: the machine itself and applications that bring their own scheme.
const LOCAL_HOSTS: &[&str] = &["localhost", "127.0.0.1", "0.0.0.0"];
const APP_SCHEMES: &[&str] = &[
    "app://",
    "file://",
    "tauri://",
    "vscode-webview://",
    "vscode-file://",
];

/// Refuses foreign origins with 403, answers preflights, and lets browsers read the rest.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        // an image or a frame of a foreign page names no origin, and must not start anything either
        let is_foreign = request
            .headers()
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
        if is_foreign && request.uri().path().starts_with("/api/") {
            return StatusCode::FORBIDDEN.into_response();
        }
        return next.run(request).await;
    };
    let text = origin.to_str().unwrap_or_default();
    if is_same_host(text, &request) {
        return next.run(request).await;
    }
    if !is_allowed(text, &app.config.origins) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    allow(response.headers_mut(), origin);
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether the page was served by this daemon itself.
fn is_same_host(origin: &str, request: &Request) -> bool {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let named = request.headers().get(header::HOST);
    let host = named.and_then(|value| value.to_str().ok());
    // a page whose own name was made to point here is not served by this daemon
    is_own_name(host_of(request)) && !host_of(request).is_empty() && host == Some(authority)
}

fn is_allowed(origin: &str, extra: &[String]) -> bool {
    let is_local = ["http://", "https://"]
        .iter()
        .filter_map(|scheme| origin.strip_prefix(scheme))
        .any(|authority| {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            LOCAL_HOSTS.contains(&host) && port.chars().all(|c| c.is_ascii_digit())
        });
    is_local
        || APP_SCHEMES.iter().any(|scheme| origin.starts_with(scheme))
        || extra.iter().any(|pattern| matches(pattern, origin))
}

/// A pattern with at most one `*`.
fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len()
                && origin.starts_with(start)
                && origin.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_pages_and_applications_may_and_others_must_be_listed() {
        let none: &[String] = &[];
        for origin in [
            "http://localhost",
            "https://127.0.0.1:3000",
            "http://0.0.0.0:8080",
            "app://obsidian.md",
            "tauri://localhost",
            "vscode-webview://abc",
        ] {
            assert!(is_allowed(origin, none), "{origin}");
        }
        for origin in [
            "https://example.com",
            "http://localhost.example.com",
            "http://localhost:80.example.com",
            "chrome-extension://abc",
            "null",
        ] {
            assert!(!is_allowed(origin, none), "{origin}");
        }
        let listed = ["chrome-extension://*".to_owned(), "https://a.b".to_owned()];
        assert!(is_allowed("chrome-extension://abc", &listed));
        assert!(is_allowed("https://a.b", &listed) && !is_allowed("https://a.bc", &listed));
        assert!(is_allowed("https://any.where", &["*".to_owned()]));
    }
}
