//! Who one is to a registry: what `slm login` has stored, and what Docker knows.
//!
//! ```text
//! own file       {"hosts": {"registry.example": {"username": "…", "password": "…"}}}, mode 0600
//! Docker's file  `auths` with user and password in Base64; `credHelpers` and `credsStore` name programs to ask
//! ```
//!
//! Secrets are shown by no `Debug` and no log. To whom they are sent is decided in [`super::client`].
use crate::Error;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// No honest file of credentials, and no answer of a helper, is larger.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How long a program of Docker's may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);
const HELPER_POLL: Duration = Duration::from_millis(10);
/// As the name of the user: the secret is a token to exchange, not a password.
const TOKEN_USER: &str = "<token>";

/// A user and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Name of the user.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.username)
    }
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password);
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    /// The refresh token, if it is one.
    pub(super) fn refresh_token(&self) -> Option<&str> {
        (self.username == TOKEN_USER).then_some(&self.password)
    }
}

/// Where credentials are.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// What `slm login` stores.
    pub own: Option<PathBuf>,
    /// Docker's `config.json`.
    pub docker: Option<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnFile {
    hosts: BTreeMap<String, Credentials>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerFile {
    auths: BTreeMap<String, DockerAuth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Keyring {
    /// The credentials for `host`, which may carry a port. Blocks: a helper of Docker's may be asked.
    ///
    /// # Errors
    /// A file that cannot be read, or a helper that fails.
    pub fn find(&self, host: &str) -> Result<Option<Credentials>, Error> {
        if let Some(path) = &self.own {
            let file: OwnFile = read_json(path)?;
            if let Some(found) = file.hosts.get(&host.to_ascii_lowercase()) {
                return Ok(Some(found.clone()));
            }
        }
        match &self.docker {
            Some(path) => find_with_docker(path, host),
            None => Ok(None),
        }
    }

    /// Stores credentials for `host` in the own file, readable by its owner alone.
    ///
    /// # Errors
    /// The disk, or no place for the file.
    pub fn store(&self, host: &str, credentials: Credentials) -> Result<(), Error> {
        self.change(|file| {
            file.hosts.insert(host.to_ascii_lowercase(), credentials);
        })
    }

    /// Removes the credentials for `host` from the own file; whether there were any.
    ///
    /// # Errors
    /// The disk.
    pub fn remove(&self, host: &str) -> Result<bool, Error> {
        let mut was_there = false;
        self.change(|file| {
            was_there = file.hosts.remove(&host.to_ascii_lowercase()).is_some();
        })?;
        Ok(was_there)
    }

    fn change(&self, change: impl FnOnce(&mut OwnFile)) -> Result<(), Error> {
        let path = self.own.as_deref().ok_or_else(|| Error::Client {
            reason: "there is no home directory to keep credentials in".to_owned(),
        })?;
        let mut file: OwnFile = read_json(path)?;
        change(&mut file);
        let json = serde_json::to_vec_pretty(&file).expect("strings always serialise");
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            // A temporary file is its owner's alone from the beginning.
            .and_then(|()| tempfile::NamedTempFile::new_in(folder))
            .and_then(|mut temporary| {
                temporary.write_all(&json)?;
                temporary.as_file().sync_all()?;
                temporary.persist(path)?;
                Ok(())
            });
        written.map_err(Error::write(path))
    }
}

/// Nothing where there is no file.
fn read_json<T: Default + for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(Error::read(path)(error)),
    };
    let mut json = Vec::new();
    let read = file.take(MAX_FILE_BYTES).read_to_end(&mut json);
    read.map_err(Error::read(path))?;
    serde_json::from_slice(&json).map_err(|error| {
        // Without what stands there: it may be a secret.
        let place = format!("it is not as expected at line {}", error.line());
        Error::read(path)(io::Error::new(io::ErrorKind::InvalidData, place))
    })
}

fn find_with_docker(path: &Path, host: &str) -> Result<Option<Credentials>, Error> {
    let file: DockerFile = read_json(path)?;
    let named = file
        .auths
        .iter()
        .find(|(key, _)| host_of(key).eq_ignore_ascii_case(host));
    let helper = file
        .cred_helpers
        .iter()
        .find(|(key, _)| host_of(key).eq_ignore_ascii_case(host));
    if let Some((key, helper)) = helper {
        return ask_helper(helper, key);
    }
    if let Some(found) = named.and_then(|(_, auth)| auth.credentials()) {
        return Ok(Some(found));
    }
    match file.creds_store {
        // What it has is listed, without secrets, under `auths`.
        Some(store) if named.is_some() => ask_helper(&store, named.map_or(host, |(key, _)| key)),
        _ => Ok(None),
    }
}

impl DockerAuth {
    fn credentials(&self) -> Option<Credentials> {
        if let Some(token) = self
            .identitytoken
            .as_ref()
            .filter(|token| !token.is_empty())
        {
            return Some(Credentials {
                username: TOKEN_USER.to_owned(),
                password: token.clone(),
            });
        }
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Some(Credentials {
                username: username.clone(),
                password: password.clone(),
            });
        }
        let pair = BASE64_STANDARD.decode(self.auth.as_ref()?.trim()).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (username, password) = pair.split_once(':')?;
        Some(Credentials {
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// The host of `https://host/v1/` or `host`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Asks `docker-credential-<helper>` for the credentials of `server`.
fn ask_helper(helper: &str, server: &str) -> Result<Option<Credentials>, Error> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let fail = |reason: String| Error::CredentialHelper {
        helper: format!("docker-credential-{helper}"),
        reason,
    };
    if helper.is_empty() || !helper.chars().all(is_name) {
        return Err(fail("that is no name of a program".to_owned()));
    }
    run_helper(&format!("docker-credential-{helper}"), server)
}

fn run_helper(program: &str, server: &str) -> Result<Option<Credentials>, Error> {
    let fail = |reason: String| Error::CredentialHelper {
        helper: program.to_owned(),
        reason,
    };
    let io_failed = |error: io::Error| fail(error.to_string());
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io_failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read its input may know all the same.
        let _ = input.write_all(server.as_bytes());
    }
    let output = child.stdout.take().expect("it was asked for");
    // Read beside, so that it cannot wait for us while we wait for it. After a kill the pipe ends.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let deadline = Instant::now() + HELPER_TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(io_failed)? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(HELPER_POLL),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fail(format!("no answer within {HELPER_TIMEOUT:?}")));
            }
        }
    };
    let read = reader
        .join()
        .map_err(|_| fail("its answer is lost".into()))?;
    let answer = read.map_err(io_failed)?;
    if !status.success() {
        let text = String::from_utf8_lossy(&answer);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(fail(format!("it ended with {status}")));
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| fail("its answer is not understood".to_owned()))?;
    Ok(Some(Credentials {
        username: answer.username,
        password: answer.secret,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(folder: &Path) -> Keyring {
        Keyring {
            own: Some(folder.join("own/credentials.json")),
            docker: Some(folder.join("config.json")),
        }
    }

    fn pair(found: Option<Credentials>) -> Option<(String, String)> {
        found.map(|found| (found.username, found.password))
    }

    fn of(username: &str, password: &str) -> Option<(String, String)> {
        Some((username.to_owned(), password.to_owned()))
    }

    #[test]
    fn what_is_stored_is_found_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring(folder.path());
        assert_eq!(keyring.find("r.example").unwrap(), None);
        let credentials = Credentials {
            username: "me".into(),
            password: "secret".into(),
        };
        assert!(!format!("{credentials:?}").contains("secret"));
        keyring.store("R.example:5000", credentials).unwrap();
        assert_eq!(
            pair(keyring.find("r.example:5000").unwrap()),
            of("me", "secret")
        );
        assert_eq!(keyring.find("r.example").unwrap(), None, "another port");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(keyring.own.as_ref().unwrap()).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        assert!(keyring.remove("r.example:5000").unwrap());
        assert!(!keyring.remove("r.example:5000").unwrap());
        assert_eq!(keyring.find("r.example:5000").unwrap(), None);
        fs::write(keyring.own.as_ref().unwrap(), "{\"hosts\": \"hunter2\"}").unwrap();
        let error = keyring.find("r.example").unwrap_err();
        let text = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn dockers_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring(folder.path());
        let encoded = BASE64_STANDARD.encode("you:pass:word");
        let json = format!(
            r#"{{"auths": {{"r.example": {{"auth": "{encoded}"}}, "https://index.example/v1/": {{"username": "a",
            "password": "b"}}, "t.example": {{"identitytoken": "t"}}, "empty.example": {{}}}}, "other": 1}}"#
        );
        fs::write(keyring.docker.as_ref().unwrap(), json).unwrap();
        let find = |host: &str| pair(keyring.find(host).unwrap());
        assert_eq!(find("r.example"), of("you", "pass:word"));
        assert_eq!(find("index.example"), of("a", "b"));
        assert_eq!(find("t.example"), of("<token>", "t"));
        assert_eq!(find("empty.example"), None);
        assert_eq!(find("example"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_is_asked_and_not_for_ever() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = folder.path().join(format!("docker-credential-{name}"));
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            // A path in place of a name on the PATH, which a test cannot change for itself alone.
            path.to_str().unwrap().to_owned()
        };
        let good = program(
            "good",
            r#"read host; echo "{\"Username\":\"u@$host\",\"Secret\":\"s\"}""#,
        );
        let none = program(
            "none",
            "echo credentials not found in native keychain; exit 1",
        );
        let bad = program("bad", "exit 3");
        let ask = |path: &str| run_helper(path, "h.example");
        assert_eq!(pair(ask(&good).unwrap()), of("u@h.example", "s"));
        assert_eq!(ask(&none).unwrap(), None);
        assert!(ask(&bad).unwrap_err().to_string().contains("3"));
        assert!(ask_helper("../x", "h").is_err());
        let missing = ask_helper("slm-test-that-is-not-there", "h").unwrap_err();
        assert!(missing.hint().is_some());
    }
}
