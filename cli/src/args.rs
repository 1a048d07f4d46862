//! The command line as it is typed.

use clap::{Parser, Subcommand};

use crate::commands::{
    adopt, archive, bench, chats, completions, cp, create, df, doctor, export, gc, import, list,
    login, logs, outdated, path, ps, pull, push, rm, rollback, run, search, serve, service, show,
    stop, swap, update, verify,
};

/// Run language models on this machine
#[derive(Debug, Parser)]
#[command(name = "slm", version, arg_required_else_help = true)]
#[command(after_help = "\
Environment:
  SLM_HOST, OLLAMA_HOST  where the daemon is (default 127.0.0.1:11434)
  SLM_NO_AUTOSTART=1     do not start a daemon when none answers
  SLM_NOHISTORY=1        keep neither chats nor a history of the lines typed in them
  NO_COLOR=1             no colours")]
pub(crate) struct Args {
    /// Say nothing but results, warnings and errors
    #[arg(long, global = true)]
    pub quiet: bool,
    /// No colours and no other styles
    #[arg(long, global = true)]
    pub no_color: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One variant per file in `commands/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Chat with a model, or have it answer one prompt
    Run(run::Args),
    /// List, show or remove the chats that were kept
    Chats(chats::Args),
    /// List the models on this machine
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// List the models that are loaded
    Ps(ps::Args),
    /// Show what a model is made of
    Show(show::Args),
    /// Find models: in slm's own catalogue and on Hugging Face
    Search(search::Args),
    /// Fetch a model from a registry
    Pull(pull::Args),
    /// Upload a model to a registry
    Push(push::Args),
    /// Make a model from a Modelfile
    Create(create::Args),
    /// Give a model a second name
    Cp(cp::Args),
    /// Remove models
    Rm(rm::Args),
    /// Print the path of a model's GGUF file
    Path(path::Args),
    /// Write models into one file, to be carried where no network is
    Export(export::Args),
    /// Store the models of a file that `export` wrote
    Import(import::Args),
    /// Use models of Ollama, Hugging Face or LM Studio in place
    Adopt(adopt::Args),
    /// Move models to the archive, a larger and slower disk
    Archive(archive::Args),
    /// Move models back from the archive
    Unarchive(archive::Args),
    /// Read every model again and compare it with its digests
    Verify(verify::Args),
    /// Show what nobody needs, and remove it
    Gc(gc::Args),
    /// Show what takes how much of the disk
    Df(df::Args),
    /// List the models that their sources have newer
    Outdated(outdated::Args),
    /// Fetch models again from where they came
    Update(update::Args),
    /// Go back to the version of a model before its last update
    Rollback(rollback::Args),
    /// Unload a model
    Stop(stop::Args),
    /// Make a model ready, then let the others go
    Swap(swap::Args),
    /// Keep a user and a password for a registry
    #[command(disable_help_flag = true)]
    Login(login::Args),
    /// Forget what `login` kept
    #[command(disable_help_flag = true)]
    Logout(login::Args),
    /// Measure how fast a model runs here, or a server under load
    #[command(disable_help_flag = true)]
    Bench(bench::Args),
    /// Look at what the daemon needs here, and say what to do about what is wrong
    Doctor(doctor::Args),
    /// Show every setting of the daemon, and where its value comes from
    Config(doctor::Args),
    /// Print what the daemon logged
    Logs(logs::Args),
    /// Have the daemon run as a service of the system
    Service(service::Args),
    /// Print a script that completes commands in a shell
    Completions(completions::Args),
    /// Print the manual page, or write all of them into a folder
    Man(completions::ManArgs),
    /// Run the daemon in the foreground
    #[command(visible_alias = "start", disable_help_flag = true)]
    Serve(serve::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[track_caller]
    fn parse(line: &str) -> Command {
        let words = line.split_whitespace();
        Args::try_parse_from(words).expect(line).command
    }

    #[test]
    fn the_grammar_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_a_prompt_of_many_words() {
        let Command::Run(args) = parse("slm run m --verbose why is the sky --keepalive 5m") else {
            panic!("another command");
        };
        assert_eq!(args.model.as_deref(), Some("m"));
        assert_eq!(args.prompt.join(" "), "why is the sky");
        assert!(args.verbose);
        assert_eq!(args.keepalive.as_deref(), Some("5m"));
        assert_eq!(args.think, None);
    }

    #[test]
    fn think_takes_a_level_only_after_an_equals_sign() {
        let think = |line| match parse(line) {
            Command::Run(args) => (args.think, args.prompt.join(" ")),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            think("slm run m --think hello"),
            (Some("true".into()), "hello".into())
        );
        assert_eq!(
            think("slm run m --think=high hi"),
            (Some("high".into()), "hi".into())
        );
        assert_eq!(
            think("slm run m --think=false"),
            (Some("false".into()), String::new())
        );
        assert!(Args::try_parse_from(["slm", "run", "m", "--think=loud"]).is_err());
    }

    #[test]
    fn aliases_and_lists() {
        assert!(matches!(parse("slm ls"), Command::List(_)));
        assert!(matches!(parse("slm start"), Command::Serve(_)));
        let Command::Rm(args) = parse("slm rm a b:1") else {
            panic!("another command");
        };
        assert_eq!(args.models, ["a", "b:1"]);
        let Command::Create(args) = parse("slm create m") else {
            panic!("another command");
        };
        assert_eq!(args.file, None);
    }

    #[test]
    fn wrong_usage_has_code_2() {
        for line in [
            &["slm"][..],
            &["slm", "rm"],
            &["slm", "cp", "a"],
            &["slm", "frobnicate"],
            &["slm", "show", "m", "--license", "--system"],
        ] {
            let error = Args::try_parse_from(line).expect_err("wrong usage");
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
        let version = Args::try_parse_from(["slm", "--version"]).expect_err("not a command");
        assert_eq!(version.exit_code(), 0);
        assert_eq!(
            version.to_string(),
            format!("slm {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}
