//! The list at several widths, character by character.

use wpm_client::metrics::Usage;

use super::*;
use crate::render::rows::{Usages, rows};

const NOW: u64 = 1_000_000_000;

fn app(name: &str, first_id: u32, instances: &[serde_json::Value]) -> wpm_proto::view::AppView {
    let instances: Vec<serde_json::Value> = instances
        .iter()
        .enumerate()
        .map(|(index, given)| {
            let mut instance = serde_json::json!({
                "id": first_id as usize + index, "index": index, "pid": 100, "start_time": 1, "shim_pid": 99,
                "status": "online", "reason": null, "restarts": 0, "unstable": 0,
                "started_ms": NOW - 187_200_000, "created_ms": 0, "last_exit": null, "restart_in_ms": null,
                "log_errno": 0, "log_dropped": 0
        });
            for (key, value) in given.as_object().expect("an object") {
                instance[key] = value.clone();
            }
            instance
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "name": name, "namespace": "shop", "version": "1.4.2", "cluster": true, "wanted": instances.len(),
        "username": "ann", "stamped": false, "instances": instances
    }))
    .expect("an app")
}

fn shop() -> Vec<Row> {
    let up = serde_json::json!({});
    let waiting = serde_json::json!({
        "status": "waiting restart", "pid": 0, "restarts": 15, "last_exit": {"code": 1}, "restart_in_ms": 16_000
    });
    let errored = serde_json::json!({
        "status": "errored", "pid": 0, "restarts": 16, "last_exit": {"signal": 9}, "reason": "crash loop"
    });
    let full = serde_json::json!({ "log_errno": 28, "log_dropped": 4096, "started_ms": NOW - 192_000 });
    let apps = [
        app("web", 0, &[up.clone(), up.clone(), up.clone(), up]),
        app("worker", 4, &[full]),
        app("api", 5, &[waiting]),
        app("report", 6, &[errored, serde_json::json!({ "status": "stopped", "pid": 0 })]),
    ];
    let mut usage: Usages =
        (0..4).map(|id| (id, Usage { cpu: 3.1, memory: 81 << 20, processes: 1 })).collect();
    usage.insert(4, Usage { cpu: 0.4, memory: 3 << 29, processes: 2 });
    rows(&apps, &usage, NOW, false)
}

fn drawn(width: u16, utf8: bool) -> String {
    let text = draw(&shop(), Look { width, utf8 });
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn wide() {
    assert_eq!(
        drawn(120, true),
        " ID   NAME    INST  STATUS             UPTIME  RESTARTS    CPU        MEM  NOTE
 0-3  web     4/4   ● online           2d 4h          0  12.4%  324.0 MiB
 4    worker  1/1   ● online           3m 12s         0   0.4%    1.5 GiB  log: No space left on device, 4.0 KiB…
 5    api     0/1   ◷ waiting restart  –             15      –          –  exit 1, retry in 16s
 6,7  report  0/2   ✗ 1 errored        –             16      –          –  crash loop, SIGKILL
"
    );
}

#[test]
fn medium_with_notes_below_their_rows() {
    assert_eq!(
        drawn(80, true),
        " ID   NAME    INST  STATUS             UPTIME   ↺  CPU   MEM
 0-3  web     4/4   ● online           2d 4h    0  12%  324M
 4    worker  1/1   ● online           3m 12s   0   0%  1.5G
   log: No space left on device, 4.0 KiB dropped
 5    api     0/1   ◷ waiting restart  –       15    –     –
   exit 1, retry in 16s
 6,7  report  0/2   ✗ 1 errored        –       16    –     –
   crash loop, SIGKILL
"
    );
}

#[test]
fn narrow() {
    assert_eq!(
        drawn(50, true),
        " NAME    INST  STATUS           CPU   MEM
 web     4/4   online           12%  324M
 worker  1/1   online            0%  1.5G
   log: No space left on device, 4.0 KiB dropped
 api     0/1   waiting restart    –     –
   exit 1, retry in 16s
 report  0/2   1 errored          –     –
   crash loop, SIGKILL
"
    );
}

#[test]
fn cards() {
    assert_eq!(
        drawn(30, true),
        "web 4/4 online
  12% 324M 2d 4h
worker 1/1 online
  0% 1.5G 3m 12s
  log: No space left on device
api 0/1 waiting restart
  ↺15
  exit 1, retry in 16s
report 0/2 1 errored
  ↺16
  crash loop, SIGKILL
"
    );
}

#[test]
fn ascii_where_the_locale_knows_no_more() {
    assert!(
        (30..140).all(|width| drawn(width, false).is_ascii() || width >= 110),
        "cut notes end with a dot"
    );
    assert!(drawn(80, false).contains(" 5    api     0/1   ? waiting restart  -        15    -     -\n"));
}

#[test]
fn no_line_is_wider_than_the_window() {
    for width in 36..160 {
        for line in drawn(width, true).lines() {
            assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
        }
    }
}

#[test]
fn long_names_are_cut_and_never_broken() {
    let apps = [app(&"x".repeat(100), 0, &[serde_json::json!({})])];
    for width in [36, 60, 120] {
        let text = draw(&rows(&apps, &Usages::new(), NOW, false), Look { width, utf8: true });
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains('…'));
    }
}
