//! Bytes in decimal units and counts of weights.

/// Bytes as `934 MB`, `1.3 GB`, `42 GB`: one decimal below ten, where it is not zero by nature.
pub(crate) fn bytes(n_bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "KB"),
    ];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| n_bytes >= *unit) else {
        return format!("{n_bytes} B");
    };
    if n_bytes / unit >= 10 || n_bytes.is_multiple_of(unit) {
        return format!("{} {name}", n_bytes / unit);
    }
    format!("{:.1} {name}", n_bytes as f64 / unit as f64)
}

/// A count as `7.2B`, `133.70M`, `12K`.
pub(crate) fn count(n: u64) -> String {
    let in_units = |unit: u64| n as f64 / unit as f64;
    match n {
        1_000_000_000.. if n.is_multiple_of(1_000_000_000) => format!("{}B", n / 1_000_000_000),
        1_000_000_000.. => format!("{:.1}B", in_units(1_000_000_000)),
        1_000_000.. if n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        1_000_000.. => format!("{:.2}M", in_units(1_000_000)),
        1_000.. => format!("{:.0}K", in_units(1_000)),
        _ => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_decimal_units() {
        for (n_bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 KB"),
            (1_500, "1.5 KB"),
            (9_990, "10.0 KB"),
            (10_999, "10 KB"),
            (934_000_000, "934 MB"),
            (1_321_098_329, "1.3 GB"),
            (5_000_000_000, "5 GB"),
            (42_520_413_916, "42 GB"),
            (1_100_000_000_000, "1.1 TB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(n_bytes), expected, "{n_bytes}");
        }
    }

    #[test]
    fn counts_of_weights() {
        for (n, expected) in [
            (999, "999"),
            (1_499, "1K"),
            (12_600, "13K"),
            (134_515_008, "134.52M"),
            (7_000_000, "7M"),
            (7_241_732_096, "7.2B"),
            (8_000_000_000, "8B"),
        ] {
            assert_eq!(count(n), expected, "{n}");
        }
    }
}
