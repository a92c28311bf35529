//! What the tool prints: tables and words for people, one JSON document for scripts, bars where somebody watches.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::Failure;

pub struct Output {
    pub json: bool,
    color: anstream::ColorChoice,
}

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const PLAIN: Style = Style::new();

/// One cell of a table.
pub struct Cell {
    text: String,
    style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, style: PLAIN }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

pub fn styled(text: impl Into<String>, style: Style) -> Cell {
    Cell { text: text.into(), style }
}

impl Output {
    pub fn new(json: bool, no_color: bool) -> Output {
        let color = match no_color {
            true => anstream::ColorChoice::Never,
            false => anstream::AutoStream::choice(&io::stdout()),
        };
        Output { json, color }
    }

    /// Words for people, or the document for scripts.
    pub fn say(&self, words: impl AsRef<str>, document: &Value) -> Result<(), Failure> {
        let text = if self.json { format!("{document:#}") } else { words.as_ref().trim_end().to_owned() };
        self.write(|out| writeln!(out, "{text}"))
    }

    /// To stdout; a reader that has seen enough is no failure.
    pub fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut out = anstream::AutoStream::new(io::stdout(), self.color);
        match write(&mut out).and_then(|()| out.flush()) {
            Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::of(format!("the output can't be written: {problem}")))
            }
            _ => Ok(()),
        }
    }

    /// A bar on stderr, where that is a terminal and nobody reads JSON.
    pub fn bar(&self, total: Option<u64>, what: &str) -> ProgressBar {
        let target = if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target).with_message(what.to_owned());
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed}",
        };
        // Both are fixed texts; were one refused, the plain bar would do.
        ProgressStyle::with_template(template).map(|style| bar.clone().with_style(style)).unwrap_or(bar)
    }

    /// A line on stderr beside a bar.
    pub fn remark(&self, bar: &ProgressBar, line: &str) {
        bar.suspend(|| eprintln!("llorch-pool: {line}"));
    }
}

/// Columns as wide as their widest cell.
pub fn table(heads: &[&str], rows: &[Vec<Cell>]) -> String {
    let shown: Vec<Vec<(String, Style)>> =
        rows.iter().map(|row| row.iter().map(|cell| (clean(&cell.text), cell.style)).collect()).collect();
    let width = |column: usize| {
        let cells = shown.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.chain(heads.get(column).map(|head| head.chars().count())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let head = heads.iter().map(|head| ((*head).to_owned(), Style::new().bold())).collect();
    let lines = std::iter::once(head).chain(shown).map(|row: Vec<(String, Style)>| {
        let cells = row.iter().zip(&widths).map(|((text, style), width)| {
            let padding = " ".repeat(width.saturating_sub(text.chars().count()));
            format!("{style}{text}{style:#}{padding}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As it can be shown: a name out of a file must not move the cursor.
pub fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
