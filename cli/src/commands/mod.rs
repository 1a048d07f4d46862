//! One file per command: its `Args`, whose comments are the help, and `run`.

pub(crate) mod adopt;
pub(crate) mod archive;
pub(crate) mod bench;
pub(crate) mod chats;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod df;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod gc;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod outdated;
pub(crate) mod path;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod show;
pub(crate) mod stop;
pub(crate) mod swap;
pub(crate) mod update;
pub(crate) mod verify;

use crate::args::Command;
use crate::daemon;
use crate::failure::Exit;
use crate::settings::Settings;
use crate::ui::Ui;

/// Runs a command to its end.
///
/// # Errors
/// What `main` prints.
pub(crate) async fn run(command: Command, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    // those that ask the daemon start it where none runs
    let client = async || daemon::connect(settings, ui).await;
    match command {
        Command::Run(args) => run::run(args, &client().await?, settings, ui).await,
        Command::List(args) => list::run(args, &client().await?, settings, ui).await,
        Command::Ps(args) => ps::run(args, &client().await?, ui).await,
        Command::Show(args) => show::run(args, &client().await?, ui).await,
        Command::Pull(args) => pull::run(args, &client().await?, settings, ui).await,
        Command::Push(args) => push::run(args, &client().await?, ui).await,
        Command::Create(args) => create::run(args, &client().await?, settings, ui).await,
        Command::Cp(args) => cp::run(args, &client().await?, ui).await,
        Command::Rm(args) => rm::run(args, &client().await?, ui).await,
        Command::Path(args) => path::run(args, &client().await?, ui).await,
        Command::Export(args) => export::run(args, &client().await?, ui).await,
        Command::Import(args) => import::run(args, &client().await?, ui).await,
        Command::Adopt(args) => adopt::run(args, &client().await?, ui).await,
        Command::Archive(args) => archive::run(args, false, &client().await?, ui).await,
        Command::Unarchive(args) => archive::run(args, true, &client().await?, ui).await,
        Command::Verify(args) => verify::run(args, &client().await?, ui).await,
        Command::Gc(args) => gc::run(args, &client().await?, ui).await,
        Command::Df(args) => df::run(args, &client().await?, ui).await,
        Command::Outdated(args) => outdated::run(args, &client().await?, ui).await,
        Command::Update(args) => update::run(args, &client().await?, ui).await,
        Command::Rollback(args) => rollback::run(args, &client().await?, ui).await,
        Command::Stop(args) => stop::run(args, &client().await?, ui).await,
        Command::Swap(args) => swap::run(args, &client().await?, ui).await,
        Command::Bench(args) => bench::run(args, settings, ui).await,
        Command::Chats(args) => chats::run(args, settings, ui),
        Command::Serve(args) => serve::run(args),
        Command::Login(args) => login::run("login", args),
        Command::Logout(args) => login::run("logout", args),
        Command::Search(args) => search::run(args, settings, ui).await,
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Config(args) => doctor::config(&args),
        Command::Logs(args) => logs::run(&args, settings, ui).await,
        Command::Service(args) => service::run(&args, settings, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Man(args) => completions::man(&args, ui),
    }
}
