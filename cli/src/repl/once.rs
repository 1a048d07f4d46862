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

/// Says `said` in `chat`, shows the answer, and keeps both where there is a place for chats.
///
/// # Errors
/// As the daemon says; then nothing is kept.
#[expect(
    clippy::too_many_arguments,
    reason = "what a chat is made of, and what a command gets"
)]
pub(crate) async fn answer_once(
    common: Common,
    info: ShowResponse,
    style: Style,
    chat: Chat,
    said: Message,
    chats: Option<Chats>,
    client: &Client,
    ui: Ui,
) -> anyhow::Result<Exit> {
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
