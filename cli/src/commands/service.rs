//! `slm service`: the daemon as a service, started with the machine or the login.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::daemon;
use crate::failure::{Advice, Exit};
use crate::service::unit::Unit;
use crate::service::{Scope, Step, Supervisor, launchd};
use crate::settings::Settings;
use crate::ui::Ui;

/// Arguments of `slm service`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do with the service
    #[arg(value_enum)]
    pub action: Action,
    /// The machine's service, with a user and models of its own; needs root
    #[arg(long)]
    pub system: bool,
    /// Print what would be written and run
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Action {
    /// Write the service, start it now and with every login, with `--system` with the machine; the SLM_ variables that are
    /// set now are its settings
    Install,
    /// Start it
    Start,
    /// Stop it
    Stop,
    /// Say how it is
    Status,
    /// Stop and remove it; models stay
    Uninstall,
}

/// Does it.
///
/// # Errors
/// Where the platform has no supervisor that is known, or that refuses.
pub(crate) fn run(args: &Args, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    let supervisor = Supervisor::of_platform().ok_or_else(|| {
        Advice::new(
            "services are supported with systemd and launchd only",
            "have your system run `slmd serve` at its start",
        )
    })?;
    let scope = if args.system {
        Scope::System
    } else {
        Scope::User
    };
    let path = supervisor.path(scope, settings).ok_or_else(|| {
        Advice::new(
            "there is no home directory to keep the service in",
            "set HOME, or use --system",
        )
    })?;
    let plan = Plan {
        supervisor,
        scope,
        path: &path,
        ui,
        is_dry: args.dry_run,
    };
    match args.action {
        Action::Install => plan.install(settings),
        Action::Uninstall => plan.uninstall(),
        Action::Start => plan.of_installed(Step::Start),
        Action::Stop => plan.of_installed(Step::Stop),
        Action::Status => plan.of_installed(Step::Status),
    }
}

/// What is known before anything is done.
struct Plan<'a> {
    supervisor: Supervisor,
    scope: Scope,
    path: &'a Path,
    ui: Ui,
    is_dry: bool,
}

impl Plan<'_> {
    fn install(&self, settings: &Settings) -> anyhow::Result<Exit> {
        let program = daemon::find_slmd()?;
        if self.scope == Scope::System && is_hidden(&program) {
            self.ui.warn(&format!(
                "the machine's service sees no home directories, and so not `{}`: install slmd elsewhere, such as \
                 /usr/local/bin",
                program.display()
            ));
        }
        let program = program.display().to_string();
        let variables = daemon_variables(std::env::vars(), self.scope);
        let text = match self.supervisor {
            Supervisor::Systemd => Unit {
                scope: self.scope,
                program: &program,
                variables: &variables,
            }
            .render(),
            Supervisor::Launchd => launchd::plist(&program, &variables, &log(self.scope, settings)),
        };
        if self.is_dry {
            self.ui
                .data(&format!("# {}\n{text}", self.path.display()))?;
        } else {
            self.write(&text)?;
            self.ui.note(&format!("wrote {}", self.path.display()));
        }
        let exit = self.step(Step::Install)?;
        let is_users = self.scope == Scope::User && self.supervisor == Supervisor::Systemd;
        if exit == Exit::Done && is_users && !self.is_dry {
            self.ui.note(
                "it runs while you are logged in; `loginctl enable-linger` has it run always",
            );
        }
        Ok(exit)
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        let write = || {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(self.path, text)
        };
        write().map_err(|error| self.refused("write", error))
    }

    fn refused(&self, what: &str, error: std::io::Error) -> anyhow::Error {
        let message = format!("cannot {what} `{}`", self.path.display());
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            return Advice::new(message, "the machine's service needs root: use sudo")
                .because(error)
                .into();
        }
        anyhow::Error::new(error).context(message)
    }

    fn uninstall(&self) -> anyhow::Result<Exit> {
        let exit = self.of_installed(Step::Uninstall)?;
        // what cannot be stopped is not to start again either
        if self.is_dry {
            self.ui.data(&format!("rm {}\n", self.path.display()))?;
        } else {
            std::fs::remove_file(self.path).map_err(|error| self.refused("remove", error))?;
            self.ui
                .note(&format!("removed {}; models stay", self.path.display()));
        }
        self.step(Step::Forget)?;
        Ok(exit)
    }

    /// A step that needs the service to be there.
    fn of_installed(&self, step: Step) -> anyhow::Result<Exit> {
        if !self.is_dry && !self.path.is_file() {
            let option = match self.scope {
                Scope::User => "",
                Scope::System => " --system",
            };
            return Err(Advice::new(
                format!("no service is installed ({})", self.path.display()),
                format!("run `slm service install{option}`"),
            )
            .into());
        }
        self.step(step)
    }

    /// Runs the commands of a step, up to the first that fails.
    fn step(&self, step: Step) -> anyhow::Result<Exit> {
        let path = self.path.display().to_string();
        for words in self.supervisor.commands(step, self.scope, &path) {
            if self.is_dry {
                self.ui.data(&format!("{}\n", words.join(" ")))?;
                continue;
            }
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            let status = Command::new(program)
                .args(arguments)
                .status()
                .with_context(|| format!("cannot run `{program}`"))?;
            if !status.success() {
                // systemctl and launchctl have said why
                return Ok(Exit::Failed);
            }
        }
        Ok(Exit::Done)
    }
}

/// Whether a program lies where the machine's service cannot see it.
fn is_hidden(program: &Path) -> bool {
    let homes = ["/home", "/root", "/run/user"];
    homes.iter().any(|home| program.starts_with(home))
}

/// The settings of a daemon that are set now. Those that only the command line reads stay out, and so do, of the machine's
/// service, folders of the user.
fn daemon_variables(
    variables: impl Iterator<Item = (String, String)>,
    scope: Scope,
) -> Vec<(String, String)> {
    const OF_CLIENT: [&str; 2] = ["SLM_NO_AUTOSTART", "SLM_NOHISTORY"];
    let is_wanted = |name: &str| {
        name.starts_with("SLM_")
            && !OF_CLIENT.contains(&name)
            && !name.starts_with("SLM_TEST_")
            && (scope == Scope::User || name != "SLM_MODELS")
    };
    let mut wanted: Vec<_> = variables.filter(|(name, _)| is_wanted(name)).collect();
    wanted.sort();
    wanted
}

/// Where launchd has the daemon write.
fn log(scope: Scope, settings: &Settings) -> String {
    match (scope, &settings.home_dir) {
        (Scope::User, Some(home)) => home.join("Library/Logs/slmd.log").display().to_string(),
        _ => "/var/log/slmd.log".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_daemon_come_along() {
        let set = |scope| {
            let variables = [
                "SLM_MODELS",
                "SLM_HOST",
                "SLM_NOHISTORY",
                "HOME",
                "OLLAMA_HOST",
            ];
            let variables = variables.map(|name| (name.to_owned(), "x".to_owned()));
            let found = daemon_variables(variables.into_iter(), scope);
            let names = found.into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(set(Scope::User), "SLM_HOST SLM_MODELS");
        assert_eq!(set(Scope::System), "SLM_HOST");
    }

    #[test]
    fn programs_in_homes_are_hidden() {
        assert!(is_hidden(Path::new("/root").join("slmd").as_path()));
        assert!(!is_hidden(Path::new("/usr/local/bin/slmd")));
        assert!(!is_hidden(Path::new("/homes/slmd")));
    }
}
