//! Frames and what they carry: the answer to `list`, written by the daemon and read by a client.

use divan::Bencher;
use divan::counter::BytesCount;
use wpm_proto::frame;
use wpm_proto::response::{Body, Response};

fn main() {
    divan::main();
}

/// An answer that tells of so many instances.
fn answer(instances: u32) -> Response {
    let instances: Vec<serde_json::Value> = (0..instances)
        .map(|id| {
            serde_json::json!({
                "id": id, "index": id, "pid": 1000 + id, "start_time": 5555, "shim_pid": 2000 + id,
                "status": "online", "started_ms": 1_700_000_000_000_u64, "created_ms": 1_700_000_000_000_u64
            })
        })
        .collect();
    let app = serde_json::json!({
        "name": "web", "namespace": "default", "wanted": instances.len(), "username": "user",
        "instances": instances
    });
    let apps = vec![serde_json::from_value(app).expect("an app")];
    Response { id: 1, body: Body::Apps { apps } }
}

#[divan::bench(args = [1, 100, 1000])]
fn write(bencher: Bencher<'_, '_>, instances: u32) {
    let answer = answer(instances);
    bencher.bench(|| {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, &answer).expect("short");
        bytes
    });
}

#[divan::bench(args = [1, 100, 1000])]
fn read(bencher: Bencher<'_, '_>, instances: u32) {
    let json = serde_json::to_vec(&answer(instances)).expect("JSON");
    bencher
        .counter(BytesCount::new(json.len()))
        .bench(|| serde_json::from_slice::<Response>(&json).expect("an answer"));
}
