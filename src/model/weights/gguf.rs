//! Reads the header of a GGUF file, versions 2 and 3: keys with typed values, then the tensors' names, sizes, types and
//! places, then their bytes, each at a multiple of the alignment.
//!
//! Values stay where they are in the file: an array of fifty thousand tokens costs nothing until it is asked for, and a
//! file that lies about a count is found out by its own length before anything is allocated.

mod cursor;
mod types;
mod value;

use std::collections::HashSet;
use std::ops::Range;

use super::element::product;
use super::layout;
use crate::model::error::Problem;
use cursor::Cursor;
pub use types::{StoredType, file_type_name};
pub use value::{Array, Value, ValueType};

const MAX_TENSORS: u64 = 65_536;
const MAX_KEYS: u64 = 65_536;
const MAX_DIMENSIONS: u32 = 8;
const MAX_NAME_BYTES: u64 = 256;
const MAX_KEY_BYTES: u64 = 65_535;
const MAX_ALIGNMENT: u64 = 1 << 16;
const DEFAULT_ALIGNMENT: u64 = 32;
/// The least that one of these takes in a file: a key is a length, a type and a byte of value; a tensor is a length, a
/// number of dimensions, one size, a type and an offset.
const MIN_KEY_BYTES: u64 = 8 + 4 + 1;
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// A checked header; its text lies in the file's bytes.
#[derive(Debug)]
pub struct Header<'a> {
    pub version: u32,
    entries: Vec<(&'a str, Value<'a>)>,
    /// In the order of their bytes.
    pub tensors: Vec<TensorEntry<'a>>,
}

#[derive(Debug)]
pub struct TensorEntry<'a> {
    pub name: &'a str,
    pub stored: &'static StoredType,
    /// Row-major, the slowest first: the reverse of the file's own order.
    pub shape: Vec<u64>,
    /// In bytes from the start of the file.
    pub range: Range<u64>,
}

/// Reads and checks the header of a whole file.
pub fn read(file: &[u8]) -> Result<Header<'_>, Problem> {
    let mut cursor = Cursor::new(file);
    let version = read_version(&mut cursor)?;
    let tensor_count = cursor.count("the number of tensors", MAX_TENSORS, MIN_TENSOR_BYTES)?;
    let key_count = cursor.count("the number of keys", MAX_KEYS, MIN_KEY_BYTES)?;
    let entries = read_entries(&mut cursor, key_count)?;
    let alignment = read_alignment(&entries)?;
    let tensors = read_tensors(&mut cursor, tensor_count, alignment)?;
    Ok(Header { version, entries, tensors })
}

fn read_version(cursor: &mut Cursor) -> Result<u32, Problem> {
    let not_gguf = |why: String| Problem::NotThisFormat { format: "GGUF", why };
    if cursor.take(4, "the magic number")? != b"GGUF" {
        return Err(not_gguf("it does not begin with `GGUF`".into()));
    }
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => Err(not_gguf("it is big-endian".into())),
        version => Err(not_gguf(format!("its version is {version}; 2 and 3 are read"))),
    }
}

fn read_entries<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<Vec<(&'a str, Value<'a>)>, Problem> {
    let mut names = HashSet::new();
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = cursor.string("a key", MAX_KEY_BYTES)?;
        if !names.insert(key) {
            return Err(Problem::Duplicate { kind: "key", name: key.into() });
        }
        entries.push((key, value::read(cursor, key)?));
    }
    Ok(entries)
}

fn read_alignment(entries: &[(&str, Value)]) -> Result<u64, Problem> {
    const KEY: &str = "general.alignment";
    let Some((_, value)) = entries.iter().find(|(key, _)| *key == KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    let alignment = value.as_unsigned().ok_or_else(|| Problem::key(KEY, "is not an unsigned number"))?;
    if !alignment.is_power_of_two() {
        return Err(Problem::Alignment { found: alignment });
    }
    if alignment > MAX_ALIGNMENT {
        return Err(Problem::OverLimit { what: format!("`{KEY}`"), found: alignment, limit: MAX_ALIGNMENT });
    }
    Ok(alignment)
}

fn read_tensors<'a>(cursor: &mut Cursor<'a>, count: u64, alignment: u64) -> Result<Vec<TensorEntry<'a>>, Problem> {
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for _ in 0..count {
        let tensor = read_tensor(cursor, alignment)?;
        if !names.insert(tensor.name) {
            return Err(Problem::Duplicate { kind: "tensor", name: tensor.name.into() });
        }
        tensors.push(tensor);
    }
    if tensors.is_empty() {
        return Ok(tensors); // nothing to place; what the model needs is found missing by name
    }
    let data_begins = cursor.position().next_multiple_of(alignment); // both far below 2^63
    for tensor in &mut tensors {
        let (begin, end) = (tensor.range.start.checked_add(data_begins), tensor.range.end.checked_add(data_begins));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(Problem::Overflow { what: format!("tensor `{}`: its place in the file", tensor.name) });
        };
        tensor.range = begin..end;
    }
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let ranges = tensors.iter().map(|tensor| (tensor.name, tensor.range.clone()));
    layout::check_cover(ranges, data_begins, cursor.file_bytes(), alignment)?;
    Ok(tensors)
}

/// One tensor; its range still counted from the start of the data.
fn read_tensor<'a>(cursor: &mut Cursor<'a>, alignment: u64) -> Result<TensorEntry<'a>, Problem> {
    let name = cursor.string("a tensor's name", MAX_NAME_BYTES)?;
    let of_this = |what: &str| format!("tensor `{name}`: {what}");
    let dimensions = cursor.u32(&of_this("the number of dimensions"))?;
    if dimensions > MAX_DIMENSIONS {
        let (found, limit) = (u64::from(dimensions), u64::from(MAX_DIMENSIONS));
        return Err(Problem::OverLimit { what: of_this("the number of dimensions"), found, limit });
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(cursor.u64(&of_this("its sizes"))?);
    }
    shape.reverse();
    let number = cursor.u32(&of_this("the element type"))?;
    let offset = cursor.u64(&of_this("its offset"))?;

    let stored = StoredType::from_number(number)
        .ok_or_else(|| Problem::UnknownElement { tensor: name.into(), element: format!("number {number}") })?;
    let row = shape.last().copied().unwrap_or_default();
    if row == 0 || shape.contains(&0) {
        return Err(Problem::EmptyShape { tensor: name.into(), shape });
    }
    if !row.is_multiple_of(stored.block) {
        let (element, block) = (stored.name, stored.block);
        return Err(Problem::BrokenBlocks { tensor: name.into(), row, element, block });
    }
    if !offset.is_multiple_of(alignment) {
        return Err(Problem::Misaligned { tensor: name.into(), offset, alignment });
    }
    let bytes = product(&shape).and_then(|count| (count / stored.block).checked_mul(stored.block_bytes));
    let end = bytes.and_then(|bytes| offset.checked_add(bytes));
    let end = end.ok_or_else(|| Problem::Overflow { what: of_this(&format!("the size of {shape:?}")) })?;
    Ok(TensorEntry { name, stored, shape, range: offset..end })
}

impl<'a> Header<'a> {
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, Problem> {
        self.typed(key, "an unsigned number", Value::as_unsigned)
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, Problem> {
        self.typed(key, "a floating-point number", Value::as_float)
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.typed(key, "a truth value", Value::as_bool)
    }

    pub fn strings(&self, key: &str) -> Result<Option<impl Iterator<Item = &'a str> + use<'a>>, Problem> {
        self.typed(key, "an array of strings", |value| value.as_array().and_then(Array::strings))
    }

    pub fn integers(&self, key: &str) -> Result<Option<impl Iterator<Item = i64> + use<'a>>, Problem> {
        self.typed(key, "an array of integers", |value| value.as_array().and_then(Array::integers))
    }

    pub fn floats(&self, key: &str) -> Result<Option<impl Iterator<Item = f32> + use<'a>>, Problem> {
        self.typed(key, "an array of floating-point numbers", |value| value.as_array().and_then(Array::floats))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Problem::key(key, format!("is {}, not {expected}", value.kind())))
    }
}
