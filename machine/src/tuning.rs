//! Settings of the system that cost speed: memory in several NUMA nodes, and a CPU governor that saves power.

use std::{fs, path::Path};

/// How many NUMA nodes have memory; `None` where the system does not say.
pub fn numa_nodes() -> Option<usize> {
    numa_nodes_in(Path::new("/sys/devices/system/node"))
}

/// The governor of the first CPU, such as `performance` or `powersave`; `None` where frequencies are not the system's.
pub fn governor() -> Option<String> {
    governor_in(Path::new("/sys/devices/system/cpu/cpu0/cpufreq"))
}

/// Whether a governor keeps a CPU slow while it works. `powersave` of intel_pstate and amd-pstate is not meant by its
/// name: there it scales with the load.
pub fn is_slow(governor: &str) -> bool {
    governor == "powersave" && !scales_itself(Path::new("/sys/devices/system/cpu/cpu0/cpufreq"))
}

fn numa_nodes_in(folder: &Path) -> Option<usize> {
    let list = fs::read_to_string(folder.join("has_memory")).ok()?;
    count_of(&list)
}

fn governor_in(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("scaling_governor")).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

fn scales_itself(folder: &Path) -> bool {
    let driver = fs::read_to_string(folder.join("scaling_driver")).unwrap_or_default();
    ["intel_pstate", "amd-pstate-epp", "amd_pstate_epp"].contains(&driver.trim())
}

/// How many numbers a list of the kernel such as `0-3,8` names.
pub fn count_of(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0, |sum: usize, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel() {
        assert_eq!(count_of("0-3,8\n"), Some(5));
        assert_eq!(count_of("0\n"), Some(1));
        for bad in ["", "x", "3-1", "0-18446744073709551615"] {
            assert_eq!(count_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nodes_and_governors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!((numa_nodes_in(path), governor_in(path)), (None, None));
        fs::write(path.join("has_memory"), "0-1\n").unwrap();
        fs::write(path.join("scaling_governor"), "powersave\n").unwrap();
        assert_eq!(numa_nodes_in(path), Some(2));
        assert_eq!(governor_in(path).as_deref(), Some("powersave"));
        assert!(!scales_itself(path));
        fs::write(path.join("scaling_driver"), "intel_pstate\n").unwrap();
        assert!(scales_itself(path));
        assert!(!is_slow("performance"));
    }
}
