//! Bytes in, characters out: a token may end in the middle of a character.

/// Joins the bytes of tokens to valid UTF-8. The bytes of a character that is not complete yet are held back; bytes that
/// can never become one are dropped, and so is what is still held at the end. Nothing is ever replaced: U+FFFD comes
/// out only where its own bytes EF BF BD went in. How the bytes are cut into pushes makes no difference.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// A proper prefix of one character: three bytes at most, between pushes.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// Appends to `text` every character that `bytes` complete.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = &self.held[done..];
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    done = self.held.len();
                    break;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(std::str::from_utf8(&rest[..valid]).unwrap_or_default());
                    done += valid;
                    match error.error_len() {
                        Some(hopeless) => done += hopeless,
                        None => break,
                    }
                }
            }
        }
        self.held.drain(..done);
    }

    /// Whether a character has begun and not ended.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}
