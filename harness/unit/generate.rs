//! The generation loop on an engine whose logits are a script: every ending, and text that waits.

use std::path::Path;

use llorch::backend::generate::{Engine, Generation, generate};
use llorch::backend::{BackendError, CancelFlag, Job, Prompt, SamplingParameters, StopReason, TokenSink};
use llorch::model::Gpt2Configuration;
use llorch::model::recipe::{self, Recipe, Size};
use llorch::model::tokenizer::{HfJson, Tokenizer};
use proptest::collection::vec;
use proptest::prelude::*;

pub const TESTS: &[(&str, fn())] = &[
    ("generate/max_tokens", max_tokens),
    ("generate/end_of_text", end_of_text),
    ("generate/full_context", full_context),
    ("generate/characters_over_tokens", characters_over_tokens),
    ("generate/stop_over_tokens", stop_over_tokens),
    ("generate/ends_win_on_the_last_token", ends_win_on_the_last_token),
    ("generate/held_text_is_flushed", held_text_is_flushed),
    ("generate/ids_of_pieces", ids_of_pieces),
    ("generate/prompt", prompt),
    ("generate/starts_clean", starts_clean),
    ("generate/cancel", cancel),
    ("generate/engine_errors", engine_errors),
    ("generate/any_bytes", any_bytes),
];

const EOS: u32 = recipe::END_OF_TEXT;
const VOCABULARY: usize = 300;

/// Answers the n-th call with certainty for the n-th id of its script, and notes what it was fed.
struct Scripted {
    script: Vec<u32>,
    answered: usize,
    context: usize,
    cached: Vec<u32>,
    fed: Vec<Vec<u32>>,
    logits: Vec<f32>,
    /// The call that raises the flag while it computes.
    cancelled_at: Option<usize>,
    /// The call after which a logit is not a number.
    broken_at: Option<usize>,
}

impl Scripted {
    fn new(script: &[u32]) -> Scripted {
        Scripted {
            script: script.to_vec(),
            answered: 0,
            context: 64,
            cached: vec![1, 2, 3],
            fed: Vec::new(),
            logits: vec![0.0; VOCABULARY],
            cancelled_at: None,
            broken_at: None,
        }
    }

    fn text(text: &str) -> Scripted {
        Scripted::new(&text.bytes().map(u32::from).collect::<Vec<_>>())
    }
}

impl Engine for Scripted {
    fn reset(&mut self) {
        self.cached.clear();
        self.answered = 0;
    }

    fn context_length(&self) -> usize {
        self.context
    }

    fn vocab_size(&self) -> usize {
        VOCABULARY
    }

    fn feed(&mut self, ids: &[u32], cancel: &CancelFlag) -> Result<&[f32], BackendError> {
        if self.cancelled_at == Some(self.answered) {
            cancel.raise();
        }
        if cancel.is_raised() {
            return Err(BackendError::Cancelled);
        }
        self.fed.push(ids.to_vec());
        self.cached.extend(ids);
        assert!(self.cached.len() <= self.context, "fed more than the context holds");
        self.logits.fill(0.0);
        self.logits[self.script.get(self.answered).copied().unwrap_or(EOS) as usize] = 9.0;
        if self.broken_at == Some(self.answered) {
            self.logits[5] = f32::NAN;
        }
        self.answered += 1;
        Ok(&self.logits)
    }
}

#[derive(Default)]
struct Heard {
    tokens_in: Option<u32>,
    pieces: Vec<(String, Vec<u32>)>,
    /// Raises this flag at the n-th piece.
    cancels: Option<(usize, CancelFlag)>,
}

impl Heard {
    fn text(&self) -> String {
        self.pieces.iter().map(|(text, _)| text.as_str()).collect()
    }

    fn texts(&self) -> Vec<&str> {
        self.pieces.iter().map(|(text, _)| text.as_str()).collect()
    }
}

impl TokenSink for Heard {
    fn prompt_read(&mut self, tokens_in: u32) {
        assert!(self.pieces.is_empty() && self.tokens_in.replace(tokens_in).is_none(), "once, before the first piece");
    }

    fn piece(&mut self, text: &str, ids: &[u32]) {
        assert!(!text.is_empty(), "no empty piece");
        self.pieces.push((text.to_owned(), ids.to_vec()));
        if let Some((_, flag)) = self.cancels.as_ref().filter(|(at, _)| *at == self.pieces.len()) {
            flag.raise();
        }
    }
}

fn tokenizer() -> HfJson {
    let configuration = Gpt2Configuration { vocab_size: VOCABULARY, ..Size::Tiny.configuration() };
    let json = Recipe::new(configuration, 0).expect("large enough").tokenizer_json();
    HfJson::from_bytes(json.as_bytes(), Path::new("recipe"), &[EOS]).expect("sound")
}

fn job(max_tokens: u32, stop: &[&str]) -> Job {
    Job {
        job_id: "a".to_owned(),
        prompt: Prompt::Text("Hello.".to_owned()),
        max_tokens,
        sampling: SamplingParameters {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        },
        stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        capture: None,
    }
}

fn run(engine: &mut Scripted, job: &Job) -> (Heard, Generation) {
    let mut heard = Heard::default();
    let generation = generate(engine, &tokenizer(), job, &mut heard, &CancelFlag::default()).expect("runs to its end");
    assert_eq!(generation.finished.tokens_out as usize, generation.ids.len());
    (heard, generation)
}

fn max_tokens() {
    let (heard, generation) = run(&mut Scripted::text("abcdef"), &job(3, &[]));
    assert_eq!(heard.texts(), ["a", "b", "c"]);
    assert_eq!(generation.finished.stop_reason, StopReason::MaxTokens);
    assert_eq!((generation.finished.tokens_out, generation.finished.stop_sequence_matched), (3, None));
    let mut engine = Scripted::text("abcdef");
    run(&mut engine, &job(1, &[]));
    assert_eq!(engine.fed.len(), 1, "nothing is computed after the last token");
}

fn end_of_text() {
    let (heard, generation) = run(&mut Scripted::text("ab"), &job(50, &[]));
    assert_eq!(heard.text(), "ab", "the end-of-text token adds no text");
    assert_eq!((generation.finished.stop_reason, generation.finished.tokens_out), (StopReason::Eos, 3));
    assert_eq!(generation.ids, [97, 98, EOS]);
    let (heard, generation) = run(&mut Scripted::text(""), &job(50, &[]));
    assert_eq!((heard.text(), generation.finished.tokens_out), (String::new(), 1));
}

fn full_context() {
    let mut engine = Scripted { context: 8, ..Scripted::text("abcdef") };
    let (heard, generation) = run(&mut engine, &job(50, &[]));
    assert_eq!(engine.cached.len(), 8);
    assert_eq!((heard.text(), generation.finished.tokens_out), ("abc".into(), 3), "6 + 2 fed, and one more sampled");
    assert_eq!(generation.finished.stop_reason, StopReason::MaxTokens);
    let mut engine = Scripted { context: 6, ..Scripted::text("abcdef") };
    let (heard, generation) = run(&mut engine, &job(50, &[]));
    assert_eq!((heard.text(), generation.finished.tokens_out), ("a".into(), 1), "a prompt may fill it exactly");
    let mut engine = Scripted { context: 5, ..Scripted::text("abcdef") };
    let refused = generate(&mut engine, &tokenizer(), &job(5, &[]), &mut Heard::default(), &CancelFlag::default());
    assert!(matches!(refused, Err(BackendError::Internal(message)) if message.contains('6') && message.contains('5')));
    assert!(engine.fed.is_empty());
}

fn characters_over_tokens() {
    let (heard, _) = run(&mut Scripted::text("a😀é\u{fffd}"), &job(50, &[]));
    assert_eq!(heard.texts(), ["a", "😀", "é", "\u{fffd}"]);
    assert_eq!(heard.pieces[1].1, "😀".bytes().map(u32::from).collect::<Vec<_>>());
    // Bytes that can never become a character are dropped, also at the end; their tokens are counted.
    let (heard, generation) = run(&mut Scripted::new(&[97, 0xFF, 0xC3, 98, 0xF0, 0x9F]), &job(50, &[]));
    assert_eq!((heard.text(), generation.finished.tokens_out), ("ab".into(), 7));
    let (heard, generation) = run(&mut Scripted::text("é"), &job(1, &[]));
    assert_eq!((heard.text(), generation.finished.tokens_out), (String::new(), 1));
}

fn stop_over_tokens() {
    let (heard, generation) = run(&mut Scripted::text("say END now"), &job(50, &["never", "END"]));
    assert_eq!(heard.texts(), ["s", "a", "y", " "], "the matched text is not emitted");
    assert_eq!(generation.finished.stop_reason, StopReason::StopSequence);
    assert_eq!(generation.finished.stop_sequence_matched.as_deref(), Some("END"));
    assert_eq!(generation.finished.tokens_out, 7, "those of the matched stop included");
    let (heard, _) = run(&mut Scripted::text("an ENd END"), &job(50, &["END"]));
    assert_eq!(heard.texts(), ["a", "n", " ", "ENd", " "], "what was held back and did not match");
    // In the middle of a token: ` w1` is token 258.
    let (heard, generation) = run(&mut Scripted::new(&[97, 258, 98]), &job(50, &["w"]));
    assert_eq!((heard.text(), generation.finished.tokens_out), ("a ".into(), 2));
    let (heard, _) = run(&mut Scripted::text("aé"), &job(50, &["é"]));
    assert_eq!(heard.text(), "a", "matched on text, not on bytes");
}

fn ends_win_on_the_last_token() {
    let (_, generation) = run(&mut Scripted::text("ab"), &job(3, &[]));
    assert_eq!(generation.finished.stop_reason, StopReason::Eos);
    let (heard, generation) = run(&mut Scripted::text("aEND"), &job(4, &["END"]));
    assert_eq!((heard.text(), generation.finished.stop_reason), ("a".into(), StopReason::StopSequence));
    let (heard, generation) = run(&mut Scripted::text("aEND"), &job(3, &["END"]));
    assert_eq!((heard.text(), generation.finished.stop_reason), ("aEN".into(), StopReason::MaxTokens));
    let mut engine = Scripted { context: 9, ..Scripted::text("aEND") };
    assert_eq!(run(&mut engine, &job(50, &["END"])).1.finished.stop_reason, StopReason::StopSequence, "context full");
}

fn held_text_is_flushed() {
    for (engine, max_tokens) in [(Scripted::text("aEN"), 50), (Scripted::text("aEND"), 3)] {
        let mut engine = engine;
        let (heard, _) = run(&mut engine, &job(max_tokens, &["END"]));
        assert_eq!(heard.texts(), ["a", "EN"]);
        assert_eq!(heard.pieces[1].1, [69, 78]);
    }
}

/// Every token is reported once, with the piece in which its text begins.
fn ids_of_pieces() {
    let ids = |script: &[u32], stop: &[&str]| -> Vec<Vec<u32>> {
        run(&mut Scripted::new(script), &job(50, stop)).0.pieces.into_iter().map(|(_, ids)| ids).collect()
    };
    // "a", then " w1" whose end is held for "1b", then "x".
    assert_eq!(ids(&[97, 258, 120], &["1b"]), [vec![97], vec![258], vec![120]]);
    // "a" is held for "ab"; the second "a" releases the first and is held itself.
    assert_eq!(ids(&[97, 97, 98], &["ab"]), [vec![97]]);
    assert_eq!(ids(&[97, 97, 99], &["ab"]), [vec![97], vec![97, 99]]);
    // A dropped byte goes with the text that follows it.
    assert_eq!(ids(&[97, 0xFF, 98], &[]), [vec![97], vec![0xFF, 98]]);
}

fn prompt() {
    let mut engine = Scripted::text("a");
    let (heard, generation) = run(&mut engine, &job(2, &[]));
    assert_eq!(generation.prompt_ids, tokenizer().encode("Hello."));
    assert_eq!((heard.tokens_in, &engine.fed[0]), (Some(6), &generation.prompt_ids));
    assert_eq!(engine.fed[1], [97], "the sampled token is fed next, alone");
    let given = Job { prompt: Prompt::Ids(vec![258, EOS, 7]), ..job(2, &[]) };
    let mut engine = Scripted::text("a");
    assert_eq!(run(&mut engine, &given).0.tokens_in, Some(3));
    assert_eq!(engine.fed[0], [258, EOS, 7], "as they are");
    for ids in [vec![], vec![VOCABULARY as u32]] {
        let unfit = Job { prompt: Prompt::Ids(ids), ..job(2, &[]) };
        let refused = generate(&mut engine, &tokenizer(), &unfit, &mut Heard::default(), &CancelFlag::default());
        assert!(matches!(refused, Err(BackendError::Internal(_))));
    }
}

fn starts_clean() {
    let mut engine = Scripted::text("abc");
    let first = run(&mut engine, &job(3, &[])).0.text();
    assert_eq!(engine.cached.len(), 6 + 2, "what was cached before is gone");
    assert_eq!(run(&mut engine, &job(3, &[])).0.text(), first);
}

fn cancel() {
    let cancelled = |engine: &mut Scripted, heard: &mut Heard, flag: &CancelFlag| {
        let result = generate(engine, &tokenizer(), &job(50, &["zzz"]), heard, flag);
        assert!(matches!(result, Err(BackendError::Cancelled)));
    };
    // Before it begins, in the prefill, and while the third token is computed.
    let (mut engine, mut heard, flag) = (Scripted::text("abc"), Heard::default(), CancelFlag::default());
    flag.raise();
    cancelled(&mut engine, &mut heard, &flag);
    assert!(engine.fed.is_empty() && heard.pieces.is_empty());
    for (at, text) in [(0, ""), (1, "a"), (2, "ab")] {
        let mut engine = Scripted { cancelled_at: Some(at), ..Scripted::text("abcz") };
        let mut heard = Heard::default();
        cancelled(&mut engine, &mut heard, &CancelFlag::default());
        assert_eq!((heard.text().as_str(), engine.fed.len()), (text, at));
        engine.cancelled_at = None;
        assert_eq!(run(&mut engine, &job(4, &[])).0.text(), "abcz", "the next job starts clean");
    }
    // By the one who listens: no token after it.
    let flag = CancelFlag::default();
    let mut heard = Heard { cancels: Some((2, flag.clone())), ..Heard::default() };
    cancelled(&mut Scripted::text("abcdef"), &mut heard, &flag);
    assert_eq!(heard.texts(), ["a", "b"]);
}

fn engine_errors() {
    let mut engine = Scripted { broken_at: Some(2), ..Scripted::text("abc") };
    let mut heard = Heard::default();
    let result = generate(&mut engine, &tokenizer(), &job(50, &[]), &mut heard, &CancelFlag::default());
    assert!(matches!(result, Err(BackendError::Internal(message)) if message.contains("token 5 is NaN")));
    assert_eq!(heard.text(), "ab");
}

/// Whatever bytes the model spells: the text is what a decoder of the whole would keep, cut at the stop sequence.
fn any_bytes() {
    let tokenizer = tokenizer();
    let bytes = prop_oneof![any::<u8>(), prop::sample::select("aé😀 ".as_bytes())];
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(script in vec(bytes.prop_map(u32::from), 0..50), stop in "[aé😀 ]{1,3}")| {
        let (heard, generation) = run(&mut Scripted::new(&script), &job(50, &[&stop]));
        let whole = tokenizer.decode(&script);
        prop_assert_eq!(heard.text(), whole.split(&stop).next().unwrap_or_default());
        prop_assert_eq!(generation.finished.stop_sequence_matched.is_some(), whole.contains(&stop));
        let ids: Vec<u32> = heard.pieces.iter().flat_map(|(_, ids)| ids.clone()).collect();
        prop_assert!(generation.ids.starts_with(&ids), "each once and in order");
        for (text, ids) in &heard.pieces {
            prop_assert!(!ids.is_empty(), "{text:?} comes from nothing");
        }
    });
}
