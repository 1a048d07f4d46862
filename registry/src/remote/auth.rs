//! Tokens: what a registry's `WWW-Authenticate: Bearer …` asks for, and who may see a password for one.
use reqwest::Url;

/// Where to get a token, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: Url,
    service: Option<String>,
    scopes: Vec<String>,
}

impl Challenge {
    /// Reads the header's value; `None` when it asks for something else than a bearer token.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scopes) = (None, None, Vec::new());
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Url::parse(value).ok(),
                "service" => service = Some(value.to_owned()),
                "scope" => scopes.extend(value.split_whitespace().map(str::to_owned)),
                _ => {}
            }
            rest = after;
        }
        let realm = realm?;
        Some(Self {
            realm,
            service,
            scopes,
        })
    }

    /// Whether the password for `registry` may be sent to where tokens come from: the same host, or one of which either
    /// is a part (`registry.gitlab.com` and `gitlab.com`). Docker's own pair is known by name.
    pub(super) fn is_trusted_by(&self, registry: &Url) -> bool {
        let hosts = (self.realm.host_str(), registry.host_str());
        let (Some(realm), Some(registry)) = hosts else {
            return false;
        };
        let is_part = |inner: &str, outer: &str| {
            let rest = inner.strip_suffix(outer);
            rest.is_some_and(|rest| rest.ends_with('.')) && outer.contains('.')
        };
        let is_docker = realm == "auth.docker.io" && registry.ends_with(".docker.io");
        realm == registry || is_part(realm, registry) || is_part(registry, realm) || is_docker
    }

    /// The form that exchanges a refresh token, URL-encoded.
    pub(super) fn refresh_form(&self, refresh_token: &str) -> String {
        let mut form = self.realm.clone();
        form.set_query(None);
        {
            let mut pairs = form.query_pairs_mut();
            pairs.append_pair("grant_type", "refresh_token");
            pairs.append_pair("client_id", "slm");
            pairs.append_pair("refresh_token", refresh_token);
            if let Some(service) = &self.service {
                pairs.append_pair("service", service);
            }
            pairs.append_pair("scope", &self.scopes.join(" "));
        }
        form.query().unwrap_or_default().to_owned()
    }

    /// The URL of the token, if it may be asked for by a request to `registry`: only over TLS, or from the same host.
    /// (The request carries no secret; a foreign plain address would still be a way to reach into a private network.)
    pub(super) fn token_url(&self, registry: &Url) -> Option<Url> {
        let is_same_host = self.realm.host() == registry.host();
        let is_tls = self.realm.scheme() == "https";
        let is_web = is_tls || self.realm.scheme() == "http";
        if !is_web || !(is_same_host || is_tls) {
            return None;
        }
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in &self.scopes {
                query.append_pair("scope", scope);
            }
        }
        Some(url)
    }
}

/// The token in the answer of a token server.
pub(super) fn token_of(json: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(json).ok()?;
    let token = ["token", "access_token"]
        .iter()
        .find_map(|key| answer.get(key)?.as_str());
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[track_caller]
    fn check(header: &str, registry: &str, expected: Option<&str>) {
        let challenge = Challenge::parse(header);
        let actual = challenge.and_then(|challenge| challenge.token_url(&url(registry)));
        assert_eq!(actual, expected.map(url), "{header}");
    }

    #[test]
    fn a_challenge_becomes_a_token_url() {
        check(
            r#"Bearer realm="https://r.example/token",service="r.example",scope="repository:a/b:pull,push""#,
            "https://r.example/v2/",
            Some(
                "https://r.example/token?service=r.example&scope=repository%3Aa%2Fb%3Apull%2Cpush",
            ),
        );
        check(
            r#"bearer scope="a b", Realm="http://127.0.0.1:1/t?x=1""#,
            "http://127.0.0.1:2/v2/",
            Some("http://127.0.0.1:1/t?x=1&scope=a&scope=b"),
        );
        check(
            "Bearer realm=https://auth.example/t,service=s",
            "https://r.example/",
            Some("https://auth.example/t?service=s"),
        );
    }

    #[test]
    fn a_password_goes_to_those_that_belong_to_the_registry() {
        let is_trusted = |realm: &str, registry: &str| {
            let challenge = Challenge::parse(&format!(r#"Bearer realm="{realm}""#)).unwrap();
            challenge.is_trusted_by(&url(registry))
        };
        assert!(is_trusted("https://r.example/t", "https://r.example:5000/"));
        assert!(is_trusted(
            "https://gitlab.com/jwt",
            "https://registry.gitlab.com/"
        ));
        assert!(is_trusted("https://auth.r.example/t", "https://r.example/"));
        assert!(is_trusted(
            "https://auth.docker.io/t",
            "https://registry-1.docker.io/"
        ));
        for (realm, registry) in [
            ("https://evil.example/t", "https://r.example/"),
            ("https://evilr.example/t", "https://r.example/"),
            ("https://r.example.evil/t", "https://r.example/"),
            ("https://com/t", "https://r.com/"),
            ("https://auth.docker.io/t", "https://notdocker.io/"),
        ] {
            assert!(!is_trusted(realm, registry), "{realm} for {registry}");
        }
    }

    #[test]
    fn others_are_refused() {
        let registry = "https://r.example/v2/";
        for header in [
            "",
            "Bearer",
            "Bearer ",
            r#"Basic realm="x""#,
            r#"Bearer service="s""#,
            r#"Bearer realm="no url""#,
            r#"Bearer realm="https://r.example/unclosed"#,
            r#"Bearer realm="http://169.254.169.254/latest""#,
            r#"Bearer realm="file:///etc/passwd""#,
        ] {
            check(header, registry, None);
        }
    }

    #[test]
    fn a_token_under_either_name() {
        assert_eq!(token_of(br#"{"token":"a"}"#).as_deref(), Some("a"));
        assert_eq!(token_of(br#"{"access_token":"b"}"#).as_deref(), Some("b"));
        for json in [&b"{}"[..], b"", br#"{"token":""}"#, br#"{"token":1}"#] {
            assert_eq!(token_of(json), None);
        }
    }
}
