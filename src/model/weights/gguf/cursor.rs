//! A place in a file that is read from front to back. Every step is checked against the file's end, in u64.

use crate::model::error::Problem;

pub struct Cursor<'a> {
    file: &'a [u8],
    /// Never beyond the file's end.
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(file: &'a [u8]) -> Self {
        Cursor { file, position: 0 }
    }

    pub fn position(&self) -> u64 {
        self.position as u64
    }

    /// What was read since the position was `first`.
    pub fn since(&self, first: u64) -> &'a [u8] {
        &self.file[first as usize..self.position]
    }

    pub fn file_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    fn left(&self) -> u64 {
        (self.file.len() - self.position) as u64
    }

    /// `what` is being read, for the message.
    pub fn take(&mut self, bytes: u64, what: &str) -> Result<&'a [u8], Problem> {
        if bytes > self.left() {
            let end = self.position().checked_add(bytes).ok_or_else(|| Problem::Overflow { what: what.into() })?;
            return Err(Problem::Truncated { what: what.into(), end, file: self.file_bytes() });
        }
        let (_, rest) = self.file.split_at(self.position);
        let (taken, _) = rest.split_at(bytes as usize);
        self.position += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub fn u8(&mut self, what: &str) -> Result<u8, Problem> {
        self.array::<1>(what).map(u8::from_le_bytes)
    }

    pub fn u16(&mut self, what: &str) -> Result<u16, Problem> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub fn string(&mut self, what: &str, limit: u64) -> Result<&'a str, Problem> {
        let length = self.u64(what)?;
        if length > limit {
            return Err(Problem::OverLimit { what: format!("the length of {what}"), found: length, limit });
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| Problem::NotUtf8 { what: what.into() })
    }

    /// A number of things to come, of which each takes `each` bytes or more.
    pub fn count(&mut self, what: &str, limit: u64, each: u64) -> Result<u64, Problem> {
        let count = self.u64(what)?;
        if count > limit {
            return Err(Problem::OverLimit { what: what.into(), found: count, limit });
        }
        self.check_fits(what, count, each)?;
        Ok(count)
    }

    /// Whether `count` things of `each` bytes or more can be in what is left of the file.
    pub fn check_fits(&self, what: &str, count: u64, each: u64) -> Result<(), Problem> {
        let end = count.checked_mul(each).and_then(|bytes| bytes.checked_add(self.position()));
        match end {
            None => Err(Problem::Overflow { what: what.into() }),
            Some(end) if end > self.file_bytes() => {
                Err(Problem::Truncated { what: what.into(), end, file: self.file_bytes() })
            }
            Some(_) => Ok(()),
        }
    }
}
