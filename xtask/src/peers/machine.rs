//! What the comparison ran on, in a few lines.

use std::{fs, thread::available_parallelism};

/// Instruction sets that matter to these programs.
const FLAGS: [&str; 16] = [
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
    "bf16",
];

/// The machine as a list of Markdown points. What cannot be read is left out.
pub(super) fn describe() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let mut points = Vec::new();
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let numbers: Vec<String> = ["cpu family", "model\t", "stepping"]
        .iter()
        .filter_map(|name| Some(format!("{} {}", name.trim(), field(name)?)))
        .collect();
    let n_usable = available_parallelism().map_or(1, usize::from);
    let n_cpus = info.lines().filter(|l| l.starts_with("processor")).count();
    let is_virtual = field("flags").is_some_and(|flags| flags.contains("hypervisor"));
    points.push(format!(
        "CPU: {model} ({}), {n_usable} of {n_cpus} CPUs usable{}",
        numbers.join(", "),
        if is_virtual {
            ", a virtual machine"
        } else {
            ""
        }
    ));
    let flags = field("flags").or_else(|| field("Features"));
    let flags = flags.unwrap_or_default();
    let found = flags.split_whitespace().filter(|flag| FLAGS.contains(flag));
    points.push(format!("Flags: {}", found.collect::<Vec<_>>().join(" ")));
    let caches = (0..8).filter_map(|index| {
        let file = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
            Some(fs::read_to_string(path).ok()?.trim().to_owned())
        };
        let (level, kind, size) = (file("level")?, file("type")?, file("size")?);
        (kind != "Instruction").then(|| format!("L{level} {size}"))
    });
    let caches: Vec<String> = caches.collect();
    if !caches.is_empty() {
        points.push(format!(
            "Caches as the first CPU sees them: {}",
            caches.join(", ")
        ));
    }
    let memory = read("/proc/meminfo");
    let total = memory.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    if let Some(kib) = kib {
        points.push(format!("Memory: {:.1} GiB", kib / f64::from(1 << 20)));
    }
    let load = read("/proc/loadavg");
    if let Some(load) = load.split_whitespace().next() {
        points.push(format!("Load average before the start: {load}"));
    }
    points
}
