//! Durations the way Go writes them: `1.2345s`, `12.3ms`, `1h2m3.5s`.

/// Nanoseconds as text, without trailing zeros.
pub(crate) fn go_duration(nanos: u64) -> String {
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit`, exactly. `unit` is a power of ten.
fn fraction(value: u64, unit: u64) -> String {
    let n_digits = unit.ilog10() as usize;
    let digits = format!("{:0n_digits$}", value % unit);
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return (value / unit).to_string();
    }
    format!("{}.{digits}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_them() {
        for (nanos, expected) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (12_300_000, "12.3ms"),
            (100_000_000, "100ms"),
            (1_234_500_000, "1.2345s"),
            (1_000_000_001, "1.000000001s"),
            (60_000_000_000, "1m0s"),
            (83_250_000_000, "1m23.25s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_000, "25h1m1s"),
        ] {
            assert_eq!(go_duration(nanos), expected, "{nanos}");
        }
    }
}
