//! Frames: a four-byte big-endian length, then that many bytes of JSON.

use serde::Serialize;

/// Longest frame in bytes; a longer one costs its sender the connection.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// Puts the length before a payload.
///
/// # Errors
/// Gives the payload's length back when it is above [`MAX_FRAME`].
pub fn encode(payload: &[u8]) -> Result<Vec<u8>, usize> {
    let length =
        u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_FRAME).ok_or(payload.len())?;
    let mut frame = Vec::with_capacity(PREFIX + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// Why a value becomes no frame.
#[derive(Debug)]
pub enum Unframed {
    /// Its payload has so many bytes, more than [`MAX_FRAME`].
    TooLong(usize),
    /// It is no JSON.
    NoJson(serde_json::Error),
}

/// Puts a value into a frame behind what is there already, which is left as it was where that fails.
///
/// # Errors
/// When it is too long, or no JSON.
pub fn push(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Unframed> {
    let begin = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = serde_json::to_writer(&mut *out, value).map_err(Unframed::NoJson).and_then(|()| {
        let length = out.len() - begin - PREFIX;
        u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(Unframed::TooLong(length))
    });
    match written {
        Ok(length) => {
            if let Some(prefix) = out.get_mut(begin..begin + PREFIX) {
                prefix.copy_from_slice(&length.to_be_bytes());
            }
            Ok(())
        }
        Err(why) => {
            out.truncate(begin);
            Err(why)
        }
    }
}

/// Length of the payload that follows this prefix.
///
/// # Errors
/// Gives the announced length back when it is above [`MAX_FRAME`].
pub fn length(prefix: [u8; PREFIX]) -> Result<usize, usize> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length <= MAX_FRAME { Ok(length) } else { Err(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_its_length() {
        let frame = encode(b"abc").expect("short");
        assert_eq!(frame, [0, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(length([0, 0, 0, 3]), Ok(3));
    }

    #[test]
    fn a_value_is_put_behind_what_is_there() {
        let mut bytes = b"x".to_vec();
        push(&mut bytes, &7).expect("short");
        push(&mut bytes, &"ab").expect("short");
        assert_eq!(bytes, b"x\0\0\0\x017\0\0\0\x04\"ab\"");
        let long = "x".repeat(MAX_FRAME - 1);
        assert!(matches!(push(&mut bytes, &long), Err(Unframed::TooLong(length)) if length == MAX_FRAME + 1));
        let no_key = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert!(matches!(push(&mut bytes, &no_key), Err(Unframed::NoJson(_))));
        assert_eq!(bytes.len(), 14, "nothing is left of what failed");
    }

    #[test]
    fn a_huge_length_is_refused_before_anything_is_allocated() {
        assert!(length([0xff; 4]).is_err());
        assert!(encode(&vec![0; MAX_FRAME + 1]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_prefix_is_a_length_within_the_limit_or_refused(prefix: [u8; PREFIX]) {
            let announced = u32::from_be_bytes(prefix) as usize;
            let expected = if announced <= MAX_FRAME { Ok(announced) } else { Err(announced) };
            proptest::prop_assert_eq!(length(prefix), expected);
        }

        #[test]
        fn what_was_framed_is_found_again(payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let frame = encode(&payload).expect("short");
            let (prefix, rest) = frame.split_at(PREFIX);
            let n = length(prefix.try_into().expect("four bytes"));
            proptest::prop_assert_eq!((n, rest), (Ok(payload.len()), &payload[..]));
        }
    }
}
