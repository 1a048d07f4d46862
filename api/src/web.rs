//! One request to the public web, for what is not the daemon: bounded in time and size, through the proxy that the
//! environment names.

use std::time::Duration;

use futures_util::StreamExt;

use crate::client::{ensure_tls_provider, web_roots};

/// Why a page did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// It cannot be asked for.
    #[error("`{url}` is no address of a page; it begins with https://")]
    Address {
        /// What was given.
        url: String,
    },
    /// The request failed, or took too long.
    #[error("cannot fetch {url}")]
    Request {
        /// Address.
        url: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// Another status than 2xx.
    #[error("{url} answered {status}")]
    Status {
        /// Address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is longer than wanted.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLong {
        /// Address.
        url: String,
        /// Bytes that are read at most.
        limit: usize,
    },
}

/// The body of `GET url`, with `query` appended in the form of URLs; at most `limit` bytes, within `timeout`.
///
/// # Errors
/// As [`WebError`] says.
pub async fn get(
    url: &str,
    query: &[(&str, &str)],
    limit: usize,
    timeout: Duration,
) -> Result<Vec<u8>, WebError> {
    let failed = |source| WebError::Request {
        url: url.to_owned(),
        source,
    };
    ensure_tls_provider();
    let http = reqwest::Client::builder()
        .timeout(timeout)
        .tls_certs_merge(web_roots())
        .user_agent(concat!("slm/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed)?;
    let mut address = reqwest::Url::parse(url).map_err(|_| WebError::Address {
        url: url.to_owned(),
    })?;
    address.query_pairs_mut().extend_pairs(query);
    let response = http.get(address).send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(WebError::Status {
            url: url.to_owned(),
            status: status.as_u16(),
        });
    }
    let mut chunks = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(failed)?);
        if body.len() > limit {
            return Err(WebError::TooLong {
                url: url.to_owned(),
                limit,
            });
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::RawQuery, routing};

    async fn server() -> String {
        let router = Router::new()
            .route(
                "/echo",
                routing::get(|RawQuery(query): RawQuery| async { query.unwrap_or_default() }),
            )
            .route("/long", routing::get(|| async { "x".repeat(1000) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_page_comes_or_the_reason_why_not() {
        let server = server().await;
        let second = Duration::from_secs(5);
        let ask = async |path: &str| {
            let url = format!("{server}{path}");
            get(&url, &[("search", "a b&c")], 500, second).await
        };
        assert_eq!(ask("/echo").await.expect("a page"), b"search=a+b%26c");
        let long = ask("/long").await;
        assert!(matches!(long, Err(WebError::TooLong { .. })), "{long:?}");
        let absent = ask("/absent").await;
        assert!(
            matches!(absent, Err(WebError::Status { status: 404, .. })),
            "{absent:?}"
        );
        let nowhere = get("nowhere", &[], 500, second).await;
        assert!(
            matches!(nowhere, Err(WebError::Address { .. })),
            "{nowhere:?}"
        );
        let refused = get("http://127.0.0.1:1/", &[], 500, second).await;
        assert!(
            matches!(refused, Err(WebError::Request { .. })),
            "{refused:?}"
        );
    }
}
