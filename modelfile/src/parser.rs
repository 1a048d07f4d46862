//! From instructions to a [`Modelfile`]: which words there are and what each accepts.
use super::{
    Modelfile, ModelfileError, ModelfileWarning,
    lexer::{Instruction, Lexer},
    parameter,
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
pub(super) fn parse(text: &str) -> Result<(Modelfile, Vec<ModelfileWarning>), ModelfileError> {
    let mut lexer = Lexer::new(text);
    let mut modelfile = Modelfile::default();
    let mut warnings = Vec::new();
    while let Some(instruction) = lexer.next(check_keyword)? {
        let line = instruction.line;
        let warning = modelfile
            .apply(instruction)
            .map_err(|problem| ModelfileError { line, problem })?;
        warnings.extend(warning.map(|message| ModelfileWarning { line, message }));
    }
    if modelfile.from.is_empty() {
        let problem = "no FROM line".to_owned();
        return Err(ModelfileError { line: 0, problem });
    }
    Ok((modelfile, warnings))
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
    /// Takes one instruction in; gives a warning, or the problem with it.
    fn apply(&mut self, instruction: Instruction) -> Result<Option<String>, String> {
        let Instruction {
            keyword,
            key,
            value,
            ..
        } = instruction;
        match keyword.as_str() {
            "from" => self.from.push(not_empty("FROM", value)?),
            "template" => self.template = Some(value),
            "system" => self.system = Some(value),
            "adapter" => self.adapter = Some(not_empty("ADAPTER", value)?),
            "license" => self.licenses.push(value),
            "renderer" => self.renderer = Some(value),
            "parser" => self.parser = Some(value),
            "requires" => self.requires = Some(version(value)?),
            "draft" if self.draft.is_some() => return Err("DRAFT may stand only once".into()),
            "draft" => self.draft = Some(not_empty("DRAFT", value)?),
            "message" if !ROLES.contains(&key.as_str()) => {
                return Err(format!("message role must be {}", one_of(&ROLES)));
            }
            "message" => self.messages.push((key, value)),
            "parameter" => return self.set_parameter(key.to_ascii_lowercase(), value),
            _ => unreachable!("the lexer asked `check_keyword`"),
        }
        Ok(None)
    }

    fn set_parameter(&mut self, name: String, value: String) -> Result<Option<String>, String> {
        if parameter::is_retired(&name) {
            let warning = format!("parameter '{name}' has no effect any more and is skipped");
            return Ok(Some(warning));
        }
        parameter::typed(&name, &value).map_err(|error| error.to_string())?;
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
