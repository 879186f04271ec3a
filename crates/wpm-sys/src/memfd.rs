//! Anonymous files: sealed ones that carry a description, open ones that outlive their writer.
//!
//! Owns making, sealing and reading them. Invariant: [`read_sealed`] only trusts a file that nobody
//! can change or shorten any more.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

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

/// Reads a sealed anonymous file from its start, whatever its offset is.
///
/// # Errors
/// `InvalidData` when it is not sealed or too large.
pub fn read_sealed(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let seals = rustix::fs::fcntl_get_seals(&fd)?;
    let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(u64::MAX);
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) || size > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let file = File::from(fd.as_fd().try_clone_to_owned()?);
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sealed_file_is_believed() {
        let fd = sealed("t", b"abc").unwrap();
        assert_eq!(read_sealed(&fd).unwrap(), b"abc");
        assert!(File::from(fd).write_all(b"x").is_err());
        assert!(read_sealed(empty("t").unwrap()).is_err());
    }
}
