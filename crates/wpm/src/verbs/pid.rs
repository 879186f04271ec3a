//! `wpm pid`: process ids, one to a line; 0 where nothing runs.

use wpm_proto::ExitCode;

use super::Outcome;
use super::id::select;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "pid",
    aliases: &[],
    about: "Print the process ids of apps",
    examples: "  wpm pid web         of one app, one line for each instance\n  wpm pid             of every app",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    target: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, json } = arguments(matches)?;
    let pids: Vec<i32> = select(context, target)?.iter().map(|instance| instance.pid).collect();
    if json {
        output::json(&serde_json::json!(pids))?;
    } else {
        output::data(&pids.iter().map(|pid| format!("{pid}\n")).collect::<String>())?;
    }
    Ok(ExitCode::Ok)
}
