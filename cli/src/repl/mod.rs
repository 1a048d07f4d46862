//! The chat in a terminal: read a line, obey it or have the model answer it, again.
//!
//! [`input`] turns lines into inputs, [`command`] knows the commands, [`session`] what was said and set, [`editor`] the
//! keyboard. A failed answer is told and the chat goes on; Ctrl-C stops an answer and not the program.

mod command;
mod editor;
mod help;
mod input;
mod session;

use slm_api::ollama::{Message, ShowResponse, Think};
use slm_api::{Client, ClientError};

use self::command::{Command, Setting, Topic};
use self::editor::{Line, LineEditor};
use self::input::{Assembler, Input};
use self::session::{Session, message};
use crate::answer::{Ended, Printer, Style};
use crate::commands::run::{Common, read_format};
use crate::commands::{list, show};
use crate::failure::Exit;
use crate::settings::Settings;
use crate::text::table;
use crate::ui::{StdoutClosed, Ui};
use crate::{daemon, models, progress};

/// Chats until the person leaves.
///
/// # Errors
/// When the model cannot be loaded or the terminal cannot be used.
pub(crate) async fn run(
    common: Common,
    info: ShowResponse,
    style: Style,
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
    };
    if repl.load().await? == Ended::Interrupted {
        return Ok(Exit::Interrupted);
    }
    repl.show_stored_messages()?;
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
}

impl Repl<'_> {
    async fn chat(&mut self) -> anyhow::Result<()> {
        let mut assembler = Assembler::default();
        loop {
            let input = match self.editor.read(!assembler.is_open())? {
                Line::Text(line) => assembler.feed(&line),
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
            Input::Message(text) => self.answer(text).await?,
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
                self.ui.data("Cleared session context\n")?;
            }
            Command::List => {
                let tags = self.client.tags().await?;
                let table = list::render(&tags.models, "", jiff::Timestamp::now());
                self.ui.data(&table)?;
            }
            Command::Help(page) => self.ui.data(help::page(page))?,
            Command::Load(model) => self.change_model(model).await?,
            Command::Save(model) => self.save(&model).await?,
            Command::Set(setting) => self.set(setting)?,
            Command::Show(topic) => self.show(topic)?,
            Command::Wrong(why) => self.ui.data(&format!("{why}\n"))?,
        }
        Ok(Next::GoOn)
    }

    /// Sends a message and shows the answer. What failed is not part of the chat.
    async fn answer(&mut self, text: String) -> anyhow::Result<()> {
        self.session.messages.push(message("user", &text));
        let mut printer = Printer::new(self.style, self.ui);
        let mut ended = self.try_answer(&mut printer).await;
        if ended.as_ref().is_err_and(is_daemon_gone) {
            // It was stopped in between; one that is started now knows all it needs from the request.
            ended = match daemon::connect(self.settings, self.ui).await {
                Ok(_) => self.try_answer(&mut printer).await,
                Err(error) => Err(error),
            };
        }
        if printer.text.is_empty() || ended.is_err() {
            self.session.messages.pop();
        } else {
            self.session.messages.push(Message {
                thinking: (!printer.thinking.is_empty()).then_some(printer.thinking),
                ..message("assistant", &printer.text)
            });
        }
        ended?;
        self.ui.data("\n")
    }

    async fn try_answer(&self, printer: &mut Printer) -> anyhow::Result<Ended> {
        let request = self.session.request();
        printer.follow(self.client.chat(&request)).await
    }

    /// Has the model loaded, so that trouble shows before the first message.
    async fn load(&self) -> anyhow::Result<Ended> {
        let request = self.session.load_request();
        let style = Style {
            verbose: false,
            ..self.style
        };
        Printer::new(style, self.ui)
            .follow(self.client.chat(&request))
            .await
    }

    fn show_stored_messages(&self) -> anyhow::Result<()> {
        for stored in &self.session.info.messages {
            match stored.role.as_str() {
                "user" => self.ui.model_text(&format!(">>> {}\n", stored.content))?,
                "assistant" => self.ui.model_text(&format!("{}\n\n", stored.content))?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn change_model(&mut self, model: String) -> anyhow::Result<()> {
        let Some(info) = models::find(self.client, &model).await? else {
            return self.ui.data(&format!("Couldn't find model '{model}'\n"));
        };
        self.ui.data(&format!("Loading model '{model}'\n"))?;
        self.session.change_model(model, info);
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
                mode(if on { "history" } else { "nohistory" })
            }
            Setting::WordWrap(on) => {
                self.style.wrap = on;
                mode(if on { "wordwrap" } else { "nowordwrap" })
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

fn mode(name: &str) -> String {
    format!("Set '{name}' mode.")
}

fn is_daemon_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Connect { .. }))
}
