//! The fingerprint of a spec: equal for equal specs, on every machine and in every release.
//!
//! FNV-1a over an encoding of its own, so that neither the compiler nor the order of a derived hash
//! has a say in it. It tells changes apart and proves nothing. Invariant: a new field of a spec must
//! be added here, which the compiler demands.

use std::collections::BTreeMap;

use crate::{LogSpec, Millis, RestartPolicy, Spec, StopPolicy};

/// The time to drain that goes without saying.
const DRAIN_TIMEOUT: Millis = Millis(5000);

/// A running FNV-1a of 64 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) const fn finish(self) -> u64 {
        self.0
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn number(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    fn signed(&mut self, number: i32) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    fn yes(&mut self, yes: bool) {
        self.byte(u8::from(yes));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        text.bytes().for_each(|byte| self.byte(byte));
    }

    fn maybe<T>(&mut self, value: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.yes(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn maybe_text(&mut self, text: Option<&String>) {
        self.maybe(text, |hash, text| hash.text(text));
    }

    fn span(&mut self, span: Option<&Millis>) {
        self.maybe(span, |hash, span| hash.number(span.0));
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        texts.iter().for_each(|text| self.text(text));
    }

    fn map(&mut self, map: &BTreeMap<String, String>) {
        self.number(map.len() as u64);
        for (key, value) in map {
            self.text(key);
            self.text(value);
        }
    }

    fn stop(&mut self, policy: &StopPolicy) {
        let StopPolicy { signal, kill_timeout, tree, with_message } = policy;
        self.signed(*signal);
        self.number(kill_timeout.0);
        self.yes(*tree);
        self.yes(*with_message);
    }

    fn restart(&mut self, policy: &RestartPolicy) {
        let RestartPolicy {
            autorestart,
            stop_exit_codes,
            min_uptime,
            max_restarts,
            restart_delay,
            backoff,
            max_memory,
        } = policy;
        self.yes(*autorestart);
        self.number(stop_exit_codes.len() as u64);
        stop_exit_codes.iter().for_each(|code| self.signed(*code));
        self.number(min_uptime.0);
        self.number(u64::from(*max_restarts));
        self.span(restart_delay.as_ref());
        self.span(backoff.as_ref());
        self.maybe(max_memory.as_ref(), |hash, bytes| hash.number(*bytes));
    }

    fn log(&mut self, log: &LogSpec) {
        let LogSpec {
            out,
            err,
            both,
            merge,
            disabled,
            json,
            date_format,
            max_size,
            retain,
            compress,
            rotate_interval,
        } = log;
        [out, err, both, date_format, rotate_interval]
            .into_iter()
            .for_each(|text| self.maybe_text(text.as_ref()));
        [merge, disabled, json].into_iter().for_each(|yes| self.yes(*yes));
        self.maybe(max_size.as_ref(), |hash, bytes| hash.number(*bytes));
        self.maybe(retain.as_ref(), |hash, files| hash.number(u64::from(*files)));
        self.maybe(compress.as_ref(), |hash, yes| hash.yes(*yes));
    }
}

impl Spec {
    /// A number that is equal for equal specs and, but for chance, different for others.
    pub fn fingerprint(&self) -> u64 {
        let Self {
            name,
            namespace,
            script,
            shell,
            interpreter,
            interpreter_args,
            args,
            cwd,
            env,
            own_env,
            file_env,
            covered_env,
            env_files,
            filter_env,
            source,
            source_env,
            instances,
            instances_asked,
            cluster,
            instance_var,
            increment_var,
            autostart,
            start_check,
            wait_ready,
            listen_timeout,
            listen,
            balance,
            port_step,
            ready,
            health,
            health_interval,
            health_timeout,
            health_failures,
            drain_timeout,
            overlap,
            restart,
            stop,
            log,
            pid_file,
            cron_restart,
            schedule,
            schedule_overlap,
            watch,
            depends_on,
            hooks,
            uid,
            gid,
            umask,
            nice,
            max_open_files,
            memory_max,
            cpu_max,
            limits,
            version,
            username,
            extra,
        } = self;
        let mut hash = Fingerprint::new();
        [name, namespace, script, cwd, instance_var, username].into_iter().for_each(|text| hash.text(text));
        [shell, instances_asked, cluster, autostart, wait_ready].into_iter().for_each(|yes| hash.yes(*yes));
        [interpreter, increment_var, pid_file, cron_restart, uid, gid, version]
            .into_iter()
            .for_each(|text| hash.maybe_text(text.as_ref()));
        [interpreter_args, args, own_env].into_iter().for_each(|texts| hash.texts(texts));
        [env, extra].into_iter().for_each(|map| hash.map(map));
        hash.number(u64::from(*instances));
        [start_check, listen_timeout].into_iter().for_each(|span| hash.number(span.0));
        hash.restart(restart);
        hash.stop(stop);
        hash.log(log);
        hash.maybe(umask.as_ref(), |hash, mask| hash.number(u64::from(*mask)));
        hash.signed(*nice);
        hash.maybe(max_open_files.as_ref(), |hash, files| hash.number(*files));
        // Fields of later releases: each only where it says something, under its name.
        if !listen.is_empty() {
            hash.text("listen");
            hash.texts(listen);
        }
        let health = health
            .as_ref()
            .map(|check| format!("{check} {} {} {health_failures}", health_interval.0, health_timeout.0));
        let drain = (*drain_timeout != DRAIN_TIMEOUT).then(|| drain_timeout.0.to_string());
        for (name, text) in [
            ("balance", balance.map(|one| one.as_str().to_owned())),
            ("port_step", port_step.map(|port| port.to_string())),
            ("ready", ready.as_ref().map(ToString::to_string)),
            ("health", health),
            ("drain_timeout", drain),
            ("overlap", overlap.map(|yes| yes.to_string())),
            ("memory_max", memory_max.map(|bytes| bytes.to_string())),
            ("cpu_max", cpu_max.map(|percent| percent.to_string())),
            ("source", source.clone()),
            ("source_env", source_env.clone()),
            ("schedule", schedule.as_ref().map(|rule| format!("{rule} {schedule_overlap}"))),
        ] {
            if let Some(text) = text {
                hash.text(name);
                hash.text(&text);
            }
        }
        let depends_on = depends_on.iter().map(|(app, condition)| (app.as_str(), condition.as_str()));
        let hooks = hooks.iter().map(|(hook, what)| (hook.as_str(), what.as_str()));
        for (name, pairs) in
            [("depends_on", depends_on.collect::<Vec<_>>()), ("hooks", hooks.collect::<Vec<_>>())]
        {
            for (key, value) in pairs {
                [name, key, value].into_iter().for_each(|text| hash.text(text));
            }
        }
        for (name, texts) in [("file_env", file_env), ("env_files", env_files), ("filter_env", filter_env)] {
            if !texts.is_empty() {
                hash.text(name);
                hash.texts(texts);
            }
        }
        for (name, value) in covered_env {
            ["covered_env", name, value].into_iter().for_each(|text| hash.text(text));
        }
        for (resource, limit) in limits {
            ["limits", resource.as_str(), &limit.to_string()].into_iter().for_each(|text| hash.text(text));
        }
        if !watch.paths.is_empty() {
            hash.text("watch");
            hash.texts(&watch.paths);
            hash.texts(&watch.ignore);
            hash.span(watch.delay.as_ref());
        }
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_changes_apart() {
        let spec = Spec::new("web", "/srv/web", "/srv");
        assert_eq!(spec.fingerprint(), Spec::new("web", "/srv/web", "/srv").fingerprint());
        let changes: [fn(&mut Spec); 15] = [
            |spec| spec.name = "we".to_owned(),
            |spec| spec.args = vec![String::new()],
            |spec| spec.interpreter = Some(String::new()),
            |spec| spec.instances = 2,
            |spec| spec.restart.restart_delay = Some(Millis(0)),
            |spec| spec.stop.tree = false,
            |spec| spec.log.compress = Some(false),
            |spec| spec.nice = -1,
            |spec| spec.listen = vec!["3000".to_owned()],
            |spec| spec.balance = Some(crate::Balance::Shared),
            |spec| spec.port_step = Some(3001),
            |spec| spec.ready = Some(crate::Check::Port(None)),
            |spec| spec.health = Some(crate::Check::Port(None)),
            |spec| spec.drain_timeout = Millis(1),
            |spec| spec.overlap = Some(false),
        ];
        let mut seen = std::collections::BTreeSet::from([spec.fingerprint()]);
        for change in changes {
            let mut other = spec.clone();
            change(&mut other);
            assert!(seen.insert(other.fingerprint()), "{other:?}");
        }
        let mut moved = spec.clone();
        (moved.name, moved.namespace) = ("webdefault".to_owned(), String::new());
        assert_ne!(moved.fingerprint(), spec.fingerprint());
    }

    #[test]
    fn stays_the_same_over_releases() {
        assert_eq!(Spec::new("web", "/srv/web", "/srv").fingerprint(), 0x2fb0_5fa6_9062_0b4b);
    }
}
