//! `wpm ecosystem`: writes an ecosystem.config.js, as pm2 does, for those who keep one. Never overwrites
//! one.

use std::path::Path;

use super::Outcome;
use super::init::{program, write_new};
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "ecosystem",
    aliases: &[],
    about: "Write an ecosystem.config.js, which pm2 reads, too",
    examples: "  wpm ecosystem                    `wpm init` writes a wpm.toml instead",
    args: <Ecosystem as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Ecosystem {
    /// pm2's word for a short file
    #[arg(value_name = "KIND", hide = true)]
    kind: Option<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Ecosystem { kind: _ } = arguments(matches)?;
    write(context)
}

/// Writes the file for the caller's folder.
pub(super) fn write(context: &Context) -> Outcome {
    let (name, script) = program(&Caller::of_this_process()?);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = format!(
        "module.exports = {{\n  apps: [{{\n    name: {},\n    script: {},\n    // instances: 'max',\n    \
         // env: {{ NODE_ENV: 'development' }},\n    // env_production: {{ NODE_ENV: 'production' }},\n  }}],\n}};\n",
        quoted(&name),
        quoted(&script)
    );
    write_new(context, Path::new("ecosystem.config.js"), &text, "wpm start")
}
