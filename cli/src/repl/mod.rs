//! The chat in a terminal: read a line, obey it or have the model answer it, again.
//!
//! [`input`] turns lines into inputs, [`command`] knows the commands, [`session`] what was said and set, [`editor`] the
//! keyboard with what [`completion`] completes. [`asking`] speaks with the model, [`kept`] keeps what was said. A failed
//! answer is told and the chat goes on; Ctrl-C stops an answer and not the program.

mod asking;
mod command;
mod completion;
mod editor;
mod external;
mod help;
mod input;
mod kept;
mod once;
mod session;

use slm_api::ollama::{Message, ShowResponse, Think};
use slm_api::{Client, ClientError};

use self::asking::Last;
use self::command::{Command, Setting, Topic};
use self::completion::Names;
use self::editor::{Line, LineEditor};
use self::input::{Assembler, Input};
use self::kept::Kept;
pub(crate) use self::once::{Once, answer_once};
use self::session::Session;
pub(crate) use self::session::{message, takes_images};
use crate::answer::{self, Ended, Printer, Style};
use crate::chats::{Chat, Chats};
use crate::commands::run::{Common, read_format};
use crate::commands::{chats, list, show};
use crate::failure::Exit;
use crate::files::Attached;
use crate::settings::Settings;
use crate::text::table;
use crate::ui::{StdoutClosed, Ui};
use crate::{models, progress};

/// How a chat begins.
pub(crate) struct Start {
    /// Goes on with this one.
    pub chat: Option<Chat>,
    /// Whether it is kept, and the lines typed in it.
    pub keep: bool,
}

/// Chats until the person leaves.
///
/// # Errors
/// When the model cannot be loaded or the terminal cannot be used.
pub(crate) async fn run(
    common: Common,
    info: ShowResponse,
    style: Style,
    start: Start,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Exit> {
    let mut repl = Repl {
        session: Session::new(common, info),
        style,
        client,
        settings,
        ui,
        editor: LineEditor::new(settings, ui)?,
        kept: Kept::new(Chats::of(settings).ok()),
        attached: Attached::default(),
        last: Last::default(),
    };
    repl.editor.keep_history(start.keep);
    repl.kept.turn(start.keep);
    if repl.load().await? == Ended::Interrupted {
        return Ok(Exit::Interrupted);
    }
    match start.chat {
        Some(chat) => {
            let system = repl.session.common.system.clone();
            repl.go_on(chat)?;
            // What is said on the command line counts more.
            repl.session.common.system = system.or(repl.session.common.system.take());
        }
        None => repl.show_stored_messages()?,
    }
    repl.chat().await?;
    Ok(Exit::Done)
}

enum Next {
    GoOn,
    Leave,
}

struct Repl<'a> {
    session: Session,
    style: Style,
    client: &'a Client,
    settings: &'a Settings,
    ui: Ui,
    editor: LineEditor,
    kept: Kept,
    /// Files for the next message.
    attached: Attached,
    last: Last,
}

impl Repl<'_> {
    async fn chat(&mut self) -> anyhow::Result<()> {
        let mut assembler = Assembler::default();
        let names = look_up(self.client.clone(), self.settings.clone()).await;
        editor::set(&self.editor.names(), names);
        loop {
            let input = match self.editor.read(!assembler.is_open())? {
                Line::Text(line) => assembler.feed(&line),
                Line::Open(line) => {
                    assembler.clear();
                    Some(Input::Open(line))
                }
                Line::Interrupt => {
                    if assembler.is_open() {
                        assembler.clear();
                    } else {
                        self.ui.note("\nUse Ctrl + d or /bye to exit.");
                    }
                    None
                }
                Line::End => return Ok(()),
            };
            let Some(input) = input else { continue };
            self.learn_names();
            match self.obey(input).await {
                Ok(Next::GoOn) => {}
                Ok(Next::Leave) => return Ok(()),
                Err(error) if error.is::<StdoutClosed>() => return Err(error),
                Err(error) => self.ui.error(&error),
            }
        }
    }

    async fn obey(&mut self, input: Input) -> anyhow::Result<Next> {
        match input {
            Input::Empty => {}
            Input::Message(text) => self.say(text, self.session.messages.len()).await?,
            Input::Open(text) => self.compose(&text).await?,
            Input::System(text) => self.set(Setting::System(text))?,
            Input::Command(line) => return self.command(command::parse(&line)).await,
        }
        Ok(Next::GoOn)
    }

    async fn command(&mut self, command: Command) -> anyhow::Result<Next> {
        match command {
            Command::Bye => return Ok(Next::Leave),
            Command::Clear => {
                self.session.messages.clear();
                self.forget();
                self.ui.data("Cleared session context\n")?;
            }
            Command::List => {
                let tags = self.client.tags().await?;
                let table =
                    list::render(&tags.models, Some(self.ui.width()), jiff::Timestamp::now());
                self.ui.data(&table)?;
            }
            Command::Help(page) => self.ui.data(&help::page(page, self.ui.data_width()))?,
            Command::Load(model) => self.change_model(model, false).await?,
            Command::Model(Some(model)) => self.change_model(model, true).await?,
            Command::Model(None) => {
                let model = &self.session.common.model;
                self.ui.data(&format!("{model}\nUsage: /model MODEL\n"))?;
            }
            Command::Retry => self.retry().await?,
            Command::Edit => self.edit().await?,
            Command::Copy(what) => self.copy(what)?,
            Command::Stats => self.stats()?,
            Command::Attach(files) => self.attach(&files)?,
            Command::Detach => {
                self.attached = Attached::default();
                self.ui.data("Nothing is attached any more\n")?;
            }
            Command::Think(thoughts) => self.think(thoughts)?,
            Command::Chats => {
                let kept = Chats::of(self.settings)?.list()?;
                let table = chats::render(&kept, Some(self.ui.width()), jiff::Timestamp::now());
                self.ui.data(&table)?;
            }
            Command::Resume(id) => {
                let model = &self.session.common.model;
                let chat = Chats::of(self.settings)?.find(id.as_deref(), model)?;
                self.go_on(chat)?;
            }
            Command::Save(model) => self.save(&model).await?,
            Command::Set(setting) => self.set(setting)?,
            Command::Show(topic) => self.show(topic)?,
            Command::Wrong(why) => self.ui.data(&format!("{why}\n"))?,
        }
        Ok(Next::GoOn)
    }

    /// Another chat begins: nothing of the last one counts.
    fn forget(&mut self) {
        self.kept.begin_anew();
        self.last = Last::default();
    }

    /// Goes on with a chat that was kept, and shows what was said.
    fn go_on(&mut self, chat: Chat) -> anyhow::Result<()> {
        self.forget();
        self.kept.go_on(chat, &mut self.session);
        self.show_messages(&self.session.messages)
    }

    /// Has the names looked up again that Tab completes, while the person types.
    fn learn_names(&self) {
        let names = self.editor.names();
        let new = look_up(self.client.clone(), self.settings.clone());
        tokio::spawn(async move {
            editor::set(&names, new.await);
        });
    }

    /// Has the model loaded, so that trouble shows before the first message.
    async fn load(&self) -> anyhow::Result<Ended> {
        let request = self.session.load_request();
        let style = Style {
            verbose: false,
            ..self.style
        };
        Printer::new(style, self.ui)
            .follow(self.client, self.client.chat(&request))
            .await
    }

    fn show_stored_messages(&self) -> anyhow::Result<()> {
        self.show_messages(&self.session.info.messages)
    }

    fn show_messages(&self, messages: &[Message]) -> anyhow::Result<()> {
        for message in messages {
            match message.role.as_str() {
                "user" => self.ui.model_text(&format!(">>> {}\n", message.content))?,
                "assistant" => {
                    answer::show(&message.content, self.style(), self.ui)?;
                    self.ui.data("\n")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes on with another model: with what was said, or anew.
    async fn change_model(&mut self, model: String, goes_on: bool) -> anyhow::Result<()> {
        let Some(info) = models::find(self.client, &model).await? else {
            let meant = models::nearest_local(self.client, &model).await;
            let meant = meant.map_or_else(String::new, |name| format!(". Did you mean '{name}'?"));
            return self
                .ui
                .data(&format!("Couldn't find model '{model}'{meant}\n"));
        };
        self.ui.data(&format!("Loading model '{model}'\n"))?;
        if goes_on {
            self.session.switch_model(model, info);
            return self.load().await.map(drop);
        }
        self.session.change_model(model, info);
        self.forget();
        self.load().await?;
        self.show_stored_messages()
    }

    async fn save(&self, model: &str) -> anyhow::Result<()> {
        let request = self.session.save_request(model);
        let lines = self.client.create(&request).await?;
        progress::drain(lines).await?;
        self.ui.data(&format!("Created new model '{model}'\n"))
    }

    fn set(&mut self, setting: Setting) -> anyhow::Result<()> {
        let done = match setting {
            Setting::Parameter(name, values) => match self.session.set_option(&name, &values) {
                Ok(()) => format!("Set parameter '{name}' to '{}'", values.join(", ")),
                Err(why) => why,
            },
            Setting::System(text) => {
                self.session.common.system = Some(text);
                "Set system message.".to_owned()
            }
            Setting::Verbose(on) => {
                self.style.verbose = on;
                mode(if on { "verbose" } else { "quiet" })
            }
            Setting::History(on) => {
                self.editor.keep_history(on);
                self.kept.turn(on);
                mode(if on { "history" } else { "nohistory" })
            }
            Setting::WordWrap(on) => {
                self.style.wrap = on;
                mode(if on { "wordwrap" } else { "nowordwrap" })
            }
            Setting::Markdown(on) => {
                self.style.markdown = on;
                mode(if on { "markdown" } else { "nomarkdown" })
            }
            Setting::Format(Some(form)) => {
                self.session.common.format = Some(read_format(&form)?);
                format!("Set format to '{form}' mode.")
            }
            Setting::Format(None) => {
                self.session.common.format = None;
                "Disabled format.".to_owned()
            }
            Setting::Think(think) => {
                let done = match &think {
                    Think::Switch(true) => mode("think"),
                    Think::Switch(false) => mode("nothink"),
                    Think::Level(level) => format!("Set 'think' mode to '{level}'."),
                };
                self.session.common.think = Some(think);
                done
            }
        };
        self.ui.data(&format!("{done}\n"))
    }

    fn show(&self, topic: Topic) -> anyhow::Result<()> {
        let info = &self.session.info;
        let system = self.session.common.system.as_ref().unwrap_or(&info.system);
        let (text, what) = match topic {
            Topic::Info => (show::overview(info, false), "information"),
            Topic::License => (info.license.clone(), "license"),
            Topic::Modelfile => (info.modelfile.clone(), "Modelfile"),
            Topic::Parameters => (self.parameters(), "parameters"),
            Topic::System => (system.clone(), "system message"),
            Topic::Template => (info.template.clone(), "prompt template"),
        };
        if text.trim().is_empty() {
            return self
                .ui
                .data(&format!("No {what} was specified for this model.\n"));
        }
        self.ui.model_text(&show::with_newline(&text))
    }

    fn parameters(&self) -> String {
        let mut text = String::new();
        if !self.session.info.parameters.is_empty() {
            text.push_str("Model defined parameters:\n");
            for line in self.session.info.parameters.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        if !self.session.options.is_empty() {
            text.push_str("User defined parameters:\n");
            let options = self.session.options.iter();
            let rows: Vec<_> = options
                .map(|(name, value)| vec![name.clone(), value.to_string()])
                .collect();
            text.push_str(&table::render(&rows, 2));
        }
        text
    }
}

/// The names that Tab completes.
async fn look_up(client: Client, settings: Settings) -> Names {
    let chats = tokio::task::spawn_blocking(move || Chats::of(&settings)?.list()).await;
    let chats = chats.ok().and_then(Result::ok).unwrap_or_default();
    let tags = client.tags().await.unwrap_or_default();
    Names {
        models: tags.models.into_iter().map(|model| model.name).collect(),
        chats: chats.into_iter().map(|head| head.id).collect(),
    }
}

fn mode(name: &str) -> String {
    format!("Set '{name}' mode.")
}

/// Whether nobody listens any more, or who does only says that it ends. An answer that was cut off is none of these.
fn is_daemon_gone(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(ClientError::Connect { .. }) => true,
        Some(refused @ ClientError::Status { .. }) => refused.is_ending(),
        _ => false,
    }
}
