//! The launch description: everything a shim needs to turn itself into the parent of one instance.
//!
//! The daemon writes it once into a sealed memfd; keeper and shim only read it. It holds facts, no
//! policy: names were resolved to ids, paths made absolute, defaults filled in.

use crate::codec::{DecodeError, Reader, Writer};

/// Version of the layout, its first number. The first version had no control group.
const LAYOUT: u32 = 2;
const WITHOUT_GROUP: u32 = 1;

/// How lines are changed on their way into the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// Bytes as they come: the kernel moves them.
    #[default]
    Raw,
    /// Each line preceded by the local time in this strftime format and `": "`.
    Stamped(String),
    /// One JSON object a line, in pm2's shape: `message`, `timestamp`, `type`, `process_id`, `app_name`.
    /// The timestamp takes this strftime format, or RFC 3339 where it is empty.
    Json {
        /// strftime format of the timestamp, or empty.
        time: String,
    },
}

/// Where output goes and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPlan {
    /// File of stdout; empty = discarded.
    pub out: Vec<u8>,
    /// File of stderr; empty = discarded. May be equal to `out`.
    pub err: Vec<u8>,
    /// File that gets the lines of both as well (pm2's `--log`); empty = none.
    pub both: Vec<u8>,
    /// How lines are changed.
    pub format: LineFormat,
    /// Whether several runs append to the same files (merged logs, overlap of a reload).
    pub shared: bool,
    /// Folder for the locks of shared files, inside the run directory.
    pub lock_dir: Vec<u8>,
    /// Rotation at this size in bytes; 0 = never.
    pub max_size: u64,
    /// Rotated files that are kept, per file.
    pub retain: u32,
    /// Whether rotated files are gzipped.
    pub compress: bool,
    /// Milliseconds for which a full disk holds the app back before output is dropped and counted.
    pub full_disk_block_ms: u64,
    /// Name of the app, for JSON lines.
    pub app: String,
    /// Public id of the instance, for JSON lines.
    pub process_id: u32,
}

/// User and groups of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// One resource limit, numbers as `setrlimit(2)` counts; `u64::MAX` is infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*` number of this platform.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The control group of a run, below one that was delegated to wpm.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlGroup {
    /// Folder of the group; empty = none.
    pub path: Vec<u8>,
    /// Files of the group and what is written into them before anything runs in it (`memory.max`). A
    /// value that is refused fails the start; with none, a group that cannot be made is done without.
    pub settings: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything about one run that its shim has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// Name that the shim shows in `ps`, at most 15 bytes are visible.
    pub title: String,
    /// Home of wpm: where a shim left alone starts the keeper again.
    pub home: Vec<u8>,
    /// Path of the shim's own listening socket, unlinked when the shim goes.
    pub socket: Vec<u8>,
    /// File that gets the pid, removed when the run ends; empty = none.
    pub pid_file: Vec<u8>,
    /// Program to execute, an absolute path.
    pub program: Vec<u8>,
    /// Arguments, the zeroth included.
    pub args: Vec<Vec<u8>>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Who it runs as; `None` = as wpm itself.
    pub credentials: Option<Credentials>,
    /// umask.
    pub umask: u32,
    /// Nice value added to wpm's own.
    pub nice: i32,
    /// Limits to set, before the credentials.
    pub limits: Vec<Limit>,
    /// Numbers that the descriptors passed beside the spawn request get in the app, by position.
    /// They must be 3 or above.
    pub fds: Vec<i32>,
    /// Whether `LISTEN_PID=<own pid>` is added to the environment after the fork.
    pub listen_pid: bool,
    /// Number that the IPC channel gets in the app (`NODE_CHANNEL_FD`); `None` = no channel.
    pub ipc_fd: Option<i32>,
    /// Whether processes that outlive the main process are part of the run (`--no-treekill`: no).
    pub tree: bool,
    /// Output.
    pub log: LogPlan,
    /// Its control group.
    pub group: ControlGroup,
}

impl Launch {
    /// Encodes the description.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(LAYOUT).bytes(self.title.as_bytes()).bytes(&self.home).bytes(&self.socket);
        w.bytes(&self.pid_file).bytes(&self.program);
        list(&mut w, &self.args);
        list(&mut w, &self.env);
        w.bytes(&self.cwd);
        match &self.credentials {
            None => {
                w.u8(0);
            }
            Some(c) => {
                w.u8(1).u32(c.uid).u32(c.gid).u32(count(c.groups.len()));
                for g in &c.groups {
                    w.u32(*g);
                }
            }
        }
        w.u32(self.umask).i32(self.nice).u32(count(self.limits.len()));
        for l in &self.limits {
            w.u32(l.resource).u64(l.soft).u64(l.hard);
        }
        w.u32(count(self.fds.len()));
        for fd in &self.fds {
            w.i32(*fd);
        }
        w.u8(u8::from(self.listen_pid)).i32(self.ipc_fd.unwrap_or(-1)).u8(u8::from(self.tree));
        let log = &self.log;
        w.bytes(&log.out).bytes(&log.err).bytes(&log.both);
        match &log.format {
            LineFormat::Raw => w.u8(0),
            LineFormat::Stamped(f) => w.u8(1).bytes(f.as_bytes()),
            LineFormat::Json { time } => w.u8(2).bytes(time.as_bytes()),
        };
        w.u8(u8::from(log.shared)).bytes(&log.lock_dir).u64(log.max_size).u32(log.retain);
        w.u8(u8::from(log.compress)).u64(log.full_disk_block_ms);
        w.bytes(log.app.as_bytes()).u32(log.process_id);
        w.bytes(&self.group.path).u32(count(self.group.settings.len()));
        for (file, value) in &self.group.settings {
            w.bytes(file).bytes(value);
        }
        w.finish()
    }

    /// Decodes a description.
    ///
    /// # Errors
    /// When it is of another layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with(bytes, unlist)
    }

    /// Decodes a description but for arguments and environment, which stay empty: what a shim needs
    /// to remember, without the greatest part.
    ///
    /// # Errors
    /// When it is of another layout.
    pub fn decode_frame(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_parts(bytes).map(|(frame, _)| frame)
    }

    /// Decodes a description and leaves the greatest part, arguments and environment, where it lies.
    ///
    /// # Errors
    /// When it is of another layout.
    pub fn decode_parts(bytes: &[u8]) -> Result<(Self, Words<'_>), DecodeError> {
        let (mut words, mut more) = (Words::default(), false);
        let frame = Self::decode_with(bytes, |r| {
            let list = Strings::take(r)?;
            // Arguments come first.
            *if more { &mut words.env } else { &mut words.args } = list;
            more = true;
            Ok(Vec::new())
        })?;
        Ok((frame, words))
    }

    fn decode_with<'a>(
        bytes: &'a [u8],
        mut list: impl FnMut(&mut Reader<'a>) -> Result<Vec<Vec<u8>>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let layout = layout(&mut r)?;
        let launch = Self {
            title: text(&mut r)?,
            home: r.bytes()?.to_vec(),
            socket: r.bytes()?.to_vec(),
            pid_file: r.bytes()?.to_vec(),
            program: r.bytes()?.to_vec(),
            args: list(&mut r)?,
            env: list(&mut r)?,
            cwd: r.bytes()?.to_vec(),
            credentials: match r.u8()? {
                0 => None,
                _ => {
                    let (uid, gid) = (r.u32()?, r.u32()?);
                    Some(Credentials { uid, gid, groups: many(&mut r, Reader::u32)? })
                }
            },
            umask: r.u32()?,
            nice: r.i32()?,
            limits: many(&mut r, |r| Ok(Limit { resource: r.u32()?, soft: r.u64()?, hard: r.u64()? }))?,
            fds: many(&mut r, Reader::i32)?,
            listen_pid: r.u8()? == 1,
            ipc_fd: Some(r.i32()?).filter(|fd| *fd >= 0),
            tree: r.u8()? == 1,
            log: LogPlan {
                out: r.bytes()?.to_vec(),
                err: r.bytes()?.to_vec(),
                both: r.bytes()?.to_vec(),
                format: match r.u8()? {
                    0 => LineFormat::Raw,
                    1 => LineFormat::Stamped(text(&mut r)?),
                    2 => LineFormat::Json { time: text(&mut r)? },
                    _ => return Err(DecodeError),
                },
                shared: r.u8()? == 1,
                lock_dir: r.bytes()?.to_vec(),
                max_size: r.u64()?,
                retain: r.u32()?,
                compress: r.u8()? == 1,
                full_disk_block_ms: r.u64()?,
                app: text(&mut r)?,
                process_id: r.u32()?,
            },
            group: if layout == WITHOUT_GROUP {
                ControlGroup::default()
            } else {
                let path = r.bytes()?.to_vec();
                ControlGroup {
                    path,
                    settings: many(&mut r, |r| Ok((r.bytes()?.to_vec(), r.bytes()?.to_vec())))?,
                }
            },
        };
        r.end(launch)
    }
}

/// Arguments and environment, as they lie in a description.
#[derive(Debug, Clone, Default)]
pub struct Words<'a> {
    /// The arguments.
    pub args: Strings<'a>,
    /// The environment.
    pub env: Strings<'a>,
}

/// A list of strings as it lies in a description.
#[derive(Debug, Clone, Default)]
pub struct Strings<'a> {
    left: u32,
    at: Reader<'a>,
}

impl<'a> Strings<'a> {
    fn take(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let left = r.u32()?;
        let at = r.clone();
        (0..left).try_for_each(|_| r.bytes().map(drop))?;
        Ok(Self { left, at })
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // All of them were there when the list was made.
        self.at.bytes().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(0);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

fn layout(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    Some(r.u32()?).filter(|layout| [WITHOUT_GROUP, LAYOUT].contains(layout)).ok_or(DecodeError)
}

/// The few facts of a launch that decide which pipes and channels the run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Whether stdout goes anywhere.
    pub out: bool,
    /// Whether stderr goes anywhere.
    pub err: bool,
    /// Whether both go to the same file and so share a pipe.
    pub merged: bool,
    /// Whether there is an IPC channel.
    pub ipc: bool,
}

/// Reads only the outline of an encoded description, without allocating.
///
/// # Errors
/// When it is of another layout.
pub fn outline(bytes: &[u8]) -> Result<Outline, DecodeError> {
    let mut r = Reader::new(bytes);
    layout(&mut r)?;
    let skip = |r: &mut Reader<'_>, what: &dyn Fn(&mut Reader<'_>) -> Result<(), DecodeError>| {
        let n = r.u32()?;
        (0..n).try_for_each(|_| what(r))
    };
    let string = |r: &mut Reader<'_>| r.bytes().map(drop);
    let number = |r: &mut Reader<'_>| r.u32().map(drop);
    // title, home, socket, pid file, program
    for _ in 0..5 {
        string(&mut r)?;
    }
    skip(&mut r, &string)?;
    skip(&mut r, &string)?;
    string(&mut r)?;
    if r.u8()? != 0 {
        r.u64()?;
        skip(&mut r, &number)?;
    }
    r.u64()?;
    skip(&mut r, &|r| r.u32().and_then(|_| r.u64()).and_then(|_| r.u64()).map(drop))?;
    skip(&mut r, &number)?;
    r.u8()?;
    let ipc = r.i32()? >= 0;
    r.u8()?;
    let (out, err, both) = (r.bytes()?, r.bytes()?, r.bytes()?);
    let anywhere = |file: &[u8]| !file.is_empty() || !both.is_empty();
    Ok(Outline { out: anywhere(out), err: anywhere(err), merged: anywhere(out) && out == err, ipc })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn list(w: &mut Writer, items: &[Vec<u8>]) {
    w.u32(count(items.len()));
    for item in items {
        w.bytes(item);
    }
}

fn text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    String::from_utf8(r.bytes()?.to_vec()).map_err(|_| DecodeError)
}

fn unlist(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    many(r, |r| r.bytes().map(<[u8]>::to_vec))
}

fn many<'a, T>(
    r: &mut Reader<'a>,
    mut one: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let n = r.u32()?;
    (0..n).map(|_| one(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_survives_the_memfd() {
        let launch = Launch {
            title: "web/0".into(),
            home: b"/h".to_vec(),
            socket: b"/h/run/1.sock".to_vec(),
            program: b"/bin/\xff".to_vec(),
            args: vec![b"a".to_vec(), vec![], b"c d".to_vec()],
            env: vec![b"A=1".to_vec()],
            cwd: b"/".to_vec(),
            credentials: Some(Credentials { uid: 1, gid: 2, groups: vec![3, 4] }),
            umask: 0o22,
            nice: -5,
            limits: vec![Limit { resource: 7, soft: 1024, hard: u64::MAX }],
            fds: vec![3, 4],
            listen_pid: true,
            ipc_fd: Some(5),
            tree: true,
            log: LogPlan {
                out: b"/o".to_vec(),
                format: LineFormat::Stamped("%F".into()),
                max_size: 1,
                retain: 2,
                ..LogPlan::default()
            },
            ..Launch::default()
        };
        let bytes = launch.encode();
        let facts = outline(&bytes).unwrap();
        assert_eq!(facts, Outline { out: true, err: false, merged: false, ipc: true });
        let frame = Launch { args: vec![], env: vec![], ..launch.clone() };
        assert_eq!(Launch::decode_frame(&bytes), Ok(frame));
        let words = Launch::decode_parts(&bytes).unwrap().1;
        assert_eq!((words.args.len(), words.env.len()), (3, 1));
        let whole = |list: Strings<'_>| list.map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!((whole(words.args), whole(words.env)), (launch.args.clone(), launch.env.clone()));
        assert_eq!(Launch::decode(&bytes), Ok(launch));
        for cut in 0..bytes.len() {
            assert!(Launch::decode(&bytes[..cut]).is_err());
        }
    }
}
