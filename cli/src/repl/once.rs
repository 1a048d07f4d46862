//! One message more in a chat that was kept, and its answer.

use slm_api::Client;
use slm_api::ollama::{Message, ShowResponse};

use super::kept::Kept;
use super::session::{Session, message};
use crate::answer::{Ended, Printer, Style};
use crate::chats::{Chat, Chats};
use crate::commands::run::Common;
use crate::failure::Exit;
use crate::ui::Ui;

/// A chat, and what is said in it next.
pub(crate) struct Once {
    /// The model, and how it is asked.
    pub common: Common,
    /// What the daemon says of the model.
    pub info: ShowResponse,
    /// How the answer is shown.
    pub style: Style,
    /// What was said until now.
    pub chat: Chat,
    /// What is said now.
    pub said: Message,
    /// Where both are kept, if they are.
    pub chats: Option<Chats>,
}

/// Says it, shows the answer, and keeps both where there is a place for chats.
///
/// # Errors
/// As the daemon says; then nothing is kept.
pub(crate) async fn answer_once(once: Once, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let Once {
        common,
        info,
        style,
        chat,
        said,
        chats,
    } = once;
    let system = common.system.clone();
    let style = Style {
        markdown: style.markdown && common.format.is_none(),
        ..style
    };
    let mut session = Session::new(common, info);
    let mut kept = Kept::new(chats);
    kept.go_on(chat, &mut session);
    // What is said on the command line counts more.
    session.common.system = system.or(session.common.system.take());
    session.messages.push(said);
    let mut printer = Printer::new(style, ui);
    let request = session.request();
    let ended = printer.follow(client, client.chat(&request)).await?;
    if !printer.text.is_empty() {
        session.messages.push(Message {
            thinking: (!printer.thinking.is_empty()).then_some(printer.thinking),
            ..message("assistant", &printer.text)
        });
        kept.save(&session, ui);
    }
    Ok(match ended {
        Ended::Complete => Exit::Done,
        Ended::Interrupted => Exit::Interrupted,
    })
}
