//! `wpm multiset`: several settings in one word, as pm2 has it.

use super::Outcome;
use super::set::set;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};

pub(crate) const VERB: Verb = Verb {
    name: "multiset",
    aliases: &[],
    about: "Change several settings",
    examples: "  wpm multiset 'log_max_size 50M log_retain 7'",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Names and values, separated by spaces
    #[arg(required = true, value_name = "PAIRS")]
    pairs: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { pairs } = arguments(matches)?;
    let words: Vec<&str> = pairs.iter().flat_map(|word| word.split_whitespace()).collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if let [odd] = rest {
        return Err(Failure::new(
            Code::Usage,
            format!("`{odd}` has no value: settings come in pairs, NAME VALUE"),
        ));
    }
    let pairs: Vec<_> = pairs.iter().map(|[name, value]| ((*name).to_owned(), (*value).to_owned())).collect();
    set(context, &pairs)
}
