//! Lines for people: one for each case, a block for each that needs attention, and a summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::{News, Reporter};
use crate::harness::checkpoints::engines;
use crate::harness::runner::{CaseOutcome, RunResult};
use crate::harness::verdict::Verdict;

/// The longest verdict's width.
const VERDICT_WIDTH: usize = 13;
/// No address column is wider than this; longer ones push their name to the right.
const WIDEST_ADDRESS: usize = 48;

/// The order in which a summary counts.
const VERDICTS: [Verdict; 8] = [
    Verdict::Pass,
    Verdict::Fail,
    Verdict::Error,
    Verdict::Flaky,
    Verdict::NearTie,
    Verdict::NonStrict,
    Verdict::Unimplemented,
    Verdict::Skipped,
];

pub struct Human<W: Write> {
    out: W,
    layout: Layout,
    style: Detail,
}

/// How much is said of each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Lines,
    /// One character for each case that passed; the others as always.
    Dots,
}

impl<W: Write> Human<W> {
    pub fn new(out: W, style: Detail) -> Self {
        Human { out, layout: Layout::default(), style }
    }
}

impl<W: Write> Reporter for Human<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let text = match news {
            News::RunStarted { target, cases } => {
                self.layout = Layout::for_addresses(cases.iter().map(|case| case.address.as_str()));
                format!("{}\n{}\n\n", target.sentence, count(cases.len()))
            }
            News::CaseEnded { outcome } if self.style == Detail::Dots && outcome.verdict == Verdict::Pass => {
                ".".to_owned()
            }
            News::CaseEnded { outcome } => {
                let start = if self.style == Detail::Dots { "\n" } else { "" };
                format!("{start}{}{}", self.layout.line(outcome), block(outcome))
            }
            News::RunEnded { result } => summary(result),
            News::CaseStarted { .. } | News::StepStarted { .. } | News::Beat => return Ok(()),
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// How wide the columns are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    address_width: usize,
}

impl Layout {
    pub fn for_addresses<'a>(addresses: impl Iterator<Item = &'a str>) -> Self {
        let longest = addresses.map(str::len).max().unwrap_or_default();
        Layout { address_width: longest.min(WIDEST_ADDRESS) }
    }

    /// `PASS           worker/execute/4  A prompt may be 32768 characters long  (12 ms)`
    pub fn line(self, outcome: &CaseOutcome) -> String {
        let CaseOutcome { case, verdict, duration, .. } = outcome;
        let word = paint(verdict_style(*verdict), &format!("{:<VERDICT_WIDTH$}", verdict.word()));
        let width = self.address_width;
        let time = paint(Style::new().dimmed(), &format!("({})", time(*duration)));
        // A unit test's address is all the name it has.
        let name = if case.is_unit() { String::new() } else { format!("{}  ", case.name) };
        format!("{word}  {:<width$}  {name}{time}\n", case.address)
    }
}

/// What a stranger needs to understand why a case is not green. Empty for one that passed or was not tested: the
/// summary says the reasons for those.
pub fn block(outcome: &CaseOutcome) -> String {
    let Some(finding) = &outcome.finding else { return String::new() };
    if matches!(outcome.verdict, Verdict::Pass | Verdict::Unimplemented | Verdict::Skipped) {
        return String::new();
    }
    let case = &outcome.case;
    let mut rows = Vec::new();
    if !case.is_unit() {
        rows.push(("scenario", format!("{}  ({})", case.name, case.place)));
        rows.push(("requirement", case.requirements.join(", ")));
        rows.push(("level", case.level.word().to_owned()));
    }
    if let Some(step) = &outcome.step {
        rows.push(("step", format!("{}  ({})", step.text, step.place)));
    }
    rows.push(("expected", finding.expected.clone()));
    rows.push(("found", finding.found.clone()));
    let mut text = String::new();
    for (label, value) in rows {
        let value = value.trim_end().replace('\n', &format!("\n{:17}", ""));
        let label = paint(Style::new().bold(), &format!("{label:<11}"));
        let _ = writeln!(text, "    {label}  {value}");
    }
    for evidence in &finding.evidence {
        let _ = writeln!(text, "    {}", paint(Style::new().bold(), &evidence.title));
        for line in evidence.text.lines() {
            let _ = writeln!(text, "      {} {line}", paint(Style::new().dimmed(), "|"));
        }
    }
    text.push('\n');
    text
}

/// Counts, what failed, what was not tested and why, and what the target is.
pub fn summary(result: &RunResult) -> String {
    let mut text = String::from("\n");
    list_failures(result, &mut text);
    list_untested(result, &mut text);
    if !result.compared.is_empty() {
        text += &engines::lines(&result.compared);
    }
    let counts: Vec<String> = VERDICTS
        .into_iter()
        .filter(|verdict| *verdict == Verdict::Pass || result.count(*verdict) > 0)
        .map(|verdict| paint(verdict_style(verdict), &format!("{} {}", result.count(verdict), verdict.word())))
        .collect();
    let cases = result.outcomes.len();
    let _ = writeln!(text, "{} in {}: {}", count(cases), time(result.elapsed), counts.join(", "));
    if result.interrupted {
        let _ = writeln!(text, "interrupted: {} of {} cases were not finished", result.planned - cases, result.planned);
    }
    let _ = writeln!(text, "{}", result.target.sentence);
    if let Some(warning) = &result.target.warning {
        let _ = writeln!(text, "{}", paint(AnsiColor::Yellow.on_default().bold(), warning));
    }
    text
}

fn list_failures(result: &RunResult, text: &mut String) {
    let layout = Layout::for_addresses(result.outcomes.iter().map(|outcome| outcome.case.address.as_str()));
    let failed: Vec<&CaseOutcome> = result
        .outcomes
        .iter()
        .filter(|outcome| !matches!(outcome.verdict, Verdict::Pass | Verdict::Unimplemented | Verdict::Skipped))
        .collect();
    if failed.is_empty() {
        return;
    }
    text.push_str("Not green:\n");
    for outcome in failed {
        let _ = write!(text, "  {}", layout.line(outcome));
    }
    text.push('\n');
}

/// By reason, with the addresses that it holds back.
fn list_untested(result: &RunResult, text: &mut String) {
    let reasons = untested(result);
    if reasons.is_empty() {
        return;
    }
    text.push_str("Not tested:\n");
    for ((verdict, reason), addresses) in reasons {
        let word = paint(verdict_style(verdict), verdict.word());
        let _ = writeln!(text, "  {} {word}: {reason}", addresses.len());
        let shown = addresses.iter().take(4).copied().collect::<Vec<_>>().join(", ");
        let more = if addresses.len() > 4 { format!(" and {} more", addresses.len() - 4) } else { String::new() };
        let _ = writeln!(text, "      {}", paint(Style::new().dimmed(), &format!("{shown}{more}")));
    }
    text.push('\n');
}

/// What was not tested, grouped by verdict and reason.
pub fn untested(result: &RunResult) -> BTreeMap<(Verdict, String), Vec<&str>> {
    let mut reasons: BTreeMap<(Verdict, String), Vec<&str>> = BTreeMap::new();
    for outcome in &result.outcomes {
        if let (Verdict::Unimplemented | Verdict::Skipped, Some(finding)) = (outcome.verdict, &outcome.finding) {
            let reason = format!("needs {}: {}", finding.expected, finding.found);
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            reasons.entry((outcome.verdict, reason)).or_default().push(&outcome.case.address);
        }
    }
    reasons
}

pub fn verdict_style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => AnsiColor::Green.on_default(),
        Verdict::Fail => AnsiColor::Red.on_default().bold(),
        Verdict::Error | Verdict::Flaky | Verdict::NearTie => AnsiColor::Magenta.on_default().bold(),
        Verdict::NonStrict => AnsiColor::Yellow.on_default(),
        Verdict::Unimplemented | Verdict::Skipped => AnsiColor::Cyan.on_default(),
    }
}

pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn count(cases: usize) -> String {
    format!("{cases} {}", if cases == 1 { "case" } else { "cases" })
}

pub fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
