//! What people look for: words, a range of parameters, a licence.

use crate::Model;

/// A range of parameters, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// At least.
    pub from: f64,
    /// At most.
    pub to: f64,
}

impl std::str::FromStr for Parameters {
    type Err = String;

    /// Reads `0.5b..4b`, `..2b`, `360m..`, or one number, which means ten percent less and more.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            count(text)
                .ok_or_else(|| format!("`{text}` is no number of parameters such as 360m or 1.5b"))
        };
        let Some((from, to)) = text.split_once("..") else {
            let about = number(text)?;
            return Ok(Self {
                from: about * 0.9,
                to: about * 1.1,
            });
        };
        let range = Self {
            from: if from.is_empty() { 0.0 } else { number(from)? },
            to: if to.is_empty() {
                f64::INFINITY
            } else {
                number(to)?
            },
        };
        if range.from > range.to {
            return Err(format!("`{text}` has nothing in it: its ends are swapped"));
        }
        Ok(range)
    }
}

impl Parameters {
    /// Whether a number of parameters is in the range.
    pub fn contains(&self, n: u64) -> bool {
        (self.from..=self.to).contains(&(n as f64))
    }
}

/// `1.5b`, `360m` or `7B` as a number.
pub fn count(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit = match text.chars().next_back()?.to_ascii_lowercase() {
        'b' => 1e9,
        'm' => 1e6,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| is_plain)?;
    Some(number * unit)
}

/// The number of parameters that the name of a model says, such as that of `Qwen/Qwen3-0.6B-GGUF`.
pub fn count_in_name(name: &str) -> Option<u64> {
    let words = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    words.filter_map(count).map(|n| n as u64).find(|n| *n > 0)
}

/// What is looked for; nothing set means everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Words that all have to occur.
    pub text: String,
    /// How many parameters.
    pub parameters: Option<Parameters>,
    /// A licence, or its beginning.
    pub licence: Option<String>,
}

impl Query {
    /// Whether a model of the catalogue is meant.
    pub fn matches(&self, model: &Model) -> bool {
        let text = format!("{} {} {}", model.name, model.good_at, model.licence).to_lowercase();
        let has = |word: &str| text.contains(&word.to_lowercase());
        self.text.split_whitespace().all(has)
            && self
                .parameters
                .is_none_or(|range| range.contains(model.parameters))
            && self.is_licence(&model.licence)
    }

    /// Whether a licence is the wanted one.
    pub fn is_licence(&self, licence: &str) -> bool {
        let wanted = self.licence.as_deref().unwrap_or_default();
        licence.to_lowercase().starts_with(&wanted.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[test]
    fn ranges_of_parameters() {
        let range = |text: &str| text.parse::<Parameters>();
        let both = range("0.5b..4b").expect("a range");
        assert_eq!((both.from, both.to), (0.5e9, 4e9));
        assert!(both.contains(500_000_000) && !both.contains(4_000_000_001));
        assert!(range("..360m").expect("a range").contains(135_000_000));
        assert!(range("1B..").expect("a range").contains(u64::MAX));
        let about = range("1.7b").expect("a number");
        assert!(about.contains(1_720_574_976) && !about.contains(2_000_000_000));
        for bad in [
            "", "4", "x..4b", "4b..1b", "-1b", "1e3b", "infb", "..4k", "µ",
        ] {
            assert!(range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_say_how_large_a_model_is() {
        for (name, n) in [
            ("Qwen/Qwen3-0.6B-GGUF", Some(600_000_000)),
            ("bartowski/SmolLM2-135M-Instruct-GGUF", Some(135_000_000)),
            ("microsoft/bitnet-b1.58-2B-4T-gguf", Some(2_000_000_000)),
            ("unsloth/Phi-4-mini-instruct-GGUF", None),
            ("a/b", None),
        ] {
            assert_eq!(count_in_name(name), n, "{name}");
        }
    }

    #[test]
    fn words_size_and_licence_narrow_the_catalogue() {
        let catalog = Catalog::built_in().expect("it is read");
        let found = |query: &Query| {
            let models = catalog.models.iter().filter(|model| query.matches(model));
            models.map(|model| model.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&Query::default()).len(), catalog.models.len());
        let mut query = Query {
            text: "QWEN3".to_owned(),
            ..Query::default()
        };
        assert_eq!(found(&query), ["qwen3:0.6b", "qwen3:1.7b", "qwen3:4b"]);
        query.parameters = "1b..2b".parse().ok();
        assert_eq!(found(&query), ["qwen3:1.7b"]);
        query.licence = Some("mit".to_owned());
        assert_eq!(found(&query), [""; 0]);
        let code = Query {
            text: "code tools".to_owned(),
            licence: Some("Apache".to_owned()),
            ..Query::default()
        };
        assert_eq!(found(&code), ["qwen3:4b"]);
    }
}
