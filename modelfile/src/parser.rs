//! From instructions to a [`Modelfile`]: which words there are and what each accepts.
use super::{
    Modelfile, ModelfileError, ModelfileWarning, Parsed, Place,
    lexer::{Instruction, Lexer},
    parameter::{self, ParameterError},
};

const COMMANDS: [&str; 11] = [
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
];
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// Parses decoded text.
pub(super) fn parse(text: &str) -> Result<Parsed, ModelfileError> {
    let mut lexer = Lexer::new(text);
    let mut parsed = Parsed::default();
    while let Some(instruction) = lexer.next(check_keyword)? {
        let (at, value_at) = (instruction.at, instruction.value_at);
        match instruction.keyword.as_str() {
            "from" => parsed.from_places.push(value_at),
            "adapter" => parsed.adapter_place = Some(value_at),
            "draft" => parsed.draft_place = Some(value_at),
            _ => {}
        }
        let warning = parsed.modelfile.apply(instruction);
        let warning = warning.map_err(|(place, problem)| ModelfileError {
            place: Some(place),
            problem,
        })?;
        parsed
            .warnings
            .extend(warning.map(|message| ModelfileWarning { place: at, message }));
    }
    if parsed.modelfile.from.is_empty() {
        let problem = "no FROM line".to_owned();
        return Err(ModelfileError {
            place: None,
            problem,
        });
    }
    Ok(parsed)
}

/// Whether `keyword` has a key before its value; an unknown one is a problem.
fn check_keyword(keyword: &str) -> Result<bool, String> {
    if COMMANDS.contains(&keyword) {
        return Ok(["parameter", "message"].contains(&keyword));
    }
    Err(format!("command must be {}", one_of(&COMMANDS)))
}

/// `one of "a", "b", or "c"`.
fn one_of(words: &[&str]) -> String {
    let (last, others) = words
        .split_last()
        .expect("the lists of words are not empty");
    let others: Vec<_> = others.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}, or \"{last}\"", others.join(", "))
}

impl Modelfile {
    /// Takes one instruction in; gives a warning, or the problem with it and where that is.
    fn apply(&mut self, instruction: Instruction) -> Result<Option<String>, (Place, String)> {
        let Instruction {
            at,
            key_at,
            value_at,
            keyword,
            key,
            value,
        } = instruction;
        let wrong = |problem: String| (value_at, problem);
        match keyword.as_str() {
            "from" => self.from.push(not_empty("FROM", value).map_err(wrong)?),
            "template" => self.template = Some(value),
            "system" => self.system = Some(value),
            "adapter" => self.adapter = Some(not_empty("ADAPTER", value).map_err(wrong)?),
            "license" => self.licenses.push(value),
            "renderer" => self.renderer = Some(value),
            "parser" => self.parser = Some(value),
            "requires" => self.requires = Some(version(value).map_err(wrong)?),
            "draft" if self.draft.is_some() => {
                return Err((at, "DRAFT may stand only once".to_owned()));
            }
            "draft" => self.draft = Some(not_empty("DRAFT", value).map_err(wrong)?),
            "message" if !ROLES.contains(&key.as_str()) => {
                let problem = format!("message role must be {}", one_of(&ROLES));
                return Err((key_at, problem));
            }
            "message" => self.messages.push((key, value)),
            "parameter" => {
                let key = key.to_ascii_lowercase();
                return self.set_parameter(key, value).map_err(|error| match error {
                    ParameterError::Unknown(_) => (key_at, error.to_string()),
                    ParameterError::Invalid { .. } => (value_at, error.to_string()),
                });
            }
            _ => unreachable!("the lexer asked `check_keyword`"),
        }
        Ok(None)
    }

    fn set_parameter(
        &mut self,
        name: String,
        value: String,
    ) -> Result<Option<String>, ParameterError> {
        if parameter::is_retired(&name) {
            let warning = format!("parameter '{name}' has no effect any more and is skipped");
            return Ok(Some(warning));
        }
        parameter::typed(&name, &value)?;
        self.parameters.push((name, value));
        Ok(None)
    }
}

fn not_empty(keyword: &str, value: String) -> Result<String, String> {
    if value.is_empty() {
        return Err(format!("{keyword} needs a path or a model name"));
    }
    Ok(value)
}

/// `0.14.0`, `v0.14`, `1.0.0-rc1`.
fn version(text: String) -> Result<String, String> {
    let numbers = text.strip_prefix('v').unwrap_or(&text);
    let (numbers, suffix) = match numbers.find(['-', '+']) {
        Some(at) => (&numbers[..at], &numbers[at + 1..]),
        None => (numbers, "x"),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_suffix = !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_graphic());
    let n_parts = numbers.split('.').count();
    if is_suffix && (1..=3).contains(&n_parts) && numbers.split('.').all(is_number) {
        return Ok(text);
    }
    Err(format!(
        "requires must be a version such as 0.14.0, not '{text}'"
    ))
}
