//! Points in time as seen from now: `About an hour ago`, `4 minutes from now`.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// A time that lies further ahead is meant as "never ends".
const FOREVER: i64 = 20 * YEAR;

/// A timestamp of the API relative to `now`. Text that is no timestamp stays as it is; the zero time is `Never`.
pub(crate) fn relative(text: &str, now: Timestamp) -> String {
    let Ok(then) = text.parse::<Timestamp>() else {
        return if text.is_empty() { "Never" } else { text }.to_owned();
    };
    if is_zero(then) {
        return "Never".to_owned();
    }
    match then.as_second().saturating_sub(now.as_second()) {
        ahead if ahead > FOREVER => "Forever".to_owned(),
        ahead if ahead > 0 => format!("{} from now", about(ahead)),
        ago => format!("{} ago", about(-ago)),
    }
}

/// Whether a timestamp of the API lies before `now`.
pub(crate) fn is_past(text: &str, now: Timestamp) -> bool {
    text.parse::<Timestamp>()
        .is_ok_and(|then| !is_zero(then) && then < now)
}

/// The first of January of year 1 stands for no time at all.
fn is_zero(time: Timestamp) -> bool {
    const START_OF_YEAR_1: i64 = -62_135_596_800;
    time.as_second() == START_OF_YEAR_1
}

fn about(seconds: i64) -> String {
    // Hours are rounded, smaller and larger units are cut.
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_words() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + HOUR / 2, "2 hours"),
            (2 * DAY - HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (2 * YEAR, "2 years"),
            (11 * YEAR, "11 years"),
        ] {
            assert_eq!(about(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn seen_from_now() {
        let now: Timestamp = "2026-08-21T18:00:00Z".parse().expect("timestamp");
        for (then, expected) in [
            ("2026-08-21T17:00:00.123456789Z", "About an hour ago"),
            ("2026-08-21T20:05:00+02:00", "5 minutes from now"),
            ("2026-08-21T18:00:00Z", "Less than a second ago"),
            ("2318-01-01T00:00:00Z", "Forever"),
            ("0001-01-01T00:00:00Z", "Never"),
            ("", "Never"),
            ("soon", "soon"),
        ] {
            assert_eq!(relative(then, now), expected, "{then}");
        }
        assert!(is_past("2026-08-21T17:59:59Z", now));
        assert!(!is_past("2026-08-21T18:00:01Z", now));
        assert!(!is_past("0001-01-01T00:00:00Z", now));
        assert!(!is_past("soon", now));
    }
}
