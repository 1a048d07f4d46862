//! The `tojson` filter with the output of Python's `json.dumps`: `", "` and `": "`, insertion order, no HTML escaping.
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, ValueKind},
};

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 128;

/// `value | tojson(indent=None, ensure_ascii=false, separators=None, sort_keys=false)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    let indent = match indent {
        Some(value) if !value.is_none() && !value.is_undefined() => Some(indent_text(&value)?),
        _ => None,
    };
    let separators = match kwargs.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let part = |idx: usize| -> Result<String, Error> {
                Ok(pair
                    .get_item_by_index(idx)?
                    .as_str()
                    .unwrap_or_default()
                    .to_owned())
            };
            (part(0)?, part(1)?)
        }
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer {
        out: String::new(),
        indent,
        separators,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        state,
        paid_bytes: 0,
    };
    kwargs.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(writer.out)
}

fn indent_text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str().filter(|text| text.len() <= 16) {
        return Ok(text.to_owned());
    }
    match value.as_usize() {
        Some(n) if n <= 16 => Ok(" ".repeat(n)),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("cannot indent JSON by {value}"),
        )),
    }
}

struct Writer<'a, 't, 'e> {
    out: String,
    indent: Option<String>,
    separators: (String, String),
    ensure_ascii: bool,
    sort_keys: bool,
    state: &'a State<'t, 'e>,
    paid_bytes: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                "the value is nested too deeply for JSON",
            ));
        }
        self.pay()?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => {
                let number = f64::try_from(value.clone())?;
                self.out.push_str(&python_float(number));
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    format!("{kind} cannot be written as JSON"),
                ));
            }
        }
        Ok(())
    }

    /// Charges what was written since the last time.
    fn pay(&mut self) -> Result<(), Error> {
        let fresh = self.out.len() - self.paid_bytes;
        self.paid_bytes = self.out.len();
        self.state.consume_fuel(1 + fresh as u64 / 64)
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut any = false;
        for item in value.try_iter()?.checked() {
            self.item_start(any, depth);
            any = true;
            self.value(&item?, depth + 1)?;
        }
        self.container_end(any, depth);
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys = Vec::new();
        for key in value.try_iter()?.checked() {
            keys.push(key?);
        }
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        for (idx, key) in keys.iter().enumerate() {
            self.item_start(idx > 0, depth);
            match key.as_str() {
                Some(text) => self.string(text),
                None => self.string(&key.to_string()),
            }
            self.out.push_str(&self.separators.1);
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        self.container_end(!keys.is_empty(), depth);
        self.out.push('}');
        Ok(())
    }

    fn item_start(&mut self, follows_another: bool, depth: usize) {
        if follows_another {
            self.out.push_str(&self.separators.0);
        }
        self.new_line(depth + 1);
    }

    fn container_end(&mut self, any: bool, depth: usize) {
        if any {
            self.new_line(depth);
        }
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A number as Python's `repr` and `json.dumps` write it.
fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        // Rust writes 1e16 and 1e-5 where Python writes 1e+16 and 1e-05
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}
