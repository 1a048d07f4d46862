//! CPU and memory.

use super::{Check, bytes};
use crate::{config::Config, cpu::CpuChoice};
use slm_kernels::Isa;
use slm_machine::{bandwidth, memory, tuning};

/// The smallest useful model with its context.
const LEAST_MEMORY: u64 = 400 << 20;
/// Enough for a model of 1 to 2 billion weights.
const GOOD_MEMORY: u64 = 2 << 30;

pub(super) fn checks(config: &Config, cpu: &CpuChoice) -> Vec<Check> {
    let cache = slm_registry::paths::default_cache_dir();
    let rate = bandwidth::cached(cache.map(|folder| folder.join("bandwidth")).as_deref());
    let mut checks = vec![
        of_cpu(cpu),
        Check::ok(
            "threads",
            format!("{}: {}", cpu.threads, cpu.threads_reason),
        ),
        of_memory(
            memory::available_bytes(),
            memory::total_bytes(),
            config.memory,
        ),
    ];
    checks.extend(rate.map(of_bandwidth));
    checks.extend(tuning::numa_nodes().map(of_numa));
    checks.extend(tuning::governor().map(|name| of_governor(&name, tuning::is_slow(&name))));
    checks
}

fn of_cpu(cpu: &CpuChoice) -> Check {
    let found = format!("{}: {}", cpu.tier, cpu.tier_reason);
    let has_better = Isa::best() != cpu.tier;
    match cpu.tier {
        Isa::Portable if has_better => Check::warn(
            "cpu",
            found,
            format!(
                "unset SLM_CPU: this CPU has {}, which is much faster",
                Isa::best()
            ),
        ),
        Isa::Portable => Check::warn(
            "cpu",
            found,
            "answers will be slow: neither AVX2 nor NEON is there; in a virtual machine, pass the host's CPU through",
        ),
        _ => Check::ok("cpu", found),
    }
}

fn of_memory(available: Option<u64>, total: Option<u64>, budget: Option<u64>) -> Check {
    const NAME: &str = "memory";
    let Some(available) = available else {
        return Check::warn(
            NAME,
            "the system does not say how much is free",
            "set SLM_MEMORY, so that no model is loaded that does not fit",
        );
    };
    let mut found = format!("{} free", bytes(available));
    if let Some(total) = total {
        found.push_str(&format!(" of {}", bytes(total)));
    }
    let usable = match budget {
        Some(budget) => {
            found.push_str(&format!(", the daemon may take {}", bytes(budget)));
            available.min(budget)
        }
        None => available,
    };
    let advice = "end other programs, give the container more, or raise SLM_MEMORY";
    match usable {
        0..LEAST_MEMORY => Check::fail(NAME, found, advice),
        LEAST_MEMORY..GOOD_MEMORY => Check::warn(
            NAME,
            found,
            "only small models fit; `slm search --fits` shows which",
        ),
        _ => Check::ok(NAME, found),
    }
}

fn of_bandwidth(rate: u64) -> Check {
    // what the weights of a model of a billion weights take with four bits
    let speed = rate as f64 / 0.65e9;
    Check::ok(
        "bandwidth",
        format!(
            "about {:.0} GB/s, so a model of 1B parameters with 4 bits gives at most about {speed:.0} tokens/s",
            rate as f64 / 1e9
        ),
    )
}

fn of_numa(n_nodes: usize) -> Check {
    if n_nodes < 2 {
        return Check::ok("numa", "one node");
    }
    Check::warn(
        "numa",
        format!("{n_nodes} nodes"),
        "keep the daemon on one node, with `numactl --cpunodebind=0 --membind=0 slmd serve`",
    )
}

fn of_governor(name: &str, is_slow: bool) -> Check {
    if is_slow {
        return Check::warn(
            "governor",
            name,
            "let the CPU run fast: `sudo cpupower frequency-set -g performance`",
        );
    }
    Check::ok("governor", name)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn memory_counts_up_to_the_budget() {
        let status = |available, budget| of_memory(available, Some(8 * GB), budget).status;
        assert_eq!(status(Some(7 * GB), None), Status::Ok);
        assert_eq!(status(Some(GB), None), Status::Warn);
        assert_eq!(status(Some(GB / 4), None), Status::Fail);
        assert_eq!(status(Some(7 * GB), Some(GB / 4)), Status::Fail);
        assert_eq!(status(None, None), Status::Warn);
        let found = of_memory(Some(7 * GB), Some(8 * GB), Some(3 * GB)).found;
        assert_eq!(found, "7.0 GB free of 8.0 GB, the daemon may take 3.0 GB");
    }

    #[test]
    fn a_slow_tier_is_a_warning() {
        let cpu = |tier| CpuChoice {
            tier,
            tier_reason: "why".to_owned(),
            threads: 2,
            threads_reason: String::new(),
            features: Vec::new(),
        };
        assert_eq!(of_cpu(&cpu(Isa::Portable)).status, Status::Warn);
        if Isa::best() != Isa::Portable {
            assert_eq!(of_cpu(&cpu(Isa::best())), {
                Check::ok("cpu", format!("{}: why", Isa::best()))
            });
        }
    }

    #[test]
    fn hints_of_the_system() {
        assert_eq!(of_numa(1).status, Status::Ok);
        assert!(of_numa(2).advice.unwrap().contains("numactl"));
        assert_eq!(of_governor("powersave", true).status, Status::Warn);
        assert_eq!(of_governor("schedutil", false).status, Status::Ok);
    }
}
