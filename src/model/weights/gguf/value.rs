//! The values of GGUF's keys, checked when they are read and decoded when they are asked for.

use super::cursor::Cursor;
use crate::model::error::Problem;

/// The format's value types, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

const MAX_STRING_BYTES: u64 = 1 << 20;
/// An array of arrays of arrays … costs a stack frame per level.
const MAX_DEPTH: u32 = 4;
const MAX_ARRAY: u64 = 1 << 32;

impl ValueType {
    fn from_number(number: u32, what: &str) -> Result<Self, Problem> {
        use ValueType::*;
        const NUMBERED: [ValueType; 13] = [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64];
        let unknown = || Problem::UnknownValueType { what: what.into(), number };
        NUMBERED.get(number as usize).copied().ok_or_else(unknown)
    }

    /// The least bytes that one value takes.
    fn min_bytes(self) -> u64 {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => "an unsigned number",
            ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => "a signed number",
            ValueType::F32 | ValueType::F64 => "a floating-point number",
            ValueType::Bool => "a truth value",
            ValueType::String => "a string",
            ValueType::Array => "an array",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(&'a str),
    Array(Array<'a>),
}

/// An array whose elements have been walked over once, and are decoded again when they are asked for.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    pub element: ValueType,
    pub count: u64,
    bytes: &'a [u8],
}

/// Reads the type and the value of `key`.
pub fn read<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<Value<'a>, Problem> {
    let what = format!("key `{key}`");
    let value_type = ValueType::from_number(cursor.u32(&what)?, &what)?;
    read_value(cursor, value_type, &what, 0)
}

fn read_value<'a>(
    cursor: &mut Cursor<'a>,
    value_type: ValueType,
    what: &str,
    depth: u32,
) -> Result<Value<'a>, Problem> {
    Ok(match value_type {
        ValueType::U8 => Value::Unsigned(cursor.u8(what)?.into()),
        ValueType::U16 => Value::Unsigned(cursor.u16(what)?.into()),
        ValueType::U32 => Value::Unsigned(cursor.u32(what)?.into()),
        ValueType::U64 => Value::Unsigned(cursor.u64(what)?),
        ValueType::I8 => Value::Signed((cursor.u8(what)? as i8).into()),
        ValueType::I16 => Value::Signed((cursor.u16(what)? as i16).into()),
        ValueType::I32 => Value::Signed((cursor.u32(what)? as i32).into()),
        ValueType::I64 => Value::Signed(cursor.u64(what)? as i64),
        ValueType::F32 => Value::Float(f32::from_bits(cursor.u32(what)?).into()),
        ValueType::F64 => Value::Float(f64::from_bits(cursor.u64(what)?)),
        ValueType::Bool => match cursor.u8(what)? {
            byte @ (0 | 1) => Value::Bool(byte == 1),
            byte => return Err(Problem::key(what, format!("is the byte {byte}, not a truth value"))),
        },
        ValueType::String => Value::String(cursor.string(what, MAX_STRING_BYTES)?),
        ValueType::Array => Value::Array(read_array(cursor, what, depth + 1)?),
    })
}

fn read_array<'a>(cursor: &mut Cursor<'a>, what: &str, depth: u32) -> Result<Array<'a>, Problem> {
    if depth > MAX_DEPTH {
        let (found, limit) = (u64::from(depth), u64::from(MAX_DEPTH));
        return Err(Problem::OverLimit { what: format!("the depth of arrays in {what}"), found, limit });
    }
    let element = ValueType::from_number(cursor.u32(what)?, what)?;
    let count = cursor.count(&format!("the length of the array in {what}"), MAX_ARRAY, element.min_bytes())?;
    let first = cursor.position();
    match element {
        ValueType::String | ValueType::Array | ValueType::Bool => {
            for _ in 0..count {
                read_value(cursor, element, what, depth)?;
            }
        }
        // Of a fixed size, and every bit pattern is a value: `count` has checked that they are there.
        _ => {
            cursor.take(count * element.min_bytes(), what)?;
        }
    }
    Ok(Array { element, count, bytes: cursor.since(first) })
}

impl<'a> Value<'a> {
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Unsigned(_) => ValueType::U64.name(),
            Value::Signed(_) => ValueType::I64.name(),
            Value::Float(_) => ValueType::F64.name(),
            Value::Bool(_) => ValueType::Bool.name(),
            Value::String(_) => ValueType::String.name(),
            Value::Array(array) => match array.element {
                ValueType::String => "an array of strings",
                ValueType::Array => "an array of arrays",
                _ => "an array of numbers",
            },
        }
    }

    /// Whole numbers that are not negative, of either kind.
    pub fn as_unsigned(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        if let Value::Float(number) = *self { Some(number) } else { None }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(set) = *self { Some(set) } else { None }
    }

    pub fn as_str(&self) -> Option<&'a str> {
        if let Value::String(text) = *self { Some(text) } else { None }
    }

    pub fn as_array(&self) -> Option<&Array<'a>> {
        if let Value::Array(array) = self { Some(array) } else { None }
    }
}

impl<'a> Array<'a> {
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        self.decoded(self.element == ValueType::String, |value| value.as_str())
    }

    pub fn integers(&self) -> Option<impl Iterator<Item = i64> + use<'a>> {
        let is_integer = matches!(
            self.element,
            ValueType::U8
                | ValueType::I8
                | ValueType::U16
                | ValueType::I16
                | ValueType::U32
                | ValueType::I32
                | ValueType::I64
        );
        self.decoded(is_integer, |value| match value {
            Value::Signed(number) => Some(number),
            value => value.as_unsigned().and_then(|number| i64::try_from(number).ok()),
        })
    }

    pub fn floats(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        self.decoded(self.element == ValueType::F32, |value| value.as_float().map(|number| number as f32))
    }

    fn decoded<T>(
        &self,
        is_this: bool,
        decode: fn(Value<'a>) -> Option<T>,
    ) -> Option<impl Iterator<Item = T> + use<'a, T>> {
        let (element, count, mut cursor) = (self.element, self.count, Cursor::new(self.bytes));
        // Walked over before: nothing here can fail any more.
        is_this.then(|| {
            (0..count).map_while(move |_| read_value(&mut cursor, element, "an array", MAX_DEPTH).ok().and_then(decode))
        })
    }
}
