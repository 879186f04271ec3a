//! `wpm jlist`: the list as JSON in pm2's shape, in one line.

use wpm_client::metrics::Survey;
use wpm_proto::ExitCode;
use wpm_proto::request::Detail;
use wpm_proto::view::AppView;

use super::Outcome;
use crate::cli::Verb;
use crate::context::{Context, list};
use crate::failure::Failure;
use crate::output;
use crate::render::pm2;
use crate::render::rows::Usages;

pub(crate) const VERB: Verb = Verb {
    name: "jlist",
    aliases: &[],
    about: "Print the list as JSON in the shape of pm2",
    examples: "  wpm jlist           for programs that read `pm2 jlist`, environment included",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let (apps, usage) = look(context)?;
    output::long_line(|out| pm2::write(&apps, &usage, out))?;
    Ok(ExitCode::Ok)
}

/// The array, in one line.
pub(super) fn text(context: &mut Context) -> Result<String, Failure> {
    let (apps, usage) = look(context)?;
    Ok(pm2::list(&apps, &usage))
}

fn look(context: &mut Context) -> Result<(Vec<AppView>, Usages), Failure> {
    let early = Survey::begin(&context.home()?, false);
    let mut client = context.daemon()?;
    let apps = list(&mut client, Vec::new(), Detail::Spec)?;
    let usage = early.of(apps.iter().flat_map(|app| &app.instances)).usage(client.home());
    Ok((apps, usage))
}
