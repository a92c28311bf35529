//! Rungs 2, 4 and 5: the greedy text of a prompt that nobody has seen, on a model file that the harness knows.

use std::time::Duration;

use serde_json::json;

use super::reference::{Reference, softmax};
use crate::harness::Finding;
use crate::harness::target::{Worker, unique};

/// An engine in f32 is within 1e-4 of the reference's logits, and one with tables in f16 within 2e-3: a choice with this
/// much between the first and the second is the same for all of them.
pub const SURE: f64 = 0.02;
/// Tokens to compare for one prompt, and how many of them must be sure for a prompt to count.
const TOKENS: usize = 24;
const FEWEST: usize = 4;
/// Prompts that are asked, and how many are drawn for them.
const PROMPTS: usize = 4;
const DRAWN: usize = 24;
const PATIENCE: Duration = Duration::from_secs(60);

/// A prompt that no recording has: words drawn now.
pub fn unseen_prompt() -> String {
    const OPENINGS: [&str; 4] = ["Write a haiku about", "Tell me of", "The", "Once upon a"];
    const NOUNS: [&str; 8] = ["copper", "tide", "violin", "harbour", "lichen", "quartz", "sparrow", "turbine"];
    let drawn = uuid::Uuid::new_v4().as_u128();
    let pick = |from: &[&str], shift: u32| from[(drawn >> shift) as usize % from.len()].to_owned();
    format!("{} {} {} {:04x}", pick(&OPENINGS, 0), pick(&NOUNS, 8), pick(&NOUNS, 16), (drawn >> 24) as u16)
}

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
        known.extend(question(reference, unseen_prompt())?);
    }
    if known.is_empty() {
        let found = format!("none among {DRAWN}: the model's first and second choice are too close");
        return Err(Finding::unimplemented(format!("a prompt whose first {FEWEST} tokens are sure by {SURE}"), found));
    }
    Ok(known)
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

/// The worker writes what the reference writes.
pub fn greedy_texts(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    questions(reference, PROMPTS)?.iter().try_for_each(|known| answers(worker, known))
}

pub fn answers(worker: &Worker, known: &Known) -> Result<(), Finding> {
    let job = json!({
        "job_id": unique("known"), "prompt": known.prompt, "max_tokens": known.ids.len(), "temperature": 0.0, "seed": 1,
    });
    let transcript = worker.run(&job, PATIENCE)?;
    transcript.completed()?;
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
    let likeliest = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    let text = reference.text(&[likeliest as u32]);
    let mut count = 0;
    for seed in 0..DRAWS {
        let job = json!({
            "job_id": unique("draw"), "prompt": prompt, "max_tokens": 1, "temperature": temperature, "seed": seed,
        });
        let transcript = worker.run(&job, PATIENCE)?;
        count += u64::from(transcript.completed()?.text() == text);
    }
    // five standard deviations: an honest worker fails once in a million runs
    let (mean, deviation) = (DRAWS as f64 * share, (DRAWS as f64 * share * (1.0 - share)).sqrt());
    let (least, most) = ((mean - 5.0 * deviation).max(0.0), mean + 5.0 * deviation);
    if (least..=most).contains(&(count as f64)) {
        return Ok(());
    }
    let expected = format!(
        "{text:?} in {least:.0} to {most:.0} of {DRAWS} draws at temperature {temperature}, each with its own seed (the reference gives it {share:.3})"
    );
    Err(Finding::fail(expected, format!("{count} of {DRAWS}")))
}

/// A prompt and a temperature at which the likeliest token has about half of the probability, with the logits.
fn undecided(reference: &Reference) -> Result<(String, f64, Vec<f64>), Finding> {
    let mut closest = f64::INFINITY;
    for count in 0..8 * DRAWN {
        let drawn = unseen_prompt();
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
    let prompt = unseen_prompt();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let job =
            json!({ "job_id": unique("seed"), "prompt": prompt, "max_tokens": 24, "temperature": 1.2, "seed": 77 });
        let transcript = worker.run(&job, PATIENCE)?;
        texts.push(transcript.completed()?.text());
    }
    if texts[0] == texts[1] {
        Ok(())
    } else {
        Err(Finding::fail("the same text for the same seed", format!("{texts:?}")))
    }
}
