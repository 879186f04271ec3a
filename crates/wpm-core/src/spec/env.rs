//! The environment of an instance: what the spec holds, and the variables that tell it who it is.
//!
//! Variables of files and of the home are added by the daemon, which knows them. Invariant: what the
//! user wrote for the app wins over what wpm says, except for `WPM_INSTANCE`.

use std::collections::BTreeMap;

use crate::{InstanceId, Spec};

/// Inherited variables that speak of the caller's own descriptors or place, which the app has not.
const NOT_INHERITED: [&str; 9] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NOTIFY_SOCKET",
    "WPM_INSTANCE",
];

impl Spec {
    /// The environment of the instance with this index and public id.
    pub fn instance_env(&self, index: u32, id: InstanceId) -> BTreeMap<String, String> {
        let own = |name: &str| self.own_env.iter().any(|one| one == name);
        let mut env = self.env.clone();
        env.retain(|name, _| own(name) || !NOT_INHERITED.contains(&name.as_str()));
        let mut tell = |name: &str, value: String| {
            if !own(name) {
                env.insert(name.to_owned(), value);
            }
        };
        // pm2's: programs in use read them.
        tell("pm_id", id.0.to_string());
        tell("name", self.name.clone());
        tell("namespace", self.namespace.clone());
        tell("exec_mode", if self.cluster { "cluster_mode" } else { "fork_mode" }.to_owned());
        tell("instances", self.instances.to_string());
        tell("pm_exec_path", self.script.clone());
        tell("pm_cwd", self.cwd.clone());
        tell("PWD", self.cwd.clone());
        tell("status", "launching".to_owned());
        tell("username", self.username.clone());
        tell("watch", (!self.watch.paths.is_empty()).to_string());
        if index >= self.numbered_from() || self.instances > 1 {
            tell(&self.instance_var, index.to_string());
        }
        if let Some(name) = &self.increment_var
            && let Some(base) = self.env.get(name).and_then(|value| value.trim().parse::<u64>().ok())
        {
            env.insert(name.clone(), base.saturating_add(u64::from(index)).to_string());
        }
        // A pipe makes Python hold its output back for kilobytes.
        if self.runs_python() {
            env.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| "1".to_owned());
        }
        env.insert("WPM_INSTANCE".to_owned(), index.to_string());
        env
    }

    /// The index from which instances carry their number in file names.
    pub(crate) const fn numbered_from(&self) -> u32 {
        if self.instances_asked { 0 } else { 1 }
    }

    fn runs_python(&self) -> bool {
        let program = self.interpreter.as_deref().unwrap_or(&self.script);
        let base = program.rsplit('/').next().unwrap_or(program);
        !self.shell && (base.starts_with("python") || base.starts_with("pypy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(spec: &Spec, index: u32, name: &str) -> Option<String> {
        spec.instance_env(index, InstanceId(7)).remove(name)
    }

    #[test]
    fn says_who_it_is() {
        let mut spec = Spec::new("web", "/srv/web.py", "/srv");
        spec.interpreter = Some("/usr/bin/python3".to_owned());
        let env = spec.instance_env(0, InstanceId(7));
        let expected = [
            ("PWD", "/srv"),
            ("PYTHONUNBUFFERED", "1"),
            ("WPM_INSTANCE", "0"),
            ("exec_mode", "fork_mode"),
            ("instances", "1"),
            ("name", "web"),
            ("namespace", "default"),
            ("pm_cwd", "/srv"),
            ("pm_exec_path", "/srv/web.py"),
            ("pm_id", "7"),
            ("status", "launching"),
            ("username", ""),
            ("watch", "false"),
        ];
        assert_eq!(env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn carries_the_number_where_instances_were_asked_for() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        assert_eq!(get(&spec, 0, "NODE_APP_INSTANCE"), None);
        spec.instances_asked = true;
        assert_eq!(get(&spec, 0, "NODE_APP_INSTANCE").as_deref(), Some("0"));
        spec.instance_var = "NR".to_owned();
        assert_eq!(get(&spec, 2, "NR").as_deref(), Some("2"));
    }

    #[test]
    fn counts_from_the_base() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        spec.increment_var = Some("PORT".to_owned());
        assert_eq!(get(&spec, 3, "PORT"), None);
        spec.env.insert("PORT".to_owned(), "8000".to_owned());
        assert_eq!(get(&spec, 3, "PORT").as_deref(), Some("8003"));
    }

    #[test]
    fn the_users_values_win_and_the_callers_place_is_not_inherited() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        for (name, value) in
            [("name", "mine"), ("NODE_CHANNEL_FD", "3"), ("WPM_INSTANCE", "9"), ("PWD", "/old")]
        {
            spec.env.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(get(&spec, 0, "name").as_deref(), Some("web"));
        assert_eq!(get(&spec, 0, "NODE_CHANNEL_FD"), None);
        assert_eq!(get(&spec, 0, "PWD").as_deref(), Some("/srv"));
        spec.own_env = vec!["name".to_owned(), "NODE_CHANNEL_FD".to_owned(), "WPM_INSTANCE".to_owned()];
        assert_eq!(get(&spec, 0, "name").as_deref(), Some("mine"));
        assert_eq!(get(&spec, 0, "NODE_CHANNEL_FD").as_deref(), Some("3"));
        assert_eq!(get(&spec, 0, "WPM_INSTANCE").as_deref(), Some("0"));
    }
}
