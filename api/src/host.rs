//! Where the daemon listens: `SLM_HOST`, else `OLLAMA_HOST`, else `127.0.0.1:11434`.

/// The default port.
pub const DEFAULT_PORT: u16 = 11434;

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

impl Host {
    /// Reads `host`, `host:port`, `:port`, `http://…`, `https://…`, optionally with a path, as Ollama does.
    pub fn parse(_text: &str) -> Self {
        todo!()
    }
    /// The base URL for a client; an unspecified address (`0.0.0.0`, `::`) becomes loopback.
    pub fn client_url(&self) -> String {
        todo!()
    }
}
