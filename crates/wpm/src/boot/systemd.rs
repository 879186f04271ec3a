//! Units of systemd, for the system's manager and for a user's own.
//!
//! Only makes the text. Invariant: nothing that systemd does to the unit short of stopping it touches
//! an app; why each line stands there is told in `docs/startup.md`.

use std::fmt::Write as _;

use super::Service;

/// Group of wpm's own processes below the unit's, so that the unit's has none itself and controllers can
/// be turned on for the groups of apps.
const SUBGROUP: &str = "wpm";
/// First version of systemd that puts a service's processes into such a group.
const WITH_SUBGROUPS: u32 = 254;

/// Whether the systemd of this machine knows subgroups, by what `systemctl --version` says.
pub(crate) fn knows_subgroups(said: &str) -> bool {
    let number = said.split_ascii_whitespace().nth(1);
    let digits = number.map(|n| n.trim_end_matches(|c: char| !c.is_ascii_digit()));
    digits
        .and_then(|n| n.split(['.', '~', '-']).next()?.parse::<u32>().ok())
        .is_some_and(|n| n >= WITH_SUBGROUPS)
}

/// The unit.
pub(crate) fn unit(service: &Service) -> String {
    let quoted = |path: &std::path::Path| quote(&Service::text(path));
    let (program, home) = (quoted(&service.program), quoted(&service.home));
    let variable = |name: &str, path: &std::path::Path| assignment(name, &Service::text(path));
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    line("# Written by `wpm startup`; `wpm unstartup` removes it.");
    line("[Unit]");
    line(&format!("Description=wpm, apps of {}", service.owner));
    line("Documentation=https://github.com/wpm-rs/wpm/blob/main/docs/startup.md");
    if service.user.is_some() {
        let network = if service.wait_ip { "network-online.target" } else { "network.target" };
        line(&format!("After={network} dbus.socket"));
        if service.wait_ip {
            line("Wants=network-online.target");
        }
        line(&format!("RequiresMountsFor={home}"));
    }
    line("StartLimitIntervalSec=0");
    line("");
    line("[Service]");
    line("Type=notify");
    line("NotifyAccess=all");
    if let Some(user) = &service.user {
        line(&format!("User={user}"));
        line(&variable("HOME", &service.user_home));
    }
    line(&variable("WPM_HOME", &service.home));
    line(&format!("ExecStart={program} __keeper {home} --unit"));
    line(&format!("ExecStartPost=-{program} __unit started"));
    let manager = if service.user.is_some() { "system" } else { "user" };
    line(&format!("ExecStop={program} __unit stop %n {manager}"));
    line("Restart=always");
    line("RestartSec=250ms");
    line("RestartPreventExitStatus=0");
    line("KillMode=process");
    line("KillSignal=SIGKILL");
    line("TimeoutStopSec=120");
    line("OOMPolicy=continue");
    line("Delegate=yes");
    if service.subgroup {
        line(&format!("DelegateSubgroup={SUBGROUP}"));
    }
    line("TasksMax=infinity");
    line("LimitNOFILE=1048576");
    line("");
    line("[Install]");
    line(if service.user.is_some() { "WantedBy=multi-user.target" } else { "WantedBy=default.target" });
    text
}

/// One word of a command line: specifiers, variables and quotes mean themselves.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", escape(word).replace('$', "$$"))
}

/// An environment variable; there `$` is an ordinary character.
fn assignment(name: &str, value: &str) -> String {
    format!("Environment=\"{name}={}\"", escape(value))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_system_unit_runs_as_the_user_and_a_users_own_does_not_say_so() {
        let system = unit(&sample());
        for line in [
            "User=web",
            "ExecStart=/usr/local/bin/wpm __keeper /home/web/.wpm --unit",
            "ExecStop=/usr/local/bin/wpm __unit stop %n system",
            "WantedBy=multi-user.target",
            "Environment=\"WPM_HOME=/home/web/.wpm\"",
        ] {
            assert!(system.lines().any(|l| l == line), "{line} is not in\n{system}");
        }
        let own = unit(&Service { user: None, ..sample() });
        assert!(!own.contains("User=") && own.contains("__unit stop %n user"));
        assert!(own.ends_with("WantedBy=default.target\n"));
    }

    #[test]
    fn a_group_of_its_own_is_asked_for_where_systemd_knows_it() {
        assert!(!unit(&sample()).contains("DelegateSubgroup"));
        assert!(
            unit(&Service { subgroup: true, ..sample() }).contains("\nDelegate=yes\nDelegateSubgroup=wpm\n")
        );
        for (said, known) in [
            ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", false),
            ("systemd 254 (254.5)", true),
            ("systemd 257.4-1.fc42 (257)", true),
            ("systemd 256~rc1 (x)", true),
            ("", false),
            ("not systemd", false),
        ] {
            assert_eq!(knows_subgroups(said), known, "{said}");
        }
    }

    #[test]
    fn an_address_is_waited_for_where_it_is_asked_for() {
        assert!(!unit(&sample()).contains("network-online"));
        let waiting = unit(&Service { wait_ip: true, ..sample() });
        assert!(waiting.contains("After=network-online.target") && waiting.contains("Wants=network-online"));
    }

    #[test]
    fn paths_mean_themselves() {
        let service = Service { program: "/opt/a b/50%/$x\"y\\z/wpm".into(), ..sample() };
        let text = unit(&service);
        assert!(text.contains(r#"ExecStart="/opt/a b/50%%/$$x\"y\\z/wpm" __keeper"#), "{text}");
        assert_eq!(assignment("A", "50% $x \"q\""), r#"Environment="A=50%% $x \"q\"""#);
    }
}
