//! The last lines of a file, read from its end.
//!
//! Invariant: reads no more than [`MAX_READ`] bytes, whatever the file holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of one step backwards.
const CHUNK: u64 = 64 * 1024;
/// Most that is read for the lines of one file, in bytes.
const MAX_READ: u64 = 64 * 1024 * 1024;

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// Whole lines, oldest first, without their line ends.
    pub lines: Vec<Vec<u8>>,
    /// What stands behind the last line end.
    pub partial: Vec<u8>,
    /// Offset behind the last line end: where following begins.
    pub end: u64,
}

/// The last `count` whole lines of what the file holds from `start` on, and the unfinished one after
/// them.
///
/// # Errors
/// When the file cannot be read.
pub fn tail(file: &File, start: u64, count: usize) -> io::Result<Tail> {
    let size = file.metadata()?.len();
    let floor = start.max(size.saturating_sub(MAX_READ));
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let mut at = size;
    let mut ends = 0_usize;
    // One line end more than lines, as the first line begins behind one.
    while at > floor && ends <= count {
        let from = at.saturating_sub(CHUNK).max(floor);
        let mut chunk = vec![0; usize::try_from(at - from).unwrap_or(0)];
        let read = read_at(file, &mut chunk, from)?;
        if read < chunk.len() {
            // The file shrank meanwhile; what was read before is gone too.
            chunks.clear();
            ends = 0;
            chunk.truncate(read);
        }
        ends += chunk.iter().filter(|byte| **byte == b'\n').count();
        chunks.push(chunk);
        at = from;
    }
    chunks.reverse();
    let bytes = chunks.concat();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    let mut lines: Vec<Vec<u8>> = Vec::new();
    if whole > 0 {
        let text = &bytes[..whole - 1];
        // What begins in the middle of a line is only skipped where more lines were found than asked.
        lines = text.rsplit(|byte| *byte == b'\n').take(count).map(<[u8]>::to_vec).collect();
        lines.reverse();
    }
    Ok(Tail { lines, partial: bytes[whole..].to_vec(), end: at + whole as u64 })
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset) {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                offset += read as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(content: &[u8], start: u64, count: usize) -> Tail {
        let mut file = tempfile::tempfile().expect("temp file");
        file.write_all(content).expect("written");
        tail(&file, start, count).expect("read")
    }

    #[test]
    fn the_last_lines_in_their_order() {
        let tail = of(b"a\nb\nc\n", 0, 2);
        assert_eq!(tail.lines, [b"b".to_vec(), b"c".to_vec()]);
        assert_eq!((tail.end, tail.partial.as_slice()), (6, &b""[..]));
    }

    #[test]
    fn an_unfinished_line_is_kept_apart() {
        let tail = of(b"a\nbc", 0, 5);
        assert_eq!(tail.lines, [b"a".to_vec()]);
        assert_eq!((tail.end, tail.partial.as_slice()), (2, &b"bc"[..]));
    }

    #[test]
    fn only_what_stands_behind_the_start() {
        assert_eq!(of(b"old\nnew\n", 4, 9).lines, [b"new".to_vec()]);
        assert_eq!(of(b"old\n", 4, 9), Tail { end: 4, ..Tail::default() });
        assert_eq!(of(b"", 0, 9), Tail::default());
    }

    #[test]
    fn lines_longer_than_a_chunk_and_bytes_that_are_no_text() {
        let long = vec![0xff; 200_000];
        let mut content = b"first\n".to_vec();
        content.extend(&long);
        content.extend(b"\n\n");
        let tail = of(&content, 0, 3);
        assert_eq!(tail.lines, [b"first".to_vec(), long, Vec::new()]);
        assert_eq!(tail.end, content.len() as u64);
    }
}
