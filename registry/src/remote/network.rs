//! What all pulls of a process share: HTTP clients, certificates, mirrors, credentials, and how a file becomes a model.
use super::credentials::Keyring;
use crate::Error;
use reqwest::{Client, Url, redirect};
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Redirects of one request.
const MAX_REDIRECTS: usize = 10;
/// Where Hugging Face is when nobody says otherwise.
const HUGGING_FACE: &str = "https://huggingface.co";

/// Makes the config blob of a model from its GGUF file, or from the parts of one in order, or says why it is none that can
/// be used.
pub type MakeConfig = dyn Fn(&[PathBuf]) -> Result<Vec<u8>, String> + Send + Sync;

/// Gives the daemons nearby that are known at the moment, `host:port` each.
pub type Discover = dyn Fn() -> Vec<String> + Send + Sync;

/// The licence that a GGUF file states, as an SPDX identifier.
pub type ReadLicense = dyn Fn(&Path) -> Option<String> + Send + Sync;

/// How to reach others, and as whom.
#[derive(Default)]
pub struct Network {
    /// Who one is to registries.
    pub keyring: Keyring,
    /// Other addresses of a host, tried before the host itself: `host` to `https://mirror[:port]`.
    pub mirrors: HashMap<String, Vec<String>>,
    /// Certificates of authorities to trust beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Where Hugging Face is, if not where everybody thinks (`HF_ENDPOINT`).
    pub hugging_face_endpoint: Option<String>,
    /// Token for Hugging Face (`HF_TOKEN`).
    pub hugging_face_token: Option<String>,
    /// For files that come without a config.
    pub make_config: Option<Arc<MakeConfig>>,
    /// Daemons nearby, `host:port`, that are asked for blobs before the internet is.
    pub neighbors: Vec<String>,
    /// Finds more of them; may block for a moment.
    pub discover: Option<Arc<Discover>>,
    /// For what is noted of pulled models.
    pub license_of: Option<Arc<ReadLicense>>,
    /// To begin with, none.
    pub clients: Clients,
}

/// HTTP clients, made when first needed; those for hosts on this machine know no proxy.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<bool, Client>>);

impl fmt::Debug for Network {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("mirrors", &self.mirrors)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Where Hugging Face is.
    pub fn hugging_face(&self) -> &str {
        let endpoint = self
            .hugging_face_endpoint
            .as_deref()
            .unwrap_or(HUGGING_FACE);
        endpoint.trim_end_matches('/')
    }

    /// The client for hosts on this machine or for others. Reads certificates from the disk when called first.
    pub(super) fn client(&self, is_local: bool) -> Result<Client, Error> {
        let mut clients = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&is_local) {
            return Ok(client.clone());
        }
        let client = make_client(is_local, self.ca_file.as_deref())?;
        clients.insert(is_local, client.clone());
        Ok(client)
    }
}

/// Parses mirrors: `host=address,host=address`; a host may be named more than once.
///
/// # Errors
/// The part that is not understood.
pub fn parse_mirrors(text: &str) -> Result<HashMap<String, Vec<String>>, String> {
    let mut mirrors: HashMap<String, Vec<String>> = HashMap::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let pair = part
            .split_once('=')
            .map(|(host, url)| (host.trim(), url.trim()));
        let pair = pair.filter(|(host, url)| {
            let url = Url::parse(url);
            let is_web = url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
            !host.is_empty() && is_web
        });
        let (host, url) = pair.ok_or_else(|| part.to_owned())?;
        let of_host = mirrors.entry(host.to_owned()).or_default();
        of_host.push(url.trim_end_matches('/').to_owned());
    }
    Ok(mirrors)
}

fn make_client(is_local: bool, ca_file: Option<&Path>) -> Result<Client, Error> {
    // An error means that there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fail = |error: reqwest::Error| Error::Client {
        reason: super::client::innermost(&error),
    };
    // Without these, a system without certificates (a slim container) has no client at all.
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let roots: Result<Vec<_>, _> = roots
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect();
    let mut roots = roots.map_err(fail)?;
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(Error::read(path))?;
        let own = reqwest::Certificate::from_pem_bundle(&pem).map_err(fail)?;
        if own.is_empty() {
            let reason = format!("there is no certificate in `{}`", path.display());
            return Err(Error::Client { reason });
        }
        roots.extend(own);
    }
    let redirects = redirect::Policy::custom(|attempt| {
        let came_from = attempt.previous().last();
        let is_downgrade = came_from.is_some_and(|url| url.scheme() == "https")
            && attempt.url().scheme() != "https";
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if is_downgrade {
            attempt.error("it redirects from HTTPS to a connection without protection")
        } else {
            attempt.follow()
        }
    });
    let builder = Client::builder()
        .connect_timeout(Duration::from_secs(15))
        .redirect(redirects)
        .referer(false)
        .tls_certs_merge(roots);
    let builder = if is_local {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_listed_by_host() {
        let mirrors = parse_mirrors("h=http://a/, g:5=https://b:1 ,h=https://c/x").unwrap();
        assert_eq!(mirrors["h"], ["http://a", "https://c/x"]);
        assert_eq!(mirrors["g:5"], ["https://b:1"]);
        assert!(parse_mirrors("").unwrap().is_empty());
        for bad in ["h", "=http://a", "h=a", "h=ftp://a"] {
            assert_eq!(parse_mirrors(bad).unwrap_err(), bad);
        }
    }

    #[test]
    fn a_file_of_certificates_without_one_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let network = Network {
            ca_file: Some(path.clone()),
            ..Network::default()
        };
        assert!(matches!(network.client(true), Err(Error::Read { .. })));
        std::fs::write(&path, "no certificate").unwrap();
        let error = network.client(true).unwrap_err();
        assert!(error.to_string().contains("no certificate in"), "{error}");
    }
}
