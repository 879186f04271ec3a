//! Changing a spec by what a command names.
//!
//! It does not judge the result: [`Spec::validate`] does. Invariant: what the change does not name
//! stays as it was, and so do variables that the user wrote for the app.

use crate::{Spec, SpecChange};

impl Spec {
    /// This spec with a change applied.
    #[must_use]
    pub fn with(&self, change: &SpecChange) -> Self {
        let mut spec = self.clone();
        let files = change.file_env.get(&self.name);
        if change.env.is_some() || files.is_some() {
            let mut sources = self.env_sources();
            if let Some(caller) = &change.env {
                sources.inherited.clone_from(caller);
            }
            if let Some(files) = files {
                sources.files.clone_from(files);
            }
            spec.set_env_sources(sources);
        }
        fn set<T: Clone>(field: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                field.clone_from(new);
            }
        }
        set(&mut spec.args, change.args.as_ref());
        set(&mut spec.interpreter_args, change.interpreter_args.as_ref());
        set(&mut spec.name, change.name.as_ref());
        set(&mut spec.stop.kill_timeout, change.kill_timeout.as_ref());
        set(&mut spec.restart.max_memory, change.max_memory.as_ref());
        set(&mut spec.restart.restart_delay, change.restart_delay.as_ref());
        set(&mut spec.restart.backoff, change.backoff.as_ref());
        // Of the two kinds of delay only one can be meant: the one that was named last.
        match (&change.restart_delay, &change.backoff) {
            (Some(Some(_)), None) => spec.restart.backoff = None,
            (None, Some(Some(_))) => spec.restart.restart_delay = None,
            _ => {}
        }
        set(&mut spec.restart.max_restarts, change.max_restarts.as_ref());
        set(&mut spec.restart.autorestart, change.autorestart.as_ref());
        set(&mut spec.restart.stop_exit_codes, change.stop_exit_codes.as_ref());
        set(&mut spec.cron_restart, change.cron_restart.as_ref());
        set(&mut spec.log.date_format, change.date_format.as_ref());
        match &change.watch {
            None => {}
            Some(paths) if !paths.is_empty() => spec.watch.paths.clone_from(paths),
            Some(_) if spec.watch.paths.is_empty() => spec.watch.paths = vec![spec.cwd.clone()],
            Some(_) => spec.watch.paths.clear(),
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Millis;

    #[test]
    fn nothing_changes_nothing() {
        let spec = Spec::new("web", "/srv/web", "/srv");
        assert_eq!(spec.with(&SpecChange::default()), spec);
    }

    #[test]
    fn a_watch_is_turned_on_and_off_and_given_paths() {
        let watch = |paths: &[&str]| SpecChange {
            watch: Some(paths.iter().map(|path| (*path).to_owned()).collect()),
            ..SpecChange::default()
        };
        let spec = Spec::new("web", "/srv/web", "/srv");
        let on = spec.with(&watch(&[]));
        assert_eq!(on.watch.paths, ["/srv"]);
        assert!(on.with(&watch(&[])).watch.paths.is_empty());
        assert_eq!(on.with(&watch(&["/a", "/b"])).watch.paths, ["/a", "/b"]);
    }

    #[test]
    fn the_environment_is_made_anew_from_its_sources() {
        use std::collections::BTreeMap;
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.filter_env = vec!["TOKEN".to_owned()];
        spec.set_env_sources(crate::spec::sources::EnvSources {
            inherited: map(&[("A", "old"), ("GONE", "1")]),
            files: map(&[("F", "1"), ("G", "1")]),
            own: map(&[("OWN", "mine")]),
        });
        let caller = map(&[("A", "new"), ("MY_TOKEN", "s"), ("OWN", "theirs")]);
        let changed = spec.with(&SpecChange { env: Some(caller), ..SpecChange::default() });
        assert_eq!(changed.env, map(&[("A", "new"), ("F", "1"), ("G", "1"), ("OWN", "mine")]));
        let file_env = BTreeMap::from([("web".to_owned(), map(&[("F", "2")]))]);
        let changed = spec.with(&SpecChange { file_env, ..SpecChange::default() });
        assert_eq!(changed.env, map(&[("A", "old"), ("F", "2"), ("GONE", "1"), ("OWN", "mine")]));
    }

    #[test]
    fn limits_can_be_set_and_removed() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.cron_restart = Some("0 * * * *".to_owned());
        let change =
            SpecChange { cron_restart: Some(None), max_memory: Some(Some(5)), ..SpecChange::default() };
        let changed = spec.with(&change);
        assert_eq!((changed.cron_restart, changed.restart.max_memory), (None, Some(5)));
    }

    #[test]
    fn one_kind_of_delay_excludes_the_other() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.restart.restart_delay = Some(Millis(5));
        let growing = SpecChange { backoff: Some(Some(Millis(7))), ..SpecChange::default() };
        let changed = spec.with(&growing).restart;
        assert_eq!((changed.restart_delay, changed.backoff), (None, Some(Millis(7))));
    }
}
