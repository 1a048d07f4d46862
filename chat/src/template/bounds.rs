//! Bounds the values that a Jinja template makes, where the engine would do unbounded work for one instruction.
//!
//! The engine pays for the top level of a list. A list that holds the same list twice, and that again twice, is small in
//! memory and exponentially long when it is compared, hashed or written out as text; a slice of a slice of a slice … takes
//! longer and longer to walk through; a sum is made before it is paid for. Templates are therefore compiled with filters
//! around the operands that such work is done with ([`super::rewrite`]):
//! - [`BOUNDED`] walks through the whole value, refuses what is longer than [`MAX_NODES`] or [`MAX_TEXT_BYTES`] when
//!   written out or deeper than [`MAX_DEPTH`], and charges for the walk;
//! - [`ORDERED`] charges as much as sorting such a value may take;
//! - [`SUMMAND`] looks at the top level alone;
//! - [`STORED`] refuses what could make a chain of namespaces or macros that no walk sees the end of.
//!
//! All but the last turn views of lists into lists. [`register`] puts the same checks into functions, tests and the printing of
//! values, where no operand is to be seen in the source. Texts and numbers pass unchanged.
use minijinja::{
    Environment, Error, ErrorKind, State, Value, escape_formatter, functions, tests,
    value::{Kwargs, ValueKind},
};

pub(super) const BOUNDED: &str = "bounded";
pub(super) const ORDERED: &str = "ordered";
pub(super) const SUMMAND: &str = "summand";
pub(super) const STORED: &str = "stored";

/// Longest value that is walked through, written out as a tree: lists, maps, keys and scalars count one each.
const MAX_NODES: u64 = 100_000;
/// Longest text in such a value.
const MAX_TEXT_BYTES: usize = super::MAX_OUTPUT_BYTES;
/// Deepest nesting of such a value.
const MAX_DEPTH: usize = 128;
/// Nodes that are walked through for one unit of work.
const NODES_PER_FUEL: u64 = 2;
/// Bytes of a text that are compared for one unit of work.
const BYTES_PER_FUEL: usize = 256;
/// How often sorting looks at each node.
const SORTING_PASSES: u64 = 16;
/// Longest list that is added to another.
const MAX_ITEMS: usize = 1 << 16;
/// Items of a list for one unit of work.
const ITEMS_PER_FUEL: usize = 32;

/// Puts the bounds into an environment.
pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter(BOUNDED, |state: &State<'_, '_>, value: Value| {
        charge(state, &value, 1)?;
        as_list(value)
    });
    environment.add_filter(ORDERED, |state: &State<'_, '_>, value: Value| {
        charge(state, &value, SORTING_PASSES)?;
        as_list(value)
    });
    environment.add_filter(SUMMAND, summand);
    environment.add_filter(STORED, |value: Value| {
        if is_opaque(&value) {
            return Err(refused("namespaces and functions cannot be stored in one"));
        }
        Ok::<_, Error>(value)
    });
    environment.set_formatter(|out, state, value| {
        if is_container(value) {
            charge(state, value, 1)?;
        }
        escape_formatter(out, state, value)
    });
    environment.remove_global("debug");
    environment.add_function(
        "dict",
        |state: &State<'_, '_>, value: Option<Value>, kwargs: Kwargs| {
            for value in value.iter().chain([&Value::from(kwargs.clone())]) {
                charge(state, value, 1)?;
            }
            functions::dict(value, kwargs)
        },
    );
    let namespace = Value::from_function(functions::namespace);
    environment.add_function(
        "namespace",
        move |state: &mut State<'_, '_>, value: Option<Value>, kwargs: Kwargs| {
            let value = value.unwrap_or_else(|| Value::from(kwargs));
            charge(state, &value, 1)?;
            namespace.call(state, &[value])
        },
    );
    for (names, compare) in [
        (
            &["eq", "equalto", "=="][..],
            tests::is_eq as fn(&Value, &Value) -> bool,
        ),
        (&["ne", "!="], tests::is_ne),
        (&["lt", "lessthan", "<"], tests::is_lt),
        (&["le", "<="], tests::is_le),
        (&["gt", "greaterthan", ">"], tests::is_gt),
        (&["ge", ">="], tests::is_ge),
    ] {
        for name in names {
            environment.add_test(
                *name,
                move |state: &State<'_, '_>, value: Value, other: Value| {
                    charge(state, &value, 1)?;
                    charge(state, &other, 1)?;
                    Ok::<_, Error>(compare(&value, &other))
                },
            );
        }
    }
    environment.add_test("in", |state: &State<'_, '_>, value: Value, other: Value| {
        charge(state, &value, 1)?;
        charge(state, &other, 1)?;
        tests::is_in(state, &value, &other)
    });
}

/// Refuses a value that is too long as a tree, and charges `passes` walks through it.
pub(super) fn charge(state: &State<'_, '_>, value: &Value, passes: u64) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return match text.len() / BYTES_PER_FUEL {
            0 => Ok(()),
            fuel => state.consume_fuel(fuel as u64),
        };
    }
    if !is_container(value) {
        return Ok(());
    }
    let mut tree = Tree::default();
    tree.walk(value, 0)?;
    state.consume_fuel(tree.n_nodes * passes / NODES_PER_FUEL)
}

fn summand(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Iterable) {
        return Ok(value);
    }
    // what does not know its length is cut off where it would be too long
    let list = match value.len() {
        None => Value::from(items(&value, MAX_ITEMS + 1)?),
        Some(_) => value,
    };
    let len = list.len().unwrap_or_default();
    if len > MAX_ITEMS {
        return Err(refused(&format!(
            "a list of {len} items is too long for `+` and slices; {MAX_ITEMS} is the most"
        )));
    }
    state.consume_fuel((len / ITEMS_PER_FUEL) as u64)?;
    as_list(list)
}

/// A view of a list as a list; [`MAX_NODES`] is checked before, or [`MAX_ITEMS`].
fn as_list(value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    items(&value, MAX_NODES as usize).map(Value::from)
}

fn items(view: &Value, most: usize) -> Result<Vec<Value>, Error> {
    view.try_iter()?.checked().take(most).collect()
}

fn is_container(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
    )
}

/// Namespaces, macros and loops: what they hold can change later, or cannot be seen.
fn is_opaque(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
        || value
            .as_object()
            .map(|object| object.type_name())
            .is_some_and(|name| {
                name.ends_with("::Namespace") || name.starts_with("minijinja::vm::")
            })
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

/// What a walk has met.
#[derive(Default)]
struct Tree {
    n_nodes: u64,
    n_bytes: usize,
}

impl Tree {
    fn walk(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.n_nodes += 1;
        if let Some(text) = value.as_str() {
            self.n_bytes = self.n_bytes.saturating_add(text.len());
        }
        if self.n_nodes > MAX_NODES || self.n_bytes > MAX_TEXT_BYTES {
            return Err(refused(&format!(
                "a value is beyond the template's budget of work: written out, it has more than {MAX_NODES} items \
                 or {MAX_TEXT_BYTES} bytes of text"
            )));
        }
        if depth > MAX_DEPTH {
            return Err(refused(&format!(
                "a value is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        if depth > 0 && is_opaque(value) {
            return Err(refused(
                "namespaces and functions cannot be compared or written out within other values",
            ));
        }
        let Some(object) = value.as_object().filter(|_| is_container(value)) else {
            return Ok(());
        };
        if value.kind() == ValueKind::Map {
            for pair in object.try_iter_pairs().into_iter().flatten() {
                self.walk(&pair.0, depth + 1)?;
                self.walk(&pair.1, depth + 1)?;
            }
            return Ok(());
        }
        for item in value.try_iter()?.checked() {
            self.walk(&item?, depth + 1)?;
        }
        Ok(())
    }
}
