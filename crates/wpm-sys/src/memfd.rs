//! Anonymous files: sealed ones that carry a description, open ones that outlive their writer.
//!
//! Owns making, sealing and reading them. Invariant: [`Sealed`] only trusts a file that nobody can
//! change or shorten any more.

use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Greatest description that is read back, in bytes.
const MAX: u64 = 64 << 20;

/// Makes an empty anonymous file that can grow.
///
/// # Errors
/// When the process is out of descriptors.
pub fn empty(name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Makes an anonymous file of these bytes that nobody can change any more.
///
/// # Errors
/// When memory or descriptors run out.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file =
        File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

/// Bytes of a buffer into which most descriptions fit.
pub const USUAL: usize = 8 << 10;

/// The bytes of an anonymous file: read where it is small, for mapping it takes five calls and a page fault.
#[derive(Debug)]
pub enum Contents<'b> {
    /// In the buffer of who asked.
    Read(&'b [u8]),
    /// Mapped.
    Mapped(Sealed),
}

impl Deref for Contents<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(sealed) => sealed,
        }
    }
}

/// The bytes of an anonymous file, in `buffer` if they fit. Beyond that it has to be sealed: a copy cannot change.
///
/// # Errors
/// `InvalidData` when it is empty, too large, or larger than the buffer and not sealed.
pub fn contents(fd: impl AsFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<Contents<'_>> {
    let (read, left) = rustix::io::pread(&fd, buffer, 0)?;
    // A file gives all that it has at once.
    if !read.is_empty() && !left.is_empty() {
        return Ok(Contents::Read(read));
    }
    Sealed::map(fd).map(Contents::Mapped)
}

/// The bytes of a sealed file, mapped: they cost this process nothing that stays.
#[derive(Debug)]
pub struct Sealed {
    at: NonNull<u8>,
    len: usize,
}

impl Sealed {
    /// Maps a sealed anonymous file.
    ///
    /// # Errors
    /// `InvalidData` when it is not sealed, empty or too large.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&fd)?;
        let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(u64::MAX);
        if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) || size > MAX || size == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let len = usize::try_from(size).unwrap_or(0);
        // SAFETY: a fresh mapping of a file that, being sealed, can neither change nor become shorter.
        let at = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &fd, 0)?
        };
        NonNull::new(at.cast()).map(|at| Self { at, len }).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Deref for Sealed {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: mapped for as long as self lives, with that length, and never written.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length and no reference outlives self.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sealed_file_is_believed() {
        let fd = sealed("t", b"abc").unwrap();
        assert_eq!(&*Sealed::map(&fd).unwrap(), b"abc");
        assert!(File::from(fd).write_all(b"x").is_err());
        let open = empty("t").unwrap();
        open.set_len(5).unwrap();
        assert!(Sealed::map(open).is_err());
    }

    #[test]
    fn what_fits_is_read_and_the_rest_mapped() {
        let fd = sealed("t", b"abc").unwrap();
        let mut buffer = [const { MaybeUninit::uninit() }; 4];
        for (room, is_read) in [(4, true), (3, false), (0, false)] {
            // However far whoever wrote it has come.
            let found = contents(&fd, &mut buffer[..room]).unwrap();
            assert_eq!((&*found, matches!(found, Contents::Read(_))), (&b"abc"[..], is_read));
        }
        assert!(contents(empty("t").unwrap(), &mut buffer).is_err());
        let open = empty("t").unwrap();
        open.set_len(5).unwrap();
        assert!(contents(&open, &mut buffer).is_err());
    }
}
