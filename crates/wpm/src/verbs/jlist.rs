//! `wpm jlist`: the list as JSON in pm2's shape, in one line.

use wpm_client::metrics::Survey;
use wpm_proto::ExitCode;
use wpm_proto::request::Detail;

use super::Outcome;
use crate::cli::Verb;
use crate::context::{Context, list};
use crate::failure::Failure;
use crate::output;
use crate::render::pm2;

pub(crate) const VERB: Verb = Verb {
    name: "jlist",
    aliases: &[],
    about: "Print the list as JSON in the shape of pm2",
    examples: "  wpm jlist           for programs that read `pm2 jlist`, environment included",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    output::long_line(&text(context)?)?;
    Ok(ExitCode::Ok)
}

/// The array, in one line.
pub(super) fn text(context: &mut Context) -> Result<String, Failure> {
    let mut client = context.daemon()?;
    let early = Survey::begin(client.home(), false);
    let apps = list(&mut client, Vec::new(), Detail::Spec)?;
    let usage = early.of(apps.iter().flat_map(|app| &app.instances)).usage(client.home());
    Ok(pm2::list(&apps, &usage))
}
