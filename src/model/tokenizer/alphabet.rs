//! GPT-2's byte-level alphabet: a printable character for each of the 256 bytes.
//!
//! Bytes that are printable and no space in Latin-1 stand for themselves; the other 68, in order, are U+0100, U+0101, …
//! So a space is `Ġ`, and a vocabulary is a list of ordinary words in a text file.

use std::sync::LazyLock;

/// The character of each byte.
pub static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut moved = 0;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                moved += 1;
                char::from_u32(0x100 + moved - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        }
    })
});

/// The byte of each character below U+0144, the end of the alphabet.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for (byte, character) in CHARACTERS.iter().enumerate() {
        bytes[*character as usize] = Some(byte as u8);
    }
    bytes
});

/// The byte that a character of a token stands for.
pub fn byte_of(character: char) -> Option<u8> {
    BYTES.get(character as usize).copied().flatten()
}

/// The bytes as a vocabulary writes them: ` a` is `Ġa`.
pub fn symbols(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| CHARACTERS[usize::from(*byte)]).collect()
}
