//! Where the daemon listens: `SLM_HOST`, else `OLLAMA_HOST`, else `127.0.0.1:11434`.
//!
//! [`Host::parse`] accepts what Ollama accepts and never fails: a port that is none becomes the default one. A text
//! without scheme defaults to port 11434, `http://` to 80, `https://` to 443. `:port` alone means every interface for a
//! listener, and [`Host::client_url`] turns every interface into loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The default port.
pub const DEFAULT_PORT: u16 = 11434;

/// The variables that say where the daemon is, the strongest first.
pub const HOST_VARIABLES: [&str; 2] = ["SLM_HOST", "OLLAMA_HOST"];

/// A scheme, host, port and path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `http` or `https`.
    pub scheme: String,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path prefix without trailing slash, often "".
    pub path: String,
}

impl Default for Host {
    fn default() -> Self {
        Self::parse("")
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_url(f, &self.scheme, &self.host, self.port, &self.path)
    }
}

impl Host {
    /// Reads `host`, `host:port`, `:port`, `http://…`, `https://…`, optionally with a path, as Ollama does.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().trim_matches(|c| c == '"' || c == '\'').trim();
        let (scheme, rest, default_port) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest, 80),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest, 443),
            Some((_, rest)) => ("http", rest, DEFAULT_PORT),
            None => ("http", text, DEFAULT_PORT),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_authority(authority);
        let path = path.trim_matches('/');
        Self {
            scheme: scheme.to_owned(),
            host,
            port: port
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(default_port),
            path: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
        }
    }

    /// The host that the environment names; `variable` looks one up.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = HOST_VARIABLES
            .into_iter()
            .filter_map(variable)
            .find(|text| !text.trim().is_empty());
        Self::parse(text.as_deref().unwrap_or_default())
    }

    /// The base URL for a client; an unspecified address (`0.0.0.0`, `::`) becomes loopback.
    pub fn client_url(&self) -> String {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(v6)) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
            _ => self.host.clone(),
        };
        Self {
            host,
            ..self.clone()
        }
        .to_string()
    }

    /// Whether a client of this host speaks to its own machine, as far as the name tells.
    pub fn is_local(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Host without brackets, and the text of the port where there is one.
fn split_authority(authority: &str) -> (String, Option<&str>) {
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').unwrap_or((bracketed, ""));
        (host, after.strip_prefix(':'))
    } else if authority.parse::<Ipv6Addr>().is_ok() {
        (authority, None)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let host = match (host, port) {
        ("", None) => "127.0.0.1",
        ("", Some(_)) => "0.0.0.0",
        (host, _) => host,
    };
    (host.to_owned(), port)
}

fn write_url(
    f: &mut std::fmt::Formatter<'_>,
    scheme: &str,
    host: &str,
    port: u16,
    path: &str,
) -> std::fmt::Result {
    if host.contains(':') {
        write!(f, "{scheme}://[{host}]:{port}{path}")
    } else {
        write!(f, "{scheme}://{host}:{port}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Host::parse(text).to_string(), expected, "{text:?}");
    }

    #[test]
    fn every_form_that_ollama_reads() {
        check("", "http://127.0.0.1:11434");
        check("1.2.3.4", "http://1.2.3.4:11434");
        check("1.2.3.4:1234", "http://1.2.3.4:1234");
        check(":1234", "http://0.0.0.0:1234");
        check("example.com", "http://example.com:11434");
        check("example.com:56789", "http://example.com:56789");
        check("http://example.com", "http://example.com:80");
        check("https://example.com", "https://example.com:443");
        check("HTTPS://example.com", "https://example.com:443");
        check("https://1.2.3.4:8443/", "https://1.2.3.4:8443");
        check("http://example.com/ollama/", "http://example.com:80/ollama");
        check("example.com/a/b", "http://example.com:11434/a/b");
        check("[::1]", "http://[::1]:11434");
        check("::1", "http://[::1]:11434");
        check("[2001:db8::1]:1337", "http://[2001:db8::1]:1337");
        check("  '1.2.3.4:9'  ", "http://1.2.3.4:9");
        check("\"1.2.3.4\"", "http://1.2.3.4:11434");
    }

    #[test]
    fn a_port_that_is_none_becomes_the_default() {
        check("1.2.3.4:66000", "http://1.2.3.4:11434");
        check("1.2.3.4:-1", "http://1.2.3.4:11434");
        check("1.2.3.4:http", "http://1.2.3.4:11434");
        check("http://1.2.3.4:", "http://1.2.3.4:80");
        check("https://h:x", "https://h:443");
    }

    #[test]
    fn every_interface_is_loopback_for_a_client() {
        assert_eq!(
            Host::parse("0.0.0.0").client_url(),
            "http://127.0.0.1:11434"
        );
        assert_eq!(Host::parse(":80").client_url(), "http://127.0.0.1:80");
        assert_eq!(Host::parse("[::]:9").client_url(), "http://[::1]:9");
        assert_eq!(
            Host::parse("10.0.0.1").client_url(),
            "http://10.0.0.1:11434"
        );
    }

    #[test]
    fn local_is_loopback_or_every_interface() {
        for local in ["", "localhost", ":1", "127.0.0.5", "[::1]:2", "0.0.0.0"] {
            assert!(Host::parse(local).is_local(), "{local}");
        }
        for remote in ["10.0.0.1", "example.com", "https://models.example.com"] {
            assert!(!Host::parse(remote).is_local(), "{remote}");
        }
    }

    #[test]
    fn our_variable_beats_ollamas_and_empty_ones_do_not_count() {
        let env = |slm: &'static str, ollama: &'static str| {
            Host::from_env(move |name| match name {
                "SLM_HOST" => Some(slm.to_owned()),
                "OLLAMA_HOST" => Some(ollama.to_owned()),
                _ => None,
            })
            .to_string()
        };
        assert_eq!(env("a:1", "b:2"), "http://a:1");
        assert_eq!(env("", "b:2"), "http://b:2");
        assert_eq!(env(" ", ""), "http://127.0.0.1:11434");
    }
}
