//! One contender's turn: start it, ask it what everybody is asked, and turn the moments into figures.

use std::time::Duration;

use super::contender::Contender;
use super::memory::Resident;
use super::statistics::Samples;
use super::subject::{Prompt, Subject};
use super::{Figures, Metric, Problem, Terms};
use crate::harness::Finding;
use crate::harness::stream::Caps;
use crate::harness::target::Worker;

/// One job may take this long: a long prompt on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn play(contender: &Contender, subject: &Subject, terms: &Terms, figures: &mut Figures) -> Result<(), Problem> {
    let worker = contender.start()?;
    let process = worker.process().ok();
    if let Some(process) = process {
        figures.add(Metric::Ready, process.spawned().elapsed().as_secs_f64());
    }
    let resident = || process.and_then(|process| Resident::of(process.id()));
    if let Some(resident) = resident() {
        figures.add(Metric::ResidentReady, resident.now);
    }
    // The first job of a process pays for pages and buffers once; whoever is measured next does not.
    ask(&worker, contender, &subject.short, 2)?;
    for _ in 0..terms.first_tokens {
        figures.add(Metric::FirstToken, milliseconds(first(&ask(&worker, contender, &subject.short, 1)?)));
    }
    for _ in 0..terms.prefills {
        let seconds = first(&ask(&worker, contender, &subject.long, 1)?).as_secs_f64();
        figures.add(Metric::Prefill, subject.long.ids.len() as f64 / seconds);
    }
    decode(&ask(&worker, contender, &subject.short, terms.decode_tokens)?, figures)?;
    if terms.clients > 1 {
        load(&worker, contender, subject, terms, figures)?;
    }
    if let Some(resident) = resident() {
        figures.add(Metric::ResidentPeak, resident.peak);
    }
    Ok(())
}

/// When each token came.
fn ask(worker: &Worker, contender: &Contender, prompt: &Prompt, tokens: u32) -> Result<Vec<Duration>, Finding> {
    let request = worker.authorized(contender.request(prompt, tokens));
    let transcript = worker.open(&request, Caps::within(PATIENCE))?.stream()?.finish(PATIENCE);
    contender.arrivals(&transcript)
}

fn first(arrivals: &[Duration]) -> Duration {
    arrivals.first().copied().unwrap_or(Duration::MAX)
}

/// Rate and gaps of one answer. The first token is the prompt's; what counts begins after it.
pub fn decode(arrivals: &[Duration], figures: &mut Figures) -> Result<(), Finding> {
    const FEWEST: usize = 8;
    let (Some(first), Some(last), true) = (arrivals.first(), arrivals.last(), arrivals.len() >= FEWEST) else {
        let found = format!("the model ended its text after {}", arrivals.len());
        return Err(Finding::fail(format!("an answer of at least {FEWEST} tokens (see --prompt)"), found));
    };
    let gaps = Samples::of(arrivals.windows(2).map(|pair| milliseconds(pair[1].saturating_sub(pair[0]))));
    figures.add(Metric::Decode, (arrivals.len() - 1) as f64 / (*last - *first).as_secs_f64());
    figures.add(Metric::GapMedian, gaps.median().unwrap_or(f64::NAN));
    figures.add(Metric::Gap99, gaps.percentile(0.99).unwrap_or(f64::NAN));
    Ok(())
}

/// All clients at once, each with one job.
fn load(
    worker: &Worker,
    contender: &Contender,
    subject: &Subject,
    terms: &Terms,
    figures: &mut Figures,
) -> Result<(), Finding> {
    let began = std::time::Instant::now();
    let answers: Vec<Result<Vec<Duration>, Finding>> = std::thread::scope(|scope| {
        let client = || scope.spawn(|| ask(worker, contender, &subject.short, terms.decode_tokens));
        let clients: Vec<_> = (0..terms.clients).map(|_| client()).collect();
        let gone = |_| Err(Finding::error("a client of the load", "its thread panicked"));
        clients.into_iter().map(|client| client.join().unwrap_or_else(gone)).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let tokens: usize = answers.iter().map(Vec::len).sum();
    let firsts = Samples::of(answers.iter().map(|arrivals| milliseconds(first(arrivals))));
    figures.add(Metric::LoadRate, tokens as f64 / seconds);
    figures.add(Metric::LoadFirstToken, firsts.percentile(0.99).unwrap_or(f64::NAN));
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
