//! The lock of one log file, and the record of the append under way.
//!
//! Several shims may write one file (merged logs, the overlap of a reload, two apps with one log).
//! Owns the lock file beside the run directory: whoever appends holds its lock and first writes there
//! what it is about to do, so that a holder killed in the middle is settled by the next one, and the
//! same append is neither lost nor done twice.
//!
//! Invariant: at most one append is under way. It counts as done if and only if the file has grown by
//! its whole length; else the file is cut back to where it began. Whoever settles somebody else's
//! append leaves a note for that run before the record is overwritten.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wpm_sys::codec::{DecodeError, Reader, Writer};
use wpm_sys::lock;

/// First number of a record.
const MAGIC: u32 = 0x5750_4C31;
/// Bytes of a record.
const SIZE: usize = 76;
/// How often a lock that somebody holds is tried before it is put off.
const TRIES: u32 = 20;

/// Names one append for ever: the lane of a run, the journal position of the batch, the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AppendId {
    pub(super) run: u64,
    pub(super) lane: u32,
    pub(super) start: u64,
    pub(super) step: u64,
}

/// What the lock file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Record {
    writing: bool,
    /// Counts the rotations: a writer that has seen another number opens the file again.
    generation: u64,
    id: AppendId,
    /// Size of the log file before the append, its length, and the file's inode.
    before: u64,
    len: u64,
    inode: u64,
    /// Time of the last rotation in milliseconds of `CLOCK_BOOTTIME`.
    rotated_ms: u64,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(MAGIC).u32(u32::from(self.writing)).u64(self.generation);
        w.u64(self.id.run).u32(self.id.lane).u64(self.id.start).u64(self.id.step);
        w.u64(self.before).u64(self.len).u64(self.inode).u64(self.rotated_ms);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u32()? != MAGIC {
            return Err(DecodeError);
        }
        let writing = r.u32()? == 1;
        let generation = r.u64()?;
        let id = AppendId { run: r.u64()?, lane: r.u32()?, start: r.u64()?, step: r.u64()? };
        let record = Self {
            writing,
            generation,
            id,
            before: r.u64()?,
            len: r.u64()?,
            inode: r.u64()?,
            rotated_ms: r.u64()?,
        };
        r.end(record)
    }
}

/// The lock file of one log file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    log: u64,
    file: Option<File>,
}

/// FNV-1a: names must be the same in every process and version.
fn hash(path: &Path) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl Ledger {
    /// The ledger of the log file whose real path is `log`, in the folder `locks`.
    pub(super) fn of(log: &Path, locks: &Path) -> Self {
        Self { path: locks.join(format!("{:016x}.lock", hash(log))), log: hash(log), file: None }
    }

    /// Whether it is the ledger of that file.
    pub(super) fn is_of(&self, log: &Path) -> bool {
        self.log == hash(log)
    }

    /// Whether its file is open: it is from the first lock on.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            let open = || {
                File::options()
                    .create(true)
                    .truncate(false)
                    .read(true)
                    .write(true)
                    .mode(0o600)
                    .open(&self.path)
            };
            let file = open().or_else(|e| match self.path.parent() {
                Some(folder) if e.kind() == io::ErrorKind::NotFound => {
                    super::logfile::make_folder(folder)?;
                    open()
                }
                _ => Err(e),
            });
            self.file = Some(file?);
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Takes the lock. `None`: somebody else is appending, try again soon.
    pub(super) fn lock(&mut self) -> io::Result<Option<Held<'_>>> {
        let file = self.open()?;
        for _ in 0..TRIES {
            if lock::try_exclusive(file)? {
                let mut bytes = [0; SIZE];
                let record = match file.read_exact_at(&mut bytes, 0) {
                    Ok(()) => Record::decode(&bytes).unwrap_or_default(),
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Record::default(),
                    Err(e) => {
                        drop(lock::release(file));
                        return Err(e);
                    }
                };
                return Ok(Some(Held { ledger: self, record }));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn note(&self, id: &AppendId) -> PathBuf {
        self.path.with_extension(format!("{}.{}", id.run, id.lane))
    }

    /// Removes what others may have noted for a run.
    pub(super) fn forget(&self, run: u64) {
        for lane in 0..2 {
            drop(std::fs::remove_file(self.note(&AppendId { run, lane, ..AppendId::default() })));
        }
    }
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'l> {
    ledger: &'l Ledger,
    record: Record,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.ledger.file {
            drop(lock::release(file));
        }
    }
}

impl Held<'_> {
    fn write(&self) -> io::Result<()> {
        let file = self.ledger.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&self.record.encode(), 0)
    }

    /// Number of rotations so far.
    pub(super) fn generation(&self) -> u64 {
        self.record.generation
    }

    /// Milliseconds of `CLOCK_BOOTTIME` at the last rotation.
    pub(super) fn rotated_ms(&self) -> u64 {
        self.record.rotated_ms
    }

    /// Whether a holder has died in the middle of an append.
    pub(super) fn is_unsettled(&self) -> bool {
        self.record.writing
    }

    /// Settles the append of a holder that has died. `log` is the file as it is now.
    pub(super) fn settle(&mut self, log: &File, now: &Metadata) -> io::Result<()> {
        let r = self.record;
        if !r.writing {
            return Ok(());
        }
        let same = r.inode == now.ino();
        let done = same && now.len() >= r.before.saturating_add(r.len);
        if same && !done && now.len() > r.before {
            log.set_len(r.before)?;
        }
        self.leave_note(&r.id, done)?;
        self.record.writing = false;
        self.write()
    }

    fn leave_note(&self, id: &AppendId, done: bool) -> io::Result<()> {
        let note = self.ledger.note(id);
        let mut w = Writer::new();
        w.u64(id.start).u64(id.step).u8(u8::from(done));
        let part = note.with_extension("part");
        std::fs::write(&part, w.finish())?;
        std::fs::rename(part, note)
    }

    /// Whether an append that an earlier shim of this run may have begun was settled as done.
    pub(super) fn was_done(&self, id: &AppendId) -> bool {
        let Ok(bytes) = std::fs::read(self.ledger.note(id)) else { return false };
        let mut r = Reader::new(&bytes);
        (r.u64(), r.u64(), r.u8()) == (Ok(id.start), Ok(id.step), Ok(1))
    }

    /// Says what is about to be appended.
    pub(super) fn begin(&mut self, id: AppendId, before: &Metadata, len: u64) -> io::Result<()> {
        self.record.writing = true;
        self.record.id = id;
        (self.record.before, self.record.len, self.record.inode) = (before.len(), len, before.ino());
        self.write()
    }

    /// The append is done, or was taken back.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.record.writing = false;
        self.write()
    }

    /// Says that the file is about to be rotated: every writer opens it again.
    pub(super) fn announce_rotation(&mut self, now_ms: u64) -> io::Result<()> {
        self.record.generation += 1;
        self.record.rotated_ms = now_ms;
        self.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path) -> File {
        File::options().create(true).append(true).read(true).open(dir.join("log")).unwrap()
    }

    /// Every point at which a holder may die, and what the next one makes of it.
    #[test]
    fn whoever_comes_next_settles_a_broken_append() {
        let id = AppendId { run: 7, lane: 1, start: 100, step: 0 };
        for (written, done) in [(0, false), (3, false), (5, true)] {
            let dir = tempfile::tempdir().unwrap();
            let file = log(dir.path());
            file.write_all_at(b"before\n", 0).unwrap();
            let mut dead = Ledger::of(Path::new("/x"), dir.path());
            let mut held = dead.lock().unwrap().unwrap();
            held.begin(id, &file.metadata().unwrap(), 5).unwrap();
            file.write_all_at(&b"12345"[..written], 7).unwrap();
            drop(held);

            let mut other = Ledger::of(Path::new("/x"), dir.path());
            let mut held = other.lock().unwrap().unwrap();
            assert!(held.is_unsettled());
            held.settle(&file, &file.metadata().unwrap()).unwrap();
            assert_eq!(file.metadata().unwrap().len(), if done { 12 } else { 7 });
            drop(held);

            let mut again = Ledger::of(Path::new("/x"), dir.path());
            let held = again.lock().unwrap().unwrap();
            assert!(!held.is_unsettled());
            assert_eq!(held.was_done(&id), done);
            assert!(!held.was_done(&AppendId { start: 101, ..id }));
            drop(held);
            again.forget(7);
            assert!(!again.lock().unwrap().unwrap().was_done(&id));
        }
    }

    #[test]
    fn a_file_cut_off_by_others_is_not_stretched() {
        let dir = tempfile::tempdir().unwrap();
        let file = log(dir.path());
        file.write_all_at(b"before\n", 0).unwrap();
        let mut ledger = Ledger::of(Path::new("/x"), dir.path());
        let mut held = ledger.lock().unwrap().unwrap();
        held.begin(AppendId::default(), &file.metadata().unwrap(), 5).unwrap();
        file.set_len(0).unwrap();
        held.settle(&file, &file.metadata().unwrap()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn one_appends_at_a_time_and_a_rotation_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = Ledger::of(Path::new("/x"), dir.path());
        let mut b = Ledger::of(Path::new("/x"), dir.path());
        let mut held = a.lock().unwrap().unwrap();
        assert!(b.lock().unwrap().is_none());
        held.announce_rotation(5).unwrap();
        drop(held);
        assert_eq!(b.lock().unwrap().unwrap().generation(), 1);
    }

    fn number() -> impl proptest::strategy::Strategy<Value = u64> {
        proptest::prop_oneof![4 => 0_u64..40, 1 => proptest::prelude::any::<u64>()]
    }

    proptest::proptest! {
        /// Whatever a lock file holds: a record that was written, or none.
        #[test]
        fn any_bytes_are_a_record_or_none(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            proptest::prop_assert!(Record::decode(&bytes).is_err() || bytes.starts_with(&MAGIC.to_le_bytes()));
            if bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            }
            if let Ok(record) = Record::decode(&bytes) {
                proptest::prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }

        /// However the record and the file disagree, settling neither stretches the file nor fails.
        #[test]
        fn settling_never_stretches_the_file(before in number(), len in number(), size in 0_u64..60, same: bool) {
            let dir = tempfile::tempdir().unwrap();
            let file = log(dir.path());
            file.set_len(size).unwrap();
            let inode = if same { file.metadata().unwrap().ino() } else { 0 };
            let mut ledger = Ledger::of(Path::new("/x"), dir.path());
            let mut held = ledger.lock().unwrap().unwrap();
            held.record = Record { writing: true, before, len, inode, ..Record::default() };
            held.settle(&file, &file.metadata().unwrap()).unwrap();
            let now = file.metadata().unwrap().len();
            proptest::prop_assert!(now <= size && !held.is_unsettled());
            proptest::prop_assert!(now == size || (same && now == before));
        }
    }
}
