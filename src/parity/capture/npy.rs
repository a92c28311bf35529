//! numpy's `.npy`: a magic word, a version, a header that is a Python dictionary, and the numbers in C or Fortran order,
//! little or big end first. Pickled objects and records are refused; nothing of the header is believed before the bytes
//! agree with it.

use super::error::Problem;
use super::{Tensor, Values, safetensors};

const MAGIC: &[u8] = b"\x93NUMPY";
const MAX_HEADER_BYTES: usize = 65_536;
const MAX_DIMENSIONS: usize = 8;

/// numpy's kinds and widths, and safetensors' names for them.
const ELEMENTS: &[(&str, &str, usize)] = &[
    ("f8", "F64", 8),
    ("f4", "F32", 4),
    ("f2", "F16", 2),
    ("i8", "I64", 8),
    ("i4", "I32", 4),
    ("i2", "I16", 2),
    ("i1", "I8", 1),
    ("u8", "U64", 8),
    ("u4", "U32", 4),
    ("u2", "U16", 2),
    ("u1", "U8", 1),
    ("b1", "BOOL", 1),
];

/// Reads a whole `.npy` file; `array` is its name in messages.
pub fn read(array: &str, file: &[u8]) -> Result<Tensor, Problem> {
    let wrong = |why: String| Problem::Npy { array: array.to_owned(), why };
    let (header, data) = split(file).map_err(wrong)?;
    let Header { element, width, is_big_endian, is_fortran, shape } = Header::read(header).map_err(wrong)?;
    let count = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let needs = count.and_then(|count| count.checked_mul(width as u64));
    let (Some(count), Some(needs)) = (count, needs) else {
        return Err(wrong(format!("the shape {shape:?} does not fit in 64 bits")));
    };
    if needs != data.len() as u64 {
        let (array, found) = (array.to_owned(), data.len() as u64);
        return Err(Problem::NpyBytes { array, count, width: width as u64, needs, found });
    }
    let values = if is_big_endian && width > 1 {
        let little: Vec<u8> = data.chunks_exact(width).flat_map(|number| number.iter().rev().copied()).collect();
        safetensors::values(array, element, &little)?
    } else {
        safetensors::values(array, element, data)?
    };
    // their product is the number of values, so each of them fits (or there are none)
    let shape: Vec<usize> = shape.into_iter().map(|size| size as usize).collect();
    let values = if is_fortran && shape.len() > 1 { row_major(&shape, values) } else { values };
    Ok(Tensor { shape, values })
}

/// The header's text and the numbers' bytes.
fn split(file: &[u8]) -> Result<(&str, &[u8]), String> {
    let ends = |what: &str| format!("the file ends inside {what}");
    let rest = file.strip_prefix(MAGIC).ok_or("it does not begin as an .npy file does")?;
    let (&[major, minor], rest) = rest.split_first_chunk::<2>().ok_or_else(|| ends("the version"))?;
    let (length, rest) = match (major, minor) {
        (1, 0) => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| ends("the header's length"))?;
            (u16::from_le_bytes(*length) as usize, rest)
        }
        (2 | 3, 0) => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| ends("the header's length"))?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return Err(format!("version {major}.{minor} of the format; read are 1.0, 2.0 and 3.0")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes; the limit is {MAX_HEADER_BYTES}"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| ends("the header"))?;
    Ok((std::str::from_utf8(header).map_err(|_| "the header is not UTF-8")?, data))
}

struct Header {
    element: &'static str,
    width: usize,
    is_big_endian: bool,
    is_fortran: bool,
    shape: Vec<u64>,
}

/// What is left of the text.
struct Cursor<'a>(&'a str);

impl Header {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, the three keys once each, in any order.
    fn read(text: &str) -> Result<Header, String> {
        let (mut descr, mut order, mut shape) = (None, None, None);
        let mut cursor = Cursor(text);
        cursor.expect('{')?;
        while !cursor.take('}') {
            let key = cursor.quoted()?;
            cursor.expect(':')?;
            let again = match key {
                "descr" => descr.replace(cursor.quoted()?).is_some(),
                "fortran_order" => order.replace(cursor.boolean()?).is_some(),
                "shape" => shape.replace(cursor.sizes()?).is_some(),
                other => return Err(format!("the header has the unknown key `{other}`")),
            };
            if again {
                return Err(format!("the header has `{key}` twice"));
            }
            if !cursor.take(',') {
                cursor.expect('}')?;
                break;
            }
        }
        if !cursor.0.trim().is_empty() {
            return Err("the header goes on after its closing brace".to_owned());
        }
        let lacks = |key: &str| format!("the header lacks `{key}`");
        let descr = descr.ok_or_else(|| lacks("descr"))?;
        let kind = descr.strip_prefix(['<', '>', '|', '=']).unwrap_or(descr);
        let Some((_, element, width)) = ELEMENTS.iter().find(|(known, ..)| *known == kind) else {
            return Err(format!("the element type `{descr}` is not read; read are floats, integers and booleans"));
        };
        Ok(Header {
            element,
            width: *width,
            is_big_endian: descr.starts_with('>'),
            is_fortran: order.ok_or_else(|| lacks("fortran_order"))?,
            shape: shape.ok_or_else(|| lacks("shape"))?,
        })
    }
}

impl<'a> Cursor<'a> {
    /// Whether this character is next, spaces aside; then it is taken.
    fn take(&mut self, character: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        if self.take(character) { Ok(()) } else { Err(format!("the header has no `{character}` where one must be")) }
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let quote = if self.take('\'') { '\'' } else { '"' };
        if quote == '"' {
            self.expect('"').map_err(|_| "the header has something else where a string must be".to_owned())?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or("a string of the header does not end")?;
        self.0 = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        let text = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = text.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err("`fortran_order` is neither True nor False".to_owned())
    }

    /// `()`, `(3,)`, `(2, 3)`
    fn sizes(&mut self) -> Result<Vec<u64>, String> {
        let mut sizes = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let text = self.0.trim_start();
            let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            sizes.push(digits.parse().map_err(|_| format!("`{digits}` in `shape` is no size"))?);
            if sizes.len() > MAX_DIMENSIONS {
                return Err(format!("a shape of more than {MAX_DIMENSIONS} dimensions"));
            }
            self.0 = rest;
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

/// From the first index running fastest to the last one.
fn row_major(shape: &[usize], values: Values) -> Values {
    fn reorder<T: Copy>(shape: &[usize], from: &[T]) -> Vec<T> {
        let mut strides = vec![1; shape.len()];
        for axis in 1..shape.len() {
            strides[axis] = strides[axis - 1] * shape[axis - 1];
        }
        let mut index = vec![0; shape.len()];
        let mut to = Vec::with_capacity(from.len());
        for _ in 0..from.len() {
            to.push(from[index.iter().zip(&strides).map(|(index, stride)| index * stride).sum::<usize>()]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        to
    }
    match values {
        Values::F32(values) => Values::F32(reorder(shape, &values)),
        Values::F64(values) => Values::F64(reorder(shape, &values)),
        Values::I64(values) => Values::I64(reorder(shape, &values)),
    }
}
