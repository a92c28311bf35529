//! How numbers are written for people.

/// Two digits: `7.6e-3`, `1e-5`, `0`.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return special(value);
    }
    let text = format!("{value:.1e}");
    text.replace(".0e", "e")
}

/// Seven digits, as f32 has.
pub fn long(value: f64) -> String {
    if !value.is_finite() {
        special(value)
    } else if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.5e}")
    }
}

fn special(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value > 0.0 => "∞".to_owned(),
        _ => "−∞".to_owned(),
    }
}
