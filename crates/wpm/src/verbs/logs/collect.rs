//! Which files are shown, and their last lines.
//!
//! Asks the daemon if it is up, else the disk. Invariant: a file that is shown once stays, whatever
//! happens to its app.

use std::collections::BTreeSet;
use std::fs::{self, File};

use wpm_client::logs::{self as files, Line, Source, Tail};
use wpm_client::{Client, Options, Start, saved_apps};
use wpm_proto::home::Home;
use wpm_proto::request::Detail;
use wpm_proto::view::{AppView, InstanceView};

use super::Logs;
use super::format::Printer;
use crate::context::{list, names_like};
use crate::failure::{Code, Failure};
use crate::render::escape;

/// Where the files are known from.
pub(super) struct Known {
    home: Home,
    targets: Vec<Target>,
    stamped: Vec<String>,
    online: bool,
    /// Which targets mean something that is there, by their order.
    met: Vec<bool>,
}

/// A target, for matching without a daemon.
enum Target {
    All,
    Pattern(regex::Regex),
    Text(String),
}

impl Known {
    pub(super) fn new(home: Home, targets: &[String]) -> Result<Self, Failure> {
        let targets = targets.iter().map(|target| parse(target)).collect::<Result<Vec<_>, _>>()?;
        let met = vec![false; targets.len()];
        Ok(Self { home, targets, stamped: Vec::new(), online: false, met })
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// Apps whose lines carry their own time.
    pub(super) fn stamped(&self) -> &[String] {
        &self.stamped
    }

    /// Whether the last look was answered by a daemon.
    pub(super) const fn online(&self) -> bool {
        self.online
    }

    /// Those of the targets, as they were typed, that no app and no log matches.
    pub(super) fn unmet(&self, targets: &[String]) -> Vec<String> {
        targets.iter().zip(&self.met).filter(|(_, met)| !**met).map(|(target, _)| target.clone()).collect()
    }

    /// Why there is nothing.
    pub(super) fn missing(&self, targets: &[String]) -> String {
        let named: Vec<String> =
            targets.iter().map(|target| format!("`{}`", escape::clean(target))).collect();
        let options = Options { start: Start::Never, ..Options::default() };
        let hint = match Client::open(self.home.clone(), options) {
            Ok(mut client) => {
                let similar: Vec<String> =
                    targets.iter().flat_map(|target| names_like(&mut client, target)).collect();
                if similar.is_empty() {
                    String::new()
                } else {
                    format!("; did you mean `{}`?", similar.join("` or `"))
                }
            }
            Err(_) => " (the daemon is not running)".to_owned(),
        };
        format!("no app or log matches {}{hint}", named.join(", "))
    }

    /// Adds files that were not known; gives their positions.
    pub(super) fn refresh(
        &mut self,
        sources: &mut Vec<Source>,
        wanted: impl Fn(&Source) -> bool,
    ) -> Result<Vec<usize>, Failure> {
        let options = Options { start: Start::Never, ..Options::default() };
        let answer = match Client::open(self.home.clone(), options) {
            Ok(mut client) => Some(list(&mut client, Vec::new(), Detail::Files)),
            Err(_) => None,
        };
        let found = match answer {
            Some(Ok(apps)) => {
                self.online = true;
                self.stamped = apps.iter().filter(|app| app.stamped).map(|app| app.name.clone()).collect();
                let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
                for (target, met) in self.targets.iter().zip(&mut self.met) {
                    *met = apps.iter().any(|app| {
                        target.means(&app.name, &app.namespace)
                            || app.instances.iter().any(|it| target.means_one(app, it, &names))
                    });
                }
                files::from_views(&self.matching(apps))
            }
            // A daemon that does not answer must not keep anybody from the logs.
            _ => {
                self.online = false;
                let found = files::from_disk(&self.home, &saved_apps(&self.home));
                for (target, met) in self.targets.iter().zip(&mut self.met) {
                    *met = found.iter().any(|source| target.means_source(source));
                }
                found.into_iter().filter(|source| self.matches(source)).collect()
            }
        };
        Ok(files::merge_sources(sources, found.into_iter().filter(|source| wanted(source)).collect()))
    }

    /// The apps that are meant, with only the instances that are.
    fn matching(&self, apps: Vec<AppView>) -> Vec<AppView> {
        if self.targets.is_empty() {
            return apps;
        }
        let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        apps.into_iter()
            .filter_map(|mut app| {
                let whole = self.targets.iter().any(|target| target.means(&app.name, &app.namespace));
                if !whole {
                    let mut instances = std::mem::take(&mut app.instances);
                    instances
                        .retain(|it| self.targets.iter().any(|target| target.means_one(&app, it, &names)));
                    app.instances = instances;
                }
                (whole || !app.instances.is_empty()).then_some(app)
            })
            .collect()
    }

    fn matches(&self, source: &Source) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target.means_source(source))
    }
}

/// Whether a target is one instance, as `web/1`.
fn is_one(text: &str, app: &str, index: u32) -> bool {
    text.rsplit_once(['/', ':']).is_some_and(|(name, number)| name == app && number.parse() == Ok(index))
}

fn parse(target: &str) -> Result<Target, Failure> {
    if target == "all" {
        return Ok(Target::All);
    }
    match target
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
        .filter(|pattern| !pattern.is_empty())
    {
        Some(pattern) => regex::Regex::new(pattern).map(Target::Pattern).map_err(|error| {
            Failure::new(Code::Usage, format!("`{target}` is not a regular expression: {error}"))
        }),
        None if target.contains('*') => {
            let pattern = format!("^{}$", regex::escape(target).replace("\\*", ".*"));
            regex::Regex::new(&pattern)
                .map(Target::Pattern)
                .map_err(|error| Failure::new(Code::Usage, error.to_string()))
        }
        None => Ok(Target::Text(target.to_owned())),
    }
}

impl Target {
    fn means(&self, app: &str, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Pattern(pattern) => pattern.is_match(app),
            Self::Text(text) => app == text || namespace == text,
        }
    }

    /// Whether it names this instance alone; a number that is the name of an app is no id.
    fn means_one(&self, app: &AppView, it: &InstanceView, names: &[String]) -> bool {
        let Self::Text(text) = self else { return false };
        (!names.contains(text) && text.parse() == Ok(it.id)) || is_one(text, &app.name, it.index)
    }

    fn means_source(&self, source: &Source) -> bool {
        let one = |text: &str| {
            source.id.is_some_and(|id| text.parse() == Ok(id))
                || source.index.is_some_and(|index| is_one(text, &source.app, index))
        };
        self.means(&source.app, &source.namespace) || matches!(self, Self::Text(text) if one(text))
    }
}

/// What the last lines have shown.
pub(super) struct Tails {
    /// Offsets where following begins, by source.
    pub(super) starts: Vec<u64>,
    /// Apps whose lines were chosen by time and carry none.
    pub(super) timeless: BTreeSet<String>,
}

/// Prints the last lines of every file in one order.
pub(super) fn tails(
    sources: &[Source],
    count: usize,
    logs: &Logs,
    printer: &mut Printer,
) -> Result<Tails, Failure> {
    let mut starts = Vec::with_capacity(sources.len());
    let mut timeless = BTreeSet::new();
    let mut piles = Vec::new();
    for (position, source) in sources.iter().enumerate() {
        let Ok(file) = File::open(&source.path) else {
            starts.push(0);
            continue;
        };
        let changed = file.metadata().map_or(0, |data| modified(&data));
        // What is filtered is read whole, or too little would be left.
        let read = if logs.grep.is_some() || logs.since.is_some() { usize::MAX } else { count };
        let Tail { mut lines, partial, end } = files::tail(&file, 0, read)?;
        if logs.nostream && !partial.is_empty() {
            lines.push(partial);
        }
        starts.push(end);
        let chosen = |mut lines: Vec<Vec<u8>>, changed: i64| {
            if let Some(since) = logs.since {
                lines = newer(lines, since, changed);
            }
            if let Some(pattern) = &logs.grep {
                lines.retain(|line| pattern.is_match(line));
            }
            lines
        };
        lines = chosen(lines, changed);
        // What stood in the file before it was rotated belongs to what was said last.
        for path in files::older::rotated(&source.path) {
            let changed = fs::metadata(&path).map_or(0, |data| modified(&data));
            if lines.len() >= count || logs.since.is_some_and(|since| changed < since) {
                break;
            }
            // One that is removed or packed meanwhile is left out.
            let Ok(older) = files::older::lines(&path) else { continue };
            let mut older = chosen(older, changed);
            older.append(&mut lines);
            lines = older;
        }
        lines.drain(..lines.len().saturating_sub(count));
        if logs.since.is_some() && !lines.is_empty() && lines.iter().all(|line| files::stamp(line).is_none())
        {
            timeless.insert(source.app.clone());
        }
        piles.push((position, lines, changed));
    }
    printer.fit(sources);
    let lines: Vec<Line> = files::merge(piles);
    printer.print(sources, &lines, None)?;
    Ok(Tails { starts, timeless })
}

/// When a file was written last, in milliseconds since 1970.
fn modified(data: &fs::Metadata) -> i64 {
    let at = data.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    i64::try_from(at.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// The lines from the first that is new enough on. Lines without a time go with the one before.
fn newer(lines: Vec<Vec<u8>>, since: i64, changed: i64) -> Vec<Vec<u8>> {
    if changed < since {
        return Vec::new();
    }
    let mut current = None;
    lines
        .into_iter()
        .filter(|line| {
            current = files::stamp(line).or(current);
            current.is_none_or(|at| at >= since)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(app: &str, index: Option<u32>) -> Source {
        Source {
            app: app.into(),
            namespace: "shop".into(),
            id: Some(7),
            index,
            stream: files::Stream::Out,
            path: "/x".into(),
        }
    }

    #[test]
    fn targets_without_a_daemon() {
        let known = |targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(|it| (*it).to_owned()).collect();
            Known::new(Home::new("/nonexistent"), &targets).expect("understood")
        };
        let web = source("web", Some(1));
        for target in ["web", "shop", "7", "/^w/", "w*", "web/1", "web:1", "all"] {
            assert!(known(&[target]).matches(&web), "{target}");
        }
        for target in ["we", "8", "/^x/", "web/2"] {
            assert!(!known(&[target]).matches(&web), "{target}");
        }
        assert!(known(&[]).matches(&web));
        assert!(Known::new(Home::new("/"), &["/(/".into()]).is_err());
    }

    #[test]
    fn older_lines_are_left_out() {
        let lines: Vec<Vec<u8>> = ["2026-01-31T10:00:00Z a", "  b", "2026-01-31T10:00:05Z c", "  d"]
            .iter()
            .map(|line| line.as_bytes().to_vec())
            .collect();
        let at = 1_769_853_603_000;
        assert_eq!(newer(lines.clone(), at, at).len(), 2);
        assert_eq!(newer(lines, at, at - 1).len(), 0);
        assert_eq!(newer(vec![b"no time".to_vec()], at, at + 1).len(), 1);
    }
}
