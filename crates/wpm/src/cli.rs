//! The command tree: one entry for each verb, built only as far as the command line needs it.
//!
//! Parses and dispatches; the verbs do the work. Invariant: an option may stand before or behind the
//! verb, and everything after `--` belongs to the app.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, When};
use crate::verbs::{self, VERBS};

/// One command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    /// Name.
    pub(crate) name: &'static str,
    /// Other names.
    pub(crate) aliases: &'static [&'static str],
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// Command lines to copy.
    pub(crate) examples: &'static str,
    /// Adds its arguments.
    pub(crate) args: fn(Command) -> Command,
    /// Does it.
    pub(crate) run: fn(&ArgMatches, &mut Context) -> verbs::Outcome,
}

#[derive(clap::Args)]
struct Global {
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto", display_order = 900)]
    color: When,
    /// No colours
    #[arg(long, global = true, hide = true)]
    no_color: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, display_order = 901)]
    silent: bool,
}

/// The whole tree.
pub(crate) fn command() -> Command {
    tree(VERBS)
}

/// The tree with these verbs alone.
fn tree(verbs: &[Verb]) -> Command {
    let root = Command::new("wpm")
        .about("A process manager for programs in any language")
        .long_about(
            "A process manager for programs in any language.\n\n\
             Examples:\n  wpm start app -i max      run as many instances of `app` as there are CPUs\n  \
             wpm list                  see what runs\n  wpm logs                  follow what the apps print",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            clap::Arg::new("version")
                .short('v')
                .short_alias('V')
                .long("version")
                .action(clap::ArgAction::Version)
                .help("Print the version"),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100);
    <Global as clap::Args>::augment_args(root).subcommands(verbs.iter().map(subcommand))
}

fn subcommand(verb: &Verb) -> Command {
    Command::new(verb.name)
        .visible_aliases(verb.aliases)
        .about(verb.about)
        .long_about(format!("{}.\n\nExamples:\n{}", verb.about, verb.examples))
        .defer(verb.args)
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    crate::complete::answer();
    if let Some(role) = crate::pm2::role() {
        return crate::pm2::run(role);
    }
    let typed: Vec<OsString> = std::env::args_os().collect();
    let mut context = Context::new(false);
    let code = match execute(&typed, &mut context) {
        Ok(code) => code,
        Err(failure) => {
            if failure.speaks() {
                let typed: Vec<String> =
                    typed.iter().map(|word| word.to_string_lossy().into_owned()).collect();
                output::say(&failure.render(&typed));
            }
            failure.exit
        }
    };
    ExitCode::from(context.exit_of_app.unwrap_or(code as u8))
}

/// Parses a command line, program first, and does what it says.
pub(crate) fn execute(typed: &[OsString], context: &mut Context) -> verbs::Outcome {
    if let Some(word) = typed.get(1).and_then(|word| word.to_str())
        && let Some(code) = crate::pm2::answer_as_wpm(word)
    {
        return Ok(code);
    }
    let matches = match parse(&verb_first(typed)) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are data and no error, the rest goes to stderr.
            if error.print().is_err_and(|cause| cause.kind() != std::io::ErrorKind::BrokenPipe) {
                return Err(Failure::silent(wpm_proto::ExitCode::Failed));
            }
            let ok = !error.use_stderr();
            return Ok(if ok { wpm_proto::ExitCode::Ok } else { wpm_proto::ExitCode::Usage });
        }
    };
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::silent(wpm_proto::ExitCode::Usage));
    };
    output::choose_colour(colour(matches));
    context.silent = matches.get_flag("silent");
    match find(name) {
        Some(verb) => (verb.run)(matches, context),
        None => Err(Failure::silent(wpm_proto::ExitCode::Usage)),
    }
}

/// Reads a command line. A tree of its verb alone is built in a third of the time of the whole one; where that
/// gives no command (a mistake, `--help`), the whole one says what there is to say.
fn parse(words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let verb = words.get(1).and_then(|word| word.to_str()).and_then(find);
    if let Some(verb) = verb
        && let Ok(matches) = tree(std::slice::from_ref(verb)).try_get_matches_from(words)
    {
        return Ok(matches);
    }
    command().try_get_matches_from(words)
}

/// The verb of this name or alias.
pub(crate) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name || verb.aliases.contains(&name))
}

fn colour(matches: &ArgMatches) -> When {
    match matches.get_one("color") {
        Some(when) if !matches.get_flag("no_color") => *when,
        _ => When::Never,
    }
}

/// Reads the arguments of a verb.
pub(crate) fn arguments<T: clap::FromArgMatches>(matches: &ArgMatches) -> Result<T, Failure> {
    T::from_arg_matches(matches).map_err(|error| {
        // Cannot happen where the tree is built from the same type; say it rather than guess.
        Failure::new(crate::failure::Code::Internal, format!("the arguments were not read: {error}"))
    })
}

/// Moves the verb before options that were typed before it: `wpm -i 2 start app`.
fn verb_first(typed: &[OsString]) -> Vec<OsString> {
    let own = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let mut words = typed.to_vec();
    if !words.get(1).is_some_and(own) {
        return words;
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let position = (1..end).find(|at| {
        let verb = words[*at].to_str().and_then(find);
        verb.is_some_and(|verb| !takes_value(verb, &words[at - 1]))
    });
    if let Some(position) = position {
        let verb = words.remove(position);
        words.insert(1, verb);
    }
    words
}

/// Whether an option takes the next word as its value: as this verb has it, else as another has it.
fn takes_value(verb: &Verb, option: &OsString) -> bool {
    let Some(option) = option.to_str() else { return false };
    definition(verb, option)
        .or_else(|| VERBS.iter().filter_map(|verb| definition(verb, option)).reduce(|a, b| a || b))
        .unwrap_or(false)
}

/// Whether this verb's option needs a value; none where it has no such option.
pub(crate) fn definition(verb: &Verb, option: &str) -> Option<bool> {
    let command = <Global as clap::Args>::augment_args((verb.args)(Command::new(verb.name)));
    let named = |arg: &&clap::Arg| match option.strip_prefix("--") {
        Some(name) => {
            arg.get_long() == Some(name) || arg.get_all_aliases().unwrap_or_default().contains(&name)
        }
        // In `-abc VALUE` the last letter is the one with the value.
        None => option.starts_with('-') && option.chars().last().is_some_and(|c| arg.get_short() == Some(c)),
    };
    let arg = command.get_arguments().find(named)?;
    Some(arg.get_action().takes_values() && arg.get_num_args().is_none_or(|number| number.min_values() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(words: &[&str]) -> Vec<String> {
        let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
        verb_first(&typed).into_iter().map(|word| word.into_string().expect("text")).collect()
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_says_what_it_does_with_an_example() {
        for verb in VERBS {
            assert!(!verb.about.is_empty() && !verb.about.ends_with('.'), "{}", verb.name);
            assert!(verb.examples.contains(&format!("wpm {}", verb.name)), "{} has no example", verb.name);
        }
        let mut tree = command();
        tree.build();
        for verb in VERBS {
            let shown = tree.find_subcommand(verb.name).and_then(Command::get_long_about);
            assert!(shown.is_some_and(|shown| shown.to_string().contains(verb.examples)), "{}", verb.name);
        }
    }

    #[test]
    fn help_fits_a_hundred_columns() {
        let mut tree = command();
        tree.build();
        for verb in tree.get_subcommands_mut() {
            for text in [verb.render_help(), verb.render_long_help()] {
                for line in text.to_string().lines() {
                    assert!(line.chars().count() <= 100, "{}: {line}", verb.get_name());
                }
            }
        }
    }

    #[test]
    fn options_may_stand_before_the_verb() {
        assert_eq!(moved(&["wpm", "-i", "2", "start", "app"]), ["wpm", "start", "-i", "2", "app"]);
        assert_eq!(moved(&["wpm", "--name", "stop", "start", "x"]), ["wpm", "start", "--name", "stop", "x"]);
        assert_eq!(moved(&["wpm", "--silent", "ls"]), ["wpm", "ls", "--silent"]);
        assert_eq!(moved(&["wpm", "-v"]), ["wpm", "-v"]);
        assert_eq!(moved(&["wpm", "--x", "--", "start"]), ["wpm", "--x", "--", "start"]);
    }

    #[test]
    fn a_tree_of_one_verb_reads_what_the_whole_one_reads() {
        let whole = |words: &[OsString]| command().try_get_matches_from(words);
        for line in [
            &["list", "--json", "--silent", "web"][..],
            &["ls", "--color", "never"],
            &["start", "app", "-i", "2", "--", "--silent", "help"],
            &["start"],
            &["list", "--help"],
            &["stop"],
            &["lits"],
            &["ping", "more"],
        ] {
            let words: Vec<OsString> = ["wpm"].iter().chain(line).map(OsString::from).collect();
            match (parse(&words), whole(&words)) {
                (Ok(own), Ok(whole)) => assert_eq!(own.subcommand(), whole.subcommand(), "{line:?}"),
                (Err(own), Err(whole)) => assert_eq!(own.to_string(), whole.to_string(), "{line:?}"),
                (own, whole) => panic!("{line:?}: {own:?}, {whole:?}"),
            }
        }
    }

    #[test]
    fn verbs_and_their_aliases_are_different_words() {
        let mut words: Vec<&str> = VERBS
            .iter()
            .flat_map(|verb| std::iter::once(verb.name).chain(verb.aliases.iter().copied()))
            .collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
