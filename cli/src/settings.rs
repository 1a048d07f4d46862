//! What the environment says, read once in `main`, and where this program keeps its own files.
//!
//! Ollama's names are accepted as they are. Booleans follow its rule: a text that is no boolean counts as true.

use std::path::PathBuf;

use slm_api::Host;

/// Variables that name the person's editor, the first wins.
const EDITORS: [&str; 4] = ["SLM_EDITOR", "OLLAMA_EDITOR", "VISUAL", "EDITOR"];

/// Settings from the environment and the platform's folders.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the daemon is, or is to be started.
    pub host: Host,
    /// Whether a daemon may be started when none answers.
    pub autostart: bool,
    /// Whether chats and the lines typed in them are kept.
    pub history: bool,
    /// The person's editor, with arguments.
    pub editor: Option<String>,
    /// Folder for the history of lines and the like.
    pub data_dir: Option<PathBuf>,
    /// Folder for logs.
    pub state_dir: Option<PathBuf>,
    /// The user's home.
    pub home_dir: Option<PathBuf>,
    /// Folder for settings of all programs of the user.
    pub config_home: Option<PathBuf>,
    /// Folder for what can be had again.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the daemon and its models may take, where the person set a bound.
    pub memory: Option<u64>,
    /// Runs of benchmarks that are kept.
    pub benchmarks: usize,
    /// Where models of others are looked for.
    pub hub: Hub,
}

/// Where Hugging Face is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hub {
    /// Base address, without a slash at its end.
    pub endpoint: String,
    /// Whether nobody is to be asked.
    pub offline: bool,
}

impl Settings {
    /// Resolves the settings; `variable` looks one up.
    pub(crate) fn from_env(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name| variable(name).is_some_and(|text| is_true(&text));
        let dirs = directories::ProjectDirs::from("", "", "slm");
        let data_dir = dirs.as_ref().map(|dirs| dirs.data_local_dir().to_owned());
        let cache_dir = dirs.as_ref().map(|dirs| dirs.cache_dir().to_owned());
        let endpoint = variable("HF_ENDPOINT").filter(|text| !text.trim().is_empty());
        let endpoint = endpoint.as_deref().unwrap_or("https://huggingface.co");
        let memory = variable("SLM_MEMORY").and_then(|text| slm_api::size::parse(text.trim()));
        let state_dir = dirs.as_ref().and_then(directories::ProjectDirs::state_dir);
        Self {
            host: Host::from_env(&variable),
            autostart: !is_set("SLM_NO_AUTOSTART"),
            history: !is_set("SLM_NOHISTORY") && !is_set("OLLAMA_NOHISTORY"),
            editor: EDITORS.iter().find_map(|name| variable(name)),
            state_dir: state_dir.map(PathBuf::from).or_else(|| data_dir.clone()),
            data_dir,
            cache_dir,
            memory: memory.filter(|bytes| *bytes > 0),
            benchmarks: variable("SLM_BENCHMARKS")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(slm_benchmarks::DEFAULT_KEPT),
            hub: Hub {
                endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
                offline: is_set("HF_HUB_OFFLINE"),
            },
            config_home: directories::BaseDirs::new().map(|dirs| dirs.config_dir().to_owned()),
            home_dir: directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
        }
    }
}

fn is_true(text: &str) -> bool {
    let text = text.trim().trim_matches(['"', '\'']);
    !matches!(text, "" | "0" | "f" | "F" | "false" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_follow_ollamas_rule() {
        for text in ["1", "t", "true", "yes", "\"1\""] {
            assert!(is_true(text), "{text}");
        }
        for text in ["", " ", "0", "f", "false", "'0'"] {
            assert!(!is_true(text), "{text}");
        }
    }

    #[test]
    fn the_environment_decides() {
        let settings = Settings::from_env(|name| match name {
            "SLM_HOST" => Some("127.0.0.1:9".into()),
            "SLM_NO_AUTOSTART" | "OLLAMA_NOHISTORY" => Some("1".into()),
            "EDITOR" => Some("ed".into()),
            "VISUAL" => Some("vi -R".into()),
            _ => None,
        });
        assert_eq!(settings.host.port, 9);
        assert!(!settings.autostart);
        assert!(!settings.history);
        assert_eq!(settings.editor.as_deref(), Some("vi -R"));
        let settings = Settings::from_env(|_| None);
        assert!(settings.autostart && settings.history);
        assert_eq!(settings.host, Host::default());
        assert_eq!(settings.hub.endpoint, "https://huggingface.co");
        assert!(!settings.hub.offline && settings.memory.is_none());
        assert_eq!(settings.benchmarks, slm_benchmarks::DEFAULT_KEPT);
        let settings = Settings::from_env(|name| match name {
            "HF_ENDPOINT" => Some("http://mirror:80/ ".into()),
            "HF_HUB_OFFLINE" => Some("1".into()),
            "SLM_MEMORY" => Some("2GiB".into()),
            "SLM_BENCHMARKS" => Some("0".into()),
            _ => None,
        });
        assert_eq!(settings.hub.endpoint, "http://mirror:80");
        assert!(settings.hub.offline);
        assert_eq!(settings.memory, Some(2 << 30));
        assert_eq!(settings.benchmarks, 0);
    }
}
