//! The unit of systemd: a daemon that can do little else than serve models.
//!
//! Memory is never written and executed, since nothing is compiled at run time; the network stays, for pulls. A user's
//! service cannot drop what needs the machine's rights, so its unit has less of it than the machine's.

use super::Scope;

/// What a unit has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit<'a> {
    /// Whose it is.
    pub scope: Scope,
    /// The daemon's program, an absolute path.
    pub program: &'a str,
    /// Variables for the daemon.
    pub variables: &'a [(String, String)],
}

/// Of every unit.
const HARDENING: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
";

/// Of the machine's.
const SYSTEM_HARDENING: &str = "\
DynamicUser=yes
StateDirectory=slm
CacheDirectory=slm
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
CapabilityBoundingSet=
";

impl Unit<'_> {
    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let mut text = format!(
            "\
# written by `slm service install`, removed by `slm service uninstall`
[Unit]
Description=slm, a daemon that serves small language models
Documentation=man:slm(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart={} serve
Restart=on-failure
RestartSec=2
TimeoutStopSec=45
OOMPolicy=stop
LimitNOFILE=65536
",
            quoted(self.program)
        );
        if self.scope == Scope::System {
            text.push_str("Environment=\"HOME=/var/lib/slm\" \"SLM_MODELS=/var/lib/slm/models\" \"XDG_CACHE_HOME=/var/cache/slm\"\n");
        }
        for (name, value) in self.variables {
            text.push_str(&format!(
                "Environment={}\n",
                quoted(&format!("{name}={value}"))
            ));
        }
        text.push('\n');
        text.push_str(HARDENING);
        if self.scope == Scope::System {
            text.push_str(SYSTEM_HARDENING);
        }
        let target = match self.scope {
            Scope::User => "default.target",
            Scope::System => "multi-user.target",
        };
        text.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
        if self.scope == Scope::User {
            // the user's systemd has no such target
            text = text.replace(
                "After=network-online.target\nWants=network-online.target\n",
                "",
            );
        }
        text
    }
}

/// A word as systemd reads it: in quotes, with its specifiers and escapes taken as they are.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            '$' => text.push_str("$$"),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(scope: Scope, variables: &[(String, String)]) -> String {
        let program = "/usr/bin/env";
        Unit {
            scope,
            program,
            variables,
        }
        .render()
    }

    #[test]
    fn the_users_and_the_machines() {
        let user = text(Scope::User, &[]);
        assert!(
            user.contains("ExecStart=\"/usr/bin/env\" serve\n"),
            "{user}"
        );
        assert!(user.contains("WantedBy=default.target"), "{user}");
        assert!(!user.contains("DynamicUser") && !user.contains("network-online"));
        let system = text(Scope::System, &[]);
        assert!(system.contains("WantedBy=multi-user.target"), "{system}");
        for line in [
            "DynamicUser=yes",
            "ProtectSystem=strict",
            "StateDirectory=slm",
        ] {
            assert!(system.lines().any(|l| l == line), "{line} in {system}");
        }
        for text in [user, system] {
            assert!(text.contains("NoNewPrivileges=yes"), "{text}");
        }
    }

    #[test]
    fn words_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("a\"b\\c%d$e\nf\u{1b}"), "\"a\\\"b\\\\c%%d$$e\\nf\"");
        let variables = [("SLM_HOST".to_owned(), "x\"\nExecStart=/bin/sh".to_owned())];
        let unit = text(Scope::User, &variables);
        assert_eq!(
            unit.lines()
                .filter(|line| line.starts_with("ExecStart="))
                .count(),
            1
        );
    }

    /// systemd's own judgement, where it is there.
    #[test]
    fn systemd_understands_every_line() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (scope, mode) in [(Scope::User, "--user"), (Scope::System, "--system")] {
            let path = folder.path().join("slmd.service");
            std::fs::write(&path, text(scope, &[("A".into(), "b c".into())])).expect("write");
            let verified = std::process::Command::new("systemd-analyze")
                .args(["verify", "--man=no", "--recursive-errors=no", mode])
                .arg(&path)
                .env("XDG_RUNTIME_DIR", folder.path())
                .output();
            let Ok(verified) = verified else {
                return;
            };
            let complaints = String::from_utf8_lossy(&verified.stderr);
            let ours = complaints
                .lines()
                .filter(|line| line.contains("slmd.service"));
            assert_eq!(ours.collect::<Vec<_>>(), [""; 0], "{scope:?}");
        }
    }
}
