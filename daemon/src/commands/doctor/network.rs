//! Who has the port, which version answers there, and through which proxy downloads go.

use super::Check;
use crate::commands::occupant::Occupant;
use slm_api::host::Host;

/// Variables that name proxies, in the order in which they are shown.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

pub(super) async fn checks(
    host: &Host,
    client_version: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Check> {
    let own = env!("CARGO_PKG_VERSION");
    let mut checks = vec![of_port(host, Occupant::of(host).await, own)];
    checks.extend(client_version.map(|client| of_programs(client, own)));
    checks.push(of_proxy(variable));
    checks
}

fn of_port(host: &Host, occupant: Option<Occupant>, own: &str) -> Check {
    const NAME: &str = "daemon";
    let at = format!("{}:{}", host.host, host.port);
    let elsewhere = "stop it, or choose another port with SLM_HOST, such as 127.0.0.1:11500";
    match occupant {
        None if host.is_local() => Check::ok(
            NAME,
            format!("none runs, and {at} is free; `slm` starts one when it needs it"),
        ),
        None => Check::fail(
            NAME,
            format!("nobody answers at {at}"),
            "start `slmd serve` there, or correct SLM_HOST",
        ),
        Some(Occupant::Slmd(version)) if version == own => {
            Check::ok(NAME, format!("slmd {version} answers at {at}"))
        }
        Some(Occupant::Slmd(version)) => Check::warn(
            NAME,
            format!("slmd {version} answers at {at}, and this program is {own}"),
            "restart the daemon, so that both are of one version",
        ),
        Some(Occupant::Ollama) => Check::fail(NAME, format!("Ollama has {at}"), elsewhere),
        Some(other) => Check::fail(NAME, format!("{other} has {at}"), elsewhere),
    }
}

fn of_programs(client: &str, own: &str) -> Check {
    if client == own {
        return Check::ok("programs", format!("slm and slmd are both {own}"));
    }
    Check::warn(
        "programs",
        format!("slm is {client} and slmd is {own}"),
        "install both from one release",
    )
}

fn of_proxy(variable: impl Fn(&str) -> Option<String>) -> Check {
    let set = PROXIES.iter().filter_map(|name| {
        let value = variable(name).or_else(|| variable(&name.to_lowercase()))?;
        (!value.trim().is_empty()).then(|| format!("{name}={}", without_password(&value)))
    });
    let set: Vec<String> = set.collect();
    if set.is_empty() {
        return Check::ok("proxy", "none is set");
    }
    let found = format!("downloads go by {}", set.join(", "));
    let value = |name: &str| set.iter().find(|text| text.starts_with(name));
    let https = value("HTTPS_PROXY").or_else(|| value("ALL_PROXY"));
    if https.is_none() && value("HTTP_PROXY").is_some() {
        return Check::warn(
            "proxy",
            found,
            "set HTTPS_PROXY too: models come over HTTPS, which HTTP_PROXY does not cover",
        );
    }
    Check::ok("proxy", found)
}

/// An address without user and password.
fn without_password(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn local() -> Host {
        Host::parse("127.0.0.1:11434")
    }

    #[test]
    fn whoever_has_the_port_is_named() {
        let status = |occupant| of_port(&local(), occupant, "1.0").status;
        assert_eq!(status(None), Status::Ok);
        assert_eq!(status(Some(Occupant::Slmd("1.0".into()))), Status::Ok);
        assert_eq!(status(Some(Occupant::Slmd("0.9".into()))), Status::Warn);
        assert_eq!(status(Some(Occupant::Ollama)), Status::Fail);
        assert_eq!(status(Some(Occupant::Other)), Status::Fail);
        let far = Host::parse("example.org:1");
        assert_eq!(of_port(&far, None, "1.0").status, Status::Fail);
        let ollama = of_port(&local(), Some(Occupant::Ollama), "1.0");
        assert!(ollama.found.contains("Ollama has 127.0.0.1:11434"));
        assert!(ollama.advice.unwrap().contains("SLM_HOST"));
    }

    #[test]
    fn programs_of_two_releases() {
        assert_eq!(of_programs("1.0", "1.0").status, Status::Ok);
        assert_eq!(of_programs("1.0", "1.1").status, Status::Warn);
    }

    #[test]
    fn proxies_without_their_passwords() {
        let of = |set: &[(&str, &str)]| {
            of_proxy(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]).found, "none is set");
        let both = of(&[
            ("https_proxy", "http://user:secret@proxy:3128"),
            ("NO_PROXY", "localhost"),
        ]);
        assert_eq!(
            (both.status, both.found.as_str()),
            (
                Status::Ok,
                "downloads go by HTTPS_PROXY=http://…@proxy:3128, NO_PROXY=localhost"
            )
        );
        let half = of(&[("HTTP_PROXY", "user:secret@proxy")]);
        assert_eq!(half.status, Status::Warn);
        assert!(!half.found.contains("secret"), "{half:?}");
    }
}
