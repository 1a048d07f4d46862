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

/// A page of help.
pub(crate) fn page(page: Help) -> &'static str {
    match page {
        Help::Commands => COMMANDS,
        Help::Set => SET,
        Help::Show => SHOW,
        Help::Shortcuts => SHORTCUTS,
    }
}
