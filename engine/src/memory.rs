//! How much memory is left: the machine's, and that of the control group this process lives in.

use crate::LoadError;
use std::fs;

/// Refuses weights that cannot fit, before anything is allocated for them.
///
/// # Errors
/// [`LoadError::OutOfMemory`] with both numbers.
pub(crate) fn check(needed_bytes: u64) -> Result<(), LoadError> {
    match available_bytes() {
        Some(available_bytes) if needed_bytes > available_bytes => Err(LoadError::OutOfMemory {
            needed_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

/// Bytes that can still be allocated: the smaller of the kernel's estimate (`MemAvailable`) and what the control group
/// allows. `None` where neither can be read.
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_available(&text));
    [machine, cgroup_left()].into_iter().flatten().min()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Limit minus use of the innermost control group (version 2, then 1), with the page cache counted as free.
fn cgroup_left() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let stat = |path: &str, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
    };
    let (limit, used, cache) = match read("/sys/fs/cgroup/memory.max") {
        Some(limit) => (
            limit,
            read("/sys/fs/cgroup/memory.current")?,
            stat("/sys/fs/cgroup/memory.stat", "file "),
        ),
        None => (
            read("/sys/fs/cgroup/memory/memory.limit_in_bytes")?,
            read("/sys/fs/cgroup/memory/memory.usage_in_bytes")?,
            stat("/sys/fs/cgroup/memory/memory.stat", "cache "),
        ),
    };
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
    fn more_than_any_machine_has_is_refused_with_both_numbers() {
        if available_bytes().is_some() {
            assert!(matches!(
                check(u64::MAX),
                Err(LoadError::OutOfMemory {
                    needed_bytes: u64::MAX,
                    ..
                })
            ));
        }
        assert!(check(0).is_ok());
    }
}
