//! The environment of an app taken apart into its sources, and put together again.
//!
//! Three sources, the later over the earlier: what was inherited, what files of variables hold, what was
//! written for the app. Invariant: taking apart and putting together gives the same environment; a
//! value that an own one covers is not lost.

use std::collections::BTreeMap;

use crate::Spec;

/// Variables by source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvSources {
    /// From whoever asked for the start, without what the app does not want.
    pub inherited: BTreeMap<String, String>,
    /// From files.
    pub files: BTreeMap<String, String>,
    /// Written for the app.
    pub own: BTreeMap<String, String>,
}

impl Spec {
    /// The environment by source.
    pub fn env_sources(&self) -> EnvSources {
        let own = |name: &str| self.own_env.iter().any(|own| own == name);
        let of_file = |name: &str| self.file_env.iter().any(|of_file| of_file == name);
        let mut sources = EnvSources { inherited: self.covered_env.clone(), ..EnvSources::default() };
        for (name, value) in &self.env {
            let source = match (own(name), of_file(name)) {
                (_, true) => &mut sources.files,
                (true, false) => &mut sources.own,
                (false, false) => &mut sources.inherited,
            };
            source.insert(name.clone(), value.clone());
        }
        sources
    }

    /// Puts the environment together. What the app does not want is not inherited.
    pub fn set_env_sources(&mut self, sources: EnvSources) {
        let EnvSources { mut inherited, files, own } = sources;
        inherited.retain(|name, _| !self.filter_env.iter().any(|part| name.contains(part.as_str())));
        self.file_env = files.keys().filter(|name| !own.contains_key(*name)).cloned().collect();
        let mut over = files;
        over.extend(own);
        self.own_env = over.keys().cloned().collect();
        self.env = inherited.clone();
        self.env.extend(over);
        inherited.retain(|name, _| self.own_env.contains(name));
        self.covered_env = inherited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn apart_and_together_again() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        let sources = EnvSources {
            inherited: map(&[("PORT", "1"), ("HOME", "/root"), ("LEVEL", "a")]),
            files: map(&[("LEVEL", "b"), ("DB", "x")]),
            own: map(&[("PORT", "2")]),
        };
        spec.set_env_sources(sources.clone());
        assert_eq!(spec.env, map(&[("DB", "x"), ("HOME", "/root"), ("LEVEL", "b"), ("PORT", "2")]));
        assert_eq!(spec.covered_env, map(&[("LEVEL", "a"), ("PORT", "1")]));
        assert_eq!(spec.env_sources(), sources);

        // What is written no more leaves what was there before.
        spec.set_env_sources(EnvSources { own: BTreeMap::new(), ..spec.env_sources() });
        assert_eq!(spec.env["PORT"], "1");
        assert_eq!(
            (spec.own_env, spec.file_env),
            (vec!["DB".into(), "LEVEL".into()], vec!["DB".into(), "LEVEL".into()])
        );
    }

    #[test]
    fn what_is_not_wanted_is_not_inherited() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.filter_env = vec!["SECRET".to_owned()];
        let inherited = map(&[("MY_SECRET", "1"), ("HOME", "/root")]);
        spec.set_env_sources(EnvSources { inherited, own: map(&[("SECRET", "2")]), ..EnvSources::default() });
        assert_eq!(spec.env, map(&[("HOME", "/root"), ("SECRET", "2")]));
        spec.filter_env = vec![String::new()];
        spec.set_env_sources(spec.env_sources());
        assert_eq!(spec.env, map(&[("SECRET", "2")]));
    }
}
