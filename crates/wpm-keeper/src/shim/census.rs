//! Looks at all processes of the machine, each of them for every shim that wants one.
//!
//! A shim that is not the parent of its app has to look through all processes for those that fled. Where hundreds
//! of runs are brought down at once, each would look through the same ones. So whoever looks writes down whom it
//! has seen, and that answers all who had asked before it began. Owns the file of the last census and the lock under
//! which the next is taken; deliberately does not judge who is of which run.
//!
//! Invariant: an answer is of a whole look that began after its question. Who finds the lock taken comes again; who
//! finds that its holder was stopped takes the lock's file away, so that there is another; who has waited for
//! [`PATIENCE_MS`] looks alone: nobody is held up by the shim of another. Where no file can be written (a full disk)
//! each looks alone, too.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;
use wpm_sys::start::RUN_VARIABLE;
use wpm_sys::{clock, lock, memory, process, procfs};

/// The last census, in the home.
const NAME: &str = "run/census";
/// The next one, while it is written.
const NEXT: &str = "run/census.next";
/// Held by whoever takes it, whose process id is in it.
const LOCK: &str = "run/census.lock";

/// How long somebody else's look is waited for, in milliseconds. One at thousands of processes on a busy machine
/// takes a second or two.
const PATIENCE_MS: u64 = 10_000;
/// After how long one who waits sees whether the one who looks was stopped, in milliseconds.
const DOUBT_MS: u64 = 100;
/// Least and greatest pause of one who waits, in milliseconds. Between them it is as long as the last look took, or half
/// as long as was waited: hundreds who wait must not take from the one who looks the time to do so.
const PAUSE_MS: (u64, u64) = (2, 200);
/// Pause after a look that could not see everybody, in milliseconds.
const BLIND_MS: u64 = 250;

/// First word of the file; another one where its form is another.
const FORM: u64 = 0x0001_7375_736e_6563;
/// Length of a boot's name.
const BOOT: usize = 36;
/// Bytes before the first process: form, beginning, duration, sum, process namespace, boot.
const HEAD: usize = 5 * 8 + BOOT;
/// Bytes of a process.
const ENTRY: usize = 3 * 8;
/// Bytes that are read or written at once.
const CHUNK: usize = 128 * ENTRY;

/// A sum over all processes of the file. Where two look at once, because the lock's file was taken away, what they
/// write into one file is no census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum(u64);

impl Sum {
    const NONE: Self = Self(0xcbf2_9ce4_8422_2325);

    fn add(&mut self, entry: &[u8; ENTRY]) {
        for word in entry.as_chunks::<8>().0 {
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// One process that may be of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) pid: i32,
    pub(super) session: i32,
    /// In clock ticks since boot.
    pub(super) start_time: u64,
    /// The run of this home that it was marked with when it was executed, or 0.
    pub(super) run: u64,
}

/// Who is there, from now on?
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// In microseconds since boot.
    since_us: u64,
    /// When it was asked first, in monotonic milliseconds.
    asked_ms: u64,
}

/// What came of a question for now.
#[derive(Debug)]
pub(super) enum Answer {
    /// Those who are wanted, of all that are there.
    Seen(Vec<Person>),
    /// To be asked again after so many milliseconds.
    Later(u64),
}

/// Which processes are wanted.
pub(super) type Wanted<'a> = &'a dyn Fn(&Person) -> bool;

impl Question {
    /// Asks at this moment.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { since_us: clock::boottime_us(), asked_ms: now_ms }
    }

    /// Answers it by a census that was taken since, or takes one if nobody else does.
    pub(super) fn ask(self, home: &[u8], now_ms: u64, wanted: Wanted<'_>) -> Answer {
        let office = Office::of(home);
        let took_ms = match office.read(self.since_us, wanted) {
            Some(Published { seen: Some(seen), .. }) => return Answer::Seen(seen),
            last => last.map_or(0, |last| last.took_us / 1000),
        };
        let waited_ms = now_ms.saturating_sub(self.asked_ms);
        if waited_ms >= DOUBT_MS && office.is_held_up() {
            // What its holder may still write is no census: the sum is wrong.
            drop(std::fs::remove_file(office.path(LOCK)));
        }
        let lock = match lock::for_life(&office.path(LOCK)) {
            Ok(None) if waited_ms < PATIENCE_MS => {
                return Answer::Later(took_ms.max(waited_ms / 2).clamp(PAUSE_MS.0, PAUSE_MS.1));
            }
            lock => lock.ok().flatten(),
        };
        // Whoever held the lock may have answered before it was free.
        if lock.is_some()
            && let Some(Published { seen: Some(seen), .. }) = office.read(self.since_us, wanted)
        {
            return Answer::Seen(seen);
        }
        office.look(lock.as_ref(), wanted).map_or(Answer::Later(BLIND_MS), Answer::Seen)
    }
}

/// Looks for oneself alone, at once.
///
/// # Errors
/// When not everybody can be seen for now.
pub(super) fn look_alone(home: &[u8], wanted: Wanted<'_>) -> io::Result<Vec<Person>> {
    Office::of(home).look(None, wanted)
}

/// What a published census says.
struct Published {
    took_us: u64,
    /// Those who are wanted; none where it had begun before the question.
    seen: Option<Vec<Person>>,
}

/// Where a census is taken.
struct Office<'a> {
    home: &'a [u8],
    /// Process namespace and boot, in which its numbers mean something; none where they cannot be told.
    place: Option<(u64, [u8; BOOT])>,
}

impl<'a> Office<'a> {
    fn of(home: &'a [u8]) -> Self {
        let namespace = std::fs::metadata("/proc/self/ns/pid").map(|data| data.ino()).ok();
        let boot = clock::boot_id().ok().and_then(|id| id.into_bytes().try_into().ok());
        Self { home, place: namespace.zip(boot) }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(OsStr::from_bytes(self.home)).join(name)
    }

    /// Whether whoever holds the lock was stopped.
    fn is_held_up(&self) -> bool {
        let holder = std::fs::read_to_string(self.path(LOCK)).ok().and_then(|pid| pid.parse().ok());
        holder.and_then(procfs::stat).is_some_and(|stat| stat.is_stopped())
    }

    fn head(&self, began_us: u64, took_us: u64, sum: Sum) -> Option<[u8; HEAD]> {
        let (namespace, boot) = self.place?;
        let mut head = [0; HEAD];
        let words = [FORM, began_us, took_us, sum.0, namespace].map(u64::to_le_bytes);
        let bytes = words.as_flattened().iter().chain(&boot);
        head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Some(head)
    }

    /// What was published last, if that is whole and of this place.
    fn read(&self, since_us: u64, wanted: Wanted<'_>) -> Option<Published> {
        let mut file = File::open(self.path(NAME)).ok()?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).ok()?;
        let (began_us, took_us, sum) = (word(&head, 1)?, word(&head, 2)?, Sum(word(&head, 3)?));
        if self.head(began_us, took_us, sum)? != head {
            return None;
        }
        // Of two moments in one microsecond nobody knows which was the first.
        if began_us <= since_us {
            return Some(Published { took_us, seen: None });
        }
        let (mut seen, mut read_sum, mut chunk) = (Vec::new(), Sum::NONE, [0; CHUNK]);
        loop {
            let read = file.read(&mut chunk).ok()?;
            let (entries, []) = chunk.get(..read)?.as_chunks::<ENTRY>() else { return None };
            if entries.is_empty() {
                return (read_sum == sum).then_some(Published { took_us, seen: Some(seen) });
            }
            entries.iter().for_each(|entry| read_sum.add(entry));
            seen.extend(entries.iter().filter_map(Person::decode).filter(|person| wanted(person)));
        }
    }

    /// Looks at everybody, and publishes that under the lock.
    fn look(&self, lock: Option<&File>, wanted: Wanted<'_>) -> io::Result<Vec<Person>> {
        let began_us = clock::boottime_us();
        let mut draft = lock.and_then(|lock| self.draft(lock).ok());
        let (home, mark) = (String::from_utf8_lossy(self.home), format!("{RUN_VARIABLE}="));
        let mark = Finder::new(mark.as_bytes());
        let (mut seen, mut sum) = (Vec::new(), Sum::NONE);
        let looked = procfs::survey(|pid, stat, environ| {
            let run = marked_run(environ, &mark, home.as_bytes());
            // The leader of a session is known by its number.
            if run == 0 && (stat.session == pid || stat.session <= 0) {
                return;
            }
            let person = Person { pid, session: stat.session, start_time: stat.start_time, run };
            if wanted(&person) {
                seen.push(person);
            }
            let entry = person.encode();
            sum.add(&entry);
            if draft.as_mut().is_some_and(|draft| draft.write_all(&entry).is_err()) {
                draft = None;
            }
        });
        let head = self.head(began_us, clock::boottime_us() - began_us, sum).filter(|_| looked.is_ok());
        let published = draft.zip(head).map(|(draft, head)| self.publish(draft, &head));
        if lock.is_some() && !matches!(published, Some(Ok(()))) {
            // The next one looks for itself. On a full disk a part of a file is only in the way.
            drop(std::fs::remove_file(self.path(NEXT)));
        }
        memory::trim();
        looked.map(|()| seen)
    }

    /// A file that is no census yet, written by the holder of the lock.
    fn draft(&self, mut lock: &File) -> io::Result<BufWriter<File>> {
        lock.set_len(0)?;
        lock.write_all(process::own_pid().to_string().as_bytes())?;
        let mut options = File::options();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(self.path(NEXT))?;
        let mut draft = BufWriter::with_capacity(CHUNK, file);
        draft.write_all(&[0; HEAD])?;
        Ok(draft)
    }

    fn publish(&self, mut draft: BufWriter<File>, head: &[u8; HEAD]) -> io::Result<()> {
        draft.rewind()?;
        draft.write_all(head)?;
        draft.flush()?;
        std::fs::rename(self.path(NEXT), self.path(NAME))
    }
}

impl Person {
    fn encode(&self) -> [u8; ENTRY] {
        let numbers = u64::from(self.pid.cast_unsigned()) << 32 | u64::from(self.session.cast_unsigned());
        let mut entry = [0; ENTRY];
        let words = [numbers, self.start_time, self.run].map(u64::to_le_bytes);
        entry.copy_from_slice(words.as_flattened());
        entry
    }

    fn decode(entry: &[u8; ENTRY]) -> Option<Self> {
        let numbers = word(entry, 0)?;
        let number = |word: u64| i32::try_from(word & u64::from(u32::MAX)).ok();
        Some(Self {
            pid: number(numbers >> 32)?,
            session: number(numbers)?,
            start_time: word(entry, 1)?,
            run: word(entry, 2)?,
        })
    }
}

fn word(bytes: &[u8], n: usize) -> Option<u64> {
    bytes.as_chunks::<8>().0.get(n).map(|word| u64::from_le_bytes(*word))
}

/// The run of this home in an environment, or 0. See [`wpm_sys::start::run_mark`].
fn marked_run(environ: &[u8], mark: &Finder<'_>, home: &[u8]) -> u64 {
    let runs = mark.find_iter(environ).filter_map(|at| {
        // Only where an entry begins.
        let begins = at == 0 || environ.get(at - 1) == Some(&0);
        let entry = environ.get(at + mark.needle().len()..).filter(|_| begins)?;
        let value = entry.split(|byte| *byte == 0).next()?;
        let (run, of) = value.split_at_checked(value.iter().position(|byte| *byte == b'@')?)?;
        let run = std::str::from_utf8(run).ok().filter(|_| of.strip_prefix(b"@") == Some(home))?;
        run.bytes().all(|digit| digit.is_ascii_digit()).then(|| run.parse().ok())?
    });
    runs.into_iter().find(|run| *run != 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        dir
    }

    /// A process that is marked with the run, and not the leader of its session.
    struct Marked(std::process::Child);

    impl Marked {
        fn new(run: u64, home: &Path) -> Self {
            let mark = wpm_sys::start::run_mark(run, home.as_os_str().as_bytes());
            let mut command = std::process::Command::new("/bin/sleep");
            Self(command.arg("1000").env_clear().env(RUN_VARIABLE, mark).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }
    }

    impl Drop for Marked {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            let _status = self.0.wait().unwrap();
        }
    }

    fn seen(answer: Answer) -> Vec<i32> {
        let Answer::Seen(mut seen) = answer else { panic!("{answer:?}") };
        seen.dedup();
        seen.iter().map(|person| person.pid).collect()
    }

    #[test]
    fn whoever_asked_before_a_census_began_is_answered_by_it_and_nobody_who_asked_later() {
        let dir = home();
        let home = dir.path().as_os_str().as_bytes();
        let [one, other] = [7, 8].map(|run| Marked::new(run, dir.path()));
        let ask = |question: Question, run: u64| question.ask(home, 0, &|person| person.run == run);
        let [mine, theirs] = [Question::new(0), Question::new(0)];
        assert_eq!(seen(ask(mine, 7)), [one.pid()]);
        let published = std::fs::read(dir.path().join(NAME)).unwrap();
        // From the file: who came since is not in it.
        let late = Marked::new(8, dir.path());
        assert_eq!(seen(ask(theirs, 8)), [other.pid()]);
        assert_eq!(std::fs::read(dir.path().join(NAME)).unwrap(), published);
        let mut both = seen(ask(Question::new(0), 8));
        both.sort_unstable();
        let mut wanted = [other.pid(), late.pid()];
        wanted.sort_unstable();
        assert_eq!(both, wanted);
        assert_ne!(std::fs::read(dir.path().join(NAME)).unwrap(), published);
    }

    #[test]
    fn somebody_else_who_looks_is_waited_for_but_not_one_who_was_stopped_and_not_for_ever() {
        let dir = home();
        let home = dir.path().as_os_str().as_bytes();
        let [one, holder] = [7, 8].map(|run| Marked::new(run, dir.path()));
        let mut held = lock::for_life(&dir.path().join(LOCK)).unwrap().unwrap();
        write!(held, "{}", holder.pid()).unwrap();
        let question = Question::new(0);
        let ask = |now| question.ask(home, now, &|person| person.run == 7);
        for now in [0, DOUBT_MS, PATIENCE_MS - 1] {
            assert!(matches!(ask(now), Answer::Later(2..=200)));
        }
        assert_eq!(seen(ask(PATIENCE_MS)), [one.pid()]);
        assert!(!dir.path().join(NAME).exists(), "it is for the holder of the lock to publish");
        process::kill(holder.pid(), wpm_sys::signals::STOP).unwrap();
        while !procfs::stat(holder.pid()).unwrap().is_stopped() {
            std::thread::yield_now();
        }
        assert!(matches!(ask(0), Answer::Later(2..=200)));
        assert_eq!(seen(ask(DOUBT_MS)), [one.pid()]);
        assert!(dir.path().join(NAME).exists() && !dir.path().join(NEXT).exists());
        assert_eq!(seen(ask(0)), [one.pid()]);
        drop(held);
    }

    #[test]
    fn what_is_torn_changed_or_of_another_boot_is_not_believed_and_no_file_is_needed() {
        let dir = home();
        let (home, path) = (dir.path().as_os_str().as_bytes(), dir.path().join(NAME));
        let one = Marked::new(7, dir.path());
        let question = Question::new(0);
        let ask = || seen(question.ask(home, 0, &|person| person.run == 7)).len();
        assert_eq!(ask(), 1);
        // Whoever is answered by that file does not know of this one.
        let other = Marked::new(7, dir.path());
        assert_eq!(ask(), 1);
        let whole = std::fs::read(&path).unwrap();
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let doubled = [&whole[..], &whole[whole.len() - ENTRY..]].concat();
        let torn = [HEAD - 1, HEAD, whole.len() - ENTRY, whole.len() - 1].map(|n| whole[..n].to_vec());
        // A byte of the form, of the namespace, of the boot, of a process.
        let changed = [0, 4 * 8, HEAD - 1, HEAD + 2].map(changed);
        for bad in torn.into_iter().chain(changed).chain([doubled]) {
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(ask(), 2, "{}", bad.escape_ascii());
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(ask(), 1);
        std::fs::remove_dir_all(dir.path().join("run")).unwrap();
        assert_eq!(ask(), 2);
        assert_eq!(look_alone(home, &|person| person.run == 7).unwrap().len(), 2);
        drop((one, other));
    }

    #[test]
    fn a_mark_is_a_whole_entry_of_this_home() {
        let mark = format!("{RUN_VARIABLE}=");
        let mark = Finder::new(mark.as_bytes());
        let run = |environ: &[u8]| marked_run(environ, &mark, b"/h@1");
        assert_eq!(run(b"A=1\0WPM_RUN=12@/h@1\0B=2\0"), 12);
        assert_eq!(run(b"WPM_RUN=12@/h@1"), 12);
        for other in [
            &b"WPM_RUN=12@/h\0"[..],
            b"WPM_RUN=12@/h@1x\0",
            b"XWPM_RUN=12@/h@1\0",
            b"A=WPM_RUN=12@/h@1\0",
            b"WPM_RUN=+12@/h@1\0",
            b"WPM_RUN=@/h@1\0",
            b"WPM_RUN=12\0",
            b"WPM_RUN=",
            b"",
        ] {
            assert_eq!(run(other), 0, "{}", other.escape_ascii());
        }
        let person = Person { pid: 1, session: 2, start_time: 3, run: u64::MAX };
        assert_eq!(Person::decode(&person.encode()), Some(person));
    }
}
