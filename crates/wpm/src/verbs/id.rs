//! `wpm id`: the ids of an app's instances.

use wpm_proto::ExitCode;
use wpm_proto::request::Detail;
use wpm_proto::view::InstanceView;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "id",
    aliases: &[],
    about: "Print the ids of an app's instances",
    examples: "  wpm id web          [ 0, 1, 2, 3 ]",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name, namespace or /regex/
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, json } = arguments(matches)?;
    let ids: Vec<u32> = select(context, Some(target))?.iter().map(|instance| instance.id).collect();
    if json {
        output::json(&serde_json::json!(ids))?;
    } else if ids.is_empty() {
        output::line("[]")?;
    } else {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        output::line(&format!("[ {} ]", ids.join(", ")))?;
    }
    Ok(ExitCode::Ok)
}

/// The instances of a target in the order of their ids; none where nothing matches, as in pm2.
pub(super) fn select(context: &mut Context, target: Option<String>) -> Result<Vec<InstanceView>, Failure> {
    let mut client = context.daemon()?;
    let apps = match list(&mut client, target.into_iter().collect(), Detail::State) {
        Err(failure) if failure.is(Code::NoSuchApp) || failure.is(Code::NoApps) => Vec::new(),
        apps => apps?,
    };
    let mut instances: Vec<InstanceView> = apps.into_iter().flat_map(|app| app.instances).collect();
    instances.sort_by_key(|instance| instance.id);
    Ok(instances)
}
