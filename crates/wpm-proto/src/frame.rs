//! Frames: a four-byte big-endian length, then that many bytes of JSON.

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
