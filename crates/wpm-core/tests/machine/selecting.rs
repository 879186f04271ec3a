//! Which instances a selector names.

use wpm_core::{CommandError, InstanceId, Selector};

use crate::sim::{Host, spec, start, targets};

/// ids: web 0 1, web-api 2, 7 3, worker 4 (namespace jobs), jobs 5 (namespace web-api)
fn host() -> Host {
    let mut host = Host::new();
    let named = |name: &str, namespace: &str, instances: u32| {
        let mut spec = spec(name);
        spec.namespace = namespace.to_owned();
        spec.instances = instances;
        spec
    };
    let mut shell = named("jobs", "web-api", 1);
    shell.shell = true;
    shell.interpreter = Some("bash".to_owned());
    shell.script = "run /x/jobs.js".to_owned();
    let apps = [named("web", "default", 2), named("web-api", "default", 1), named("7", "default", 1)];
    host.outcomes(start(apps.into_iter().chain([named("worker", "jobs", 1), shell])));
    host
}

fn ids(host: &Host, typed: &[&str]) -> Result<Vec<u32>, CommandError> {
    host.core.select(&targets(typed)).map(|ids| ids.into_iter().map(|InstanceId(id)| id).collect())
}

#[test]
fn by_every_way() {
    let host = host();
    for (typed, expected) in [
        (&["all"][..], &[0, 1, 2, 3, 4, 5][..]),
        (&["web"], &[0, 1]),
        (&["/web/"], &[0, 1, 2]),
        (&["/^w.*r$/"], &[4]),
        (&["web*"], &[0, 1, 2]),
        (&["w?b"], &[0, 1]),
        (&["*e*"], &[0, 1, 2, 4]),
        (&["web/1"], &[1]),
        (&["web:0"], &[0]),
        (&["7"], &[3]),
        (&["4"], &[4]),
        (&["worker.js"], &[4]),
        (&["/srv/worker.js"], &[4]),
        (&["jobs"], &[5]),
        (&["web-api"], &[2]),
        (&["default"], &[3, 0, 1, 2]),
        (&["4", "web", "1", "all"], &[4, 0, 1, 2, 3, 5]),
        (&[], &[]),
    ] {
        assert_eq!(ids(&host, typed).as_deref(), Ok(expected), "{typed:?}");
    }
    for typed in ["nobody", "3x", "99", "web/2", "/nobody/", "x*", "jobs.js", "ALL"] {
        let refused = ids(&host, &[typed]);
        assert!(matches!(refused, Err(CommandError::NoSuchApp { .. })), "{typed}: {refused:?}");
    }
}

#[test]
fn a_hint_for_a_wrong_name() {
    let host = host();
    let hint = |typed| match ids(&host, &[typed]) {
        Err(CommandError::NoSuchApp { target, similar }) => {
            assert_eq!(target, typed);
            similar
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(hint("wbe"), ["web"]);
    assert_eq!(hint("work"), ["worker"]);
    assert_eq!(hint("web-apy"), ["web-api", "web"]);
    assert_eq!(hint("zzz"), Vec::<String>::new());
}

#[test]
fn what_is_no_selector() {
    assert!(Selector::parse("").is_err());
    let error = Selector::parse("/(/").unwrap_err().to_string();
    assert!(error.contains("`/(/` is not a regular expression"), "{error}");
    assert_eq!(Selector::parse("/").unwrap().to_string(), "/");
    assert_eq!(Selector::parse("//").unwrap().as_str(), "//");
}
