//! Which CPU tier and how many threads compute, and why: for the log and for bug reports.

use crate::config::{Config, Origin};
use slm_api::ollama::CpuInfo;
use slm_kernels::{Isa, cpu_features};
use slm_machine::cores::{Cores, Threads};
use std::fs;

/// What was chosen, and why.
#[derive(Clone, Debug)]
pub(crate) struct CpuChoice {
    pub(crate) tier: Isa,
    /// Why this tier.
    pub(crate) tier_reason: String,
    pub(crate) threads: usize,
    /// Why so many threads.
    pub(crate) threads_reason: String,
    /// Instruction sets of this CPU.
    pub(crate) features: Vec<&'static str>,
}

impl CpuChoice {
    /// What `config` makes of this machine.
    pub(crate) fn of(config: &Config) -> Self {
        let (tier, tier_reason) = match config.cpu {
            Some(isa) => (isa, format!("forced by {}", origin(config, "cpu"))),
            None => {
                let usable = Isa::ALL.iter().filter(|isa| isa.is_supported());
                let names: Vec<String> = usable.map(Isa::to_string).collect();
                let reason = format!("the best of {}, which this CPU has", names.join(", "));
                (Isa::best(), reason)
            }
        };
        let (threads, threads_reason) = match config.n_threads {
            Some(n) => (n, format!("set by {}", origin(config, "num-threads"))),
            None => {
                let cores = Cores::here();
                let reason = why(&cores, n_allowed(), n_online());
                (cores.threads().prefill, reason)
            }
        };
        Self {
            tier,
            tier_reason,
            threads,
            threads_reason,
            features: cpu_features(),
        }
    }

    /// The same on the wire.
    pub(crate) fn info(&self) -> CpuInfo {
        CpuInfo {
            tier: self.tier.to_string(),
            reason: self.tier_reason.clone(),
            threads: self.threads,
            threads_reason: self.threads_reason.clone(),
            features: self.features.iter().map(|&f| f.to_owned()).collect(),
        }
    }
}

/// Who set `setting`.
fn origin(config: &Config, setting: &str) -> String {
    let set = config.set.iter().find(|(name, _, _)| *name == setting);
    match set {
        Some((_, _, Origin::Flag)) => format!("--{setting}"),
        Some((_, _, origin)) => origin.to_string(),
        None => "the configuration".to_owned(),
    }
}

/// What bounds the threads when nobody sets them.
fn why(cores: &Cores, allowed: Option<usize>, online: Option<usize>) -> String {
    let usable = cores.n_usable;
    let Threads { decode, prefill } = cores.threads();
    let quota = allowed.filter(|&allowed| usable < allowed && prefill == usable);
    let affinity = allowed
        .zip(online)
        .filter(|(allowed, online)| allowed < online);
    let mut text = match (quota, affinity) {
        (Some(allowed), _) => {
            format!("the control group's quota is worth {usable} of the {allowed} usable CPUs")
        }
        (None, Some((allowed, online))) => {
            format!("the affinity of the process allows {allowed} of {online} CPUs")
        }
        (None, None) => "every CPU of the machine".to_owned(),
    };
    let n_cores = cores.n_fast + cores.n_slower + cores.n_slow;
    if prefill < usable && n_cores < cores.n_cpus {
        text += &format!(", and {n_cores} cores have {} threads", cores.n_cpus);
    }
    if cores.n_slow > 0 {
        text += &format!(", but for {} slow cores", cores.n_slow);
    }
    if decode < prefill {
        text += &format!("; answers are written by the {decode} fast ones");
    }
    text
}

/// CPUs that the affinity of this process allows.
fn n_allowed() -> Option<usize> {
    #[cfg(target_os = "linux")]
    return rustix::thread::sched_getaffinity(None)
        .ok()
        .map(|set| set.count() as usize);
    #[cfg(not(target_os = "linux"))]
    None
}

/// CPUs that the machine has switched on.
fn n_online() -> Option<usize> {
    slm_machine::tuning::count_of(&fs::read_to_string("/sys/devices/system/cpu/online").ok()?)
}

/// What the CPU calls itself; "" where it cannot be asked.
pub(crate) fn model_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

/// Bytes of the largest cache; `None` where it cannot be asked.
pub(crate) fn largest_cache() -> Option<usize> {
    let sizes = (0..8).filter_map(|index| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        size_of_cache(&fs::read_to_string(path).ok()?)
    });
    sizes.max()
}

/// `512K` in bytes.
fn size_of_cache(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().next_back()? {
        (at, 'K') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn choice(env: &[(&str, &str)]) -> CpuChoice {
        let look_up = |name: &str| {
            let found = env.iter().find(|(n, _)| *n == name);
            found.map_or_else(
                || (name == "SLM_MODELS").then(|| "m".to_owned()),
                |(_, value)| Some((*value).to_owned()),
            )
        };
        CpuChoice::of(&Config::resolve(&Flags::default(), look_up).unwrap())
    }

    #[test]
    fn what_was_forced_says_by_whom() {
        let forced = choice(&[("SLM_CPU", "portable"), ("SLM_NUM_THREADS", "3")]);
        assert_eq!((forced.tier, forced.threads), (Isa::Portable, 3));
        assert_eq!(forced.tier_reason, "forced by SLM_CPU");
        assert_eq!(forced.threads_reason, "set by SLM_NUM_THREADS");
        let free = choice(&[]);
        assert_eq!(
            (free.tier, free.threads),
            (Isa::best(), Cores::here().threads().prefill)
        );
        assert!(free.tier_reason.contains("portable"), "{free:?}");
        assert_eq!(free.info().tier, Isa::best().to_string());
    }

    #[test]
    fn the_narrowest_limit_is_named() {
        let plain = |n_usable: usize, n_cores: usize| Cores {
            n_fast: n_cores,
            n_slower: 0,
            n_slow: 0,
            n_cpus: n_cores,
            n_usable,
        };
        let text = |cores: &Cores, allowed, online| why(cores, Some(allowed), Some(online));
        assert_eq!(
            text(&plain(2, 4), 4, 8),
            "the control group's quota is worth 2 of the 4 usable CPUs"
        );
        assert_eq!(
            text(&plain(4, 4), 4, 8),
            "the affinity of the process allows 4 of 8 CPUs"
        );
        assert_eq!(text(&plain(8, 8), 8, 8), "every CPU of the machine");
        assert_eq!(why(&plain(2, 2), None, None), "every CPU of the machine");
        let hybrid = Cores {
            n_fast: 4,
            n_slower: 4,
            n_slow: 2,
            n_cpus: 14,
            n_usable: 14,
        };
        assert_eq!(
            text(&hybrid, 14, 14),
            "every CPU of the machine, and 10 cores have 14 threads, but for 2 slow cores; answers are written by the 4 fast ones"
        );
    }

    #[test]
    fn sizes_of_the_kernel() {
        assert_eq!(size_of_cache("32768K\n"), Some(32 << 20));
        assert_eq!(size_of_cache("1M"), Some(1 << 20));
        for bad in ["", "K", "99999999999999999999G"] {
            assert_eq!(size_of_cache(bad), None, "{bad:?}");
        }
    }
}
