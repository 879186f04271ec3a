//! How a command fails: a code to look up, one sentence, the place, and the command that helps.
//!
//! Holds the table of the codes. Prints nothing itself except through [`Failure::render`].

mod spot;

use std::fmt::Write as _;
use std::io;

use wpm_client::Error;
use wpm_proto::error::Entry;
use wpm_proto::{ErrorCode, ExitCode, WireError};

use crate::render::style::{self, paint};

pub(crate) use spot::Spot;

/// What went wrong, as users look it up. The numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// An app died at its start, or could not be started or stopped.
    Failed,
    /// A wrong argument that the parser could not see.
    Usage,
    /// There is no process.
    NotRunning,
    /// No app matches.
    NoSuchApp,
    /// The daemon cannot be reached or started.
    Unreachable,
    /// The daemon refuses a configuration.
    InvalidSpec,
    /// No answer in time.
    TimedOut,
    /// The list is empty.
    NoApps,
    /// What was to be started is no file, folder, command or app.
    NoTarget,
    /// The interpreter of a script is not there.
    NoInterpreter,
    /// It runs already.
    AlreadyRunning,
    /// There is nothing to change.
    NothingToDo,
    /// Several where one is needed.
    Ambiguous,
    /// Something cannot be read or written.
    Storage,
    /// The home is not usable.
    Home,
    /// A defect of wpm.
    Internal,
    /// An app file cannot be read.
    AppFile,
    /// A value of an app file or option has the wrong form.
    InvalidValue,
    /// An app file has a key that means nothing.
    UnknownKey,
    /// An app file is not in its format.
    Syntax,
}

impl Code {
    /// Number and exit code.
    pub(crate) const fn numbers(self) -> (u16, ExitCode) {
        match self {
            Self::Failed => (1, ExitCode::Failed),
            Self::Usage => (2, ExitCode::Usage),
            Self::NotRunning => (3, ExitCode::NotRunning),
            Self::NoSuchApp => (4, ExitCode::NoSuchApp),
            Self::Unreachable => (5, ExitCode::DaemonUnreachable),
            Self::InvalidSpec => (6, ExitCode::Configuration),
            Self::TimedOut => (7, ExitCode::TimedOut),
            Self::NoApps => (9, ExitCode::Failed),
            Self::NoTarget => (10, ExitCode::Failed),
            Self::NoInterpreter => (11, ExitCode::Failed),
            Self::AlreadyRunning => (12, ExitCode::Failed),
            Self::NothingToDo => (13, ExitCode::Failed),
            Self::Ambiguous => (14, ExitCode::Failed),
            Self::Storage => (15, ExitCode::Failed),
            Self::Home => (16, ExitCode::DaemonUnreachable),
            Self::Internal => (17, ExitCode::Failed),
            Self::AppFile => (20, ExitCode::Configuration),
            Self::InvalidValue => (21, ExitCode::Configuration),
            Self::UnknownKey => (22, ExitCode::Configuration),
            Self::Syntax => (23, ExitCode::Configuration),
        }
    }
}

/// Why a command fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: ExitCode,
    code: Option<Code>,
    text: Box<Text>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Text {
    message: String,
    place: Option<String>,
    excerpt: Vec<String>,
    help: Vec<String>,
    similar: Vec<String>,
    spot: Option<Spot>,
    entry: Option<Box<Entry>>,
}

impl Failure {
    /// A failure of this kind, in one sentence without a full stop.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let text = Box::new(Text { message: message.into(), ..Text::default() });
        Self { exit: code.numbers().1, code: Some(code), text }
    }

    /// The end of a command that has said everything already.
    pub(crate) fn silent(exit: ExitCode) -> Self {
        Self { exit, code: None, ..Self::new(Code::Failed, "") }
    }

    /// Gives it another exit code.
    pub(crate) fn exiting(mut self, exit: ExitCode) -> Self {
        self.exit = exit;
        self
    }

    /// Adds what the user can do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.text.help.push(help.into());
        self
    }

    /// Adds the file and line that it is about.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.text.place = Some(place.into());
        self
    }

    /// Adds the place within a text that it is about, which is shown.
    pub(crate) fn on(mut self, spot: Spot) -> Self {
        self.text.spot = Some(spot);
        self
    }

    /// Adds the entry of an app's description that it is about; `app` is empty where that is clear.
    pub(crate) fn about(mut self, app: &str, key: &str) -> Self {
        self.text.entry = Some(Box::new(Entry { app: app.to_owned(), key: key.to_owned() }));
        self
    }

    /// The entry of an app's description that it is about.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.text.entry.as_deref()
    }

    /// Line and column that it is about, counted from 1.
    pub(crate) fn position(&self) -> Option<(usize, usize)> {
        self.text.spot.as_ref().map(Spot::position)
    }

    /// Adds lines that show it.
    pub(crate) fn excerpt(mut self, lines: Vec<String>) -> Self {
        self.text.excerpt = lines;
        self
    }

    /// Adds what may have been meant.
    pub(crate) fn similar(mut self, names: Vec<String>) -> Self {
        self.text.similar = names;
        self
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == Some(code)
    }

    /// Its code as shown, such as `E021`.
    pub(crate) fn number(&self) -> String {
        format!("E{:03}", self.code.map_or(0, |code| code.numbers().0))
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.text.message
    }

    /// What the user can do.
    pub(crate) fn helps(&self) -> &[String] {
        &self.text.help
    }

    /// Whether there is something to say.
    pub(crate) const fn speaks(&self) -> bool {
        self.code.is_some()
    }

    /// The whole text, with colours; `command` is the command line as typed, for suggestions.
    pub(crate) fn render(&self, command: &[String]) -> String {
        let mut text = String::new();
        let number = self.code.map_or(0, |code| code.numbers().0);
        if let Some(spot) = &self.text.spot {
            return spot.render(&format!("E{number:03}"), &self.text.message, &self.text.help);
        }
        let label = paint(style::ERROR, &format!("error[E{number:03}]"));
        let _ = write!(text, "{label}: {}", self.text.message);
        if let Some(place) = &self.text.place {
            let _ = write!(text, "\n  {} {place}", paint(style::DIM, "-->"));
        }
        for line in &self.text.excerpt {
            let _ = write!(text, "\n   {} {line}", paint(style::DIM, "|"));
        }
        for name in &self.text.similar {
            let _ = write!(text, "\n  {}: did you mean `{name}`?", paint(style::HELP, "help"));
            if let Some(corrected) = self.correct(command, name) {
                let _ = write!(text, "      {}", paint(style::COMMAND, &corrected));
            }
        }
        for help in &self.text.help {
            let _ = write!(text, "\n  {}: {help}", paint(style::HELP, "help"));
        }
        text
    }

    /// The command with the wrong name replaced.
    fn correct(&self, command: &[String], name: &str) -> Option<String> {
        let wrong =
            command.iter().skip(1).position(|word| self.text.message.contains(&format!("`{word}`")))? + 1;
        let mut words = command.to_vec();
        name.clone_into(&mut words[wrong]);
        words[0] = "wpm".to_owned();
        shlex::try_join(words.iter().map(String::as_str)).ok()
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let code = match error.code {
            ErrorCode::NoSuchApp => Code::NoSuchApp,
            ErrorCode::NoApps => Code::NoApps,
            ErrorCode::AlreadyRunning => Code::AlreadyRunning,
            ErrorCode::NothingToDo => Code::NothingToDo,
            ErrorCode::Ambiguous => Code::Ambiguous,
            ErrorCode::InvalidSpec => Code::InvalidSpec,
            ErrorCode::NotRunning => Code::NotRunning,
            ErrorCode::ReloadInProgress => Code::Failed,
            ErrorCode::Storage => Code::Storage,
            ErrorCode::ShuttingDown | ErrorCode::ContractMismatch => Code::Unreachable,
            ErrorCode::Internal | ErrorCode::BadRequest => Code::Internal,
        };
        let mut failure =
            Self::new(code, error.message).exiting(error.code.exit_code()).similar(error.similar);
        failure.text.entry = error.entry;
        match error.hint {
            Some(hint) => failure.help(hint),
            None if error.code == ErrorCode::NoSuchApp && failure.text.similar.is_empty() => {
                failure.help("`wpm list` shows what there is")
            }
            None => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = error.exit_code();
        let message = error.to_string();
        let unreachable = |message: String| Self::new(Code::Unreachable, message).exiting(exit);
        match error {
            Error::Refused(error) => error.into(),
            Error::NoHome => Self::new(Code::Home, message).help("set WPM_HOME to a folder of yours"),
            Error::RelativeHome { .. } => Self::new(Code::Home, message),
            Error::ForeignHome { .. } => Self::new(Code::Home, message)
                .help("set WPM_HOME to a folder of yours, or run wpm as its owner"),
            Error::OpenHome { path, .. } => {
                Self::new(Code::Home, message).help(format!("chmod 700 {}", path.display()))
            }
            Error::DaemonStart { home, log, .. } => unreachable(message)
                .excerpt(log)
                .help(format!("its log is {}", wpm_proto::home::Home::new(home).daemon_log().display()))
                .help("`wpm doctor` looks for the cause"),
            Error::NoDaemon { .. } => {
                unreachable(message).help("any other command starts it, such as `wpm list`")
            }
            Error::TimedOut(_) => Self::new(Code::TimedOut, message)
                .help("it may be stopped or overloaded: `wpm doctor`; WPM_TIMEOUT=30 waits longer"),
            Error::Contract { daemon, client } => {
                let older = if daemon < client { "the daemon" } else { "this wpm" };
                unreachable(message)
                    .help(format!("{older} is the older one: `wpm kill` with the wpm that started it"))
            }
            Error::TooLarge(_) => Self::new(Code::Usage, message).exiting(exit),
            _ => unreachable(message).help("`wpm doctor` looks for the cause"),
        }
    }
}

/// A failed write to stdout or stderr. A reader that went away ends a command quietly.
impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(ExitCode::Ok);
        }
        Self::new(Code::Storage, format!("cannot write the output: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(failure: &Failure, command: &[&str]) -> String {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        anstream::adapter::strip_str(&failure.render(&command)).to_string()
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_command() {
        let failure = Failure::from(WireError {
            code: ErrorCode::NoSuchApp,
            message: "no app matches `wbe`".to_owned(),
            hint: None,
            similar: vec!["web".to_owned()],
            entry: None,
        });
        assert_eq!(failure.exit, ExitCode::NoSuchApp);
        assert_eq!(
            plain(&failure, &["/usr/bin/wpm", "stop", "wbe"]),
            "error[E004]: no app matches `wbe`\n  help: did you mean `web`?      wpm stop web"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.speaks()), (ExitCode::Ok, false));
    }
}
