//! Which log files belong to which apps: as the daemon says, or, without one, as the state file and the
//! names in the log folder tell.
//!
//! Invariant: a file that several instances share is one source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wpm_proto::home::Home;
use wpm_proto::state::SavedApp;
use wpm_proto::view::AppView;

use super::{Source, Stream};

/// Adds the sources that are not there yet, by path; gives the positions of the new ones.
pub fn merge_sources(known: &mut Vec<Source>, found: Vec<Source>) -> Vec<usize> {
    let mut added = Vec::new();
    for source in found {
        match known.iter_mut().find(|other| other.path == source.path) {
            Some(other) => {
                if other.index != source.index {
                    // Several instances write it.
                    other.index = None;
                }
            }
            None => {
                added.push(known.len());
                known.push(source);
            }
        }
    }
    added
}

/// The files that a running daemon names, which must have been asked for.
pub fn from_views(apps: &[AppView]) -> Vec<Source> {
    let mut sources = Vec::new();
    for app in apps {
        let Some(files) = &app.files else { continue };
        let names = [(Stream::Out, &files.out), (Stream::Err, &files.error), (Stream::Both, &files.both)];
        for instance in &app.instances {
            let several = app.instances.len() > 1;
            let mut found: Vec<Source> = Vec::new();
            for (stream, name) in names {
                let file = name.as_ref().map(|name| name.of(instance.index));
                let Some(path) = file.filter(|file| is_followed(file)).map(PathBuf::from) else { continue };
                if let Some(same) = found.iter_mut().find(|source| source.path == path) {
                    same.stream = Stream::Both;
                    continue;
                }
                found.push(Source {
                    app: app.name.clone(),
                    namespace: app.namespace.clone(),
                    id: Some(instance.id),
                    index: several.then_some(instance.index),
                    stream,
                    path,
                });
            }
            merge_sources(&mut sources, found);
        }
    }
    sources
}

fn is_followed(file: &str) -> bool {
    !file.is_empty() && file != "/dev/null" && file != "NULL"
}

/// The files that can be found without a daemon.
pub fn from_disk(home: &Home, apps: &[SavedApp]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut namespaces = BTreeMap::new();
    for app in apps {
        let spec = &app.spec;
        namespaces.insert(spec.name.clone(), spec.namespace.clone());
        let files =
            [(Stream::Out, &spec.out_file), (Stream::Err, &spec.error_file), (Stream::Both, &spec.log_file)];
        for (stream, file) in files {
            let Some(file) = file.as_ref().filter(|file| is_followed(file)) else { continue };
            let numbered = app.instances.iter().map(|instance| {
                (Some(instance.id), Some(instance.index), with_suffix(Path::new(file), instance.index))
            });
            let plain = std::iter::once((None, None, PathBuf::from(file)));
            for (id, index, path) in plain.chain(numbered).filter(|(_, _, path)| path.exists()) {
                let (app, namespace) = (spec.name.clone(), spec.namespace.clone());
                merge_sources(&mut sources, vec![Source { app, namespace, id, index, stream, path }]);
            }
        }
    }
    let names: Vec<&str> = apps.iter().map(|app| app.spec.name.as_str()).collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(home.logs())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    for path in files {
        let Some((app, stream, index)) = path.file_name().and_then(|name| parse_name(name.to_str()?)) else {
            continue;
        };
        // A name with odd characters is written differently in its files.
        let app = names.iter().find(|name| file_name(name) == app).map_or(app, |name| (*name).to_owned());
        let namespace = namespaces.get(&app).cloned().unwrap_or_else(|| "default".to_owned());
        merge_sources(&mut sources, vec![Source { app, namespace, id: None, index, stream, path }]);
    }
    sources
}

/// An app's name as pm2 writes it in file names.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' }).collect()
}

fn with_suffix(path: &Path, index: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{index}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{index}"),
    };
    path.with_file_name(name)
}

/// Takes `web-out-3.log` apart.
fn parse_name(file: &str) -> Option<(String, Stream, Option<u32>)> {
    let stem = file.strip_suffix(".log")?;
    let (stem, index) = match stem.rsplit_once('-') {
        Some((rest, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (rest, digits.parse().ok())
        }
        _ => (stem, None),
    };
    [("-out", Stream::Out), ("-error", Stream::Err)]
        .into_iter()
        .find_map(|(suffix, stream)| Some((stem.strip_suffix(suffix)?.to_owned(), stream, index)))
        .filter(|(app, ..)| !app.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wpm_proto::state::{SavedInstance, SavedSpec};

    #[test]
    fn pm2s_names_are_understood() {
        assert_eq!(parse_name("web-out.log"), Some(("web".into(), Stream::Out, None)));
        assert_eq!(parse_name("my-web-error-12.log"), Some(("my-web".into(), Stream::Err, Some(12))));
        assert_eq!(parse_name("web-out.log.1.gz"), None);
        assert_eq!(parse_name("-out.log"), None);
    }

    #[test]
    fn files_are_found_without_a_daemon() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        std::fs::create_dir(home.logs()).expect("created");
        for name in ["web-out-0.log", "web-error-0.log", "a-b-out.log", "notes.txt"] {
            std::fs::write(home.logs().join(name), "").expect("written");
        }
        let custom = dir.path().join("custom-1.txt");
        std::fs::write(&custom, "").expect("written");
        let app = |name: &str, out: Option<PathBuf>| SavedApp {
            spec: SavedSpec {
                name: name.to_owned(),
                namespace: "shop".to_owned(),
                out_file: out.map(|path| path.display().to_string()),
                ..SavedSpec::default()
            },
            instances: vec![SavedInstance { index: 1, ..SavedInstance::default() }],
            before: None,
        };
        let found = from_disk(&home, &[app("a b", None), app("job", Some(dir.path().join("custom.txt")))]);
        let seen: Vec<_> = found
            .iter()
            .map(|source| (source.app.as_str(), source.namespace.as_str(), source.index))
            .collect();
        assert_eq!(
            seen,
            [
                ("job", "shop", Some(1)),
                ("a b", "shop", None),
                ("web", "default", Some(0)),
                ("web", "default", Some(0))
            ]
        );
    }
}
