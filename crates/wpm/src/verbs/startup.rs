//! `wpm startup`: has the machine's service manager start wpm, and with it the apps.
//!
//! Finds out for whom and by which manager; `boot` knows the files. Nothing that runs is touched.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use wpm_proto::ExitCode;

use super::Outcome;
use crate::boot::place::{Manager, Placed};
use crate::boot::{Service, systemd};
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "startup",
    aliases: &[],
    about: "Start wpm and its apps with the machine",
    examples: "  wpm startup                       by the service manager of this machine\n  \
               wpm startup systemd --print       see the unit\n  \
               sudo wpm startup -u web           at boot, for the apps of the user web",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Wait at boot until the machine has an address
    #[arg(long)]
    wait_ip: bool,
    /// Print the file and change nothing
    #[arg(long)]
    print: bool,
    /// Let the user's services start at boot and live on after logout (`loginctl enable-linger`)
    #[arg(long)]
    linger: bool,
}

// Not a docstring, which clap would print in place of what the command does: which service is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Whose {
    /// Service manager [default: the one that runs here]
    #[arg(value_enum, value_name = "MANAGER")]
    manager: Option<Manager>,
    /// Whose apps [default: yours]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Home directory of that user
    #[arg(long, value_name = "FOLDER")]
    hp: Option<PathBuf>,
    /// Name of the service [default: wpm-USER, or wpm among the user's own]
    #[arg(long, value_name = "NAME")]
    service_name: Option<String>,
    /// Work on the files below this folder, as for an image, and tell no manager
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manager: Manager,
    pub(super) service: Service,
    pub(super) placed: Placed,
    /// Whether only root may write it, and this is not root.
    pub(super) needs_root: bool,
    /// Whether the manager is to be told.
    pub(super) live: bool,
}

impl Whose {
    /// Finds the service. `print`: nothing will be written.
    pub(super) fn find(self, wait_ip: bool, print: bool) -> Result<Found, Failure> {
        let manager = self.manager.or_else(Manager::here).ok_or_else(|| {
            Failure::new(Code::Usage, "no service manager that wpm knows runs here")
                .help("`wpm startup systemd --print` shows a file to start from; in a container the init of its image starts wpm")
        })?;
        let root = rustix::process::geteuid().is_root();
        let me = name_of(&rustix::process::geteuid().as_raw().to_string());
        let Some(owner) = self.user.clone().or_else(|| me.clone()) else {
            return Err(Failure::new(Code::Usage, "your user has no name").help("say -u USER"));
        };
        let mine = me.as_ref() == Some(&owner);
        // A user has a manager of its own where it has a session; else root has to write the file.
        let own = mine && !root && manager != Manager::Openrc && (print || has_session(manager));
        let user_home = match self.hp {
            Some(hp) => hp,
            None => home_of(&owner, mine)?,
        };
        let home = match std::env::var_os(wpm_proto::env::HOME).filter(|home| !home.is_empty()) {
            Some(home) => home.into(),
            None => user_home.join(".wpm"),
        };
        let program = std::env::current_exe()
            .map_err(|e| Failure::new(Code::Failed, format!("cannot tell where this program is: {e}")))?;
        let default = if own { "wpm".to_owned() } else { format!("wpm-{owner}") };
        let service = Service {
            name: self.service_name.unwrap_or(default),
            user: (!own).then(|| owner.clone()),
            owner,
            user_home,
            home,
            program,
            wait_ip,
            subgroup: manager == Manager::Systemd && knows_subgroups(),
        }
        .check()?;
        let live = self.root.is_none();
        let placed = Placed::new(manager, &service, self.root.as_deref().unwrap_or(Path::new("/")));
        Ok(Found { manager, service, placed, needs_root: !own && !root && live, live })
    }
}

impl Found {
    /// The command that root has to give instead, on stdout to be copied.
    pub(super) fn ask_root(&self, verb: &str) -> Outcome {
        let service = &self.service;
        let manager = format!("{:?}", self.manager).to_lowercase();
        let (home, user_home) = (service.home.display().to_string(), service.user_home.display().to_string());
        let program = service.program.display().to_string();
        let variable = format!("WPM_HOME={home}");
        let mut words = vec!["sudo", "env", &variable, &program, verb, &manager];
        words.extend(["-u", &service.owner, "--hp", &user_home]);
        let default = format!("wpm-{}", service.owner);
        if service.name != default {
            words.extend(["--service-name", &service.name]);
        }
        if service.wait_ip {
            words.push("--wait-ip");
        }
        output::say("only root may do this; run:");
        let line = shlex::try_join(words).map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
        output::line(&line)?;
        Ok(ExitCode::Failed)
    }

    /// Has systemd read its files again, if it runs.
    pub(super) fn reload(&self, context: &Context) {
        if self.live && self.manager == Manager::Systemd && Path::new("/run/systemd/system").exists() {
            let mut command = Command::new("systemctl");
            command.args(self.scope()).arg("daemon-reload");
            if !command.status().is_ok_and(|status| status.success()) {
                context.warn("systemd did not read its units again; `systemctl daemon-reload` does it");
            }
        }
    }

    fn scope(&self) -> &'static [&'static str] {
        if self.service.user.is_none() { &["--user"] } else { &[] }
    }
}

/// Whether the systemd of this machine is new enough; without an answer it is not.
fn knows_subgroups() -> bool {
    let output = Command::new("systemctl").arg("--version").output();
    output.is_ok_and(|output| systemd::knows_subgroups(&String::from_utf8_lossy(&output.stdout)))
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { whose, wait_ip, print, linger } = arguments(matches)?;
    let found = whose.find(wait_ip, print)?;
    if print {
        output::data(&found.placed.text)?;
        return Ok(ExitCode::Ok);
    }
    if found.needs_root {
        return found.ask_root("startup");
    }
    found.placed.write()?;
    found.reload(context);
    let Service { name, owner, .. } = &found.service;
    context.note(&format!("wrote {}", found.placed.path.display()));
    if !found.live {
        return Ok(ExitCode::Ok);
    }
    context.note(&format!(
        "from the next boot on wpm starts as {owner} and takes up its list; nothing that runs was touched"
    ));
    match found.manager {
        Manager::Systemd if found.service.user.is_none() => {
            context.note(&format!("at once: systemctl --user start {name}"));
            lingering(context, owner, linger)?;
        }
        Manager::Systemd => context.note(&format!("at once: systemctl start {name}")),
        Manager::Openrc => context.note(&format!("at once: rc-service {name} start")),
        Manager::Launchd => {
            context.note(&format!("at once: launchctl load -w {}", found.placed.path.display()));
        }
    }
    Ok(ExitCode::Ok)
}

/// A user's own manager starts with the first login and ends with the last logout, unless it lingers.
fn lingering(context: &Context, user: &str, wanted: bool) -> Result<(), Failure> {
    if Path::new("/var/lib/systemd/linger").join(user).exists() {
        return Ok(());
    }
    let wanted = wanted
        || (std::io::stdin().is_terminal()
            && output::stderr_is_terminal()
            && confirm(&format!(
                "{user} does not linger: wpm would start at login and end at logout. Enable lingering?"
            )));
    if !wanted {
        context.warn(&format!("{user} does not linger: wpm starts at the first login and ends, apps included, at the last logout; `loginctl enable-linger` changes that"));
        return Ok(());
    }
    match Command::new("loginctl").arg("enable-linger").status() {
        Ok(status) if status.success() => {
            context.note(&format!("{user} lingers now: wpm starts at boot"));
            Ok(())
        }
        _ => Err(Failure::new(Code::Failed, "`loginctl enable-linger` failed")
            .help(format!("the unit is written; as root: loginctl enable-linger {user}"))),
    }
}

fn confirm(question: &str) -> bool {
    output::say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Whether this user has a manager of its own that can be talked to.
fn has_session(manager: Manager) -> bool {
    match manager {
        Manager::Systemd => std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|folder| Path::new(&folder).join("systemd").exists()),
        Manager::Openrc => false,
        Manager::Launchd => true,
    }
}

/// A field of the user's entry, by name or number, as the system's own lookup has it.
fn entry(user: &str, field: usize) -> Option<String> {
    let output = Command::new("getent").args(["passwd", user]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next()?.split(':').nth(field).map(str::to_owned)
}

fn name_of(uid: &str) -> Option<String> {
    entry(uid, 0).or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
}

fn home_of(user: &str, mine: bool) -> Result<PathBuf, Failure> {
    let own = || mine.then(|| std::env::var_os("HOME").map(PathBuf::from)).flatten();
    own().or_else(|| entry(user, 5).map(PathBuf::from)).ok_or_else(|| {
        Failure::new(Code::Usage, format!("there is no user `{}`", user.escape_default()))
            .help("-u names an existing one; --hp says where its home directory is")
    })
}
