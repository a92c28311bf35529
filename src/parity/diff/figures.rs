//! How numbers are written for people.

/// As few digits as say it: `7.6e-3`, `0.957`, `1e-5`, `0`.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return special(value);
    }
    match value.abs() {
        0.01..1.0 => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        1.0..100.0 => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        100.0..100_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}").replace(".0e", "e"),
    }
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
