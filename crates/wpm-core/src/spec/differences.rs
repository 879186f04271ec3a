//! How two specs of an app differ, key by key, in the words of app files, and what each difference needs
//! in order to take effect.
//!
//! Invariant: a new field of a spec must be added here, which the compiler demands. What only says where
//! a value came from (`own_env` and its kin) or who typed it is no difference.

use std::collections::{BTreeMap, BTreeSet};

use crate::{LogSpec, Millis, RestartPolicy, Spec, StopPolicy, WatchSpec};

/// What a difference needs in order to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: it is in force as soon as it is known.
    Now,
    /// Instances that come or go.
    Count,
    /// A new run of each instance.
    Run,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Key of an app file; of a table, with the name within behind a dot.
    pub key: String,
    /// Value that is in force; none = absent.
    pub old: Option<String>,
    /// Value to come; none = absent.
    pub new: Option<String>,
    /// Whether the values are not for every eye.
    pub secret: bool,
    /// What it needs.
    pub effect: Effect,
}

/// Gathers differences.
#[derive(Default)]
struct Gathering(Vec<Difference>);

impl Gathering {
    fn texts(&mut self, key: &str, effect: Effect, old: Option<String>, new: Option<String>) {
        if old != new {
            self.0.push(Difference { key: key.to_owned(), old, new, secret: false, effect });
        }
    }

    fn values<T: ToString>(&mut self, key: &str, effect: Effect, old: &T, new: &T) {
        self.texts(key, effect, Some(old.to_string()), Some(new.to_string()));
    }

    fn maybe<T: ToString>(&mut self, key: &str, effect: Effect, old: Option<&T>, new: Option<&T>) {
        self.texts(key, effect, old.map(ToString::to_string), new.map(ToString::to_string));
    }

    fn spans(&mut self, key: &str, effect: Effect, old: Option<Millis>, new: Option<Millis>) {
        let text = |span: Option<Millis>| span.map(|span| format!("{}ms", span.0));
        self.texts(key, effect, text(old), text(new));
    }

    fn lists<T: ToString>(&mut self, key: &str, effect: Effect, old: &[T], new: &[T]) {
        let text = |list: &[T]| {
            let words: Vec<String> = list.iter().map(ToString::to_string).collect();
            (!words.is_empty()).then(|| words.join(" "))
        };
        self.texts(key, effect, text(old), text(new));
    }

    fn tables(
        &mut self,
        key: &str,
        effect: Effect,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            self.maybe(&format!("{key}.{name}"), effect, old.get(name), new.get(name));
        }
    }

    fn log(&mut self, old: &LogSpec, new: &LogSpec) {
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
        } = old;
        let run = Effect::Run;
        self.maybe("out_file", run, out.as_ref(), new.out.as_ref());
        self.maybe("error_file", run, err.as_ref(), new.err.as_ref());
        self.maybe("log_file", run, both.as_ref(), new.both.as_ref());
        self.values("merge_logs", run, merge, &new.merge);
        self.values("disable_logs", run, disabled, &new.disabled);
        let kind = |json: bool| if json { "json" } else { "plain" };
        self.values("log_type", run, &kind(*json), &kind(new.json));
        self.maybe("log_date_format", run, date_format.as_ref(), new.date_format.as_ref());
        self.maybe("log_max_size", run, max_size.as_ref(), new.max_size.as_ref());
        self.maybe("log_retain", run, retain.as_ref(), new.retain.as_ref());
        self.maybe("log_compress", run, compress.as_ref(), new.compress.as_ref());
        self.maybe("log_rotate_interval", run, rotate_interval.as_ref(), new.rotate_interval.as_ref());
    }

    fn restart(&mut self, old: &RestartPolicy, new: &RestartPolicy) {
        let RestartPolicy {
            autorestart,
            stop_exit_codes,
            min_uptime,
            max_restarts,
            restart_delay,
            backoff,
            max_memory,
        } = old;
        let now = Effect::Now;
        self.values("autorestart", now, autorestart, &new.autorestart);
        self.lists("stop_exit_codes", now, stop_exit_codes, &new.stop_exit_codes);
        self.spans("min_uptime", now, Some(*min_uptime), Some(new.min_uptime));
        self.values("max_restarts", now, max_restarts, &new.max_restarts);
        self.spans("restart_delay", now, *restart_delay, new.restart_delay);
        self.spans("exp_backoff_restart_delay", now, *backoff, new.backoff);
        self.maybe("max_memory_restart", now, max_memory.as_ref(), new.max_memory.as_ref());
    }

    fn stop(&mut self, old: &StopPolicy, new: &StopPolicy) {
        let StopPolicy { signal, kill_timeout, tree, with_message } = old;
        self.values("kill_signal", Effect::Now, signal, &new.signal);
        self.spans("kill_timeout", Effect::Now, Some(*kill_timeout), Some(new.kill_timeout));
        // Its shim knows it from the start.
        self.values("treekill", Effect::Run, tree, &new.tree);
        self.values("shutdown_with_message", Effect::Now, with_message, &new.with_message);
    }

    fn watch(&mut self, old: &WatchSpec, new: &WatchSpec) {
        let WatchSpec { paths, ignore, delay } = old;
        self.lists("watch", Effect::Now, paths, &new.paths);
        self.lists("ignore_watch", Effect::Now, ignore, &new.ignore);
        self.spans("watch_delay", Effect::Now, *delay, new.delay);
    }
}

impl Spec {
    /// How `new` differs from this spec, in the order of the documentation.
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
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
            own_env: _,
            file_env: _,
            covered_env: _,
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
            username: _,
            extra,
        } = self;
        let (now, run) = (Effect::Now, Effect::Run);
        let mut all = Gathering::default();
        all.maybe("source", now, source.as_ref(), new.source.as_ref());
        all.maybe("source_env", now, source_env.as_ref(), new.source_env.as_ref());
        all.values("name", run, name, &new.name);
        all.values("namespace", run, namespace, &new.namespace);
        all.values("script", run, script, &new.script);
        let how = |shell: bool| if shell { "a command line" } else { "a program" };
        all.values("script is", run, &how(*shell), &how(new.shell));
        all.values("cwd", run, cwd, &new.cwd);
        all.lists("args", run, args, &new.args);
        all.maybe("interpreter", run, interpreter.as_ref(), new.interpreter.as_ref());
        all.lists("interpreter_args", run, interpreter_args, &new.interpreter_args);
        let mode = |cluster: bool| if cluster { "cluster" } else { "fork" };
        all.values("exec_mode", run, &mode(*cluster), &mode(new.cluster));
        all.values("instances", Effect::Count, instances, &new.instances);
        if instances_asked != &new.instances_asked {
            // Their logs and variables are named by it.
            all.values("instances are numbered", run, instances_asked, &new.instances_asked);
        }
        all.lists("env_file", now, env_files, &new.env_files);
        all.lists("filter_env", now, filter_env, &new.filter_env);
        all.0.extend(environments(env, &new.env));
        all.values("instance_var", run, instance_var, &new.instance_var);
        all.maybe("increment_var", run, increment_var.as_ref(), new.increment_var.as_ref());
        all.maybe("uid", run, uid.as_ref(), new.uid.as_ref());
        all.maybe("gid", run, gid.as_ref(), new.gid.as_ref());
        let octal = |mask: Option<u32>| mask.map(|mask| format!("{mask:03o}"));
        all.texts("umask", run, octal(*umask), octal(new.umask));
        all.values("nice", run, nice, &new.nice);
        all.maybe("max_open_files", run, max_open_files.as_ref(), new.max_open_files.as_ref());
        all.maybe("memory_max", run, memory_max.as_ref(), new.memory_max.as_ref());
        let percent = |cpu: Option<u32>| cpu.map(|percent| format!("{percent}%"));
        all.texts("cpu_max", run, percent(*cpu_max), percent(new.cpu_max));
        let limits_of = |spec: &Self| {
            let texts = spec.limits.iter().map(|(it, limit)| (it.as_str().to_owned(), limit.to_string()));
            texts.collect::<BTreeMap<_, _>>()
        };
        if *limits != new.limits {
            all.tables("limits", run, &limits_of(self), &limits_of(new));
        }
        all.lists("listen", run, listen, &new.listen);
        all.maybe("balance", run, balance.as_ref(), new.balance.as_ref());
        all.maybe("port_step", run, port_step.as_ref(), new.port_step.as_ref());
        all.values("autostart", now, autostart, &new.autostart);
        all.spans("start_check", now, Some(*start_check), Some(new.start_check));
        all.values("wait_ready", now, wait_ready, &new.wait_ready);
        all.spans("listen_timeout", now, Some(*listen_timeout), Some(new.listen_timeout));
        all.spans("drain_timeout", now, Some(*drain_timeout), Some(new.drain_timeout));
        all.maybe("overlap", now, overlap.as_ref(), new.overlap.as_ref());
        // What is looked at is settled when a run begins.
        all.maybe("ready", run, ready.as_ref(), new.ready.as_ref());
        all.maybe("health", run, health.as_ref(), new.health.as_ref());
        all.spans("health_interval", run, Some(*health_interval), Some(new.health_interval));
        all.spans("health_timeout", run, Some(*health_timeout), Some(new.health_timeout));
        all.values("health_failures", run, health_failures, &new.health_failures);
        all.restart(restart, &new.restart);
        all.stop(stop, &new.stop);
        all.log(log, &new.log);
        all.maybe("pid_file", run, pid_file.as_ref(), new.pid_file.as_ref());
        all.maybe("cron_restart", now, cron_restart.as_ref(), new.cron_restart.as_ref());
        all.maybe("schedule", now, schedule.as_ref(), new.schedule.as_ref());
        all.values("schedule_overlap", now, schedule_overlap, &new.schedule_overlap);
        all.watch(watch, &new.watch);
        let conditions = |spec: &Self| {
            let texts = spec.depends_on.iter().map(|(app, it)| (app.clone(), it.as_str().to_owned()));
            texts.collect::<BTreeMap<_, _>>()
        };
        if *depends_on != new.depends_on {
            all.tables("depends_on", now, &conditions(self), &conditions(new));
        }
        let moments = |spec: &Self| {
            let texts = spec.hooks.iter().map(|(hook, what)| (hook.as_str().to_owned(), what.clone()));
            texts.collect::<BTreeMap<_, _>>()
        };
        if *hooks != new.hooks {
            all.tables("hooks", now, &moments(self), &moments(new));
        }
        all.maybe("version", now, version.as_ref(), new.version.as_ref());
        all.tables("extra", now, extra, &new.extra);
        all.0
    }
}

/// Variables that differ, but for the one that says the working directory.
fn environments(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut all = Gathering::default();
    all.tables("env", Effect::Run, old, new);
    all.0.retain(|difference| difference.key != "env.PWD");
    all.0.into_iter().map(|difference| Difference { secret: true, ..difference }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_named_and_says_what_it_needs() {
        type Change = fn(&mut Spec);
        let cases: [(&str, Effect, Change); 22] = [
            ("script", Effect::Run, |spec| spec.script = "/srv/other".to_owned()),
            ("cwd", Effect::Run, |spec| spec.cwd = "/".to_owned()),
            ("args", Effect::Run, |spec| spec.args = vec!["a".to_owned()]),
            ("instances", Effect::Count, |spec| spec.instances = 3),
            ("env.A", Effect::Run, |spec| drop(spec.env.insert("A".to_owned(), "1".to_owned()))),
            ("out_file", Effect::Run, |spec| spec.log.out = Some("/l".to_owned())),
            ("log_type", Effect::Run, |spec| spec.log.json = true),
            ("exec_mode", Effect::Run, |spec| spec.cluster = true),
            ("namespace", Effect::Run, |spec| spec.namespace = "shop".to_owned()),
            ("umask", Effect::Run, |spec| spec.umask = Some(0o27)),
            ("treekill", Effect::Run, |spec| spec.stop.tree = false),
            ("health", Effect::Run, |spec| spec.health = Some(crate::Check::Port(None))),
            ("kill_timeout", Effect::Now, |spec| spec.stop.kill_timeout = Millis(5)),
            ("autorestart", Effect::Now, |spec| spec.restart.autorestart = false),
            ("max_memory_restart", Effect::Now, |spec| spec.restart.max_memory = Some(5)),
            ("cron_restart", Effect::Now, |spec| spec.cron_restart = Some("* * * * *".to_owned())),
            ("schedule", Effect::Now, |spec| spec.schedule = Some("* * * * *".to_owned())),
            ("watch", Effect::Now, |spec| spec.watch.paths = vec!["/srv".to_owned()]),
            ("source", Effect::Now, |spec| spec.source = Some("/srv/wpm.toml".to_owned())),
            ("depends_on.db", Effect::Now, |spec| {
                let _ = spec.depends_on.insert("db".to_owned(), crate::Condition::Ready);
            }),
            ("hooks.on_exit", Effect::Now, |spec| {
                drop(spec.hooks.insert(crate::Hook::OnExit, "true".to_owned()));
            }),
            ("limits.core", Effect::Run, |spec| {
                let none = crate::ResourceLimit { soft: 0, hard: 0 };
                let _ = spec.limits.insert(crate::Resource::Core, none);
            }),
        ];
        let old = Spec::new("web", "/srv/web", "/srv");
        for (key, effect, change) in cases {
            let mut new = old.clone();
            change(&mut new);
            let there = old.differences(&new);
            assert_eq!(there.len(), 1, "{key}: {there:?}");
            assert_eq!((there[0].key.as_str(), there[0].effect), (key, effect));
            assert_eq!(there[0].secret, key == "env.A");
            let back = new.differences(&old);
            assert_eq!((&back[0].old, &back[0].new), (&there[0].new, &there[0].old), "{key}");
        }
        assert!(old.differences(&old).is_empty());
    }

    #[test]
    fn where_a_value_came_from_is_no_difference() {
        let old = Spec::new("web", "/srv/web", "/srv");
        let mut new = old.clone();
        new.username = "ann".to_owned();
        new.own_env = vec!["A".to_owned()];
        new.env.insert("PWD".to_owned(), "/elsewhere".to_owned());
        assert!(old.differences(&new).is_empty());
    }
}
