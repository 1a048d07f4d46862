//! `printf` and Go's way to print floating numbers.
use super::value::Value;
use std::fmt::Write as _;

/// Widths and precisions up to this are honoured; more is refused.
const MAX_WIDTH: usize = 9999;

/// Flags, width and precision of one verb.
#[derive(Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `printf pattern arguments`.
///
/// # Errors
/// A width that is too large, or a text longer than `limit`.
pub(super) fn printf(pattern: &str, arguments: &[Value], limit: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments_left = arguments.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let directive = directive(&mut rest)?;
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match arguments_left.next() {
            Some(value) => directive.write(verb, value, &mut out, limit)?,
            None => {
                let _infallible = write!(out, "%!{verb}(MISSING)");
            }
        }
        within(&out, limit)?;
    }
    out.push_str(rest);
    let mut extra = arguments_left.peekable();
    if extra.peek().is_some() {
        out.push_str("%!(EXTRA ");
        for (at, value) in extra.enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            typed(value, &mut out, limit);
            within(&out, limit)?;
        }
        out.push(')');
    }
    within(&out, limit)?;
    Ok(out)
}

fn within(out: &str, limit: usize) -> Result<(), String> {
    if out.len() > limit {
        return Err(format!("a text is longer than {limit} bytes"));
    }
    Ok(())
}

fn directive(rest: &mut &str) -> Result<Directive, String> {
    let mut directive = Directive::default();
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => {
                directive.minus = true;
                directive.zero = false;
            }
            Some(b'+') => directive.plus = true,
            Some(b'#') => directive.sharp = true,
            Some(b' ') => directive.space = true,
            Some(b'0') => directive.zero = true,
            _ => break,
        }
        *rest = &rest[1..];
    }
    directive.width = number(rest)?.unwrap_or(0);
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        directive.precision = Some(number(rest)?.unwrap_or(0));
    }
    Ok(directive)
}

fn number(rest: &mut &str) -> Result<Option<usize>, String> {
    let tail = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[..rest.len() - tail.len()];
    *rest = tail;
    if digits.is_empty() {
        return Ok(None);
    }
    digits
        .parse()
        .ok()
        .filter(|n| *n <= MAX_WIDTH)
        .map(Some)
        .ok_or_else(|| format!("a width in `printf` is more than {MAX_WIDTH}"))
}

/// `type=value`, as Go writes what it could not place.
fn typed(value: &Value, out: &mut String, limit: usize) {
    if matches!(value, Value::Nil) {
        out.push_str("<nil>");
        return;
    }
    let name = match value {
        Value::Float(_) => "float64",
        other => other.type_name(),
    };
    out.push_str(name);
    out.push('=');
    // too long a text is found by the caller
    let _fits = value.print(out, limit);
}

impl Directive {
    fn write(
        &self,
        verb: char,
        value: &Value,
        out: &mut String,
        limit: usize,
    ) -> Result<(), String> {
        let too_long = || format!("a text is longer than {limit} bytes");
        let text = match (verb, value) {
            ('v' | 'd', Value::Int(n)) => self.integer(*n, 10, false),
            ('b', Value::Int(n)) => self.integer(*n, 2, false),
            ('o', Value::Int(n)) => self.integer(*n, 8, false),
            ('x', Value::Int(n)) => self.integer(*n, 16, false),
            ('X', Value::Int(n)) => self.integer(*n, 16, true),
            ('c', Value::Int(n)) => self.padded(&to_char(*n).to_string()),
            ('q', Value::Int(n)) => self.padded(&quoted(&to_char(*n).to_string(), '\'')),
            ('U', Value::Int(n)) => self.padded(&format!("U+{n:04X}")),
            ('v' | 'g', Value::Float(n)) => self.float(match self.precision {
                None => general(*n),
                Some(precision) => general_with(*n, precision),
            }),
            ('e', Value::Float(n)) => self.float(exponent(*n, self.precision.unwrap_or(6))),
            ('f' | 'F', Value::Float(n)) => {
                let precision = self.precision.unwrap_or(6);
                self.float(finite(*n).unwrap_or_else(|| format!("{n:.precision$}")))
            }
            ('t' | 'v', Value::Bool(_)) => {
                self.padded(if value.is_true() { "true" } else { "false" })
            }
            ('x' | 'X', Value::Text(text)) => {
                if text.len() > limit / 2 {
                    return Err(too_long());
                }
                self.padded(&hex(text, verb == 'X'))
            }
            ('q', Value::Text(text)) => self.padded(&quoted(self.cut(text), '"')),
            ('s' | 'v', Value::Text(text)) => self.padded(self.cut(text)),
            ('v', Value::Nil) => self.padded("<nil>"),
            ('s' | 'v' | 'q', Value::List(_) | Value::Object(_)) => {
                let mut text = String::new();
                if !value.print(&mut text, limit) {
                    return Err(too_long());
                }
                self.padded(self.cut(&text))
            }
            _ => {
                let _infallible = write!(out, "%!{verb}(");
                typed(value, out, limit);
                out.push(')');
                return Ok(());
            }
        };
        if text.len() > limit.saturating_sub(out.len()) {
            return Err(too_long());
        }
        out.push_str(&text);
        Ok(())
    }

    /// The first `precision` characters.
    fn cut<'a>(&self, text: &'a str) -> &'a str {
        let end = self
            .precision
            .and_then(|n| text.char_indices().nth(n))
            .map_or(text.len(), |(at, _)| at);
        &text[..end]
    }

    fn padded(&self, text: &str) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let padding = if self.zero { "0" } else { " " }.repeat(missing);
        if self.minus {
            format!("{text}{padding}")
        } else {
            format!("{padding}{text}")
        }
    }

    fn integer(&self, value: i64, radix: u32, upper: bool) -> String {
        let magnitude = value.unsigned_abs();
        let mut digits = match radix {
            2 => format!("{magnitude:b}"),
            8 => format!("{magnitude:o}"),
            16 if upper => format!("{magnitude:X}"),
            16 => format!("{magnitude:x}"),
            _ => magnitude.to_string(),
        };
        let sign = self.sign(value < 0);
        if let Some(precision) = self.precision {
            if precision == 0 && value == 0 {
                return " ".repeat(self.width);
            }
            digits = format!("{digits:0>precision$}");
        } else if self.zero && !self.minus {
            let width = self.width.saturating_sub(sign.len());
            digits = format!("{digits:0>width$}");
        }
        let prefix = match (self.sharp, radix) {
            (true, 2) => "0b",
            (true, 8) => "0",
            (true, 16) if upper => "0X",
            (true, 16) => "0x",
            _ => "",
        };
        Self {
            zero: false,
            ..*self
        }
        .padded(&format!("{sign}{prefix}{digits}"))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (.., true) => " ",
            _ => "",
        }
    }

    fn float(&self, text: String) -> String {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.trim_start_matches('+')),
        };
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit());
        // infinity always has its sign when asked, and is never filled with zeros
        let sign = self.sign(negative);
        if self.zero && !self.minus && is_number {
            let width = self.width.saturating_sub(sign.len());
            return format!("{sign}{digits:0>width$}");
        }
        let sign = if text == "+Inf" { "+" } else { sign };
        Self {
            zero: false,
            ..*self
        }
        .padded(&format!("{sign}{digits}"))
    }
}

fn to_char(number: i64) -> char {
    u32::try_from(number)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex(text: &str, upper: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        let _infallible = if upper {
            write!(out, "{byte:02X}")
        } else {
            write!(out, "{byte:02x}")
        };
    }
    out
}

/// Text as a constant of Go.
fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            c if c == quote || c == '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c < ' ' || c == '\u{7f}' => {
                let _infallible = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || c == '\u{feff}' || c == '\u{ad}' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

fn finite(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".into())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" }.into())
    } else {
        None
    }
}

/// Shortest digits, with an exponent below -4 and from 6 on, as `%v` prints.
pub(super) fn general(value: f64) -> String {
    finite(value).unwrap_or_else(|| choose(&format!("{value:e}"), 6))
}

fn general_with(value: f64, precision: usize) -> String {
    if let Some(text) = finite(value) {
        return text;
    }
    let precision = precision.max(1);
    let text = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    let n_digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let point = exponent.parse::<i64>().unwrap_or(0) + 1;
    let limit = if precision > n_digits && n_digits as i64 >= point {
        n_digits
    } else {
        precision
    };
    choose(&format!("{mantissa}e{exponent}"), limit as i64)
}

/// `1.5e3` as `1500` or, from an exponent of `limit` on, as `1.5e+03`.
fn choose(scientific: &str, limit: i64) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= limit {
        return with_exponent(mantissa, exponent);
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits:0<whole$}");
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

fn exponent(value: f64, precision: usize) -> String {
    if let Some(text) = finite(value) {
        return text;
    }
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    with_exponent(mantissa, exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i64) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
