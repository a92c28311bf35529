//! What was measured, and how it is said.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::time::Duration;

use llorch::harness::process::Process;

use super::client::Seen;

/// What programs have used so far.
pub struct Usage(Vec<Used>);

struct Used {
    name: &'static str,
    processor: Duration,
    /// How often a thread went to sleep, or was put to it.
    switches: u64,
    memory_kb: u64,
}

/// What one program used, in a while or for a stream.
#[derive(Clone, Debug)]
pub struct Spent {
    pub name: &'static str,
    pub processor: Duration,
    pub switches: u64,
}

impl Usage {
    pub fn of(processes: &[(&'static str, Process)]) -> io::Result<Usage> {
        let used = processes.iter().map(|(name, process)| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let mut switches = 0;
            for thread in fs::read_dir(format!("/proc/{}/task", process.id()))? {
                let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default(); // it may have ended
                switches +=
                    number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:");
            }
            Ok(Used { name, processor: process.cpu_time()?, switches, memory_kb: number(&status, "VmRSS:") })
        });
        used.collect::<io::Result<_>>().map(Usage)
    }

    pub fn since(&self, before: &Usage) -> Vec<Spent> {
        let pairs = self.0.iter().zip(&before.0);
        let spent = pairs.map(|(now, then)| Spent {
            name: now.name,
            processor: now.processor.saturating_sub(then.processor),
            switches: now.switches.saturating_sub(then.switches),
        });
        spent.collect()
    }

    /// All programs' together, in kilobytes.
    pub fn memory_since(&self, before: &Usage) -> u64 {
        let sum = |usage: &Usage| usage.0.iter().map(|used| used.memory_kb).sum::<u64>();
        sum(self).saturating_sub(sum(before))
    }
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One way, once.
pub struct Round {
    streams: usize,
    memory_kb: u64,
    spent: Vec<Spent>,
    /// Ages of the events that were read while all streams were there, in nanoseconds.
    ages: Vec<u64>,
    firsts: Vec<u64>,
    /// The mean age of each stream's events.
    means: Vec<f64>,
    pub lost: Vec<String>,
}

impl Round {
    pub fn new(streams: usize, memory_kb: u64, spent: Vec<Spent>) -> Round {
        Round { streams, memory_kb, spent, ages: Vec::new(), firsts: Vec::new(), means: Vec::new(), lost: Vec::new() }
    }

    pub fn add(&mut self, seen: &Seen, window: Range<u64>) {
        let ages: Vec<u64> = seen.events.iter().filter(|(at, _)| window.contains(at)).map(|(_, age)| *age).collect();
        if !ages.is_empty() {
            self.means.push(ages.iter().sum::<u64>() as f64 / ages.len() as f64);
        }
        self.ages.extend(ages);
        self.firsts.push(seen.first.as_nanos() as u64);
    }

    /// Jain's index over the streams' mean ages: 1 when all are served alike, 1/n when one gets everything.
    fn fairness(&self) -> f64 {
        let (sum, squares) =
            self.means.iter().fold((0.0, 0.0), |(sum, squares), mean| (sum + mean, squares + mean * mean));
        if squares > 0.0 { sum * sum / (self.means.len() as f64 * squares) } else { 1.0 }
    }

    pub fn sentence(&self) -> String {
        let mut text = format!(
            "event p50 {:.2} p99 {:.2} ms, first p50 {:.1} p99 {:.1} ms, {} lost",
            quantile(&self.ages, 0.5),
            quantile(&self.ages, 0.99),
            quantile(&self.firsts, 0.5),
            quantile(&self.firsts, 0.99),
            self.lost.len()
        );
        for problem in self.lost.iter().take(3) {
            let _ = write!(text, "; {problem}");
        }
        text
    }
}

/// In milliseconds.
fn quantile(nanoseconds: &[u64], share: f64) -> f64 {
    let mut sorted = nanoseconds.to_vec();
    sorted.sort_unstable();
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |value| *value as f64 / 1e6)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One figure of a round.
type Figure = fn(&Round) -> f64;

/// The median of the rounds, and for times how far they are from the direct way in the same round.
pub fn table(ways: &[(String, Vec<Round>)]) -> String {
    let mut text = String::new();
    let Some((_, direct)) = ways.first() else { return text };
    for (name, rounds) in ways {
        let _ = writeln!(text, "\n{name}");
        let times: [(&str, Figure); 5] = [
            ("event, p50", |round| quantile(&round.ages, 0.5)),
            ("event, p99", |round| quantile(&round.ages, 0.99)),
            ("event, p99.9", |round| quantile(&round.ages, 0.999)),
            ("first event, p50", |round| quantile(&round.firsts, 0.5)),
            ("first event, p99", |round| quantile(&round.firsts, 0.99)),
        ];
        for (what, of) in times {
            let time = median(rounds.iter().map(of));
            let over = median(rounds.iter().zip(direct).map(|(round, direct)| of(round) - of(direct)));
            let _ = writeln!(text, "  {what:<18} {time:8.2} ms  {over:+8.2} over the direct way");
        }
        let worst =
            median(rounds.iter().map(|round| round.means.iter().fold(0.0, |most: f64, mean| most.max(*mean)) / 1e6));
        let fairness = median(rounds.iter().map(Round::fairness));
        let _ =
            writeln!(text, "  fairness           {fairness:8.3}     (Jain; the worst stream's mean is {worst:.2} ms)");
        for index in 0..rounds.first().map_or(0, |round| round.spent.len()) {
            let per = |round: &Round, value: f64| value / round.ages.len().max(1) as f64;
            let processor =
                median(rounds.iter().map(|round| per(round, round.spent[index].processor.as_secs_f64() * 1e6)));
            let switches = median(rounds.iter().map(|round| per(round, round.spent[index].switches as f64)));
            let name = rounds[0].spent[index].name;
            let _ = writeln!(
                text,
                "  {name:<18} {processor:8.1} µs of a processor an event, {switches:.2} context switches"
            );
        }
        if rounds.iter().any(|round| !round.spent.is_empty()) {
            let memory = median(rounds.iter().map(|round| round.memory_kb as f64 / round.streams as f64));
            let _ = writeln!(text, "  memory             {memory:8.1} KB a stream, all programs of it together");
        }
        let lost: usize = rounds.iter().map(|round| round.lost.len()).sum();
        let _ = writeln!(text, "  lost               {lost:8}");
    }
    text
}
