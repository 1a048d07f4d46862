//! Who a request comes from, as far as that can be told, and what they asked: callers take turns where many requests
//! wait, and what was asked is shown beside how long it took.

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use http::{HeaderMap, header, request::Parts};
use slm_registry::Digest;
use std::{convert::Infallible, net::SocketAddr, sync::Arc};

/// The client of a request, for routes that start work.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Client);

/// Who asks, and what.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Credentials, where a request carries some; else the address and the program. Not to be shown to others.
    pub(crate) name: String,
    /// Of credentials, where a request carries some: what others have asked is not known to it, nor the other way round.
    pub(crate) salt: Option<String>,
    /// The route, such as `/api/chat`.
    pub(crate) endpoint: Arc<str>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        let route = parts.extensions.get::<MatchedPath>();
        let key = key_of(&parts.headers);
        Ok(Self(Client {
            salt: key.as_deref().map(salt_of),
            name: key.unwrap_or_else(|| address_of(&parts.headers, peer)),
            endpoint: route.map_or("", MatchedPath::as_str).into(),
        }))
    }
}

/// The credentials of a request.
fn key_of(headers: &HeaderMap) -> Option<String> {
    let name = [header::AUTHORIZATION.as_str(), "x-api-key"];
    name.into_iter().find_map(|name| text_of(headers, name))
}

/// A name for what is kept in memory and on disk, from which nobody learns the key.
fn salt_of(key: &str) -> String {
    Digest::of(format!("salt of an API key: {key}").as_bytes()).hex()
}

fn address_of(headers: &HeaderMap, peer: Option<SocketAddr>) -> String {
    let address = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
    let program = text_of(headers, header::USER_AGENT.as_str()).unwrap_or_default();
    format!("{address} {program}")
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.as_bytes().escape_ascii().to_string())
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
        let of_openai = key_of(&with(header::AUTHORIZATION, "Bearer x"));
        let of_anthropic = key_of(&with("x-api-key".parse().unwrap(), "x"));
        assert_eq!(of_openai.as_deref(), Some("Bearer x"));
        assert_eq!(of_anthropic.as_deref(), Some("x"));
        let python = with(header::USER_AGENT, "python");
        assert_eq!(key_of(&python), None);
        let at = |port| address_of(&python, Some(([10, 0, 0, 7], port).into()));
        assert_eq!(at(1234), "10.0.0.7 python");
        assert_eq!(at(1234), at(99), "a program has many connections");
    }

    #[test]
    fn salts_tell_keys_apart_and_nothing_else() {
        let salt = salt_of("Bearer secret");
        assert!(salt != salt_of("Bearer Secret") && salt == salt_of("Bearer secret"));
        assert!(salt.len() == 64 && !salt.contains("secret"));
    }
}
