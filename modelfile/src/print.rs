//! A Modelfile as text, in the order of `ollama show --modelfile`.
use super::Modelfile;
use std::fmt;

impl fmt::Display for Modelfile {
    /// Text that parses back to the same value. (Text with `"""` at the end of a line that is not its last cannot be
    /// written in a Modelfile at all, and none that parsed contains it.)
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for from in &self.from {
            writeln!(f, "FROM {}", Quoted(from))?;
        }
        let single = [
            ("ADAPTER", &self.adapter),
            ("DRAFT", &self.draft),
            ("TEMPLATE", &self.template),
            ("SYSTEM", &self.system),
            ("RENDERER", &self.renderer),
            ("PARSER", &self.parser),
            ("REQUIRES", &self.requires),
        ];
        for (keyword, text) in single {
            if let Some(text) = text {
                writeln!(f, "{keyword} {}", Quoted(text))?;
            }
        }
        for (name, value) in &self.parameters {
            writeln!(f, "PARAMETER {name} {}", Quoted(value))?;
        }
        for license in &self.licenses {
            writeln!(f, "LICENSE {}", Quoted(license))?;
        }
        for (role, text) in &self.messages {
            writeln!(f, "MESSAGE {role} {}", Quoted(text))?;
        }
        Ok(())
    }
}

/// A value with the quotes that it needs.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let is_bare = !text.is_empty()
            && !text.contains('\n')
            && !text.starts_with('"')
            && text.trim() == text;
        if is_bare {
            f.write_str(text)
        } else if text.contains('"') {
            write!(f, "\"\"\"{text}\"\"\"")
        } else {
            write!(f, "\"{text}\"")
        }
    }
}
