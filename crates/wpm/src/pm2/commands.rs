//! The commands and options of pm2 7 that wpm does not have itself: what is said to them.
//!
//! Pure tables. Invariant: every command and every option that pm2 lists is either in wpm's own tree or
//! here, so that a script that was written for pm2 never meets an unknown word.

/// What a command of pm2 comes to that wpm has no verb for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// Another name of a verb.
    Verb(&'static str),
    /// There is nothing to do, and that is a success: why.
    Nothing(&'static str),
    /// wpm cannot do it, and pretending would harm: why.
    Refused(&'static str),
}

const SERVICE: &str = "wpm is connected to no monitoring service; `wpm events --json` and `wpm list --json` \
                       feed one of your own";
const MODULES: &str =
    "wpm runs no npm modules; log rotation is built in (`wpm set pm2-logrotate:max_size 10M`)";
const PROFILE: &str = "the daemon of wpm is no Node program and has no heap to sample; start your app with \
                       `--node-args --cpu-prof`";
const GIT: &str =
    "wpm does not update working copies; `git pull && wpm reload APP` does the same in two steps";
const ACTIONS: &str = "wpm has no custom actions of @pm2/io; `wpm send APP LINE` writes to an app's standard \
                       input and `wpm sendSignal` sends a signal";

/// Commands that are no verbs.
pub(crate) const COMMANDS: &[(&str, Means)] = &[
    ("deepUpdate", Means::Verb("update")),
    ("install", Means::Nothing(MODULES)),
    ("module:install", Means::Nothing(MODULES)),
    ("module:update", Means::Nothing(MODULES)),
    ("module:generate", Means::Nothing(MODULES)),
    ("module:publish", Means::Nothing(MODULES)),
    ("uninstall", Means::Nothing(MODULES)),
    ("module:uninstall", Means::Nothing(MODULES)),
    ("package", Means::Nothing(MODULES)),
    ("publish", Means::Nothing(MODULES)),
    ("autoinstall", Means::Nothing(MODULES)),
    ("link", Means::Nothing(SERVICE)),
    ("unlink", Means::Nothing(SERVICE)),
    ("monitor", Means::Nothing(SERVICE)),
    ("unmonitor", Means::Nothing(SERVICE)),
    ("open", Means::Nothing(SERVICE)),
    ("plus", Means::Nothing(SERVICE)),
    ("register", Means::Nothing(SERVICE)),
    ("login", Means::Nothing(SERVICE)),
    ("logout", Means::Nothing(SERVICE)),
    ("install-otel", Means::Nothing(SERVICE)),
    ("uninstall-otel", Means::Nothing(SERVICE)),
    ("logrotate", Means::Nothing("logs are rotated by wpm itself, 10 MiB × 30 unless set otherwise")),
    ("examples", Means::Nothing("`wpm --help` and `wpm COMMAND --help` begin with examples")),
    ("create", Means::Nothing("`wpm init` writes an app file to begin with")),
    ("trigger", Means::Refused(ACTIONS)),
    ("inspect", Means::Refused(ACTIONS)),
    ("pull", Means::Refused(GIT)),
    ("forward", Means::Refused(GIT)),
    ("backward", Means::Refused(GIT)),
    ("deploy", Means::Refused("wpm does not deploy over ssh; your deployment can end in `wpm reload APP`")),
    ("profile:mem", Means::Refused(PROFILE)),
    ("profile:cpu", Means::Refused(PROFILE)),
];

/// Whether an option takes a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No.
    Nothing,
    /// The next one.
    Word,
    /// The next one, if it is no option.
    MaybeWord,
    /// All until the next option.
    Words,
}

/// The options of pm2, which it takes with every command: long name, letter, word.
pub(crate) const OPTIONS: &[(&str, char, Takes)] = &[
    ("silent", 's', Takes::Nothing),
    ("ext", ' ', Takes::Word),
    ("name", 'n', Takes::Word),
    ("mini-list", 'm', Takes::Nothing),
    ("interpreter", ' ', Takes::Word),
    ("interpreter-args", ' ', Takes::Word),
    ("node-args", ' ', Takes::Word),
    ("output", 'o', Takes::Word),
    ("error", 'e', Takes::Word),
    ("log", 'l', Takes::MaybeWord),
    ("filter-env", ' ', Takes::MaybeWord),
    ("log-type", ' ', Takes::Word),
    ("log-date-format", ' ', Takes::Word),
    ("time", ' ', Takes::Nothing),
    ("disable-logs", ' ', Takes::Nothing),
    ("env", ' ', Takes::Word),
    ("update-env", 'a', Takes::Nothing),
    ("force", 'f', Takes::Nothing),
    ("instances", 'i', Takes::Word),
    ("parallel", ' ', Takes::Word),
    ("shutdown-with-message", ' ', Takes::Nothing),
    ("pid", 'p', Takes::Word),
    ("kill-timeout", 'k', Takes::Word),
    ("listen-timeout", ' ', Takes::Word),
    ("max-memory-restart", ' ', Takes::Word),
    ("restart-delay", ' ', Takes::Word),
    ("exp-backoff-restart-delay", ' ', Takes::Word),
    ("execute-command", 'x', Takes::Nothing),
    ("max-restarts", ' ', Takes::MaybeWord),
    ("user", 'u', Takes::Word),
    ("uid", ' ', Takes::Word),
    ("gid", ' ', Takes::Word),
    ("namespace", ' ', Takes::Word),
    ("cwd", ' ', Takes::Word),
    ("hp", ' ', Takes::Word),
    ("wait-ip", ' ', Takes::Nothing),
    ("service-name", ' ', Takes::Word),
    ("cron", 'c', Takes::Word),
    ("cron-restart", 'c', Takes::Word),
    ("write", 'w', Takes::Nothing),
    ("no-daemon", ' ', Takes::Nothing),
    ("source-map-support", ' ', Takes::Nothing),
    ("only", ' ', Takes::Word),
    ("disable-source-map-support", ' ', Takes::Nothing),
    ("wait-ready", ' ', Takes::Nothing),
    ("merge-logs", ' ', Takes::Nothing),
    ("watch", ' ', Takes::MaybeWord),
    ("ignore-watch", ' ', Takes::Word),
    ("watch-delay", ' ', Takes::Word),
    ("no-color", ' ', Takes::Nothing),
    ("no-vizion", ' ', Takes::Nothing),
    ("no-autostart", ' ', Takes::Nothing),
    ("no-autorestart", ' ', Takes::Nothing),
    ("stop-exit-codes", ' ', Takes::Words),
    ("no-treekill", ' ', Takes::Nothing),
    ("no-pmx", ' ', Takes::Nothing),
    ("no-automation", ' ', Takes::Nothing),
    ("trace", ' ', Takes::Nothing),
    ("disable-trace", ' ', Takes::Nothing),
    ("sort", ' ', Takes::Word),
    ("attach", ' ', Takes::Nothing),
    ("v8", ' ', Takes::Nothing),
    ("event-loop-inspector", ' ', Takes::Nothing),
    ("deep-monitoring", ' ', Takes::Nothing),
];

/// What a command means that is no verb.
pub(crate) fn meaning(command: &str) -> Option<Means> {
    COMMANDS.iter().find(|(name, _)| *name == command).map(|(_, means)| *means)
}

/// Whether an option of pm2 takes a word; none where pm2 has no such option.
pub(crate) fn takes(option: &str) -> Option<Takes> {
    let matches = |(long, short, _): &&(&str, char, Takes)| match option.strip_prefix("--") {
        Some(name) => name == *long,
        None => *short != ' ' && option.strip_prefix('-').is_some_and(|it| it.chars().eq([*short])),
    };
    OPTIONS.iter().find(matches).map(|(.., takes)| *takes)
}
