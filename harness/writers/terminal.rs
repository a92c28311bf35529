//! The live table: finished cases scroll by as lines, and below them stands what runs now, how far it is and how long.

use std::io::{self, Write};
use std::time::Instant;

use anstyle::Style;

use super::human::{Layout, block, paint, summary, time, verdict_style};
use super::{News, Reporter};
use crate::harness::verdict::Verdict;

/// Rows of cases that run now; more are counted.
const SHOWN: usize = 8;

pub struct Terminal<W: Write> {
    out: W,
    /// Columns, asked again at every drawing: a window may change.
    width: fn() -> usize,
    layout: Layout,
    since: Instant,
    total: usize,
    counts: Vec<(Verdict, usize)>,
    running: Vec<Running>,
    /// Rows of the footer as it was last drawn.
    drawn: usize,
}

struct Running {
    address: String,
    step: String,
    since: Instant,
}

impl<W: Write> Terminal<W> {
    pub fn new(out: W, width: fn() -> usize) -> Self {
        Terminal {
            out,
            width,
            layout: Layout::default(),
            since: Instant::now(),
            total: 0,
            counts: Vec::new(),
            running: Vec::new(),
            drawn: 0,
        }
    }

    /// Takes the footer away, writes what stays, and draws the footer again, in one write.
    fn redraw(&mut self, lasting: &str, footer: bool) -> io::Result<()> {
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() };
        text.push_str(lasting);
        let rows = if footer { self.footer() } else { Vec::new() };
        self.drawn = rows.len();
        for row in rows {
            text.push_str(&row);
            text.push('\n');
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn footer(&self) -> Vec<String> {
        let width = (self.width)().max(20);
        let done: usize = self.counts.iter().map(|(_, count)| count).sum();
        let head = format!("{done}/{} in {}", self.total, time(self.since.elapsed()));
        let counts: Vec<(Verdict, String)> =
            self.counts.iter().map(|(verdict, count)| (*verdict, format!("  {count} {}", verdict.word()))).collect();
        // A row that wraps would be two, and leave one behind at the next drawing.
        let fits = head.len() + counts.iter().map(|(_, text)| text.len()).sum::<usize>() < width;
        let painted = counts.iter().filter(|_| fits).map(|(verdict, text)| paint(verdict_style(*verdict), text));
        let mut rows = vec![paint(Style::new().bold(), &head) + &painted.collect::<String>()];
        for case in self.running.iter().take(SHOWN) {
            let row = format!("  {:>7}  {}  {}", time(case.since.elapsed()), case.address, case.step);
            rows.push(paint(Style::new().dimmed(), &cut(&row, width - 1)));
        }
        if self.running.len() > SHOWN {
            rows.push(format!("  and {} more", self.running.len() - SHOWN));
        }
        rows
    }
}

impl<W: Write> Reporter for Terminal<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        match news {
            News::RunStarted { target, cases } => {
                self.layout = Layout::for_addresses(cases.iter().map(|case| case.address.as_str()));
                self.total = cases.len();
                self.since = Instant::now();
                self.redraw(&format!("{}\n\n", target.sentence), true)
            }
            News::CaseStarted { case } => {
                let (address, since) = (case.address.clone(), Instant::now());
                self.running.push(Running { address, step: String::new(), since });
                Ok(())
            }
            News::StepStarted { case, step } => {
                if let Some(running) = self.running.iter_mut().find(|running| running.address == case.address) {
                    running.step.clone_from(&step.text);
                }
                Ok(())
            }
            News::CaseEnded { outcome } => {
                self.running.retain(|running| running.address != outcome.case.address);
                match self.counts.iter_mut().find(|(verdict, _)| *verdict == outcome.verdict) {
                    Some((_, count)) => *count += 1,
                    None => self.counts.push((outcome.verdict, 1)),
                }
                self.counts.sort();
                self.redraw(&format!("{}{}", self.layout.line(outcome), block(outcome)), true)
            }
            News::Beat => self.redraw("", true),
            News::RunEnded { result } => self.redraw(&summary(result), false),
        }
    }
}

/// Cut to the window's width, so that a row is a row.
fn cut(row: &str, width: usize) -> String {
    if row.chars().count() <= width {
        return row.to_owned();
    }
    row.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}
