//! Tensors side by side in a file: no two share a byte, nothing lies between them but padding, and the file ends with the
//! last one. The same rule for both formats; safetensors pads by nothing, GGUF up to its alignment.

use std::ops::Range;

use crate::model::error::Problem;

/// `ranges` in ascending order, in bytes from the start of the file. The first begins at `data_begins`, each next one where
/// the one before ends, rounded up to `alignment`; the file ends there too, with or without the last one's padding.
pub fn check_cover<'a>(
    ranges: impl Iterator<Item = (&'a str, Range<u64>)>,
    data_begins: u64,
    file_bytes: u64,
    alignment: u64,
) -> Result<(), Problem> {
    let mut previous = "the header";
    let mut end = data_begins; // of what came so far, without padding
    for (tensor, range) in ranges {
        if range.start < end {
            let (tensor, previous) = (tensor.into(), previous.into());
            return Err(Problem::Overlap { tensor, begin: range.start, previous, end });
        }
        let padded = end.checked_next_multiple_of(alignment);
        if Some(range.start) != padded {
            return Err(Problem::Gap { tensor: tensor.into(), begin: range.start, end });
        }
        if range.end > file_bytes {
            return Err(Problem::Truncated { what: format!("tensor `{tensor}`"), end: range.end, file: file_bytes });
        }
        (previous, end) = (tensor, range.end);
    }
    let padded = end.checked_next_multiple_of(alignment).unwrap_or(end);
    if file_bytes > padded {
        return Err(Problem::BytesAfterTheEnd { tensor: previous.into(), end, file: file_bytes });
    }
    Ok(())
}
