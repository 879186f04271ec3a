//! `wpm scale`: changes the number of instances of an app.

use wpm_proto::request::{Op, Scale};

use super::Outcome;
use super::targets::Waiting;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::outcome::{Words, carry_out};
use crate::{complete, cpus};

pub(crate) const VERB: Verb = Verb {
    name: "scale",
    aliases: &[],
    about: "Change the number of instances of an app",
    examples: "  wpm scale web 4     four instances\n  wpm scale web +2    two more\n  \
               wpm scale web -1    one fewer\n  wpm scale web max   one for each CPU",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// The app
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// A number, +N, -N or max
    #[arg(value_name = "N", allow_hyphen_values = true)]
    to: String,
    #[command(flatten)]
    waiting: Waiting,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, to, waiting } = arguments(matches)?;
    let to = parse(&to, cpus::usable()).map_err(|why| Failure::new(Code::Usage, why))?;
    let mut client = context.daemon()?;
    let words = Words { doing: "scaling", noun: "scaling asked for", hints: false };
    let op = Op::Scale { target, to, wait: !waiting.no_wait };
    carry_out(context, &mut client, op, words, None, waiting.quiet)
}

fn parse(text: &str, cpus: u32) -> Result<Scale, String> {
    let number = |digits: &str| {
        digits.parse().map_err(|_| format!("`{text}` is not a number of instances: 4, +1, -1 or max"))
    };
    match text.split_at_checked(1) {
        Some(("+", digits)) => number(digits).map(Scale::More),
        Some(("-", digits)) => number(digits).map(Scale::Fewer),
        _ if text.eq_ignore_ascii_case("max") => Ok(Scale::Exactly(cpus)),
        _ => number(text).map(Scale::Exactly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_steps() {
        assert_eq!(parse("4", 8), Ok(Scale::Exactly(4)));
        assert_eq!(parse("+2", 8), Ok(Scale::More(2)));
        assert_eq!(parse("-1", 8), Ok(Scale::Fewer(1)));
        assert_eq!(parse("MAX", 8), Ok(Scale::Exactly(8)));
        assert!(parse("", 8).is_err() && parse("+", 8).is_err() && parse("many", 8).is_err());
    }
}
