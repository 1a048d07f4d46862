//! `slm chats`: the chats that were kept on this machine.

use jiff::Timestamp;
use serde_json::json;

use crate::answer::{self, Style};
use crate::chats::{Chat, Chats, Head};
use crate::failure::Exit;
use crate::format::Format;
use crate::settings::Settings;
use crate::text::table::{self, Room};
use crate::text::time;
use crate::ui::{Ui, clean};

/// Arguments of `slm chats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show this chat; the beginning of its ID is enough
    pub id: Option<String>,
    /// Remove chats
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "id")]
    pub rm: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Lists, shows or removes.
///
/// # Errors
/// When there is no such chat, or the folder cannot be read.
pub(crate) fn run(args: Args, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    let chats = Chats::of(settings)?;
    if !args.rm.is_empty() {
        for id in &args.rm {
            let id = chats.remove(id)?;
            ui.data(&format!("removed '{id}'\n"))?;
        }
        return Ok(Exit::Done);
    }
    if let Some(id) = &args.id {
        let chat = chats.find(Some(id), "")?;
        return show(&chat, args.format, ui);
    }
    let width = ui.stdout_is_terminal().then(|| ui.width());
    let render = |heads: &Vec<Head>| render(heads, width, Timestamp::now());
    args.format.print(&chats.list()?, render, ui)?;
    Ok(Exit::Done)
}

fn show(chat: &Chat, format: Format, ui: Ui) -> anyhow::Result<Exit> {
    if format == Format::Json {
        let value = json!({"chat": chat.head, "messages": chat.messages});
        format.print(&value, |_| String::new(), ui)?;
        return Ok(Exit::Done);
    }
    let style = Style {
        wrap: ui.stdout_is_terminal(),
        markdown: true,
        ..Style::default()
    };
    if let Some(system) = &chat.head.system {
        ui.thought(&format!("{system}\n\n"))?;
    }
    for message in &chat.messages {
        if message.role == "user" {
            ui.model_text(&format!(">>> {}\n", message.content))?;
        } else {
            answer::show(&message.content, style, ui)?;
            ui.data("\n")?;
        }
    }
    Ok(Exit::Done)
}

/// The table within `width` columns: titles are cut first.
pub(crate) fn render(heads: &[Head], width: Option<usize>, now: Timestamp) -> String {
    let mut rows = vec![table::row(["ID", "MODEL", "MESSAGES", "UPDATED", "TITLE"])];
    rows.extend(heads.iter().map(|head| {
        vec![
            head.id.clone(),
            clean(&head.model),
            head.n_messages.to_string(),
            time::relative(&head.updated_at, now),
            clean(&head.title),
        ]
    }));
    let rooms = [
        Room::Whole,
        Room::Name,
        Room::Spare(0),
        Room::Spare(1),
        Room::Text(2),
    ];
    table::fit(&rows, &rooms, 0, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_to_the_terminal() {
        let now = "2026-08-21T18:00:00Z".parse().expect("timestamp");
        let head = Head {
            id: "20260821-175500-0a0b".into(),
            model: "m".into(),
            updated_at: "2026-08-21T17:00:00Z".into(),
            title: "Why is the sky blue, and not green?".into(),
            n_messages: 2,
            ..Head::default()
        };
        let heads = [head];
        assert_eq!(
            render(&heads, None, now),
            "ID                      MODEL    MESSAGES    UPDATED              TITLE\n\
             20260821-175500-0a0b    m        2           About an hour ago    Why is the sky blue, and not green?\n"
        );
        assert_eq!(
            render(&heads, Some(80), now),
            "ID                    MODEL  MESSAGES  UPDATED            TITLE\n\
             20260821-175500-0a0b  m      2         About an hour ago  Why is the sky blue,…\n"
        );
        assert_eq!(
            render(&[], None, now),
            "ID    MODEL    MESSAGES    UPDATED    TITLE\n"
        );
    }
}
