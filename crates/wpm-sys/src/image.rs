//! Arguments and environment of a program in the form that exec takes.
//!
//! Owns the strings and the two pointer arrays to them, laid out before the fork in the room of the child, which
//! allocates nothing. Invariant: every pointer is to a string of the room, ended by a zero.

use std::ffi::{CStr, c_char};
use std::io;

use crate::exec;
use crate::launch::{Strings, Words};
use crate::lodging::Room;

/// Digits that are reserved for the process id.
const DIGITS: usize = 10;
/// The variable that holds it, with room for them.
const LISTEN_PID: &[u8] = b"LISTEN_PID=0123456789";

/// What exec needs, ready.
#[derive(Debug)]
pub(crate) struct Image {
    program: &'static CStr,
    argv: &'static [*const c_char],
    envp: &'static [*const c_char],
    /// Where the digits of `LISTEN_PID` go, and a zero.
    listen_pid: Option<&'static mut [u8]>,
}

/// Bytes of room that a list takes.
fn size_of_list(list: &Strings<'_>) -> usize {
    list.clone().map(|text| text.len() + 1).sum::<usize>() + (list.len() + 2) * size_of::<*const c_char>()
}

impl Image {
    /// Bytes of room that one takes, at most.
    pub(crate) fn size(program: &[u8], words: &Words<'_>) -> usize {
        program.len() + size_of_list(&words.args) + size_of_list(&words.env) + LISTEN_PID.len() + 16
    }

    /// Lays out a program, its arguments and environment. With `listen_pid` the environment ends with
    /// `LISTEN_PID`, whose value the child fills in.
    ///
    /// # Errors
    /// `InvalidInput` when one of them holds a zero byte, else when there is no room left.
    pub(crate) fn lay_out(
        room: &mut Room,
        program: &[u8],
        words: &Words<'_>,
        listen_pid: bool,
    ) -> io::Result<Self> {
        let program = room.text([program, b""])?;
        let argv = lay_out(room, &words.args, 1)?;
        let envp = lay_out(room, &words.env, 2)?;
        let mut digits = None;
        if listen_pid {
            let variable = room.string([LISTEN_PID, b""])?;
            if let Some(place) = envp.get_mut(words.env.len()) {
                *place = variable.as_ptr().cast();
            }
            digits = variable.get_mut(LISTEN_PID.len() - DIGITS..);
        }
        Ok(Self { program, argv, envp, listen_pid: digits })
    }

    /// Fills in `LISTEN_PID`. Async-signal-safe.
    pub(crate) fn set_listen_pid(&mut self, pid: impl FnOnce() -> i32) {
        let Some(field) = &mut self.listen_pid else { return };
        let mut text = crate::procfs::PathBuf::<DIGITS>::default();
        text.number(pid());
        let digits = text.as_str().unwrap_or_default().as_bytes();
        for (to, from) in field.iter_mut().zip(digits.iter().chain([&0])) {
            *to = *from;
        }
    }

    /// Executes it. Async-signal-safe; returns only on failure, the error number.
    pub(crate) fn exec(&self) -> i32 {
        // SAFETY: both arrays end with a null pointer at least, and hold pointers to strings of the room.
        unsafe { exec::execve(self.program, self.argv.as_ptr(), self.envp.as_ptr()) }
    }
}

/// Lays out a list and the array of its pointers, with so many null pointers at the end.
fn lay_out(room: &mut Room, list: &Strings<'_>, nulls: usize) -> io::Result<&'static mut [*const c_char]> {
    let pointers = room.list(std::iter::repeat_n(std::ptr::null(), list.len() + nulls))?;
    for (pointer, text) in pointers.iter_mut().zip(list.clone()) {
        *pointer = room.text([text, b""])?.as_ptr();
    }
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Launch;

    fn image(args: &[&[u8]], env: &[&[u8]], room: &mut Room) -> io::Result<Image> {
        let list = |list: &[&[u8]]| list.iter().map(|text| text.to_vec()).collect();
        let bytes = Launch { args: list(args), env: list(env), ..Launch::default() }.encode();
        let words = Launch::decode_parts(&bytes).unwrap().1;
        assert!(Image::size(b"/p", &words) < 4096);
        Image::lay_out(room, b"/p", &words, true)
    }

    #[test]
    fn the_layout_is_what_exec_reads() {
        let mut room = Room::new(4096).unwrap();
        let mut image = image(&[b"a", b""], &[b"X=1"], &mut room).unwrap();
        image.set_listen_pid(|| 4321);
        let text = |p: *const c_char| {
            // SAFETY: pointers of the image are to strings of the room, which stays.
            unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned()
        };
        assert_eq!(image.program, c"/p");
        assert_eq!((text(image.argv[0]), text(image.argv[1])), ("a".into(), String::new()));
        assert_eq!((text(image.envp[0]), text(image.envp[1])), ("X=1".into(), "LISTEN_PID=4321".into()));
        assert!(image.argv[2].is_null() && image.envp[2].is_null());
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let mut room = Room::new(4096).unwrap();
        for (args, env) in [([b"a\0b".as_slice()], [b"X=1".as_slice()]), ([b"a"], [b"X=\0"])] {
            let error = image(&args, &env, &mut room).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
