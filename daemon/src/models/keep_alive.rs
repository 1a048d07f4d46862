//! `keep_alive`: how long an idle model stays loaded.

use crate::error::ApiError;
use slm_api::ollama::KeepAlive;
use std::time::Duration;

/// From here on a duration is forever; it keeps arithmetic on clocks far from overflow.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long an idle model stays loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepFor {
    /// Until something else needs the memory.
    Forever,
    /// This long; zero is not at all.
    Span(Duration),
}

impl KeepFor {
    /// Reads what a request says; `None` where it says nothing.
    ///
    /// # Errors
    /// Text that is no duration.
    pub(crate) fn from_wire(value: Option<&KeepAlive>) -> Result<Option<Self>, ApiError> {
        match value {
            None => Ok(None),
            Some(KeepAlive::Seconds(seconds)) => Ok(Some(Self::from_seconds(*seconds))),
            Some(KeepAlive::Text(text)) => Self::from_text(text).map(Some).map_err(|_| {
                ApiError::bad_request(format!(
                    "invalid keep_alive `{text}`: expected seconds, or a duration such as `5m` or `-1`"
                ))
            }),
        }
    }

    /// Reads `300`, `1.5`, `300ms`, `5m`, `1h30m`, and anything negative as forever.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) fn from_text(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return if seconds.is_nan() {
                Err(())
            } else {
                Ok(Self::from_seconds(seconds))
            };
        }
        let (is_negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut seconds = 0.0;
        if rest.is_empty() {
            return Err(());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or(())?;
            let (number, after) = rest.split_at(digits);
            let unit_len = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let unit_seconds = match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(()),
            };
            seconds += number.parse::<f64>().map_err(|_| ())? * unit_seconds;
            rest = after;
        }
        Ok(if is_negative {
            Self::Forever
        } else {
            Self::from_seconds(seconds)
        })
    }

    fn from_seconds(seconds: f64) -> Self {
        match Duration::try_from_secs_f64(seconds) {
            Ok(span) if span < FOREVER => Self::Span(span),
            // negative or beyond everything
            _ => Self::Forever,
        }
    }

    /// Whether the model goes as soon as nobody uses it.
    pub(crate) fn is_zero(self) -> bool {
        self == Self::Span(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<KeepFor>) {
        assert_eq!(KeepFor::from_text(text).ok(), expected, "{text}");
    }

    #[test]
    fn reads_every_spelling() {
        let span = |ms| Some(KeepFor::Span(Duration::from_millis(ms)));
        check("300", span(300_000));
        check("1.5", span(1500));
        check("0", span(0));
        check("0s", span(0));
        check("300ms", span(300));
        check("5m", span(300_000));
        check("1h30m", span(5_400_000));
        check("1m0.5s", span(60_500));
        check("-1", Some(KeepFor::Forever));
        check("-5m", Some(KeepFor::Forever));
        check("1e300", Some(KeepFor::Forever));
        check("9999999h", Some(KeepFor::Forever));
        for wrong in ["", "-", "soon", "m", "5 m", "5x", "1..5s", "NaN"] {
            check(wrong, None);
        }
    }

    #[test]
    fn numbers_may_be_fractions_and_negative() {
        let of = |seconds| KeepFor::from_wire(Some(&KeepAlive::Seconds(seconds))).unwrap();
        assert_eq!(of(0.25), Some(KeepFor::Span(Duration::from_millis(250))));
        assert_eq!(of(-1.0), Some(KeepFor::Forever));
        assert!(of(0.0).unwrap().is_zero());
        let text = KeepAlive::Text("later".into());
        assert!(
            KeepFor::from_wire(Some(&text))
                .unwrap_err()
                .message()
                .contains("`later`")
        );
    }
}
