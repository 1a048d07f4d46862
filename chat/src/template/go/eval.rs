//! Runs a tree, as Go's `text/template` does with `missingkey=zero`.
//!
//! Bounds: [`FUEL`] of work, [`super::MAX_OUTPUT_BYTES`] of text, [`MAX_DEPTH`] of nesting. Every node, operand and
//! iteration costs one, every 16 bytes of text that is made cost one more, so that variables cannot hoard text either, and
//! so do 64 bytes of text that a function is given.
use super::{
    error::{GoTemplateError, Result},
    functions,
    tree::{Branch, Command, Node, Operand, Pipe, Tree},
    value::Value,
};
use std::sync::Arc;

/// Work that one rendering may do.
const FUEL: u64 = 4_000_000;
/// Bytes of text for one unit of work.
const BYTES_PER_FUEL: usize = 16;
/// Bytes of text that a function looks at for one unit of work.
const BYTES_READ_PER_FUEL: usize = 64;
/// Deepest nesting of statements, parentheses and calls of templates.
const MAX_DEPTH: usize = 400;

/// Appends what `root` makes of `data` to `out`.
///
/// # Errors
/// What Go would complain about, and an exhausted budget.
pub(super) fn render(
    tree: &Tree,
    root: &[Node],
    data: &Value,
    fuel: &mut Fuel,
    out: &mut String,
) -> Result<()> {
    let mut run = Run {
        tree,
        variables: vec![("$".into(), data.clone())],
        fuel,
        depth: 0,
        line: 1,
        out,
    };
    run.list(root, data).map(drop)
}

/// What is left of a budget; several runs may share one.
pub(super) struct Fuel(u64);

impl Fuel {
    pub(super) fn full() -> Self {
        Self(FUEL)
    }
}

/// How a list ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    tree: &'a Tree,
    /// A stack: later ones hide earlier ones.
    variables: Vec<(Arc<str>, Value)>,
    fuel: &'a mut Fuel,
    depth: usize,
    line: usize,
    out: &'a mut String,
}

impl Run<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(GoTemplateError::new(self.line, message))
    }

    fn pay(&mut self, units: u64) -> Result<()> {
        match self.fuel.0.checked_sub(units) {
            Some(left) => {
                self.fuel.0 = left;
                Ok(())
            }
            None => self.fail("it did not end within its budget of work"),
        }
    }

    fn pay_text(&mut self, n_bytes: usize) -> Result<()> {
        self.pay((n_bytes / BYTES_PER_FUEL) as u64)
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!("it is nested deeper than {MAX_DEPTH} (recursion?)"));
        }
        Ok(())
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        self.deeper()?;
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow> {
        self.pay(1)?;
        if let Some(pipe) = node.pipe() {
            self.line = pipe.line;
        }
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.print(&value)?;
                }
            }
            Node::If(branch) => return self.branch(branch, dot, false),
            Node::With(branch) => return self.branch(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { name, pipe, line } => {
                self.line = *line;
                self.template(name, pipe.as_ref(), dot)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.pay_text(text.len())?;
        if text.len() > super::MAX_OUTPUT_BYTES.saturating_sub(self.out.len()) {
            return self.too_long();
        }
        self.out.push_str(text);
        Ok(())
    }

    fn too_long<T>(&self) -> Result<T> {
        self.fail(format!(
            "its text is longer than {} bytes",
            super::MAX_OUTPUT_BYTES
        ))
    }

    fn print(&mut self, value: &Value) -> Result<()> {
        if matches!(value, Value::Nil) {
            return self.write("<no value>");
        }
        let before = self.out.len();
        if !value.print(self.out, super::MAX_OUTPUT_BYTES) {
            return self.too_long();
        }
        self.pay_text(self.out.len() - before)
    }

    fn branch(&mut self, branch: &Branch, dot: &Value, sets_dot: bool) -> Result<Flow> {
        let n_variables = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if value.is_true() {
            self.list(&branch.list, if sets_dot { &value } else { dot })?
        } else if let Some(list) = &branch.else_list {
            self.list(list, dot)?
        } else {
            Flow::On
        };
        self.variables.truncate(n_variables);
        Ok(flow)
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow> {
        let n_outside = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let pipe = &branch.pipe;
        let mut ran = false;
        let mut flow = Flow::On;
        // `break` ends this loop and no other
        let mut once = |run: &mut Self, key: Value, item: Value| -> Result<bool> {
            ran = true;
            let done = run.iteration(branch, key, item)?;
            Ok(done == Flow::Break)
        };
        match &value {
            Value::Nil => {}
            Value::Int(n) => {
                if pipe.variables.len() > 1 {
                    return self.fail("`range` over a number has one variable");
                }
                for i in 0..*n {
                    if once(self, Value::Nil, Value::Int(i))? {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (at, item) in list.items().iter().enumerate() {
                    if once(self, Value::Int(at as i64), item.clone())? {
                        break;
                    }
                }
            }
            Value::Object(object) if object.is_map() => {
                for (name, item) in object.fields() {
                    if once(self, Value::Text(Arc::clone(name)), item.clone())? {
                        break;
                    }
                }
            }
            other => {
                return self.fail(format!("`range` cannot go over a {}", other.type_name()));
            }
        }
        if !ran && let Some(list) = &branch.else_list {
            flow = self.list(list, dot)?;
        }
        self.variables.truncate(n_outside);
        Ok(flow)
    }

    fn iteration(&mut self, branch: &Branch, key: Value, item: Value) -> Result<Flow> {
        self.pay(1)?;
        let pipe = &branch.pipe;
        let n_variables = self.variables.len();
        let (key_name, item_name) = match pipe.variables.as_slice() {
            [] => (None, None),
            [item] => (None, Some(item)),
            [key, item, ..] => (Some(key), Some(item)),
        };
        for (name, value) in [(key_name, key), (item_name, item.clone())] {
            if let Some(name) = name {
                self.bind(pipe, name, value)?;
            }
        }
        let flow = self.list(&branch.list, &item)?;
        self.variables.truncate(n_variables);
        Ok(flow)
    }

    /// Declares or assigns a variable.
    fn bind(&mut self, pipe: &Pipe, name: &Arc<str>, value: Value) -> Result<()> {
        if pipe.assigns {
            let found = self.variables.iter_mut().rev().find(|(n, _)| n == name);
            match found {
                Some((_, old)) => *old = value,
                None => return self.fail(format!("undefined variable `{name}`")),
            }
        } else {
            self.variables.push((Arc::clone(name), value));
        }
        Ok(())
    }

    fn template(&mut self, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<()> {
        let tree = self.tree;
        let Some(list) = tree.defined.get(name) else {
            return self.fail(format!(
                "there is no template `{name}`; add a `define` for it"
            ));
        };
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$".into(), dot.clone())]);
        self.list(list, &dot)?;
        self.variables = variables;
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value> {
        self.deeper()?;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            self.bind(pipe, name, value.clone())?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value> {
        let Some((first, arguments)) = command.operands.split_first() else {
            return Ok(Value::Nil);
        };
        if let Operand::Function(name) = first {
            return self.call(name, arguments, dot, last);
        }
        if !arguments.is_empty() || last.is_some() {
            return self.fail(match first.fields().last() {
                Some(field) => format!("`.{field}` is a value and takes no arguments"),
                None => "a value that is no function is given arguments".into(),
            });
        }
        if *first == Operand::Nil {
            return self.fail("`nil` alone is no command");
        }
        self.operand(first, dot)
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        if matches!(name, "and" | "or") {
            let decides = name == "or";
            let mut value = None;
            for argument in arguments {
                let next = self.operand(argument, dot)?;
                let is_decided = next.is_true() == decides;
                value = Some(next);
                if is_decided {
                    return Ok(value.unwrap_or_default());
                }
            }
            return match last.or(value) {
                Some(value) => Ok(value),
                None => self.fail(format!("`{name}` is given no values")),
            };
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        for value in &values {
            self.pay((bytes_read(name, value) / BYTES_READ_PER_FUEL) as u64)?;
        }
        let line = self.line;
        let made = functions::call(name, &values, super::MAX_OUTPUT_BYTES)
            .map_err(|message| GoTemplateError::new(line, message))?;
        if let Value::Text(text) = &made {
            self.pay_text(text.len())?;
        }
        Ok(made)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value> {
        self.pay(1)?;
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(text) => Value::Text(Arc::clone(text)),
            Operand::Field(fields) => self.fields(dot, fields)?,
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                match found.map(|(_, value)| value.clone()) {
                    Some(value) => self.fields(&value, fields)?,
                    None => return self.fail(format!("undefined variable `{name}`")),
                }
            }
            Operand::Function(name) => self.call(name, &[], dot, None)?,
            Operand::Pipe(pipe) => self.pipe(pipe, dot)?,
            Operand::Chain(inner, fields) => {
                let value = self.operand(inner, dot)?;
                self.fields(&value, fields)?
            }
        })
    }

    fn fields(&self, value: &Value, fields: &[Arc<str>]) -> Result<Value> {
        let mut value = value.clone();
        for field in fields {
            value = match &value {
                Value::Nil => {
                    return self.fail(format!(
                        "`.{field}` of what is not there; guard it with `if`"
                    ));
                }
                Value::Object(object) => match object.get(field) {
                    Some(value) => value.clone(),
                    None if object.is_map() => Value::Nil,
                    None => return self.fail(format!("there is no field `.{field}` here")),
                },
                other => {
                    return self.fail(format!("a {} has no field `.{field}`", other.type_name()));
                }
            };
        }
        Ok(value)
    }
}

/// How much text `function` has to look at for one of its values.
fn bytes_read(function: &str, value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        // a precision may cut off what is printed first
        Value::List(_) | Value::Object(_) if function == "printf" => {
            let mut printed = String::new();
            // too long a text is found when it is printed
            let _fits = value.print(&mut printed, super::MAX_OUTPUT_BYTES);
            printed.len()
        }
        _ => 0,
    }
}
