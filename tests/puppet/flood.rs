//! Output without end: numbered lines as fast as the pipe takes them, until told to halt.
//!
//! `flood TAG MIB_PER_SECOND [both]` writes to stdout, or to stdout and stderr at once, each from a
//! thread of its own; `halt` ends it between two lines and answers
//! `halted OUT ERR WORST_US BYTES`: how many lines each stream has had since the puppet began, the
//! longest single write in microseconds, and the bytes of this flood. A line is `TAG/o NUMBER PADDING`
//! (`/e` on stderr) with [`padding`] letters that follow from its number. The speed is that of the pipe
//! within bursts of half a second's amount; 0 sets no bound.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of one write: no multiple of a line, a page or a pipe.
const CHUNK: usize = 5_000;
/// Time that the amount of one burst is counted for.
const BURST: Duration = Duration::from_millis(500);

/// Letters after the number of a line.
const fn padding(n: u64) -> usize {
    (n.wrapping_mul(37) % 160) as usize
}

/// What one stream's thread did.
struct Done {
    next: u64,
    worst: Duration,
    bytes: u64,
}

/// The flood of one puppet.
#[derive(Default)]
pub(crate) struct Flood {
    next: [u64; 2],
    stop: Arc<AtomicBool>,
    threads: Vec<(usize, JoinHandle<Done>)>,
}

impl Flood {
    /// Begins.
    pub(crate) fn begin(&mut self, words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        let [tag, rate, rest @ ..] = words.as_slice() else { panic!("flood TAG RATE") };
        let rate: u64 = rate.parse().expect("a number");
        self.stop.store(false, Ordering::Relaxed);
        let streams = if rest == ["both"] { 2 } else { 1 };
        for stream in 0..streams {
            let tag = format!("{tag}/{}", ["o", "e"][stream]);
            let (next, stop) = (self.next[stream], Arc::clone(&self.stop));
            let thread = std::thread::spawn(move || match stream {
                0 => pour(std::io::stdout().lock(), &tag, next, rate, &stop),
                _ => pour(std::io::stderr().lock(), &tag, next, rate, &stop),
            });
            self.threads.push((stream, thread));
        }
        "flooding".into()
    }

    /// Halts.
    pub(crate) fn halt(&mut self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let (mut worst, mut bytes) = (Duration::ZERO, 0);
        for (stream, thread) in self.threads.drain(..) {
            thread.thread().unpark();
            let done = thread.join().expect("output is taken");
            self.next[stream] = done.next;
            worst = worst.max(done.worst);
            bytes += done.bytes;
        }
        format!("halted {} {} {} {bytes}", self.next[0], self.next[1], worst.as_micros())
    }
}

fn pour(mut out: impl Write, tag: &str, mut next: u64, mib_per_second: u64, stop: &AtomicBool) -> Done {
    let burst = (mib_per_second << 20) / 2;
    let (mut worst, mut bytes) = (Duration::ZERO, 0_u64);
    let (mut began, mut poured) = (Instant::now(), 0_u64);
    let mut waiting: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    loop {
        let last = stop.load(Ordering::Relaxed);
        while !last && waiting.len() < CHUNK {
            let pad = padding(next);
            writeln!(waiting, "{tag} {next:010} {:x<pad$}", "").expect("memory");
            next += 1;
        }
        let chunk = if last { waiting.len() } else { CHUNK };
        let at = Instant::now();
        out.write_all(&waiting[..chunk]).expect("stdout takes it");
        out.flush().expect("stdout takes it");
        worst = worst.max(at.elapsed());
        bytes += chunk as u64;
        poured += chunk as u64;
        waiting.drain(..chunk);
        if last {
            return Done { next, worst, bytes };
        }
        if burst > 0 && poured >= burst {
            // Woken early by `halt`.
            std::thread::park_timeout(BURST.saturating_sub(began.elapsed()));
            (began, poured) = (Instant::now(), 0);
        }
    }
}
