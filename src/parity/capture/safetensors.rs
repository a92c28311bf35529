//! Tensors to and from safetensors. The header is checked by the reader that models are read with; here bytes become numbers.

use std::collections::BTreeMap;
use std::io::{self, Write};

use half::{bf16, f16};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::Problem;
use super::{Tensor, Values};
use crate::model::digest::hex;
use crate::model::weights::safetensors;

/// A tensor as it lay in the file: its own type's name and the digest of its bytes there, which an F16 tensor's numbers as
/// f32 would not have.
pub struct Stored {
    pub tensor: Tensor,
    pub element: String,
    pub sha256: String,
}

pub struct Contents {
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, Stored>,
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Contents, Problem> {
    let header = safetensors::read(file)?;
    let mut tensors = BTreeMap::new();
    for entry in header.tensors {
        // in the file, as the header was checked to be
        let bytes = &file[entry.range.start as usize..entry.range.end as usize];
        let shape: Vec<usize> = entry.shape.iter().map(|size| *size as usize).collect();
        let values = values(&entry.name, entry.element, bytes)?;
        let (element, sha256) = (entry.element.to_owned(), hex(&Sha256::digest(bytes)));
        tensors.insert(entry.name, Stored { tensor: Tensor { shape, values }, element, sha256 });
    }
    Ok(Contents { metadata: header.metadata, tensors })
}

/// Little-endian numbers of the format's element types: floats of half the width become f32, integers i64.
pub fn values(name: &str, element: &str, bytes: &[u8]) -> Result<Values, Problem> {
    fn each<const WIDTH: usize, T>(bytes: &[u8], number: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
        bytes.as_chunks::<WIDTH>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    Ok(match element {
        "F64" => Values::F64(each(bytes, f64::from_le_bytes)),
        "F32" => Values::F32(each(bytes, f32::from_le_bytes)),
        "F16" => Values::F32(each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32())),
        "BF16" => Values::F32(each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        "I64" => Values::I64(each(bytes, i64::from_le_bytes)),
        "I32" => Values::I64(each(bytes, |bytes| i32::from_le_bytes(bytes).into())),
        "I16" => Values::I64(each(bytes, |bytes| i16::from_le_bytes(bytes).into())),
        "I8" => Values::I64(each(bytes, |bytes| i8::from_le_bytes(bytes).into())),
        "U64" => {
            let numbers = each(bytes, u64::from_le_bytes);
            let signed = |(index, value): (usize, u64)| {
                i64::try_from(value).map_err(|_| Problem::TooLarge { tensor: name.to_owned(), index, value })
            };
            Values::I64(numbers.into_iter().enumerate().map(signed).collect::<Result<_, _>>()?)
        }
        "U32" => Values::I64(each(bytes, |bytes| u32::from_le_bytes(bytes).into())),
        "U16" => Values::I64(each(bytes, |bytes| u16::from_le_bytes(bytes).into())),
        "U8" | "BOOL" => Values::I64(each(bytes, |bytes| u8::from_le_bytes(bytes).into())),
        other => return Err(Problem::Element { tensor: name.to_owned(), element: other.to_owned() }),
    })
}

/// Writes tensors, the wide ones first, so that every number lies on a multiple of its width, then by name.
pub fn write(
    tensors: &BTreeMap<String, Tensor>,
    metadata: Option<(&str, &str)>,
    file: &mut impl Write,
) -> io::Result<()> {
    let mut order: Vec<(&String, &Tensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.values.width()));
    let mut header = Map::new();
    if let Some((key, text)) = metadata {
        header.insert("__metadata__".to_owned(), json!({ key: text }));
    }
    let mut end = 0;
    for (name, tensor) in &order {
        let begin = end;
        end += tensor.count() * tensor.values.width();
        let entry = json!({"dtype": tensor.values.dtype(), "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert((*name).clone(), entry);
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(text.as_bytes())?;
    order.iter().try_for_each(|(_, tensor)| tensor.values.for_each_run(|bytes| file.write_all(bytes)))
}
