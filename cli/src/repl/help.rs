//! The pages of `/?`.

use super::command::Help;

const COMMANDS: &str = "\
Available Commands:
  /set            Set session variables
  /show           Show model information
  /model [MODEL]  Go on with another model
  /load MODEL     Load another model and begin anew
  /save MODEL     Save this session as a model
  /list           List the models on this machine
  /clear          Clear session context
  /retry          Have the last message answered again
  /edit           Edit the last message and have it answered (also a new one: Ctrl + g)
  /copy [code]    Copy the last answer, or the last code in it
  /attach FILE    Send a file with the next message (or name it there: @FILE)
  /think          Show what the model thought last (/think fold, show, hide: from now on)
  /stats          Show counts and times of the last answer
  /chats          List the chats that were kept
  /resume [ID]    Go on with one of them
  /bye, /exit     Leave
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use \"\"\" to begin and to end a message of several lines, or Ctrl + j within one.

";

const SET: &str = "\
Available Commands:
  /set parameter NAME VALUE    Set a parameter of the model
  /set system MESSAGE          Set the system message
  /set history                 Keep chats and a history of lines
  /set nohistory               Keep neither
  /set wordwrap                Break lines between words
  /set nowordwrap              Do not
  /set markdown                Render Markdown
  /set nomarkdown              Show answers as they are written
  /set format json             Have answers in JSON (or give a schema, or a file of one)
  /set noformat                Have answers in any form
  /set verbose                 Show counts and times
  /set quiet                   Do not
  /set think [LEVEL]           Have the model think first (low, medium, high, max)
  /set nothink                 Do not

";

const SHOW: &str = "\
Available Commands:
  /show info          Show what the model is made of
  /show license       Show its licence
  /show modelfile     Show its Modelfile
  /show parameters    Show its parameters and those set here
  /show system        Show the system message
  /show template      Show its prompt template

";

const SHORTCUTS: &str = "\
Available keyboard shortcuts:
  Ctrl + a, Ctrl + e    Move to the beginning, the end of the line
  Ctrl + b, Ctrl + f    Move a character back, forward
  Alt + b, Alt + f      Move a word back, forward
  Ctrl + k, Ctrl + u    Delete to the end, the beginning of the line
  Ctrl + w              Delete the word before the cursor
  Ctrl + l              Clear the screen
  Ctrl + p, Ctrl + n    Go back, forward in the history
  Ctrl + r              Search the history
  Ctrl + j              Begin a new line in the message
  Ctrl + g              Write the message in your editor ($VISUAL, $EDITOR)
  Tab                   Complete a command, a model's name, a file's (@, /attach)
  Ctrl + c              Stop the answer
  Ctrl + d              Leave (/bye)

";

/// The fewest columns that a description is squeezed into beside its command.
const LEAST_BESIDE: usize = 16;
/// Where it begins on a line of its own.
const BELOW: usize = 6;

/// A page of help for a terminal of so many columns.
pub(crate) fn page(page: Help, width: Option<usize>) -> String {
    let text = match page {
        Help::Commands => COMMANDS,
        Help::Set => SET,
        Help::Show => SHOW,
        Help::Shortcuts => SHORTCUTS,
    };
    match width {
        Some(width) => text.lines().map(|line| fit(line, width)).collect(),
        None => text.to_owned(),
    }
}

/// A line in as many as it takes, broken between words; a description goes on below its beginning.
fn fit(line: &str, width: usize) -> String {
    if line.len() <= width {
        return format!("{line}\n");
    }
    let (head, words) = match line.trim_start().split_once("  ") {
        Some((command, description)) if line.starts_with(' ') => {
            let indent = line.len() - line.trim_start().len();
            let gap = description.len() - description.trim_start().len() + 2;
            let column = indent + command.len() + gap;
            if column + LEAST_BESIDE <= width {
                (
                    format!("{:column$}", &line[..indent + command.len()]),
                    description,
                )
            } else {
                let command = &line[..indent + command.len()];
                (format!("{command}\n{:BELOW$}", ""), description)
            }
        }
        _ => (String::new(), line),
    };
    let column = head.rsplit('\n').next().unwrap_or_default().len();
    let mut text = head;
    let mut at = column;
    for word in words.split_whitespace() {
        if at > column && at + 1 + word.len() > width {
            text.push_str(&format!("\n{:column$}", ""));
            at = column;
        }
        if at > column {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [Help; 4] = [Help::Commands, Help::Set, Help::Show, Help::Shortcuts];

    #[test]
    fn pages_fit_narrow_terminals_without_losing_a_word() {
        for topic in PAGES {
            let whole = page(topic, None);
            assert_eq!(page(topic, Some(200)), whole);
            for width in [40, 60, 80] {
                let text = page(topic, Some(width));
                let words = |text: &str| {
                    let words = text.split_whitespace().map(str::to_owned);
                    words.collect::<Vec<_>>()
                };
                assert_eq!(words(&text), words(&whole));
                assert!(text.lines().all(|line| line.len() <= width), "{text}");
            }
        }
    }

    #[test]
    fn a_description_goes_on_where_it_began() {
        let line = "  /edit    Edit the last message and have it answered";
        assert_eq!(
            fit(line, 30),
            "  /edit    Edit the last\n           message and have it\n           answered\n"
        );
        assert_eq!(
            fit(line, 24),
            "  /edit\n      Edit the last\n      message and have\n      it answered\n"
        );
    }
}
