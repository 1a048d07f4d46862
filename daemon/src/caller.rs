//! Who a request comes from, as far as that can be told, and what they asked: callers take turns where many requests
//! wait, and what was asked is shown beside how long it took.

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use http::{HeaderMap, header, request::Parts};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};

/// The client of a request, for routes that start work.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Client);

/// Who asks, and what.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Credentials, where a request carries some; else the address and the program. Not to be shown to others.
    pub(crate) name: String,
    /// The route, such as `/api/chat`.
    pub(crate) endpoint: Arc<str>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        let route = parts.extensions.get::<MatchedPath>();
        Ok(Self(Client {
            name: of(&parts.headers, peer),
            endpoint: route.map_or("", MatchedPath::as_str).into(),
        }))
    }
}

fn of(headers: &HeaderMap, peer: Option<SocketAddr>) -> String {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.as_bytes().escape_ascii().to_string())
    };
    let key = text(header::AUTHORIZATION).or_else(|| text("x-api-key".parse().ok()?));
    key.unwrap_or_else(|| {
        let address = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        let program = text(header::USER_AGENT).unwrap_or_default();
        format!("{address} {program}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_key_is_the_caller_and_else_the_address_and_the_program() {
        let with = |name: header::HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        let peer = Some(([10, 0, 0, 7], 1234).into());
        let other_port = Some(([10, 0, 0, 7], 99).into());
        let a = of(&with(header::AUTHORIZATION, "Bearer x"), peer);
        let b = of(&with(header::AUTHORIZATION, "Bearer x"), None);
        assert!(a == b);
        let python = of(&with(header::USER_AGENT, "python"), peer);
        assert!(python == of(&with(header::USER_AGENT, "python"), other_port));
        assert!(python != of(&with(header::USER_AGENT, "go"), peer));
        assert_eq!(python, "10.0.0.7 python");
    }
}
