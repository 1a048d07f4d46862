//! This chat as it is kept: written after each answer, unless the person wants none kept.

use super::session::Session;
use crate::chats::{Chat, Chats};
use crate::ui::Ui;

/// The file of this chat.
pub(super) struct Kept {
    /// `None` where there is no place for chats.
    chats: Option<Chats>,
    chat: Chat,
    is_on: bool,
}

impl Kept {
    /// Keeps this chat from its first answer on, where there is a place for it.
    pub(super) fn new(chats: Option<Chats>) -> Self {
        Self {
            chats,
            chat: Chat::new(),
            is_on: true,
        }
    }

    /// Whether the chat is kept from now on.
    pub(super) fn turn(&mut self, on: bool) {
        self.is_on = on;
    }

    /// What follows is another chat.
    pub(super) fn begin_anew(&mut self) {
        self.chat = Chat::new();
    }

    /// What follows goes on with `chat`, with what was said and set there.
    pub(super) fn go_on(&mut self, chat: Chat, session: &mut Session) {
        session.messages = chat.messages.clone();
        session.options = chat.head.options.clone();
        session.common.system = chat.head.system.clone();
        self.chat = chat;
    }

    /// Writes what was said. A chat that cannot be kept is no reason not to chat: it is told once.
    pub(super) fn save(&mut self, session: &Session, ui: Ui) {
        let Some(chats) = self.chats.as_ref().filter(|_| self.is_on) else {
            return;
        };
        let head = &mut self.chat.head;
        head.model = session.common.model.clone();
        head.system = session.common.system.clone();
        head.options = session.options.clone();
        self.chat.messages = session.messages.clone();
        if let Err(error) = chats.save(&self.chat) {
            ui.warn(&format!("{error:#}"));
            self.chats = None;
        }
    }
}
