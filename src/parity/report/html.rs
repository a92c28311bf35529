//! HTML as it is written here: elements inside elements, and text that can't be anything but text.

use std::fmt::Write as _;

#[derive(Default)]
pub struct Html(String);

impl Html {
    /// An element around what `content` writes. `attributes` is `name=value` words, or empty; a value with spaces or
    /// text of others in it goes through [`attribute`].
    pub fn inside(&mut self, name: &str, attributes: &str, content: impl FnOnce(&mut Html)) {
        let space = if attributes.is_empty() { "" } else { " " };
        let _ = write!(self.0, "<{name}{space}{attributes}>");
        content(self);
        let _ = writeln!(self.0, "</{name}>");
    }

    /// Text: never markup, whatever is in it.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(&escape(text));
    }

    /// An element that holds text.
    pub fn say(&mut self, name: &str, attributes: &str, text: &str) {
        self.inside(name, attributes, |element| element.text(text));
    }

    /// Markup that this module's callers wrote themselves.
    pub fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    pub fn done(self) -> String {
        self.0
    }
}

/// An element with text, as a string.
pub fn tag(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// `name="value"`
pub fn attribute(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", escape(value))
}

pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters are not allowed in HTML, however they are written.
            control if control.is_control() && !matches!(control, '\n' | '\t') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
