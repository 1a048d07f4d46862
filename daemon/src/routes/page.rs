//! The web page: `/` for browsers, and what it is made of under `/ui/`. The files of `web/` are part of the program.
//!
//! The page may load and ask nothing but this daemon, runs no script that is not one of these files, and lets nobody put
//! it into a frame. Browsers keep the files and ask whether they have changed.

use axum::{
    body::Body,
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use slm_registry::Digest;
use std::sync::LazyLock;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// What a page of ours may do, whatever text a model writes into it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
static HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal $content_type:ident),* $(,)?) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("../../../web/", $name)),
        }),*]
    };
}

const INDEX: &str = "index.html";
/// All of them.
static ASSETS: &[Asset] = assets! {
    "index.html" HTML,
    "style.css" STYLE,
    "icon.svg" PICTURE,
    "theme.js" SCRIPT,
    "app.js" SCRIPT,
    "api.js" SCRIPT,
    "dom.js" SCRIPT,
    "format.js" SCRIPT,
    "markdown.js" SCRIPT,
    "store.js" SCRIPT,
    "chat.js" SCRIPT,
    "message.js" SCRIPT,
    "settings.js" SCRIPT,
    "models.js" SCRIPT,
    "pulls.js" SCRIPT,
    "find.js" SCRIPT,
    "machine.js" SCRIPT,
    "bench.js" SCRIPT,
    "charts.js" SCRIPT,
};

/// Their tags, in the same order.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| format!("\"{}\"", &Digest::of(asset.text.as_bytes()).hex()[..24]);
    ASSETS.iter().map(tag).collect()
});

/// Whether a client asks for HTML: browsers do, the others say nothing or take anything.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| {
            let mut parts = kind.split(';').map(str::trim);
            let is_html = parts
                .next()
                .is_some_and(|n| n.eq_ignore_ascii_case("text/html"));
            let is_refused = parts
                .filter_map(|part| part.strip_prefix("q="))
                .any(|weight| weight.parse() == Ok(0.0));
            is_html && !is_refused
        })
}

/// The page itself.
pub(super) fn index(headers: &HeaderMap) -> Response {
    answer(INDEX, headers)
}

/// Answers `/ui/{name}`.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(index) = ASSETS.iter().position(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "404 page not found").into_response();
    };
    let (asset, tag) = (&ASSETS[index], &TAGS[index]);
    let mut response = if has(headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(asset.text).into_response()
    };
    let fields = response.headers_mut();
    for (name, value) in &HEADERS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    let kind = HeaderValue::from_static(asset.content_type);
    fields.insert(header::CONTENT_TYPE, kind);
    if let Ok(tag) = HeaderValue::from_str(tag) {
        fields.insert(header::ETAG, tag);
    }
    response
}

/// Whether the client has what `tag` is of.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, TestDaemon};
    use http::Request;
    use std::{collections::BTreeSet, fs};

    /// What a browser sends when somebody types the address.
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    async fn fetch(method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let daemon = TestDaemon::new();
        daemon.send(request.body(Body::empty()).unwrap()).await
    }

    fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
        answer.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[tokio::test]
    async fn browsers_get_the_page_and_others_the_words() {
        for accept in [BROWSER, "TEXT/HTML", "text/plain, text/html;q=0.5"] {
            let page = fetch("GET", "/", &[("accept", accept)]).await;
            assert_eq!(
                (page.status, field(&page, "content-type")),
                (StatusCode::OK, HTML)
            );
            assert!(page.body.starts_with("<!doctype html>"), "{accept}");
            assert_eq!(field(&page, "vary"), "Accept");
        }
        for accept in [
            "*/*",
            "application/json",
            "text/html;q=0",
            "text/plain",
            "text/htmlx",
        ] {
            let words = fetch("GET", "/", &[("accept", accept)]).await;
            assert_eq!(
                (words.status, words.body.as_str()),
                (StatusCode::OK, "Ollama is running")
            );
            assert_eq!(field(&words, "content-type"), "text/plain; charset=utf-8");
            assert_eq!(field(&words, "vary"), "Accept");
        }
        let head = fetch("HEAD", "/", &[("accept", BROWSER)]).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
        assert_eq!(field(&head, "content-type"), HTML);
    }

    #[tokio::test]
    async fn files_have_types_tags_and_a_policy() {
        for (name, kind) in [
            ("app.js", SCRIPT),
            ("style.css", STYLE),
            ("icon.svg", PICTURE),
        ] {
            let path = format!("/ui/{name}");
            let answer = fetch("GET", &path, &[]).await;
            assert_eq!(
                (answer.status, field(&answer, "content-type")),
                (StatusCode::OK, kind)
            );
            let policy = field(&answer, "content-security-policy");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
            assert_eq!(field(&answer, "x-content-type-options"), "nosniff");
            let tag = field(&answer, "etag");
            let weak = format!("\"x\", W/{tag}");
            for known in [tag, &weak, "*"] {
                let again = fetch("GET", &path, &[("if-none-match", known)]).await;
                assert_eq!(
                    (again.status, again.body.as_str()),
                    (StatusCode::NOT_MODIFIED, "")
                );
                assert_eq!(field(&again, "etag"), tag);
            }
            let old = fetch("GET", &path, &[("if-none-match", "\"x\"")]).await;
            assert_eq!((old.status, &old.body), (StatusCode::OK, &answer.body));
        }
        let page = fetch("GET", "/", &[("accept", BROWSER)]).await;
        let tag = ("if-none-match", field(&page, "etag"));
        let again = fetch("GET", "/", &[("accept", BROWSER), tag]).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        for path in ["/ui/none.js", "/ui/..%2fCargo.toml", "/ui/", "/ui"] {
            assert_eq!(
                fetch("GET", path, &[]).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let posted = fetch("POST", "/ui/app.js", &[]).await;
        assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    }

    /// A page of another site, or one whose name was made to point here, gets no further than before.
    #[tokio::test]
    async fn foreign_hosts_and_origins_stay_out() {
        for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
            let fields = [("accept", BROWSER), (name, value)];
            assert_eq!(
                fetch("GET", "/", &fields).await.status,
                StatusCode::FORBIDDEN
            );
        }
        let crossed = fetch("GET", "/api/status", &[("sec-fetch-site", "cross-site")]).await;
        assert_eq!(crossed.status, StatusCode::FORBIDDEN);
    }

    /// Whatever the page is made of is in the program, and it refers to nothing else.
    #[test]
    fn every_file_is_served_and_nothing_is_fetched_from_elsewhere() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../web");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|entry| entry.file_type().unwrap().is_file());
        let names = files.map(|entry| entry.file_name().into_string().unwrap());
        let there: BTreeSet<String> = names.filter(|name| !name.ends_with(".md")).collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|a| a.name.to_owned()).collect();
        assert_eq!(there, served);
        for asset in ASSETS {
            let text = asset.text.replace("http://www.w3.org/", "");
            for bad in [
                "src=\"http",
                "href=\"http",
                "src=\"//",
                "innerHTML",
                "url(",
                "@import",
            ] {
                assert!(!text.contains(bad), "`{bad}` in {}", asset.name);
            }
            for start in ["from \"./", "src=\"/ui/", "href=\"/ui/"] {
                for (at, _) in text.match_indices(start) {
                    let name = text[at + start.len()..].split('"').next().unwrap();
                    assert!(served.contains(name), "{} wants `{name}`", asset.name);
                }
            }
        }
        let index = &ASSETS[0];
        assert!(!index.text.contains("<script>") && !index.text.contains(" style="));
    }
}
