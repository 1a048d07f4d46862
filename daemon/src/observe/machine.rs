//! Memory of the machine and of this process, where the system tells.

/// Bytes of memory that the machine has.
#[cfg(target_os = "linux")]
pub(crate) fn total_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    #[allow(
        clippy::useless_conversion,
        reason = "some machines count with fewer bits"
    )]
    let total = u64::try_from(info.totalram).ok()?;
    total.checked_mul(u64::from(info.mem_unit))
}

/// Bytes of memory that this process has.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Bytes of memory that the machine has.
#[cfg(not(target_os = "linux"))]
pub(crate) fn total_bytes() -> Option<u64> {
    None
}

/// Bytes of memory that this process has.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_some_of_the_machines_memory() {
        let (total, resident) = (total_bytes().unwrap(), resident_bytes().unwrap());
        assert!(resident > 1 << 20 && resident < total, "{resident} {total}");
    }
}
