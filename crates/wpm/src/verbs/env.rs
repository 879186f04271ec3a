//! `wpm env`: the environment of an app; without one, where wpm keeps its things.

mod difference;

use serde_json::json;
use wpm_proto::ExitCode;
use wpm_proto::request::Detail;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::output;
use crate::render::escape;

pub(crate) const VERB: Verb = Verb {
    name: "env",
    aliases: &[],
    about: "Print the environment of an app, or the paths of wpm",
    examples: "  wpm env 0           what the app was given, secrets included\n  \
               wpm env web --diff  what a start would change in that\n  \
               wpm env             where wpm keeps its things",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or id; none = the paths of wpm
    #[arg(value_name = "APP", add = complete::apps())]
    target: Option<String>,
    /// Show how what it has differs from what a start would give it now
    #[arg(long, requires = "target")]
    diff: bool,
    /// With --diff, show the values
    #[arg(long, requires = "diff")]
    values: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, diff, values, json } = arguments(matches)?;
    let Some(target) = target else { return paths(context, json) };
    let mut client = context.daemon()?;
    for app in list(&mut client, vec![target], Detail::Spec)? {
        let Some(spec) = app.spec else { continue };
        if diff {
            difference::show(context, &spec, values, json)?;
        } else if json {
            output::json(&json!(spec.env))?;
        } else {
            let lines = spec.env.iter().map(|(name, value)| format!("{name}: {value}"));
            let lines: Vec<String> = lines.map(harmless).collect();
            output::data(&(lines.join("\n") + "\n"))?;
        }
    }
    Ok(ExitCode::Ok)
}

fn harmless(line: String) -> String {
    if output::stdout_is_terminal() { escape::clean(&line) } else { line }
}

fn paths(context: &mut Context, as_json: bool) -> Outcome {
    let home = context.home()?;
    let paths = [
        (wpm_proto::env::HOME, home.path().to_owned()),
        ("socket", home.socket()),
        ("state", home.state()),
        ("dump", home.dump()),
        ("settings", home.settings()),
        ("daemon log", home.daemon_log()),
        ("logs", home.logs()),
        ("pids", home.pids()),
    ];
    if as_json {
        let paths: serde_json::Map<_, _> = paths
            .iter()
            .map(|(name, path)| (name.replace(' ', "_"), json!(path.display().to_string())))
            .collect();
        output::json(&json!(paths))?;
    } else {
        let lines: String =
            paths.iter().map(|(name, path)| format!("{name}: {}\n", path.display())).collect();
        output::data(&lines)?;
    }
    Ok(ExitCode::Ok)
}
