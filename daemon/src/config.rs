//! What the daemon is told: flags, then the environment, then defaults, resolved once into [`Config`].
//!
//! [`SETTINGS`] is the one table of everything that can be set: `--help`, the lookup and the start-up log come from it.
//! Nothing else in the daemon reads the environment. Ollama's names are accepted beside our own.

use crate::models::KeepFor;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use slm_api::host::Host;
use slm_benchmarks::Benchmarks;
use slm_kernels::{Isa, KvType};
use slm_registry::{
    ForeignSource, Locations, Program,
    remote::{Discover, Keyring, Network, parse_mirrors, parse_neighbors},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

/// One thing that can be set.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag, without dashes; also its name in the log.
    pub(crate) flag: &'static str,
    /// Environment variables, the strongest first.
    pub(crate) variables: &'static [&'static str],
    /// What stands for the value in the help.
    value_name: &'static str,
    /// The default, as a person would write it; "" where it is computed.
    default: &'static str,
    /// One sentence.
    help: &'static str,
}

impl Setting {
    /// The default, as a person would write it; "" where it is computed.
    pub(crate) fn default(&self) -> &'static str {
        self.default
    }

    fn arg(&self) -> Arg {
        let mut help = self.help.to_owned();
        if !self.default.is_empty() {
            help.push_str(&format!(" [default: {}]", self.default));
        }
        help.push_str(&format!(" [env: {}]", self.variables.join(", ")));
        let arg = Arg::new(self.flag)
            .long(self.flag)
            .value_name(self.value_name)
            .help(help);
        if self.value_name == SWITCH {
            return arg.num_args(0..=1).default_missing_value("true");
        }
        arg.allow_hyphen_values(true)
    }
}

/// What stands for the value of a setting that is on or off; its flag alone means on.
const SWITCH: &str = "BOOL";

macro_rules! settings {
    ($($flag:literal $variables:expr, $value_name:literal = $default:literal: $help:literal;)*) => {
        &[$(Setting {
            flag: $flag,
            variables: &$variables,
            value_name: $value_name,
            default: $default,
            help: $help,
        }),*]
    };
}

/// Everything that can be set.
pub(crate) const SETTINGS: &[Setting] = settings! {
    "host" ["SLM_HOST", "OLLAMA_HOST"], "ADDRESS" = "127.0.0.1:11434":
        "Address to listen on, or of the daemon to talk to";
    "models" ["SLM_MODELS", "OLLAMA_MODELS"], "DIR" = "":
        "Models directory [default: `models` in the user's data directory for slm]";
    "models-shared" ["SLM_MODELS_SHARED"], "DIRS" = "":
        "Further models directories, which are only read; separated as in PATH";
    "models-archive" ["SLM_MODELS_ARCHIVE"], "DIR" = "":
        "Folder on a larger, slower disk, where `slm archive` moves models to";
    "keep-alive" ["SLM_KEEP_ALIVE", "OLLAMA_KEEP_ALIVE"], "DURATION" = "5m":
        "How long an idle model stays loaded; negative is forever";
    "context-length" ["SLM_CONTEXT_LENGTH", "OLLAMA_CONTEXT_LENGTH"], "TOKENS" = "0":
        "Context window where neither model nor request says one; 0 chooses by model and memory";
    "memory" ["SLM_MEMORY"], "SIZE" = "0":
        "Most that the daemon and all models may take, such as 2GiB; 0 is what the machine has";
    "max-loaded-models" ["SLM_MAX_LOADED_MODELS", "OLLAMA_MAX_LOADED_MODELS"], "N" = "3":
        "Models that may be loaded at once";
    "num-parallel" ["SLM_NUM_PARALLEL", "OLLAMA_NUM_PARALLEL"], "N" = "16":
        "Generations that run at once per model";
    "max-queue" ["SLM_MAX_QUEUE", "OLLAMA_MAX_QUEUE"], "N" = "512":
        "Requests that may wait before more are refused";
    "num-threads" ["SLM_NUM_THREADS"], "N" = "0":
        "Compute threads; 0 takes what the machine allows";
    "kv-cache-type" ["SLM_KV_CACHE_TYPE", "OLLAMA_KV_CACHE_TYPE"], "TYPE" = "f16":
        "How keys and values are stored where the model does not say: f32, f16, q8_0 or q4_0";
    "prefix-cache" ["SLM_PREFIX_CACHE_BYTES"], "BYTES" = "":
        "Bytes on disk for the states of conversations, such as 4G, so that they go on quickly after a restart; 0 keeps none [default: 2G, or a twentieth of what is free if that is less]";
    "benchmarks" ["SLM_BENCHMARKS"], "N" = "50":
        "Runs of `slm bench` whose results are kept in the user's data directory, for the web page; 0 keeps and shows none";
    "cpu" ["SLM_CPU"], "TIER" = "":
        "CPU tier to force, such as portable or avx2 [default: the best that this machine has]";
    "origins" ["SLM_ORIGINS", "OLLAMA_ORIGINS"], "LIST" = "":
        "Comma-separated origins that browsers may call from, beside local ones; * is a wildcard";
    "max-bandwidth" ["SLM_MAX_BANDWIDTH"], "RATE" = "0":
        "Bytes per second of all downloads together, such as 5M; 0 is no bound";
    "mirrors" ["SLM_MIRRORS"], "LIST" = "":
        "Comma-separated HOST=ADDRESS: where to fetch a registry's models before it is asked itself";
    "neighbors" ["SLM_NEIGHBORS"], "LIST" = "":
        "Comma-separated HOST[:PORT] of daemons that share models, asked before the internet; auto finds them by mDNS";
    "ca-file" ["SLM_CA_FILE"], "FILE" = "":
        "Certificates of authorities to trust beside the system's, in PEM";
    "hf-endpoint" ["HF_ENDPOINT"], "URL" = "https://huggingface.co":
        "Where Hugging Face is; its token comes from HF_TOKEN or the file that its own tools keep";
    "share" ["SLM_SHARE"], "BOOL" = "false":
        "Let others on the network fetch this machine's models, read-only, at the address of share-listen";
    "share-listen" ["SLM_SHARE_LISTEN"], "ADDRESS" = "0.0.0.0:11435":
        "Where models are shared; nothing else is served there";
    "share-mdns" ["SLM_SHARE_MDNS"], "BOOL" = "false":
        "Announce shared models on the local network by mDNS, for those that look for neighbors";
    "no-prune" ["SLM_NOPRUNE", "OLLAMA_NOPRUNE"], "BOOL" = "false":
        "Keep blobs that no model uses when the daemon starts";
    "strict" ["SLM_STRICT"], "BOOL" = "false":
        "Refuse requests with parameters that cannot be honoured, instead of naming them in a warning";
    "log" ["SLM_LOG"], "FILTER" = "info":
        "What to log: error, warn, info, debug, trace, or a filter such as slmd=debug";
};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Variable(&'static str),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why the settings make no configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// A value cannot be read.
    #[error("`{value}` is no value for {setting} (from {origin}): {expected}")]
    Value {
        setting: &'static str,
        origin: String,
        value: String,
        expected: String,
    },
    /// No place for models.
    #[error("there is no home directory to keep models in; name one with --models or SLM_MODELS")]
    NoModelsDir,
}

/// The flags of a command that only has to find the store or the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlaceFlags(pub(crate) Flags);

impl PlaceFlags {
    const NAMES: &[&str] = &["host", "models", "models-shared", "models-archive"];

    fn settings() -> impl Iterator<Item = &'static Setting> {
        let is_place = |setting: &&Setting| Self::NAMES.contains(&setting.flag);
        SETTINGS.iter().filter(is_place)
    }
}

impl FromArgMatches for PlaceFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(Flags::typed(Self::settings(), matches)))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for PlaceFlags {
    fn augment_args(command: Command) -> Command {
        Self::settings().fold(command, |command, setting| command.arg(setting.arg()))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Flags as they were typed. The help comes from [`SETTINGS`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    fn typed(settings: impl Iterator<Item = &'static Setting>, matches: &ArgMatches) -> Self {
        let typed = |setting: &Setting| {
            let value = matches.get_one::<String>(setting.flag)?;
            Some((setting.flag, value.clone()))
        };
        Self(settings.filter_map(typed).collect())
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::typed(SETTINGS.iter(), matches))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let settings = SETTINGS.iter();
        settings.fold(command, |command, setting| command.arg(setting.arg()))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The resolved configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) host: Host,
    /// The models directory and the folders beside it.
    pub(crate) locations: Locations,
    /// Where other programs may have models.
    pub(crate) foreign: Vec<ForeignSource>,
    pub(crate) keep_alive: KeepFor,
    /// Window where nobody says one.
    pub(crate) context_length: Option<usize>,
    /// Bytes that the daemon and all models may take.
    pub(crate) memory: Option<u64>,
    pub(crate) max_loaded_models: usize,
    pub(crate) n_parallel: usize,
    pub(crate) max_queue: usize,
    pub(crate) n_threads: Option<usize>,
    pub(crate) cpu: Option<Isa>,
    pub(crate) kv_type: KvType,
    /// Bytes on disk for states of conversations; `None` chooses by what is free.
    pub(crate) prefix_cache: Option<u64>,
    /// Where results of benchmarks are kept, if at all.
    pub(crate) benchmarks: Option<Benchmarks>,
    pub(crate) origins: Vec<String>,
    /// Where models are shared with others, if at all.
    pub(crate) share: Option<SocketAddr>,
    /// Whether that is announced on the local network.
    pub(crate) share_mdns: bool,
    pub(crate) no_prune: bool,
    pub(crate) strict: bool,
    /// Bytes per second of all downloads together.
    pub(crate) max_bandwidth: Option<u64>,
    /// How downloads reach others, and as whom.
    pub(crate) network: Arc<Network>,
    pub(crate) log: String,
    /// Each setting that somebody set: flag, value, origin.
    pub(crate) set: Vec<(&'static str, String, Origin)>,
}

impl Config {
    /// Resolves flags, environment and defaults. `variable` looks a variable up.
    ///
    /// # Errors
    /// The first value that cannot be read.
    pub(crate) fn resolve(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let values = Values::look_up(flags, &variable);
        let models_dir = match values.text("models") {
            "" => slm_registry::paths::default_models_dir().ok_or(ConfigError::NoModelsDir)?,
            dir => PathBuf::from(dir),
        };
        let positive = |n: usize| (n > 0).then_some(n);
        let filter_check = |text: &str| tracing_subscriber::EnvFilter::try_new(text).map(|_| ());
        values.parse_with("log", "a log level or filter", |text| {
            filter_check(text).ok()
        })?;
        let max_bandwidth = values.parse_with(
            "max-bandwidth",
            "bytes per second, such as 800k or 5M",
            slm_api::rate::parse,
        )?;
        let share_listen =
            values.parse_with("share-listen", "an address such as 0.0.0.0:11435", |text| {
                text.parse().ok()
            })?;
        let network = Arc::new(network(&values, &variable)?);
        let origins = values.text("origins").split(',').map(str::trim);
        let given = |flag| Some(values.text(flag)).filter(|text| !text.is_empty());
        let shared = given("models-shared").map(std::env::split_paths);
        let shared = shared.into_iter().flatten();
        let locations = Locations {
            hot: models_dir,
            shared: shared.filter(|dir| !dir.as_os_str().is_empty()).collect(),
            archive: given("models-archive").map(PathBuf::from),
        };
        Ok(Self {
            host: Host::parse(values.text("host")),
            locations,
            foreign: foreign(&variable),
            keep_alive: values.parse_with(
                "keep-alive",
                "a duration such as 5m, or seconds",
                |text| KeepFor::from_text(text).ok(),
            )?,
            context_length: positive(values.number("context-length")?),
            memory: values
                .parse_with(
                    "memory",
                    "bytes, such as 800MiB or 2GiB",
                    slm_api::size::parse,
                )
                .map(|bytes| Some(bytes).filter(|bytes| *bytes > 0))?,
            max_loaded_models: positive(values.number("max-loaded-models")?).unwrap_or(3),
            n_parallel: positive(values.number("num-parallel")?).unwrap_or(16),
            max_queue: values.number::<usize>("max-queue")?.max(1),
            n_threads: positive(values.number("num-threads")?),
            cpu: values.parse_with("cpu", &usable_tiers(), |text| match text {
                "" => Some(None),
                tier => tier
                    .parse()
                    .ok()
                    .filter(|isa: &Isa| isa.is_supported())
                    .map(Some),
            })?,
            kv_type: values.parse_with("kv-cache-type", "f32, f16, q8_0 or q4_0", |text| {
                text.parse().ok()
            })?,
            prefix_cache: values.parse_with(
                "prefix-cache",
                "bytes, such as 500M or 4G",
                |text| match text {
                    "" => Some(None),
                    bytes => slm_api::size::parse(bytes).map(Some),
                },
            )?,
            benchmarks: benchmarks(values.parse_with(
                "benchmarks",
                &most_benchmarks(),
                |text| text.parse().ok().filter(|n| *n <= slm_benchmarks::MAX_KEPT),
            )?),
            origins: origins
                .filter(|o| !o.is_empty())
                .map(str::to_owned)
                .collect(),
            share: Some(share_listen).filter(|_| values.is_on("share")),
            share_mdns: values.is_on("share-mdns"),
            no_prune: values.is_on("no-prune"),
            strict: values.is_on("strict"),
            max_bandwidth: Some(max_bandwidth).filter(|rate| *rate > 0),
            network,
            log: values.text("log").to_owned(),
            set: values.set(),
        })
    }
}

/// Where so many runs of benchmarks are kept; `None` for none, and where there is no home to keep them in.
fn benchmarks(most: usize) -> Option<Benchmarks> {
    let data_dir = slm_registry::paths::default_data_dir()?;
    (most > 0).then(|| Benchmarks::new(&data_dir, most))
}

/// What a number of runs may be.
fn most_benchmarks() -> String {
    format!("a whole number up to {}", slm_benchmarks::MAX_KEPT)
}

/// Where other programs keep models, as far as there is something.
fn foreign(variable: &impl Fn(&str) -> Option<String>) -> Vec<ForeignSource> {
    let given = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
    let home = given("HOME").or_else(|| given("USERPROFILE"));
    let at_home = |path: &str| Some(PathBuf::from(home.as_ref()?).join(path));
    let hub = given("HF_HUB_CACHE").map(PathBuf::from);
    let hub = hub.or_else(|| given("HF_HOME").map(|home| PathBuf::from(home).join("hub")));
    let sources = [
        (Program::Ollama, given("OLLAMA_MODELS").map(PathBuf::from)),
        (Program::Ollama, at_home(".ollama/models")),
        (
            Program::Ollama,
            Some("/usr/share/ollama/.ollama/models".into()),
        ),
        (
            Program::HuggingFace,
            hub.or_else(|| at_home(".cache/huggingface/hub")),
        ),
        (Program::LmStudio, at_home(".lmstudio/models")),
        (Program::LmStudio, at_home(".cache/lm-studio/models")),
    ];
    let sources = sources.into_iter().filter_map(|(program, path)| {
        let path = path.filter(|path| path.is_dir())?;
        Some(ForeignSource { program, path })
    });
    sources.collect()
}

/// How downloads reach others. Secrets come from variables and files of their own, which no log shows.
fn network(
    values: &Values,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Network, ConfigError> {
    let given = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
    let home = given("HOME")
        .or_else(|| given("USERPROFILE"))
        .map(PathBuf::from);
    let docker = given("DOCKER_CONFIG").map(PathBuf::from);
    let docker = docker.or_else(|| Some(home.as_ref()?.join(".docker")));
    let hugging_face = given("HF_HOME").map(PathBuf::from);
    let hugging_face = hugging_face.or_else(|| Some(home.as_ref()?.join(".cache/huggingface")));
    let token_file = given("HF_TOKEN_PATH").map(PathBuf::from);
    let token_file = token_file.or_else(|| Some(hugging_face?.join("token")));
    let token = given("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
    let token = token.map(|token| token.trim().to_owned());
    let ca_file = Some(values.text("ca-file")).filter(|path| !path.is_empty());
    Ok(Network {
        keyring: Keyring {
            own: slm_registry::paths::default_credentials_file(),
            docker: docker.map(|folder| folder.join("config.json")),
        },
        mirrors: values.parse_with("mirrors", "HOST=http(s)://ADDRESS, …", |text| {
            parse_mirrors(text).ok()
        })?,
        neighbors: values.parse_with("neighbors", "HOST[:PORT], … or auto", |text| {
            parse_neighbors(&named_neighbors(text)).ok()
        })?,
        discover: finds_neighbors(values.text("neighbors")).then(|| {
            let discover: Arc<Discover> = Arc::new(crate::share::discovery::neighbors);
            discover
        }),
        ca_file: ca_file.map(PathBuf::from),
        hugging_face_endpoint: Some(values.text("hf-endpoint").to_owned()),
        hugging_face_token: token.filter(|token| !token.is_empty()),
        make_config: Some(Arc::new(crate::pulls::config_of)),
        license_of: Some(Arc::new(|path| {
            crate::details::GgufFacts::read(path).ok()?.license
        })),
        ..Network::default()
    })
}

/// Whether neighbours are to be looked for.
fn finds_neighbors(text: &str) -> bool {
    text.split(',').any(|part| part.trim() == "auto")
}

/// The neighbours that are named.
fn named_neighbors(text: &str) -> String {
    let named = text.split(',').filter(|part| part.trim() != "auto");
    named.collect::<Vec<_>>().join(",")
}

/// The tiers that this CPU has, as people read them.
fn usable_tiers() -> String {
    let usable = Isa::ALL.iter().filter(|isa| isa.is_supported());
    let names: Vec<String> = usable.map(Isa::to_string).collect();
    format!("one of {}, which this CPU has", names.join(", "))
}

/// The text of every setting and where it came from.
struct Values(BTreeMap<&'static str, (String, Origin)>);

impl Values {
    fn look_up(flags: &Flags, variable: &impl Fn(&str) -> Option<String>) -> Self {
        let of_setting = |setting: &'static Setting| {
            if let Some(text) = flags.0.get(setting.flag) {
                return (text.clone(), Origin::Flag);
            }
            for name in setting.variables {
                // blanks and quotes around values are habits of unit files and shells
                let text = variable(name).unwrap_or_default();
                let text = text.trim().trim_matches(['"', '\'']).trim();
                if !text.is_empty() {
                    return (text.to_owned(), Origin::Variable(name));
                }
            }
            (setting.default.to_owned(), Origin::Default)
        };
        Self(SETTINGS.iter().map(|s| (s.flag, of_setting(s))).collect())
    }

    fn text(&self, flag: &'static str) -> &str {
        &self.0[flag].0
    }

    /// As Ollama reads it: what is set and not plainly off is on.
    fn is_on(&self, flag: &'static str) -> bool {
        let off = ["", "0", "f", "F", "false", "FALSE", "False"];
        !off.contains(&self.text(flag))
    }

    fn parse_with<T>(
        &self,
        flag: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = &self.0[flag];
        parse(text).ok_or_else(|| ConfigError::Value {
            setting: flag,
            origin: origin.to_string(),
            value: text.clone(),
            expected: format!("expected {expected}"),
        })
    }

    fn number<T: FromStr>(&self, flag: &'static str) -> Result<T, ConfigError> {
        self.parse_with(flag, "a whole number", |text| text.parse().ok())
    }

    fn set(self) -> Vec<(&'static str, String, Origin)> {
        self.0
            .into_iter()
            .filter(|(_, (_, origin))| *origin != Origin::Default)
            .map(|(flag, (text, origin))| (flag, text, origin))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn resolve(
        flags: &[(&'static str, &str)],
        env: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let flags = Flags(flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect());
        Config::resolve(&flags, |name| {
            let found = env.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flag_beats_own_variable_beats_ollamas_beats_default() {
        let default = resolve(&[], &[("SLM_MODELS", "/m")]).unwrap();
        assert_eq!(default.host.port, 11434);
        assert_eq!(default.keep_alive, KeepFor::Span(Duration::from_secs(300)));
        assert_eq!(default.context_length, None);
        let env = [
            ("SLM_HOST", "h:1"),
            ("OLLAMA_HOST", "h:2"),
            ("OLLAMA_MODELS", " '/o' "),
        ];
        let config = resolve(&[], &env).unwrap();
        assert_eq!(
            (config.host.port, config.locations.hot),
            (1, PathBuf::from("/o"))
        );
        let config = resolve(&[("host", "h:3")], &env).unwrap();
        assert_eq!(config.host.port, 3);
        assert_eq!(
            config.set,
            [
                ("host", "h:3".to_owned(), Origin::Flag),
                ("models", "/o".to_owned(), Origin::Variable("OLLAMA_MODELS")),
            ]
        );
    }

    #[test]
    fn a_bad_value_names_itself_and_its_origin() {
        let error = resolve(&[], &[("SLM_MODELS", "/m"), ("SLM_KEEP_ALIVE", "soon")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`soon` is no value for keep-alive (from SLM_KEEP_ALIVE): expected a duration such as 5m, or seconds"
        );
    }

    #[test]
    fn how_states_are_kept() {
        let with = |name, value| resolve(&[], &[("SLM_MODELS", "/m"), (name, value)]);
        let default = with("SLM_LOG", "info").unwrap();
        assert_eq!((default.kv_type, default.prefix_cache), (KvType::F16, None));
        let config = with("OLLAMA_KV_CACHE_TYPE", "q8_0").unwrap();
        assert_eq!(config.kv_type, KvType::Q8_0);
        let config = with("SLM_PREFIX_CACHE_BYTES", "1.5G").unwrap();
        assert_eq!(config.prefix_cache, Some(1_500_000_000));
        let error = with("SLM_KV_CACHE_TYPE", "q5_1").unwrap_err().to_string();
        assert_eq!(
            error,
            "`q5_1` is no value for kv-cache-type (from SLM_KV_CACHE_TYPE): expected f32, f16, q8_0 or q4_0"
        );
        assert!(with("SLM_PREFIX_CACHE_BYTES", "much").is_err());
    }

    #[test]
    fn results_of_benchmarks_are_kept_unless_somebody_wants_none() {
        let with = |value| resolve(&[], &[("SLM_MODELS", "/m"), ("SLM_BENCHMARKS", value)]);
        let default = with("").unwrap().benchmarks;
        let data_dir = slm_registry::paths::default_data_dir();
        let wanted = data_dir.map(|dir| Benchmarks::new(&dir, slm_benchmarks::DEFAULT_KEPT));
        assert_eq!(default, wanted);
        assert_eq!(with("0").unwrap().benchmarks, None);
        for bad in ["1001", "-1", "all"] {
            let error = with(bad).unwrap_err().to_string();
            assert!(error.ends_with("a whole number up to 1000"), "{error}");
        }
    }

    #[test]
    fn how_downloads_reach_others() {
        let env = [
            ("SLM_MODELS", "/m"),
            ("SLM_MAX_BANDWIDTH", "5M"),
            ("SLM_MIRRORS", "h=https://a"),
            ("HF_TOKEN", "hf_secret"),
            ("HOME", "/h"),
        ];
        let config = resolve(&[], &env).unwrap();
        assert_eq!(config.max_bandwidth, Some(5_000_000));
        assert_eq!(config.network.mirrors["h"], ["https://a"]);
        let docker = config.network.keyring.docker.as_deref();
        assert_eq!(docker, Some("/h/.docker/config.json".as_ref()));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hf_secret"), "{shown}");
        assert!(resolve(&[], &[("SLM_MODELS", "/m"), ("SLM_MIRRORS", "h")]).is_err());
        assert!(resolve(&[], &[("SLM_MODELS", "/m"), ("SLM_MAX_BANDWIDTH", "fast")]).is_err());
    }

    #[test]
    fn sharing_is_off_until_it_is_switched_on() {
        let models = ("SLM_MODELS", "/m");
        let share = |env: &[(&str, &str)]| resolve(&[], env).unwrap().share;
        assert_eq!(share(&[models]), None);
        assert_eq!(
            share(&[models, ("SLM_SHARE_LISTEN", "10.0.0.1:5")]),
            None,
            "an address alone is no agreement"
        );
        let on = ("SLM_SHARE", "1");
        assert_eq!(share(&[models, on]), "0.0.0.0:11435".parse().ok());
        assert_eq!(
            share(&[models, on, ("SLM_SHARE_LISTEN", "10.0.0.1:5")]),
            "10.0.0.1:5".parse().ok()
        );
        assert!(resolve(&[], &[models, ("SLM_SHARE_LISTEN", "box")]).is_err());
    }

    #[test]
    fn neighbours_are_named_or_found() {
        let network = |text: &str| resolve(&[("neighbors", text)], &[("SLM_MODELS", "/m")]);
        let none = network("").unwrap().network;
        assert!(none.neighbors.is_empty() && none.discover.is_none());
        let both = network("box.local, auto,10.0.0.1:5").unwrap().network;
        assert_eq!(both.neighbors, ["box.local:11435", "10.0.0.1:5"]);
        assert!(both.discover.is_some());
        assert!(network("http://box").is_err());
    }

    #[test]
    fn a_switch_needs_no_value() {
        let command = <Flags as clap::Args>::augment_args(Command::new("x"));
        let typed = |line: &[&str]| {
            let matches = command.clone().try_get_matches_from(line).unwrap();
            Flags::from_arg_matches(&matches).unwrap().0
        };
        let flags = typed(&["x", "--share", "--log", "debug", "--no-prune", "false"]);
        assert_eq!(flags["share"], "true");
        assert_eq!((&*flags["log"], &*flags["no-prune"]), ("debug", "false"));
    }

    #[test]
    fn every_flag_is_a_valid_argument() {
        let command = <Flags as clap::Args>::augment_args(Command::new("x"));
        command.debug_assert();
    }
}
