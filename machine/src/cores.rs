//! The cores that this process may use: physical ones, however many hardware threads each has, and how fast they are
//! beside each other.
//!
//! Two hardware threads of a core share what computes and what reads memory, so that a model gains nothing by the
//! second. Machines with cores of several kinds are Intel's hybrid ones, most of ARM's, and Apple's.

use std::sync::OnceLock;
#[cfg(any(target_os = "linux", test))]
use std::{collections::BTreeSet, fs, path::Path};

/// Cores from this share of the fastest one's speed on count as fast: those of one kind differ a little.
#[cfg(any(target_os = "linux", test))]
const FAST: f64 = 0.8;
/// Slower ones than this would make the others wait.
#[cfg(any(target_os = "linux", test))]
const USEFUL: f64 = 0.45;
/// Speed of an Intel efficiency core beside a performance core of the same frequency, about.
#[cfg(any(target_os = "linux", test))]
const EFFICIENCY_CORE: f64 = 0.7;
/// As many fast cores read memory as fast as it goes.
const ENOUGH: usize = 4;

/// Cores that a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Of the fastest kind.
    pub n_fast: usize,
    /// Slower ones that are still of use.
    pub n_slower: usize,
    /// Slow ones that are better left alone.
    pub n_slow: usize,
    /// Hardware threads of all of them.
    pub n_cpus: usize,
    /// Threads that may run at once: affinity and the control group's quota counted, at least 1.
    pub n_usable: usize,
}

/// How many threads compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// For a few tokens at once, which is a matter of reading memory.
    pub decode: usize,
    /// For many tokens at once, which is a matter of computing.
    pub prefill: usize,
}

impl Cores {
    /// Those of this process; the first look counts.
    pub fn here() -> Self {
        static HERE: OnceLock<Cores> = OnceLock::new();
        *HERE.get_or_init(|| {
            let n_usable = std::thread::available_parallelism().map_or(1, usize::from);
            of_system(n_usable).unwrap_or(Self {
                n_fast: n_usable,
                n_slower: 0,
                n_slow: 0,
                n_cpus: n_usable,
                n_usable,
            })
        })
    }

    /// How many threads to compute with on them.
    pub fn threads(&self) -> Threads {
        let prefill = self.n_fast + self.n_slower;
        let decode = if self.n_fast >= ENOUGH {
            self.n_fast
        } else {
            prefill
        };
        // one core alone has nothing to lose by its other threads, whose waits for memory overlap
        let least = if prefill == 1 { self.n_cpus } else { 1 };
        let bounded = |n: usize| n.max(least).clamp(1, self.n_usable.max(1));
        Threads {
            decode: bounded(decode),
            prefill: bounded(prefill),
        }
    }
}

#[cfg(target_os = "linux")]
fn of_system(n_usable: usize) -> Option<Cores> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu));
    of_linux(Path::new("/sys/devices"), allowed, n_usable)
}

#[cfg(target_os = "macos")]
fn of_system(n_usable: usize) -> Option<Cores> {
    let count = |level: usize| {
        let name = format!("hw.perflevel{level}.physicalcpu");
        let output = std::process::Command::new("/usr/sbin/sysctl")
            .args(["-n", &name])
            .output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        text.trim().parse().ok()
    };
    let n_fast = count(0)?;
    let n_slow = count(1).unwrap_or(0);
    Some(Cores {
        n_fast,
        n_slower: 0,
        n_slow,
        n_cpus: n_fast + n_slow,
        n_usable,
    })
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn of_system(_: usize) -> Option<Cores> {
    None
}

/// As the kernel's files below `devices` describe the `allowed` CPUs; `None` where they say nothing.
#[cfg(any(target_os = "linux", test))]
fn of_linux(
    devices: &Path,
    allowed: impl Iterator<Item = usize>,
    n_usable: usize,
) -> Option<Cores> {
    let efficient = numbers(&devices.join("cpu_atom/cpus")).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut speeds = Vec::new();
    let mut n_cpus = 0;
    for cpu in allowed {
        let folder = devices.join(format!("system/cpu/cpu{cpu}"));
        let siblings = numbers(&folder.join("topology/thread_siblings_list"))?;
        n_cpus += 1;
        if !seen.insert(siblings.first().copied()?) {
            continue;
        }
        let kind = match number(&folder.join("cpu_capacity")) {
            // ARM's, frequency counted
            Some(capacity) => (capacity, 1.0),
            None if efficient.contains(&cpu) => (EFFICIENCY_CORE, frequency(&folder)),
            None => (1.0, frequency(&folder)),
        };
        speeds.push(kind.0 * kind.1);
    }
    let best = speeds.iter().copied().reduce(f64::max)?;
    let count = |is_of: &dyn Fn(f64) -> bool| speeds.iter().filter(|&&s| is_of(s / best)).count();
    Some(Cores {
        n_fast: count(&|s| s >= FAST),
        n_slower: count(&|s| (USEFUL..FAST).contains(&s)),
        n_slow: count(&|s| s < USEFUL),
        n_cpus,
        n_usable,
    })
}

/// The highest frequency of a CPU, or 1 where none is told.
#[cfg(any(target_os = "linux", test))]
fn frequency(folder: &Path) -> f64 {
    number(&folder.join("cpufreq/cpuinfo_max_freq")).unwrap_or(1.0)
}

#[cfg(any(target_os = "linux", test))]
fn number(path: &Path) -> Option<f64> {
    let n: f64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (n > 0.0).then_some(n)
}

/// The numbers of a list such as `0-3,8`.
#[cfg(any(target_os = "linux", test))]
fn numbers(path: &Path) -> Option<Vec<usize>> {
    /// More than any machine has.
    const MOST: usize = 1 << 16;
    let text = fs::read_to_string(path).ok()?;
    let mut all = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        all.extend(first..=last.min(MOST));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A machine of CPUs with these hardware threads of their cores, and these other files.
    fn machine(siblings: &[&str], others: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: String, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (cpu, siblings) in siblings.iter().enumerate() {
            let name = format!("system/cpu/cpu{cpu}/topology/thread_siblings_list");
            write(name, &format!("{siblings}\n"));
        }
        for (name, text) in others {
            write((*name).to_owned(), text);
        }
        folder
    }

    #[track_caller]
    fn check(folder: &TempDir, allowed: &[usize], cores: [usize; 4], threads: [usize; 2]) {
        let found = of_linux(folder.path(), allowed.iter().copied(), 64).unwrap();
        let Cores {
            n_fast,
            n_slower,
            n_slow,
            n_cpus,
            ..
        } = found;
        assert_eq!([n_fast, n_slower, n_slow, n_cpus], cores);
        let Threads { decode, prefill } = found.threads();
        assert_eq!([decode, prefill], threads);
    }

    #[test]
    fn hardware_threads_of_a_core_count_once() {
        let two_each = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
        let folder = machine(&two_each, &[]);
        check(&folder, &[0, 1, 2, 3, 4, 5, 6, 7], [4, 0, 0, 8], [4, 4]);
        check(&folder, &[1, 2, 5], [2, 0, 0, 3], [2, 2]);
        check(&folder, &[3, 7], [1, 0, 0, 2], [2, 2]);
        let quota = Cores {
            n_usable: 3,
            ..of_linux(folder.path(), 0..8, 8).unwrap()
        };
        assert_eq!(quota.threads().decode, 3);
        assert_eq!(
            of_linux(folder.path(), 0..9, 9),
            None,
            "the ninth is not there"
        );
    }

    #[test]
    fn efficiency_cores_help_with_prompts() {
        // two threads on each of the first four
        let siblings = [
            "0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7", "8", "9", "10", "11", "12",
        ];
        let frequency = |cpu: usize| format!("system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq");
        let names: Vec<String> = (0..13).map(frequency).collect();
        let mut files: Vec<(&str, &str)> =
            names.iter().map(|n| (n.as_str(), "5000000\n")).collect();
        for file in &mut files[8..12] {
            file.1 = "3800000";
        }
        // one of the island that saves most power
        files[12].1 = "2500000";
        files.push(("cpu_atom/cpus", "8-12\n"));
        let folder = machine(&siblings, &files);
        let all: Vec<usize> = (0..13).collect();
        check(&folder, &all, [4, 4, 1, 13], [4, 8]);
        check(&folder, &all[4..], [2, 4, 1, 9], [6, 6]);
        check(&folder, &all[8..], [4, 1, 0, 5], [4, 5]);
    }

    #[test]
    fn capacities_tell_big_cores_from_little_ones() {
        let siblings = ["0", "1", "2", "3", "4", "5", "6", "7"];
        let names: Vec<String> = (0..8)
            .map(|cpu| format!("system/cpu/cpu{cpu}/cpu_capacity"))
            .collect();
        let capacities = ["250", "250", "250", "250", "760", "760", "760", "1024"];
        let files: Vec<_> = names.iter().map(String::as_str).zip(capacities).collect();
        let folder = machine(&siblings, &files);
        check(&folder, &[0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 4, 8], [4, 4]);
        check(&folder, &[0, 1], [2, 0, 0, 2], [2, 2]);
    }

    #[test]
    fn this_machine_has_some() {
        let here = Cores::here();
        let Threads { decode, prefill } = here.threads();
        assert!(decode >= 1 && prefill >= decode && prefill <= here.n_usable);
        assert!(here.n_fast >= 1 && here.n_cpus >= here.n_fast);
    }
}
