//! A command line of pm2 as wpm's own.
//!
//! Pure. pm2 takes every option with every command and in any place; an option that the verb has no use
//! for is left out here. Invariant: what stands behind `--` is passed on untouched.

use super::commands::{Means, Takes, meaning, takes};

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This command line of wpm, the verb first.
    Words(Vec<String>),
    /// Nothing to do: why.
    Nothing(&'static str),
    /// Cannot be done: why.
    Refused(&'static str),
    /// There is no such command.
    UnknownCommand,
    /// There is no such option.
    UnknownOption(String),
    /// Only the version is wanted.
    Version,
    /// Only help is wanted.
    Help,
}

/// What wpm's own tree has: the verb behind a name or alias, and whether a verb knows an option.
pub(super) trait Tree {
    /// The verb of this name.
    fn verb(&self, name: &str) -> Option<&'static str>;
    /// Whether the verb's option needs a word; none where it has no such option.
    fn option(&self, verb: &str, option: &str) -> Option<bool>;
}

/// Translates what stands behind the program's name.
pub(super) fn translate(typed: &[String], tree: &impl Tree) -> Meaning {
    let end = typed.iter().position(|word| word == "--").unwrap_or(typed.len());
    let (own, rest) = typed.split_at(end);
    let Some(at) = command_position(own) else {
        return match own.iter().find(|word| word.starts_with('-')).map(String::as_str) {
            Some("-v" | "-V" | "--version") => Meaning::Version,
            Some("-h" | "--help") => Meaning::Help,
            Some(option) if takes(option).is_none() => Meaning::UnknownOption(option.to_owned()),
            _ => Meaning::UnknownCommand,
        };
    };
    let typed_command = own[at].as_str();
    let verb = match (tree.verb(typed_command), meaning(typed_command)) {
        (Some(_), _) => typed_command,
        (None, Some(Means::Verb(verb))) => verb,
        (None, Some(Means::Nothing(why))) => return Meaning::Nothing(why),
        (None, Some(Means::Refused(why))) => return Meaning::Refused(why),
        (None, None) => return Meaning::UnknownCommand,
    };
    let Some(name) = tree.verb(verb) else { return Meaning::UnknownCommand };
    let mut words: Vec<String> = own[..at].to_vec();
    words.extend_from_slice(&own[at + 1..]);
    match options(&words, name, tree) {
        Ok(mut kept) => {
            kept.insert(0, verb.to_owned());
            kept.extend_from_slice(rest);
            Meaning::Words(kept)
        }
        Err(option) => Meaning::UnknownOption(option),
    }
}

/// Where the command stands: the first word that is neither an option nor the word of one.
fn command_position(words: &[String]) -> Option<usize> {
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        if !is_option(word) {
            return Some(at);
        }
        at += 1;
        if !word.contains('=') && matches!(takes(word), Some(Takes::Word)) {
            at += 1;
        }
    }
    None
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// The words of a verb without the options that it has no use for; the name of an unknown one.
fn options(words: &[String], verb: &str, tree: &impl Tree) -> Result<Vec<String>, String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        if !is_option(word) {
            kept.push(word.clone());
            continue;
        }
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        let inline = name.len() < word.len();
        let own = tree.option(verb, name);
        let own_takes = own.map(|word| if word { Takes::Word } else { Takes::Nothing });
        let Some(takes) = takes(name).or(own_takes) else {
            // `scale web -1`: what pm2 takes for an option is meant as a number.
            if verb == "scale" && word[1..].bytes().all(|byte| byte.is_ascii_digit()) {
                kept.push(word.clone());
                continue;
            }
            // A letter with its word attached, as in `-i4`, or several letters.
            if let Some(split) = letters(word, verb, tree) {
                kept.extend(split);
                continue;
            }
            return Err(word.clone());
        };
        let mut values = Vec::new();
        if !inline {
            let targets = kept.iter().any(|word| !is_option(word));
            let free = |word: &&&String| !is_option(word);
            match takes {
                Takes::Nothing => {}
                Takes::Word => values.extend(rest.next().cloned()),
                // The only target is no path to watch: pm2 takes it for one, and starts nothing.
                Takes::MaybeWord => {
                    if targets || rest.clone().filter(|word| !is_option(word)).count() > 1 {
                        values.extend(rest.next_if(|word| free(&word)).cloned());
                    }
                }
                Takes::Words => {
                    while let Some(value) = rest.next_if(|word| free(&word)) {
                        values.push(value.clone());
                    }
                }
            }
        }
        if own.is_none() {
            continue;
        }
        match (name, values.as_slice()) {
            // wpm has its optional words behind `=`.
            ("--watch", [paths]) => kept.push(format!("--watch={paths}")),
            ("--stop-exit-codes", values) if !values.is_empty() => {
                kept.push(format!("--stop-exit-codes={}", values.join(",")));
            }
            ("--max-restarts" | "--filter-env", []) if !inline => {}
            _ => {
                kept.push(word.clone());
                kept.extend(values);
            }
        }
    }
    Ok(kept)
}

/// `-fa` as `-f -a`, `-i4` as `-i 4`; none where a letter is unknown.
fn letters(word: &str, verb: &str, tree: &impl Tree) -> Option<Vec<String>> {
    let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-') && rest.chars().count() > 1)?;
    let mut split = Vec::new();
    for (position, letter) in letters.char_indices() {
        let option = format!("-{letter}");
        let takes = takes(&option)?;
        let known = tree.option(verb, &option).is_some();
        if takes == Takes::Nothing {
            split.extend(known.then_some(option));
            continue;
        }
        let value = &letters[position + letter.len_utf8()..];
        if known {
            split.push(option);
            split.extend((!value.is_empty()).then(|| value.to_owned()));
        }
        return Some(split);
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Few;

    impl Tree for Few {
        fn verb(&self, name: &str) -> Option<&'static str> {
            ["start", "stop", "list", "logs", "scale", "update"].into_iter().find(|verb| *verb == name)
        }

        fn option(&self, verb: &str, option: &str) -> Option<bool> {
            match (verb, option) {
                ("start", "--name" | "-n" | "-i" | "--stop-exit-codes") | ("logs", "--lines") => Some(true),
                ("start", "--watch" | "-f" | "-a") => Some(false),
                _ => None,
            }
        }
    }

    fn words(line: &str) -> String {
        let typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match translate(&typed, &Few) {
            Meaning::Words(words) => words.join(" "),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere_and_those_of_no_use_are_left_out() {
        assert_eq!(words("-n web start app.js"), "start -n web app.js");
        assert_eq!(words("start app.js --no-pmx --name web"), "start app.js --name web");
        assert_eq!(words("stop web --watch"), "stop web");
        assert_eq!(words("list --sort name --no-color"), "list");
        assert_eq!(words("--silent list"), "list");
        assert_eq!(words("logs web --lines 5"), "logs web --lines 5");
        assert_eq!(words("start app.js -fa -i4"), "start app.js -f -a -i 4");
        assert_eq!(words("start app.js -i -1"), "start app.js -i -1");
        assert_eq!(words("scale web -1"), "scale web -1");
    }

    #[test]
    fn optional_words_are_taken_as_they_are_meant() {
        assert_eq!(words("start app.js --watch src"), "start app.js --watch=src");
        assert_eq!(words("start app.js --watch --name web"), "start app.js --watch --name web");
        assert_eq!(words("start --watch app.js"), "start --watch app.js");
        assert_eq!(words("start app.js --stop-exit-codes 0 3"), "start app.js --stop-exit-codes=0,3");
    }

    #[test]
    fn what_stands_behind_two_dashes_belongs_to_the_app() {
        assert_eq!(words("start app.js -- --nosuch -n x"), "start app.js -- --nosuch -n x");
    }

    #[test]
    fn words_that_wpm_has_not() {
        assert_eq!(words("deepUpdate"), "update");
        assert!(words("link delete").starts_with("Nothing"));
        assert!(words("pull web").starts_with("Refused"));
        assert_eq!(words("nosuch"), "UnknownCommand");
        assert_eq!(words("list --nosuch"), r#"UnknownOption("--nosuch")"#);
        assert_eq!(words("-v"), "Version");
    }
}
