//! Reads the header of a `.safetensors` file: eight bytes of length, that much JSON, then the tensors' bytes without gaps.
//!
//! Nothing in the header is believed: a name appears once, a shape times its element size is exactly the bytes between the
//! two offsets, and the tensors together cover the data section from its first byte to its last.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::element::product;
use super::layout;
use crate::model::error::Problem;

const MAX_HEADER_BYTES: u64 = 100_000_000;
const MAX_TENSORS: usize = 65_536;
const MAX_NAME_BYTES: usize = 256;
const MAX_DIMENSIONS: usize = 8;
const MAX_METADATA_ENTRIES: usize = 65_536;

/// The format's element types with their width in bits.
const ELEMENTS: &[(&str, u64)] = &[
    ("F64", 64),
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("C64", 64),
    ("I64", 64),
    ("I32", 32),
    ("I16", 16),
    ("I8", 8),
    ("U64", 64),
    ("U32", 32),
    ("U16", 16),
    ("U8", 8),
    ("BOOL", 8),
    ("F8_E4M3", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2", 8),
    ("F8_E5M2FNUZ", 8),
    ("F8_E8M0", 8),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F4", 4),
];

#[derive(Debug)]
pub struct Header {
    pub metadata: BTreeMap<String, String>,
    /// In the order of their bytes.
    pub tensors: Vec<TensorEntry>,
}

#[derive(Debug)]
pub struct TensorEntry {
    pub name: String,
    /// One of the format's element types, as it is written there.
    pub element: &'static str,
    pub shape: Vec<u64>,
    /// In bytes from the start of the file.
    pub range: Range<u64>,
}

/// Reads and checks the header of a whole file.
pub fn read(file: &[u8]) -> Result<Header, Problem> {
    let file_bytes = file.len() as u64;
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(Problem::Truncated { what: "the header's length".into(), end: 8, file: file_bytes });
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(Problem::OverLimit { what: "the header's length".into(), found: length, limit: MAX_HEADER_BYTES });
    }
    if length > rest.len() as u64 {
        return Err(Problem::Truncated { what: "the header".into(), end: 8 + length, file: file_bytes });
    }
    let (text, _) = rest.split_at(length as usize);
    if text.first() != Some(&b'{') {
        let why = "its header does not begin with `{`".into();
        return Err(Problem::NotThisFormat { format: "safetensors", why });
    }
    let text = std::str::from_utf8(text).map_err(|_| Problem::NotUtf8 { what: "the header".into() })?;
    let raw: RawHeader = serde_json::from_str(text).map_err(|source| Problem::Json { what: "the header", source })?;

    let mut names = HashSet::with_capacity(raw.tensors.len());
    for (name, _) in &raw.tensors {
        if !names.insert(name.as_str()) {
            return Err(Problem::Duplicate { kind: "tensor", name: name.clone() });
        }
    }
    let data_begins = 8 + length;
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, tensor) in raw.tensors {
        tensors.push(check_tensor(name, tensor, data_begins)?);
    }
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    layout::check_cover(
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.range.clone())),
        data_begins,
        file_bytes,
        1,
    )?;
    Ok(Header { metadata: raw.metadata, tensors })
}

/// One tensor on its own: a known element type, and exactly the bytes that its shape needs.
fn check_tensor(name: String, raw: RawTensor, data_begins: u64) -> Result<TensorEntry, Problem> {
    let Some(&(element, bits)) = ELEMENTS.iter().find(|(known, _)| *known == raw.dtype) else {
        return Err(Problem::UnknownElement { tensor: name, element: raw.dtype });
    };
    let [begin, end] = raw.data_offsets;
    if end < begin {
        return Err(Problem::BackwardRange { tensor: name, begin, end });
    }
    let overflow = || Problem::Overflow { what: format!("tensor `{name}`: the size of {:?}", raw.shape.0) };
    let needed_bits = product(&raw.shape.0).and_then(|count| count.checked_mul(bits)).ok_or_else(overflow)?;
    if !needed_bits.is_multiple_of(8) || needed_bits / 8 != end - begin {
        let needs = needed_bits.div_ceil(8);
        return Err(Problem::TensorBytes { tensor: name, shape: raw.shape.0, element, needs, found: end - begin });
    }
    let range = match (data_begins.checked_add(begin), data_begins.checked_add(end)) {
        (Some(begin), Some(end)) => begin..end,
        _ => return Err(Problem::Overflow { what: format!("tensor `{name}`: its place in the file") }),
    };
    Ok(TensorEntry { name, element, shape: raw.shape.0, range })
}

/// The JSON as it stands, in its order, names not yet compared. (A map type would keep the last of two equal names and say
/// nothing.)
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Shape,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut metadata = None;
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<Metadata>()?.0).is_some() {
                            return Err(A::Error::custom("`__metadata__` is there twice"));
                        }
                        continue;
                    }
                    if name.len() > MAX_NAME_BYTES {
                        let bytes = name.len();
                        return Err(A::Error::custom(format!(
                            "a name of {bytes} bytes; the limit is {MAX_NAME_BYTES}"
                        )));
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    tensors.push((name, map.next_value::<RawTensor>()?));
                }
                Ok(RawHeader { metadata: metadata.unwrap_or_default(), tensors })
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if metadata.len() == MAX_METADATA_ENTRIES {
                        return Err(A::Error::custom(format!("more than {MAX_METADATA_ENTRIES} metadata entries")));
                    }
                    if let Some(_earlier) = metadata.insert(key.clone(), value) {
                        return Err(A::Error::custom(format!("metadata key `{key}` is there twice")));
                    }
                }
                Ok(Metadata(metadata))
            }
        }
        deserializer.deserialize_map(MetadataVisitor)
    }
}

/// A shape that stops being read at one dimension too many, however long the list goes on.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                write!(formatter, "at most {MAX_DIMENSIONS} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = sizes.next_element::<u64>()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(A::Error::custom(format!("a shape of more than {MAX_DIMENSIONS} dimensions")));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}
