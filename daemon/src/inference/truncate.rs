//! What goes from a prompt that is too long, where the request asks for that: the oldest that can be spared.
//!
//! Of a conversation whole messages go, the oldest first, never system messages and never the last; of earlier tokens
//! that a request hands back and of raw text, tokens behind the first ones.

use super::prompt::{self, ChatPrompt, Prompt, PromptSource};
use crate::error::ApiError;
use slm_engine::Engine;

/// The prompt of `source`, made shorter until it has at most `n_most` tokens, and how many tokens went. As it is where
/// it cannot be made short enough. The first `n_kept` tokens stay where tokens go.
///
/// # Errors
/// As [`prompt::prepare`].
pub(super) fn shorten(
    source: PromptSource,
    engine: &Engine,
    (n_most, n_kept): (usize, usize),
) -> Result<(Prompt, usize), ApiError> {
    let whole = prompt::prepare(&source, engine)?;
    let n_whole = whole.tokens.len();
    if n_whole <= n_most {
        return Ok((whole, 0));
    }
    let shorter = match source {
        PromptSource::Raw(_) | PromptSource::Tokens(_) => {
            let mut shorter = whole;
            let n_kept = n_kept.max(1).min(n_most / 2);
            shorter.tokens.drain(n_kept..n_kept + n_whole - n_most);
            shorter
        }
        PromptSource::Chat(chat) if !chat.context.is_empty() => {
            let mut chat = *chat;
            let n_gone = n_whole - n_most;
            let n_kept = n_kept.max(1).min(chat.context.len());
            if n_gone > chat.context.len() - n_kept {
                return Ok((whole, 0));
            }
            chat.context.drain(n_kept..n_kept + n_gone);
            prompt::prepare(&PromptSource::Chat(Box::new(chat)), engine)?
        }
        PromptSource::Chat(chat) => match without_oldest(&chat, engine, n_most)? {
            Some(shorter) => shorter,
            None => return Ok((whole, 0)),
        },
    };
    let n_gone = n_whole.saturating_sub(shorter.tokens.len());
    Ok((shorter, n_gone))
}

/// The prompt without as many of the oldest messages as need to go; `None` when none is short enough.
fn without_oldest(
    chat: &ChatPrompt,
    engine: &Engine,
    n_most: usize,
) -> Result<Option<Prompt>, ApiError> {
    let n_spare = spare(chat, usize::MAX).1;
    let without = |n: usize| -> Result<Option<Prompt>, ApiError> {
        let shorter = PromptSource::Chat(Box::new(spare(chat, n).0));
        let prompt = prompt::prepare(&shorter, engine)?;
        Ok(Some(prompt).filter(|prompt| prompt.tokens.len() <= n_most))
    };
    let Some(mut best) = without(n_spare)? else {
        return Ok(None);
    };
    // the fewest that suffice, between none and all
    let (mut too_few, mut enough) = (0, n_spare);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        match without(middle)? {
            Some(prompt) => (best, enough) = (prompt, middle),
            None => too_few = middle,
        }
    }
    Ok(Some(best))
}

/// The conversation without its `n` oldest messages that can be spared, or without all of those; and how many went.
/// What tools said goes with the call before it.
fn spare(chat: &ChatPrompt, n: usize) -> (ChatPrompt, usize) {
    let last = chat.messages.len().saturating_sub(1);
    let mut n_gone = 0;
    let mut has_cut_call = false;
    let mut shorter = chat.clone();
    let mut index = 0;
    shorter.messages.retain(|message| {
        let is_last = index == last;
        index += 1;
        let follows_its_call = has_cut_call && message.role == "tool";
        let goes = !is_last && message.role != "system" && (n_gone < n || follows_its_call);
        has_cut_call = goes;
        n_gone += usize::from(goes);
        !goes
    });
    (shorter, n_gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_chat::{ChatTemplate, Message};
    use std::sync::Arc;

    fn chat(roles: &[&str]) -> ChatPrompt {
        let numbered = roles.iter().enumerate();
        ChatPrompt {
            template: Arc::new(ChatTemplate::parse("{{ messages }}").unwrap()),
            messages: numbered
                .map(|(i, role)| Message::new(*role, i.to_string()))
                .collect(),
            has_form: false,
            tools: None,
            enable_thinking: None,
            think_level: None,
            thinking_tags: None,
            suffix: None,
            context: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_go_first_with_what_tools_said_and_never_the_system_or_the_last() {
        let whole = chat(&[
            "system",
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "user",
        ]);
        let left = |n| -> String {
            let (shorter, _) = spare(&whole, n);
            shorter
                .messages
                .iter()
                .map(|m| m.content.as_str())
                .collect()
        };
        assert_eq!(left(0), "0123456");
        assert_eq!(left(1), "023456");
        assert_eq!(left(2), "056");
        assert_eq!(left(5), "06");
        assert_eq!(left(99), "06");
        assert_eq!(spare(&whole, 99).1, 5);
    }
}
