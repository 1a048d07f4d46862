//! How the files of a model in several parts are called: `NAME-00001-of-00003.gguf` and so on.
//!
//! `FROM` takes all of them when it names one.

/// What the end of a part's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

/// Most parts of a model.
const MAX_PARTS: u32 = 1000;
const ENDING: &str = ".gguf";
const SUFFIX_BYTES: usize = "-00001-of-00003".len();

/// The name before `-00001-of-00003.gguf`, and what that says; `None` for the name of a whole file.
pub fn split(file_name: &str) -> Option<(&str, Part)> {
    let end = file_name.len().checked_sub(ENDING.len())?;
    let stem = file_name.get(..end)?;
    if !file_name[end..].eq_ignore_ascii_case(ENDING) {
        return None;
    }
    split_stem(stem)
}

/// The same for a name without its ending.
pub fn split_stem(stem: &str) -> Option<(&str, Part)> {
    let at = stem.len().checked_sub(SUFFIX_BYTES)?;
    let (name, suffix) = (stem.get(..at)?, stem.get(at..)?);
    let (number, count) = suffix.strip_prefix('-')?.split_once("-of-")?;
    let parse = |digits: &str| {
        let are_digits = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| are_digits)
    };
    let part = Part {
        number: parse(number)?,
        count: parse(count)?,
    };
    let is_sound = (1..=part.count).contains(&part.number) && part.count <= MAX_PARTS;
    is_sound.then_some((name, part))
}

/// The names of all parts, in order, of the model that this one is a part of; `None` for the name of a whole file.
pub fn all_of(file_name: &str) -> Option<impl Iterator<Item = String> + use<>> {
    let (name, part) = split(file_name)?;
    let (name, ending) = (
        name.to_owned(),
        file_name[file_name.len() - ENDING.len()..].to_owned(),
    );
    let count = part.count;
    Some((1..=count).map(move |number| format!("{name}-{number:05}-of-{count:05}{ending}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_names() {
        let part = |number, count| Part { number, count };
        assert_eq!(split("m-00002-of-00003.gguf"), Some(("m", part(2, 3))));
        assert_eq!(split("é-00001-of-00001.GGUF"), Some(("é", part(1, 1))));
        for whole in [
            "m.gguf",
            "m-00004-of-00003.gguf",
            "m-00000-of-00003.gguf",
            "m-00001-of-99999.gguf",
            "m-0001-of-00003.gguf",
            "m-00001-of-00003.bin",
            "m-+0001-of-00003.gguf",
            "-of-.gguf",
            "",
        ] {
            assert_eq!(split(whole), None, "{whole}");
        }
        let all: Vec<String> = all_of("a-00002-of-00002.gguf").unwrap().collect();
        assert_eq!(all, ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]);
    }
}
