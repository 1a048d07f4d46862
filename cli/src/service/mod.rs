//! The daemon as a service of the system's supervisor: systemd, or launchd on macOS.
//!
//! [`unit`] and [`launchd`] write what the supervisor reads; here is where that lies and which commands set it to work.

pub(crate) mod launchd;
pub(crate) mod unit;

use std::path::PathBuf;

use crate::settings::Settings;

/// The name of the unit.
pub(crate) const UNIT: &str = "slmd.service";
/// The name of the job of launchd.
pub(crate) const LABEL: &str = "slm.slmd";

/// Whose service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of the user who is logged in, with the user's models.
    User,
    /// Of the machine, with a user and models of its own.
    System,
}

/// Which supervisor the platform has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supervisor {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}

impl Supervisor {
    /// That of this platform; `None` where services are not supported.
    pub(crate) fn of_platform() -> Option<Self> {
        match std::env::consts::OS {
            "linux" => Some(Self::Systemd),
            "macos" => Some(Self::Launchd),
            _ => None,
        }
    }

    /// Where the definition of the service lies; `None` without a home directory.
    pub(crate) fn path(self, scope: Scope, settings: &Settings) -> Option<PathBuf> {
        let home = settings.home_dir.as_ref();
        match (self, scope) {
            (Self::Systemd, Scope::System) => Some(PathBuf::from("/etc/systemd/system").join(UNIT)),
            (Self::Systemd, Scope::User) => {
                let config = settings.config_home.as_ref()?;
                Some(config.join("systemd/user").join(UNIT))
            }
            (Self::Launchd, Scope::System) => Some(PathBuf::from(format!(
                "/Library/LaunchDaemons/{LABEL}.plist"
            ))),
            (Self::Launchd, Scope::User) => {
                Some(home?.join(format!("Library/LaunchAgents/{LABEL}.plist")))
            }
        }
    }

    /// The commands that set a step to work, each a program and its arguments.
    pub(crate) fn commands(self, step: Step, scope: Scope, path: &str) -> Vec<Vec<String>> {
        let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::Systemd => {
                let systemctl = |rest: &[&str]| {
                    let mut line = vec!["systemctl"];
                    if scope == Scope::User {
                        line.push("--user");
                    }
                    line.extend(rest);
                    words(&line)
                };
                match step {
                    Step::Install => vec![
                        systemctl(&["daemon-reload"]),
                        systemctl(&["enable", "--now", UNIT]),
                    ],
                    Step::Start => vec![systemctl(&["start", UNIT])],
                    Step::Stop => vec![systemctl(&["stop", UNIT])],
                    Step::Status => vec![systemctl(&["status", "--no-pager", UNIT])],
                    Step::Uninstall => vec![systemctl(&["disable", "--now", UNIT])],
                    Step::Forget => vec![systemctl(&["daemon-reload"])],
                }
            }
            Self::Launchd => match step {
                Step::Install => vec![words(&["launchctl", "load", "-w", path])],
                Step::Start => vec![words(&["launchctl", "start", LABEL])],
                Step::Stop => vec![words(&["launchctl", "stop", LABEL])],
                Step::Status => vec![words(&["launchctl", "list", LABEL])],
                Step::Uninstall => vec![words(&["launchctl", "unload", "-w", path])],
                Step::Forget => Vec::new(),
            },
        }
    }
}

/// What can be done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// After its definition was written.
    Install,
    /// Run it now.
    Start,
    /// End it, until the next start of the machine or the next login.
    Stop,
    /// Say how it is.
    Status,
    /// Before its definition is removed.
    Uninstall,
    /// After that.
    Forget,
}

/// The service that is installed here; the user's own goes first.
pub(crate) fn installed(settings: &Settings) -> Option<Scope> {
    let supervisor = Supervisor::of_platform()?;
    [Scope::User, Scope::System].into_iter().find(|scope| {
        let path = supervisor.path(*scope, settings);
        path.is_some_and(|path| path.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_asked_as_user_or_as_the_machine() {
        let line = |step, scope| {
            let commands = Supervisor::Systemd.commands(step, scope, "/p");
            let lines = commands.iter().map(|words| words.join(" "));
            lines.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            line(Step::Install, Scope::User),
            "systemctl --user daemon-reload; systemctl --user enable --now slmd.service"
        );
        assert_eq!(
            line(Step::Stop, Scope::System),
            "systemctl stop slmd.service"
        );
    }

    #[test]
    fn launchd_gets_the_path() {
        let commands = Supervisor::Launchd.commands(Step::Install, Scope::User, "/p");
        assert_eq!(commands, [["launchctl", "load", "-w", "/p"]]);
    }

    #[test]
    fn definitions_have_their_places() {
        let settings = Settings {
            config_home: Some("/h/.config".into()),
            home_dir: Some("/h".into()),
            ..Settings::from_env(|_| None)
        };
        let path = |supervisor: Supervisor, scope| {
            let path = supervisor.path(scope, &settings).expect("a path");
            path.display().to_string()
        };
        assert_eq!(
            path(Supervisor::Systemd, Scope::User),
            "/h/.config/systemd/user/slmd.service"
        );
        assert_eq!(
            path(Supervisor::Launchd, Scope::User),
            "/h/Library/LaunchAgents/slm.slmd.plist"
        );
        let homeless = Settings {
            config_home: None,
            home_dir: None,
            ..settings.clone()
        };
        assert_eq!(Supervisor::Systemd.path(Scope::User, &homeless), None);
    }
}
