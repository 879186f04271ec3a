//! Arguments and environment of a program in the form that exec takes.
//!
//! Owns one block of strings and the two pointer arrays into it, built before the fork so that the
//! child allocates nothing. Invariant: the pointers never outlive or outrun the block.

use std::ffi::{CStr, c_char};
use std::io;

/// Digits that are reserved for the process id.
const DIGITS: usize = 10;

/// What exec needs, ready.
#[derive(Debug)]
pub struct Image {
    /// Program, folder, then arguments and environment, each ended by a zero.
    block: Vec<u8>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    folder: usize,
    /// Where the digits of `LISTEN_PID` go.
    listen_pid: Option<usize>,
}

impl Image {
    /// Lays out a program, its working directory, arguments and environment. With `listen_pid` the
    /// environment ends with `LISTEN_PID`, whose value the child fills in.
    ///
    /// # Errors
    /// `InvalidInput` when one of them holds a zero byte.
    pub fn new(
        program: &[u8],
        folder: &[u8],
        args: &[Vec<u8>],
        env: &[Vec<u8>],
        listen_pid: bool,
    ) -> io::Result<Self> {
        let mut block = Vec::new();
        let mut add = |text: &[u8]| {
            if text.contains(&0) {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            let at = block.len();
            block.extend_from_slice(text);
            block.push(0);
            Ok(at)
        };
        add(program)?;
        let folder = add(folder)?;
        let argv = args.iter().map(|a| add(a)).collect::<io::Result<Vec<_>>>()?;
        let mut envp = env.iter().map(|e| add(e)).collect::<io::Result<Vec<_>>>()?;
        let mut digits = None;
        if listen_pid {
            let at = add(b"LISTEN_PID=0123456789")?;
            envp.push(at);
            digits = Some(at + b"LISTEN_PID=".len());
        }
        // The block has its final place from here on.
        let pointers = |offsets: Vec<usize>| -> Vec<*const c_char> {
            let start = block.as_ptr();
            offsets.into_iter().map(|at| start.wrapping_add(at).cast()).chain([std::ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(argv), pointers(envp));
        Ok(Self { block, argv, envp, folder, listen_pid: digits })
    }

    fn string(&self, at: usize) -> &CStr {
        self.block.get(at..).and_then(|b| CStr::from_bytes_until_nul(b).ok()).unwrap_or(c"")
    }

    /// The working directory.
    pub fn folder(&self) -> &CStr {
        self.string(self.folder)
    }

    /// Fills in `LISTEN_PID`. Async-signal-safe.
    pub fn set_listen_pid(&mut self, pid: i32) {
        let Some(field) = self.listen_pid.and_then(|at| self.block.get_mut(at..=at + DIGITS)) else { return };
        let mut text = crate::procfs::PathBuf::<DIGITS>::default();
        text.number(pid);
        let digits = text.as_str().unwrap_or_default().as_bytes();
        for (to, from) in field.iter_mut().zip(digits.iter().chain([&0])) {
            *to = *from;
        }
    }

    /// Executes it. Async-signal-safe; returns only on failure.
    pub fn exec(&self) -> io::Error {
        // SAFETY: both arrays are null-terminated and point at zero-terminated strings in the block,
        // which lives as long as self.
        unsafe { libc::execve(self.string(0).as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_exec_reads() {
        let args = [b"a".to_vec(), b"".to_vec()];
        let mut image = Image::new(b"/p", b"/d", &args, &[b"X=1".to_vec()], true).unwrap();
        image.set_listen_pid(4321);
        let text = |p: *const c_char| {
            // SAFETY: pointers of the image are zero-terminated strings that live as long as it.
            unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned()
        };
        assert_eq!((image.string(0), image.folder()), (c"/p", c"/d"));
        assert_eq!((text(image.argv[0]), text(image.argv[1])), ("a".into(), String::new()));
        assert_eq!((text(image.envp[0]), text(image.envp[1])), ("X=1".into(), "LISTEN_PID=4321".into()));
        assert!(image.argv[2].is_null() && image.envp[2].is_null());
        assert!(Image::new(b"/p", b"/d", &[b"a\0b".to_vec()], &[], false).is_err());
    }
}
