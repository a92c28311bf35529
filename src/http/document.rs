//! What the OpenAPI documents of the daemons have in common, and the derived schemas don't say.

use serde_json::Value;

/// No number here is signed; the derived formats don't know it, and a seed may need all 64 bits.
pub fn name_unsigned(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let most = match object.get("format").and_then(Value::as_str) {
                Some("int32") => Some(("uint32", u64::from(u32::MAX))),
                Some("int64") => Some(("uint64", u64::MAX)),
                _ => None,
            };
            if let Some((format, most)) = most {
                object.insert("format".to_owned(), format.into());
                object.entry("maximum").or_insert(most.into());
            }
            object.values_mut().for_each(name_unsigned);
        }
        Value::Array(items) => items.iter_mut().for_each(name_unsigned),
        _ => {}
    }
}
