//! What is done to a batch of output whose lines are changed on their way into the file.

use divan::Bencher;
use divan::counter::BytesCount;
use wpm_sys::launch::LineFormat;

/// What the module under test knows of the journal.
mod journal {
    pub(super) const CAPACITY: u64 = 128 << 10;
}

#[path = "../src/pump/lines.rs"]
#[expect(dead_code, reason = "the module is a private part of the crate; not all of it is measured")]
mod lines;

fn main() {
    divan::main();
}

/// One batch as it comes from a pipe, in lines of so many bytes.
fn batch(line: usize) -> Vec<u8> {
    let mut text = vec![b'x'; 64 << 10];
    text.iter_mut().skip(line - 1).step_by(line).for_each(|byte| *byte = b'\n');
    text
}

fn run(bencher: Bencher<'_, '_>, format: &LineFormat, line: usize) {
    let input = batch(line);
    let style = lines::Style { format, kind: "out", app: "web", process_id: 1 };
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(input.len())).bench_local(|| {
        out.clear();
        let stamp = lines::stamp(format);
        lines::transform(&style, &input, false, false, Some(u64::MAX), &stamp, &mut out)
    });
}

#[divan::bench(args = [20, 100, 1000])]
fn stamped(bencher: Bencher<'_, '_>, line: usize) {
    run(bencher, &LineFormat::Stamped("%Y-%m-%dT%H:%M:%S".into()), line);
}

#[divan::bench(args = [20, 100, 1000])]
fn json(bencher: Bencher<'_, '_>, line: usize) {
    run(bencher, &LineFormat::Json { time: String::new() }, line);
}
