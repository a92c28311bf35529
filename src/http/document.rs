//! What the OpenAPI documents of the daemons have in common, and the derived schemas don't say.

use serde_json::{Value, json};

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

/// Each operation under a name that no other has, by which generated clients call it: `get_tasks_by_id_events`.
pub fn name_operations(document: &mut Value) {
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        let words = path.split('/').filter(|word| !["", "v2"].contains(word));
        let words = words.map(|word| if word.starts_with('{') { "by_id".to_owned() } else { word.replace('.', "_") });
        let path = words.collect::<Vec<_>>().join("_");
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            operation["operationId"] = json!(format!("{method}_{path}"));
        }
    }
}
