//! `wpm monit`: the list and the last lines that the apps print, drawn anew as they change.
//!
//! Reads what `list --watch` and `logs` read, and asks for nothing else. Where stdout is no terminal it is
//! `list --watch`.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::epoll;
use wpm_client::Client;
use wpm_client::subscribe::Subscription;

use super::logs::Gathering;
use super::{Outcome, list};
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "monit",
    aliases: &["imonit", "dashboard", "dash"],
    about: "Watch the apps and what they print",
    examples: "  wpm monit           the list above, the last lines below; Ctrl-C ends it\n  \
               wpm monit web       of one app",
    args: <Monit as clap::Args>::augment_args,
    run,
};

/// Time between two looks at CPU and memory.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
struct Monit {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Monit { targets } = arguments(matches)?;
    if !output::stdout_is_terminal() {
        return list::watch_these(targets, context);
    }
    interrupt::end_on_interrupt(None);
    let mut client = context.daemon()?;
    let mut events = Subscription::open(context.daemon()?, None)?;
    let mut lines = Gathering::of(context.home()?, &targets)?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
    epoll::add(&set, events.fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)
        .map_err(std::io::Error::from)?;
    write!(std::io::stdout().lock(), "\x1b[2J")?;
    loop {
        draw(&mut client, &targets, &mut lines)?;
        let wake = lines.wait(set.as_fd(), TICK)?;
        if wake.other {
            events.fill()?;
            while events.next_ready()?.is_some() {}
            lines.look();
        }
    }
}

/// Overwrites the screen line by line: clearing first would flicker.
fn draw(client: &mut Client, targets: &[String], lines: &mut Gathering) -> Result<(), Failure> {
    let view = list::view(client, targets)?;
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let rows = size.map_or(24, |size| usize::from(size.ws_row));
    let columns = size.map_or(80, |size| usize::from(size.ws_col));
    let above: Vec<&str> = view.lines().take(rows.saturating_sub(1)).collect();
    // One row for the rule, one that the cursor rests in.
    let room = rows.saturating_sub(above.len() + 2);
    let rule = if output::is_utf8() { "─" } else { "-" }.repeat(columns);
    let mut text = String::from("\x1b[H");
    let below = lines.last(room, columns);
    for line in above.into_iter().chain([rule.as_str()]).chain(below.iter().map(String::as_str)) {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
