//! How much memory is left: the machine's, and that of the control group this process lives in.

use std::{fs, path::Path};

/// Bytes that can still be allocated: the smaller of the kernel's estimate (`MemAvailable`) and what the control group
/// allows. `None` where neither can be read.
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_available(&text));
    [machine, cgroup_left()].into_iter().flatten().min()
}

/// Bytes of memory that the machine has, whoever uses them. `None` where it cannot be read.
pub fn total_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

fn mem_available(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemAvailable:")
}

fn field(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// What the control groups of this process leave, the tightest of them: its own and every one above it.
fn cgroup_left() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let memory = groups
        .lines()
        .find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
    let version_2 = unified.map(|path| (Path::new("/sys/fs/cgroup"), path, V2));
    let version_1 = memory.map(|path| (Path::new("/sys/fs/cgroup/memory"), path, V1));
    [version_2, version_1]
        .into_iter()
        .flatten()
        .filter_map(|(root, path, files)| tightest(root, path, &files))
        .min()
}

/// File names of one control group version: limit, use, and the key of the page cache in `memory.stat`.
struct CgroupFiles {
    limit: &'static str,
    used: &'static str,
    cache_key: &'static str,
}

const V2: CgroupFiles = CgroupFiles {
    limit: "memory.max",
    used: "memory.current",
    cache_key: "file ",
};
const V1: CgroupFiles = CgroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache_key: "cache ",
};

/// The least that any group from `path` up to `root` leaves. Inside a container `path` may not be visible; its groups
/// then count from the root that is.
fn tightest(root: &Path, path: &str, files: &CgroupFiles) -> Option<u64> {
    let innermost = root.join(path.trim_start_matches('/'));
    innermost
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| left_in(dir, files))
        .min()
}

/// Limit minus use, with the page cache counted as free. `None` without a limit.
fn left_in(group: &Path, files: &CgroupFiles) -> Option<u64> {
    let number = |name: &str| {
        fs::read_to_string(group.join(name))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let limit = number(files.limit)?;
    let used = number(files.used)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| {
        line.strip_prefix(files.cache_key)?
            .trim()
            .parse::<u64>()
            .ok()
    });
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_estimate() {
        assert_eq!(
            mem_available("MemTotal:  8 kB\nMemAvailable:   12 kB\n"),
            Some(12 * 1024)
        );
        assert_eq!(mem_available("MemTotal:  8 kB\n"), None);
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let root = std::env::temp_dir().join(format!("slm-cgroup-{}", std::process::id()));
        let write = |dir: &str, limit: &str, used: &str| {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("memory.max"), limit).unwrap();
            fs::write(dir.join("memory.current"), used).unwrap();
            fs::write(dir.join("memory.stat"), "anon 5\nfile 10\n").unwrap();
        };
        write("", "max\n", "0");
        write("outer", "100\n", "70\n");
        write("outer/inner", "500\n", "20\n");
        assert_eq!(tightest(&root, "/outer/inner", &V2), Some(40));
        assert_eq!(tightest(&root, "/", &V2), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
