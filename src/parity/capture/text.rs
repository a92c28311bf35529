//! JSON for people: objects line by line, lists of plain values on one line, so that a change of one tensor is a change of a
//! few lines in a review.

use serde_json::Value;

pub fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let nested = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_));
    match value {
        Value::Object(object) if !object.is_empty() => {
            text.push('{');
            for (index, (key, value)) in object.iter().enumerate() {
                new_line(index, depth + 1, text);
                text.push_str(&format!("{}: ", Value::from(key.as_str())));
                write(value, depth + 1, text);
            }
            text.push('\n');
            indent(depth, text);
            text.push('}');
        }
        Value::Array(items) if items.iter().any(nested) => {
            text.push('[');
            for (index, value) in items.iter().enumerate() {
                new_line(index, depth + 1, text);
                write(value, depth + 1, text);
            }
            text.push('\n');
            indent(depth, text);
            text.push(']');
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            text.push_str(&format!("[{}]", items.join(", ")));
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn new_line(index: usize, depth: usize, text: &mut String) {
    text.push_str(if index == 0 { "\n" } else { ",\n" });
    indent(depth, text);
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}
