//! numpy's `.npz`: a zip archive of `.npy` files, as they are or deflated.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::Problem;
use super::{MANIFEST, Tensor, npy};
use crate::model::memory;

/// The arrays, and the text of a `manifest.json` where there is one among them.
pub struct Contents {
    pub manifest: Option<String>,
    pub tensors: BTreeMap<String, Tensor>,
}

pub fn read(file: &[u8]) -> Result<Contents, Problem> {
    let broken = |error: ZipError| Problem::Zip(error.to_string());
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(broken)?;
    if let Some(listed) = listed(file).filter(|listed| *listed != archive.len()) {
        // the archive's reader keeps the last of two equal names and says nothing
        return Err(Problem::Zip(format!("it lists {listed} files under {} names", archive.len())));
    }
    let mut contents = Contents { manifest: None, tensors: BTreeMap::new() };
    let mut unpacked = 0u64;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let Some(array) = name.strip_suffix(".npy").or((name == MANIFEST).then_some(MANIFEST)) else {
            return Err(Problem::Npy { array: name, why: "it is no .npy file".to_owned() });
        };
        // a few bytes may unpack to a thousand times as many
        unpacked = unpacked.saturating_add(entry.size());
        memory::require("the unpacked arrays", unpacked, memory::available())?;
        let size = entry.size();
        let mut bytes = Vec::new(); // grows with what is there, not with what is promised
        entry.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
            let why = format!("it cannot be unpacked: {error}");
            Problem::Npy { array: array.to_owned(), why }
        })?;
        if bytes.len() as u64 != size {
            let why = format!("the archive says {size} bytes, found {}", bytes.len());
            return Err(Problem::Npy { array: array.to_owned(), why });
        }
        if name == MANIFEST {
            let text = String::from_utf8(bytes).map_err(|_| Problem::ManifestField("it is not UTF-8".to_owned()))?;
            contents.manifest = Some(text);
        } else {
            contents.tensors.insert(array.to_owned(), npy::read(array, &bytes)?);
        }
    }
    Ok(contents)
}

/// Files in the archive by its own last record; `None` where they are too many for that record.
fn listed(file: &[u8]) -> Option<usize> {
    let at = file.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let count = u16::from_le_bytes(*file.get(at + 10..)?.first_chunk::<2>()?);
    (count != u16::MAX).then_some(count.into())
}
