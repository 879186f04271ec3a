//! `wpm completion`: the line that makes a shell ask wpm while completing.

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "completion",
    aliases: &["completions"],
    about: "Print what makes a shell complete commands and app names",
    examples: "  wpm completion bash >> ~/.bashrc\n  wpm completion zsh >> ~/.zshrc\n  \
               wpm completion fish > ~/.config/fish/completions/wpm.fish",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

fn run(matches: &clap::ArgMatches, _: &mut Context) -> Outcome {
    let Arguments { shell } = arguments(matches)?;
    // The script itself is asked for at each start of the shell, so it never goes stale.
    output::line(match shell {
        Shell::Bash => "command -v wpm >/dev/null && source <(COMPLETE=bash wpm)",
        Shell::Zsh => "(( $+commands[wpm] )) && source <(COMPLETE=zsh wpm)",
        Shell::Fish => "command -q wpm; and COMPLETE=fish wpm | source",
    })?;
    Ok(ExitCode::Ok)
}
