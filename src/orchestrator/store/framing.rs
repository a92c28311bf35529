//! How records lie in the file, so that a file that was cut off is told from one that was damaged.
//!
//! ```text
//! [length: u32][checksum of the payload: u32][checksum of these eight bytes: u32][payload: JSON]
//! ```
//!
//! A process that is killed leaves a prefix of what it wrote: the last record is too short, and all before it are whole.
//! The header has its own checksum, so a length that was damaged can't pass for a record that was cut off.

use std::ops::Range;

use super::Record;

const HEADER: usize = 12;

/// What a file's bytes hold.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A record, and where it lies.
    Record(Box<Record>, Range<usize>),
    /// The end, or a record that was being written when the process ended.
    End,
    Damaged(String),
}

pub fn encode(record: &Record) -> Vec<u8> {
    // A record holds strings, numbers and JSON only, which JSON can always spell.
    let payload = serde_json::to_vec(record).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(checksum(&payload).to_le_bytes());
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// The record at `offset`.
pub fn decode(file: &[u8], offset: usize) -> Next {
    let rest = &file[offset..];
    let Some((header, after)) = rest.split_at_checked(HEADER) else { return Next::End };
    if rest.iter().all(|byte| *byte == 0) {
        return Next::End; // space that a file system gave and nobody wrote
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (found, expected) = (checksum(&header[..8]), word(8));
    if found != expected {
        return Next::Damaged(format!("the header's checksum is {found:08x} and should be {expected:08x}"));
    }
    let Some(payload) = after.get(..word(0) as usize) else { return Next::End };
    let (found, expected) = (checksum(payload), word(4));
    if found != expected {
        return Next::Damaged(format!("the record's checksum is {found:08x} and should be {expected:08x}"));
    }
    match serde_json::from_slice(payload) {
        Ok(record) => Next::Record(Box::new(record), offset..offset + HEADER + payload.len()),
        // The parser's message may quote a prompt: its place is enough.
        Err(error) => Next::Damaged(format!("the record is of another kind (column {})", error.column())),
    }
}

/// CRC-32 as in zip and PNG (reflected, polynomial 0x04C11DB7), by a table of 256 made at compile time.
pub fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}
