//! The guard against DNS rebinding: a daemon on loopback answers only to names that mean this machine.
//!
//! Without it a web page could make its own name point at 127.0.0.1 and speak to the daemon as if it were its server.

use crate::state::App;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};
use std::{
    net::{IpAddr, UdpSocket},
    sync::Arc,
};

/// Suffixes of names that no public DNS serves.
const LOCAL_SUFFIXES: &[&str] = &[".localhost", ".local", ".internal"];

/// Refuses foreign names with 403, where the listener is on loopback.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.is_loopback && !is_own_name(host_of(&request)) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let is_preflight = request.headers().contains_key(header::ORIGIN);
    if request.method() == Method::OPTIONS && !is_preflight {
        return StatusCode::NO_CONTENT.into_response();
    }
    next.run(request).await
}

/// The host that a request names, without port; "" when it names none.
pub(crate) fn host_of(request: &Request) -> &str {
    let named = request.headers().get(header::HOST);
    let text = match named {
        Some(value) => value.to_str().unwrap_or("?"),
        None => request.uri().host().unwrap_or_default(),
    };
    without_port(text)
}

fn without_port(text: &str) -> &str {
    if let Some(bracketed) = text.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.chars().all(|c| c.is_ascii_digit()) => {
            host
        }
        _ => text,
    }
}

pub(super) fn is_own_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_own_address(address);
    }
    let host = host.to_lowercase();
    host.is_empty()
        || host == "localhost"
        || LOCAL_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
        || hostname().is_some_and(|own| own == host)
}

fn is_own_address(address: IpAddr) -> bool {
    let is_private = match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    // only an address of this machine can be bound
    address.is_loopback()
        || address.is_unspecified()
        || is_private
        || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(unix)]
fn hostname() -> Option<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().ok()?;
    Some(name.to_lowercase())
}

#[cfg(not(unix))]
fn hostname() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_pass_and_others_do_not() {
        for own in [
            "",
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "0.0.0.0",
            "10.1.2.3",
            "192.168.0.1",
            "box.local",
            "host.docker.internal",
            "app.localhost",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in [
            "example.com",
            "localhost.example.com",
            "8.8.8.8",
            "evillocalhost",
            "?",
        ] {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }

    #[test]
    fn ports_and_brackets_are_not_part_of_the_name() {
        assert_eq!(without_port("localhost:11434"), "localhost");
        assert_eq!(without_port("[::1]:11434"), "::1");
        assert_eq!(without_port("::1"), "::1");
        assert_eq!(without_port("h"), "h");
    }
}
