//! GBNF, the grammars that llama.cpp's server takes, read and written anew in llguidance's Lark.
//!
//! `parse` makes a tree of nodes (`nodes`) from the text, `check` refuses what has no end or no beginning, `regular`
//! finds the parts that a regular expression can say, `lexemes` cuts them so that reading the longest one is never wrong,
//! and `lark` writes the result.
//!
//! The two differ in how they read. GBNF goes character by character, along all ways at once. llguidance first takes the
//! longest terminal, then asks its grammar, and never goes back to a shorter one. Terminals of one character each would be
//! exact, but a mask would visit the whole vocabulary with a parser of context-free grammars; so terminals are as large as
//! they can be while the same texts match. Size, nesting and work are bounded.

mod characters;
mod check;
mod lark;
mod lexemes;
mod nodes;
mod parse;
mod regular;

#[cfg(test)]
mod tests;

use crate::TokenId;

/// Whether a grammar's text is GBNF: one of its lines begins with a name and `::=`, which no Lark does.
pub(super) fn is_gbnf(text: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.trim_start();
        let after = rest.trim_start_matches(|c| parse::is_of_name(c) || c == '_');
        after.len() < rest.len() && after.trim_start().starts_with("::=")
    })
}

/// The same grammar as Lark. `token` finds the one token that a text in angle brackets stands for.
///
/// # Errors
/// What is wrong with it and where, in one sentence.
pub(super) fn to_lark(
    text: &str,
    token: &dyn Fn(&str) -> Option<TokenId>,
) -> Result<String, String> {
    let (mut nodes, root) = parse::parse(text, token)?;
    check::check(&nodes, text)?;
    regular::simplify(&mut nodes);
    lexemes::cut(&mut nodes, root);
    lark::write(&nodes, root)
}

/// A mistake at a byte of the grammar's text, as it is told.
fn mistake(text: &str, at: usize, what: &str) -> String {
    let before = &text[..at];
    let line = 1 + before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = 1 + before[start..].chars().count();
    format!("line {line}, column {column}: {what}")
}
