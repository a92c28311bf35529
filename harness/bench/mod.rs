//! How fast workers are, side by side in one run: `llorch bench`.
//!
//! `Subject` (what is asked, `subject`) and `Contender`s (who is asked, `contender`) → `run`, which lets everybody take
//! turns and measures the machine's own limit in every turn (`bandwidth`) → `Results`, which `report` prints. What is
//! measured is what a client sees: every figure comes from the moments at which bytes arrived (`measure`). llama.cpp's own
//! benchmark, which has no HTTP in its way, can take part as well (`llama`).
//!
//! Rates mean little on a shared machine. So everybody is started afresh in every round, the rounds are interleaved, and a
//! figure is the best of all rounds beside their median: where the two lie far apart, the machine was busy.

pub mod bandwidth;
pub mod contender;
pub mod llama;
pub mod measure;
pub mod memory;
pub mod report;
pub mod statistics;
pub mod subject;

use std::collections::BTreeMap;

use super::Finding;
use super::target::StartError;
use bandwidth::Memory;
use contender::Contender;
use llama::LlamaBench;
pub use report::Results;
use statistics::Samples;
use subject::Subject;

/// What is measured, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From the start of the process until `/health` answers 200.
    Ready,
    /// From the request until the first token of a short prompt.
    FirstToken,
    /// Tokens a second after the first one.
    Decode,
    /// Half of the tokens came within this after the one before, and 99 %.
    GapMedian,
    Gap99,
    /// Tokens of a long prompt by the time until the first token of the answer.
    Prefill,
    /// Memory of the process when it is ready, and the most that it ever had.
    ResidentReady,
    ResidentPeak,
    /// With several clients at a time: tokens a second of all of them, and the first token that 99 % wait for at most.
    LoadRate,
    LoadFirstToken,
}

impl Metric {
    pub const ALL: [Metric; 10] = [
        Metric::Ready,
        Metric::FirstToken,
        Metric::Decode,
        Metric::GapMedian,
        Metric::Gap99,
        Metric::Prefill,
        Metric::ResidentReady,
        Metric::ResidentPeak,
        Metric::LoadRate,
        Metric::LoadFirstToken,
    ];

    pub fn more_is_better(self) -> bool {
        matches!(self, Metric::Decode | Metric::Prefill | Metric::LoadRate)
    }

    /// As JSON says it, with the unit at its end.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Ready => "ready_seconds",
            Metric::FirstToken => "first_token_ms",
            Metric::Decode => "decode_tokens_per_second",
            Metric::GapMedian => "inter_token_p50_ms",
            Metric::Gap99 => "inter_token_p99_ms",
            Metric::Prefill => "prefill_tokens_per_second",
            Metric::ResidentReady => "resident_ready_mib",
            Metric::ResidentPeak => "resident_peak_mib",
            Metric::LoadRate => "load_tokens_per_second",
            Metric::LoadFirstToken => "load_first_token_p99_ms",
        }
    }
}

/// Why there are no results.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    NotStarted(#[from] StartError),
    #[error("expected {}, found {}", .0.expected, .0.found)]
    Found(Finding),
}

impl From<Finding> for Problem {
    fn from(finding: Finding) -> Problem {
        Problem::Found(finding)
    }
}

/// How much is asked of everybody.
#[derive(Clone, Debug)]
pub struct Terms {
    pub rounds: usize,
    pub threads: usize,
    /// Tokens of the long answer, and how often the short jobs are run in a round.
    pub decode_tokens: u32,
    pub first_tokens: usize,
    pub prefills: usize,
    /// Clients at a time in the load that ends each round; one is no load.
    pub clients: usize,
    /// How much memory is read to find the machine's limit.
    pub bandwidth_bytes: usize,
}

impl Terms {
    pub fn full(rounds: usize, threads: usize, clients: usize) -> Terms {
        let bandwidth_bytes = 512 << 20;
        Terms { rounds, threads, clients, decode_tokens: 128, first_tokens: 4, prefills: 2, bandwidth_bytes }
    }

    /// Enough to see that it works, and no more.
    pub fn quick(threads: usize) -> Terms {
        let bandwidth_bytes = 64 << 20;
        Terms { rounds: 1, threads, clients: 1, decode_tokens: 32, first_tokens: 1, prefills: 1, bandwidth_bytes }
    }
}

/// The figures of one contender.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<Metric, Samples>);

impl Figures {
    pub fn add(&mut self, metric: Metric, value: f64) {
        self.0.entry(metric).or_default().add(value);
    }

    pub fn get(&self, metric: Metric) -> Option<&Samples> {
        self.0.get(&metric)
    }
}

/// Lets everybody take turns. `tell` hears what is being done.
pub fn run(
    subject: &Subject,
    contenders: &[Contender],
    llama_bench: Option<&LlamaBench>,
    terms: &Terms,
    tell: &mut dyn FnMut(&str),
) -> Result<Results, Problem> {
    let mut figures = vec![Figures::default(); contenders.len()];
    let mut in_process = Figures::default();
    let mut bandwidth = Samples::default();
    for round in 1..=terms.rounds {
        // Given back before anybody is asked: it is as large as a model.
        let memory = Memory::new(terms.bandwidth_bytes)?;
        bandwidth.add(memory.gigabytes_per_second(terms.threads));
        drop(memory);
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            tell(&format!("round {round} of {}: {}", terms.rounds, contender.name));
            measure::play(contender, subject, terms, figures)?;
        }
        if let Some(bench) = llama_bench {
            tell(&format!("round {round} of {}: llama-bench", terms.rounds));
            bench.play(subject, terms, &mut in_process)?;
        }
    }
    let mut columns: Vec<(String, Figures)> =
        contenders.iter().map(|contender| contender.name.clone()).zip(figures).collect();
    columns.extend(llama_bench.map(|_| ("llama-bench".to_owned(), in_process)));
    Ok(Results { subject: subject.summary(), threads: terms.threads, clients: terms.clients, columns, bandwidth })
}
