//! A gzip stream of stored blocks (RFC 1951, RFC 1952): valid, and compresses nothing.

pub struct Gzip {
    checksum: u32,
    length: u32,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { checksum: !0, length: 0 }
    }
}

impl Gzip {
    pub fn beginning() -> [u8; 10] {
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]
    }

    pub fn block(&mut self, bytes: &[u8]) -> Vec<u8> {
        for &byte in bytes {
            self.checksum ^= u32::from(byte);
            for _ in 0..8 {
                self.checksum = (self.checksum >> 1) ^ (0xedb8_8320 * (self.checksum & 1));
            }
        }
        self.length = self.length.wrapping_add(bytes.len() as u32);
        bytes.chunks(0xffff).flat_map(|piece| stored(piece, false)).collect()
    }

    pub fn end(self) -> Vec<u8> {
        let mut bytes = stored(&[], true);
        bytes.extend((!self.checksum).to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes
    }
}

fn stored(piece: &[u8], last: bool) -> Vec<u8> {
    let length = piece.len() as u16;
    let mut block = vec![u8::from(last)];
    block.extend(length.to_le_bytes());
    block.extend((!length).to_le_bytes());
    block.extend_from_slice(piece);
    block
}
