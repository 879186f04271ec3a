//! Fixed little-endian encoding of the records between daemon, keeper and shim.
//!
//! It owns the layout of integers and byte strings, nothing of their meaning. A reader never trusts a
//! length: what is not there is a [`DecodeError`].

/// The bytes are not what this version of wpm writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("record of an unknown layout")
    }
}

impl std::error::Error for DecodeError {}

/// Appends values to a record.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts an empty record.
    pub const fn new() -> Self {
        Self(Vec::new())
    }
    /// Appends a byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }
    /// Appends four bytes.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    /// Appends four bytes.
    pub fn i32(&mut self, v: i32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    /// Appends eight bytes.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    /// Appends a length and that many bytes.
    ///
    /// # Panics
    /// Never: a byte string of 4 GiB does not fit a launch description.
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.u32(u32::try_from(v.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(v);
        self
    }
    /// The record.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values from a record in the order in which they were appended.
#[derive(Debug, Clone, Default)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `record`.
    pub const fn new(record: &'a [u8]) -> Self {
        Self(record)
    }
    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError)?;
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError)
    }
    /// Takes a byte.
    ///
    /// # Errors
    /// At the end of the record; so for all that follow.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }
    /// Takes four bytes.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// Takes four bytes.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    /// Takes eight bytes.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// Takes a byte string.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.u32()?;
        self.take(usize::try_from(n).map_err(|_| DecodeError)?)
    }
    /// Whether everything was taken.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Returns `value` if nothing is left of the record.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn end<T>(self, value: T) -> Result<T, DecodeError> {
        if self.is_empty() { Ok(value) } else { Err(DecodeError) }
    }
}
