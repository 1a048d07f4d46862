//! What goes from a prompt that is too long, where the request asks for that: the oldest that can be spared.
//!
//! Of a conversation whole turns go, the oldest first, never system messages and never the last turn; of earlier tokens
//! that a request hands back and of raw text, tokens behind the first ones.

use super::prompt::{self, ChatPrompt, Prompt, PromptSource};
use crate::error::ApiError;
use slm_chat::Message;
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
        // one with a gap has marks that must stay
        PromptSource::Gap { .. } => return Ok((whole, 0)),
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

/// The conversation without its `n` oldest messages that can be spared, or without all of those; and how many went. What
/// follows one that went goes too, up to the user's next turn: templates want turns to alternate. The last turn stays.
fn spare(chat: &ChatPrompt, n: usize) -> (ChatPrompt, usize) {
    let is_users = |message: &Message| message.role == "user";
    let last_turn = chat.messages.iter().rposition(is_users);
    let last_turn = last_turn.unwrap_or(chat.messages.len().saturating_sub(1));
    let mut n_gone = 0;
    let mut is_in_cut_turn = false;
    let mut shorter = chat.clone();
    let mut index = 0;
    shorter.messages.retain(|message| {
        let stays = index >= last_turn || message.role == "system";
        index += 1;
        if stays {
            return true;
        }
        let belongs_to_it = is_in_cut_turn && !is_users(message);
        is_in_cut_turn = n_gone < n || belongs_to_it;
        n_gone += usize::from(is_in_cut_turn);
        !is_in_cut_turn
    });
    (shorter, n_gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_chat::ChatTemplate;
    use std::sync::Arc;

    fn chat(roles: &[&str]) -> ChatPrompt {
        let numbered = roles.iter().enumerate();
        ChatPrompt {
            template: Arc::new(ChatTemplate::parse("{{ messages }}").unwrap()),
            messages: numbered
                .map(|(i, role)| Message::new(*role, i.to_string()))
                .collect(),
            has_form: false,
            must_call: None,
            may_call: None,
            tools: None,
            enable_thinking: None,
            think_level: None,
            thinking_tags: None,
            suffix: None,
            context: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_turns_go_first_and_never_the_system_or_the_last_turn() {
        let whole = chat(&[
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
            "assistant",
            "user",
            "assistant",
            "tool",
        ]);
        let left = |n| -> String {
            let (shorter, _) = spare(&whole, n);
            let contents = shorter.messages.iter().map(|m| m.content.as_str());
            contents.collect()
        };
        assert_eq!(left(0), "0123456789");
        for n in 1..=4 {
            assert_eq!(left(n), "056789", "a turn goes whole");
        }
        assert_eq!(left(5), "0789");
        assert_eq!(left(99), "0789");
        assert_eq!(spare(&whole, 99).1, 6);
    }
}
