//! Rungs 2, 4 and 5: the greedy text of a prompt that nobody has seen, on a model file that the harness knows.

use super::prompts;
use super::reference::{Reference, softmax};
use super::unfolding::{Evidence, Told};
use crate::harness::Finding;
use crate::harness::target::Worker;
use crate::parity::oracle::two_best;

/// An engine in f32 is within 1e-4 of the reference's logits, and one with tables in f16 within 2e-3: a choice with this
/// much between the first and the second is the same for all of them.
pub const SURE: f64 = 0.02;
/// Tokens to compare for one prompt, and how many of them must be sure for a prompt to count.
const TOKENS: usize = 24;
const FEWEST: usize = 4;
/// Prompts that are drawn before there is none with a sure answer.
const DRAWN: usize = 24;
/// Tokens that the reference computes for one rung, times the parameters of the model.
const AFFORDABLE: usize = 4_000_000_000;
/// High enough that a model which is sure of itself is not; and one at which an answer to another prompt stands out.
const HIGH: f64 = 1.5;
const ORDINARY: f64 = 0.7;
/// Prompts that share a seed.
const PAIRS: usize = 3;
const DRAWN_TOKENS: usize = 48;
/// Before the model is called too sure of itself.
const MOST_TEXTS: usize = 16;

/// A prompt, and the first tokens of its greedy text that every engine agrees on.
#[derive(Clone, Debug)]
pub struct Known {
    pub prompt: String,
    pub ids: Vec<u32>,
    pub text: String,
    /// The smallest margin among them.
    pub margin: f64,
}

/// Prompts with a sure answer; fewer where the model rarely has one.
pub fn questions(reference: &Reference, wanted: usize) -> Result<Vec<Known>, Finding> {
    let mut known = Vec::new();
    for _ in 0..DRAWN {
        if known.len() == wanted {
            break;
        }
        known.extend(question(reference, prompts::unseen())?);
    }
    if known.is_empty() {
        let found = format!("none among {DRAWN}: the model's first and second choice are too close");
        return Err(Finding::unimplemented(format!("a prompt whose first {FEWEST} tokens are sure by {SURE}"), found));
    }
    Ok(known)
}

/// With one seed, each of two prompts draws a text of its own: none that is far likelier as the answer to the other. The ratio
/// of the two chances has a mean of 1 while the worker is honest, so it passes 1/α with a probability of α at most.
pub fn draws_answer_their_prompts(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    let mut likelier = 0.0;
    for _ in 0..PAIRS {
        let ([one, other], seed) = (prompts::pair(), prompts::drawn_seed());
        Told::ask(worker, &one, DRAWN_TOKENS, ORDINARY, seed)?;
        let told = Told::ask(worker, &other, DRAWN_TOKENS, ORDINARY, seed)?;
        let [mut as_asked, mut as_another] = [Evidence::default(), Evidence::default()];
        told.weigh(reference, &other, &mut as_asked)?;
        told.weigh(reference, &one, &mut as_another)?;
        likelier += as_asked.surprise - as_another.surprise;
        if likelier > Evidence::limit() {
            let expected = format!("an answer to this prompt, and not to {one:?}, which was asked with the same seed");
            let found = format!("{:?}, e^{likelier:.0} times likelier after the other", told.transcript.text());
            return Err(told.transcript.evidence(Finding::fail(expected, found)));
        }
    }
    Ok(())
}

/// The prompt with its answer, where enough of it is sure.
pub fn question(reference: &Reference, prompt: String) -> Result<Option<Known>, Finding> {
    let greedy = reference.greedy(&prompt, TOKENS)?;
    let sure = greedy.sure(SURE);
    if sure.len() < FEWEST {
        return Ok(None);
    }
    let margin = greedy.margins[..sure.len()].iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Some(Known { text: reference.text(sure), ids: sure.to_vec(), margin, prompt }))
}

/// The worker writes what the reference writes: for prompts of several kinds, one of them nearly as long as the context
/// lets it be, and token by token to the end of each text.
pub fn greedy_texts(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    let room = reference.file.configuration.n_ctx();
    // A character is a token at most: short enough for every vocabulary, long enough that a short memory forgets its beginning.
    let mut asked = vec![(prompts::unseen(), room / 4), (prompts::long(room.min(1024) / 2), TOKENS)];
    asked.extend(prompts::neighbours().into_iter().map(|prompt| (prompt, TOKENS)));
    // Of a large model the reference computes what it can in a minute or so.
    let affordable = (AFFORDABLE / reference.parameters()).max(TOKENS);
    let mut computed = 0;
    for (prompt, tokens) in asked {
        let tokens = tokens.min(affordable);
        let whole = reference.encode(&prompt).len() + tokens;
        if computed > 0 && computed + whole > affordable {
            break;
        }
        computed += whole;
        Told::ask(worker, &prompt, tokens, 0.0, 1)?.is_greedy(reference, SURE)?;
    }
    Ok(())
}

/// Drawn texts are as surprising as the reference says, over all of their tokens, and each seed draws another, in whichever
/// of its 64 bits it differs.
pub fn drawn_texts(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    let seed = prompts::drawn_seed() >> 1;
    let prompt = prompts::unseen();
    let first = [seed, seed ^ (1 << 40), seed ^ 1].map(|seed| (prompt.clone(), seed));
    let fewest = first.len();
    let more = std::iter::repeat_with(|| (prompts::unseen(), prompts::drawn_seed()));
    let mut evidence = Evidence::default();
    let mut told: Vec<Told> = Vec::new();
    for (prompt, seed) in first.into_iter().chain(more).take(MOST_TEXTS) {
        let one = Told::ask(worker, &prompt, DRAWN_TOKENS, HIGH, seed)?;
        let before = evidence.surprise;
        one.weigh(reference, &one.prompt, &mut evidence)?;
        if !evidence.is_honest() {
            let expected = format!(
                "{} tokens drawn at temperature {HIGH} to be about {:.0} nats surprising to the reference",
                evidence.tokens, evidence.expected
            );
            let found = format!("{:.0} nats", evidence.surprise);
            return Err(one.transcript.evidence(Finding::fail(expected, found)));
        }
        let text = one.transcript.text();
        let same = |other: &&Told| other.prompt == one.prompt && other.transcript.text() == text;
        // By chance once in e^20.
        if evidence.surprise - before > 20.0
            && let Some(other) = told.iter().find(same)
        {
            let expected = format!("another text for seed {seed} than for seed {}", other.seed);
            return Err(one.transcript.evidence(Finding::fail(expected, format!("{text:?} for both"))));
        }
        told.push(one);
        if told.len() >= fewest && evidence.tells() {
            return Ok(());
        }
    }
    let expected = format!("texts at temperature {HIGH} whose tokens can be told, and are not certain");
    Err(Finding::unimplemented(expected, format!("{} tokens of {:.1} nats", evidence.tokens, evidence.expected)))
}

pub fn answers(worker: &Worker, known: &Known) -> Result<(), Finding> {
    let transcript = Told::ask(worker, &known.prompt, known.ids.len(), 0.0, 1)?.transcript;
    let (text, ids) = (transcript.text(), transcript.token_ids());
    let expected: Vec<u64> = known.ids.iter().map(|id| u64::from(*id)).collect();
    let same = text == known.text && ids.as_ref().is_none_or(|ids| expected.starts_with(ids));
    if same {
        return Ok(());
    }
    let expected = format!("{:?}, as the reference computes it (smallest margin {:.3})", known.text, known.margin);
    Err(transcript.evidence(Finding::fail(expected, format!("{text:?}"))))
}

/// The first token, drawn many times at a temperature that gives the likeliest one about half of the draws: it must come
/// about as often as the reference says. A temperature or a seed that is ignored gives it always, or never.
pub fn draws(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    const DRAWS: u64 = 64;
    let (prompt, temperature, logits) = undecided(reference)?;
    let share = largest(&softmax(&logits, temperature));
    let text = reference.text(&[two_best(&logits).0]);
    // Seeds that differ in their low bits, and in their high ones: who cuts a seed draws one token in one of the groups.
    let drawn = prompts::drawn_seed();
    for (bits, shift) in [("low", 0), ("high", 33)] {
        let mut count = 0;
        for draw in 0..DRAWS {
            let told = Told::ask(worker, &prompt, 1, temperature, drawn ^ (draw << shift))?;
            count += u64::from(told.transcript.text() == text);
        }
        // five standard deviations: an honest worker fails once in a million runs
        let (mean, deviation) = (DRAWS as f64 * share, (DRAWS as f64 * share * (1.0 - share)).sqrt());
        let (least, most) = ((mean - 5.0 * deviation).max(0.0), mean + 5.0 * deviation);
        if !(least..=most).contains(&(count as f64)) {
            let expected = format!(
                "{text:?} in {least:.0} to {most:.0} of {DRAWS} draws at temperature {temperature}, with seeds that differ in their {bits} bits (the reference gives it {share:.3})"
            );
            return Err(Finding::fail(expected, format!("{count} of {DRAWS}")));
        }
    }
    Ok(())
}

/// A prompt and a temperature at which the likeliest token has about half of the probability, with the logits.
fn undecided(reference: &Reference) -> Result<(String, f64, Vec<f64>), Finding> {
    let mut closest = f64::INFINITY;
    for count in 0..8 * DRAWN {
        let drawn = prompts::unseen();
        // a model that was trained on one kind of prompt is sure of what follows it: cut somewhere, it is less so
        let prompt: String = drawn.chars().take(1 + (7 * count) % drawn.chars().count()).collect();
        let logits = reference.logits(&prompt)?;
        let (mut low, mut high) = (0.05, 2.0);
        for _ in 0..30 {
            let middle = (low + high) / 2.0;
            if largest(&softmax(&logits, middle)) > 0.5 { low = middle } else { high = middle }
        }
        let temperature = (low * 1000.0_f64).round() / 1000.0;
        let share = largest(&softmax(&logits, temperature));
        if (0.35..=0.65).contains(&share) {
            return Ok((prompt, temperature, logits));
        }
        closest = closest.min((share - 0.5).abs());
    }
    let expected = "a temperature that gives the likeliest token half of the draws";
    Err(Finding::unimplemented(expected, format!("none for {} prompts, {closest:.2} away at best", 8 * DRAWN)))
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// The same seed writes the same text, twice.
pub fn seed_repeats(worker: &Worker) -> Result<(), Finding> {
    let prompt = prompts::unseen();
    let mut texts = Vec::new();
    for _ in 0..2 {
        texts.push(Told::ask(worker, &prompt, 24, 1.2, 77)?.transcript.text());
    }
    if texts[0] == texts[1] {
        Ok(())
    } else {
        Err(Finding::fail("the same text for the same seed", format!("{texts:?}")))
    }
}
