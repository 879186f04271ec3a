//! `wpm attach`: what an app prints, and what is typed here to its standard input.
//!
//! Lines go both ways; the app does not get a terminal.

use std::io::BufRead as _;

use wpm_client::{Client, Options, Start};
use wpm_proto::request::{Detail, Op};

use super::Outcome;
use super::logs::follow_apps;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "attach",
    aliases: &[],
    about: "Follow an app and write to its standard input",
    examples: "  wpm attach 0        each line that is typed goes to the app; Ctrl-C leaves it",
    args: <Attach as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Attach {
    /// Name or id of one instance
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// Accepted for pm2's sake
    #[arg(value_name = "SEPARATOR", hide = true)]
    separator: Option<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Attach { target, .. } = arguments(matches)?;
    let mut client = context.daemon()?;
    let apps = list(&mut client, vec![target.clone()], Detail::State)?;
    let instances: Vec<_> = apps.iter().flat_map(|app| &app.instances).collect();
    let [instance] = instances.as_slice() else {
        return Err(Failure::new(Code::Ambiguous, format!("`{target}` is {} instances", instances.len()))
            .help("an id means one of them: `wpm id APP`"));
    };
    if instance.pid == 0 {
        return Err(Failure::new(Code::NotRunning, format!("`{target}` is {}", instance.status)));
    }
    let (id, home) = (instance.id.to_string(), context.home()?);
    let to = id.clone();
    // The following ends with this process, and takes the thread along.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            let options = Options { start: Start::Never, ..Options::default() };
            let sent = Client::open(home.clone(), options)
                .and_then(|mut client| client.call(Op::Send { target: to.clone(), line }, |_| ()));
            if let Err(error) = sent {
                output::say(&Failure::from(error).render(&[]));
            }
        }
    });
    follow_apps(context, vec![id])
}
