//! What the forward pass promises beyond being right: the same bits however a text is cut, and errors instead of panics.

use std::cell::Cell;

use llorch::cache::KvCache;
use llorch::layers::Gpt2;
use llorch::layers::NoTap;
use llorch::layers::gpt2::{ForwardError, LogitRows, Scratch};
use llorch::parity::Recorder;
use llorch::tensor::Instructions;

use super::models::{Sizes, configuration, model, tokens};

pub const TESTS: &[(&str, fn())] = &[
    ("layers/decode_is_prefill", decode_is_prefill),
    ("layers/any_split_of_the_prompt", any_split_of_the_prompt),
    ("layers/any_number_of_threads", any_number_of_threads),
    ("layers/any_instruction_set", any_instruction_set),
    ("layers/a_last_chunk_of_one_after_all_rows", a_last_chunk_of_one_after_all_rows),
    ("layers/a_tap_changes_nothing", a_tap_changes_nothing),
    ("layers/the_future_changes_nothing", the_future_changes_nothing),
    ("layers/a_full_context_is_an_error", a_full_context_is_an_error),
    ("layers/wrong_input_is_an_error", wrong_input_is_an_error),
    ("layers/cancel_between_layers", cancel_between_layers),
    ("layers/the_head_is_the_embedding", the_head_is_the_embedding),
];

/// One of odd sizes, one whose prompts are longer than a chunk
const SHAPES: [Sizes; 3] = [(2, 3, 5, 40, 50), (2, 2, 64, 300, 70), (1, 3, 32, 150, 33)];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// All rows of logits, computed in pieces of the given lengths.
fn in_pieces(model: &Gpt2, scratch: &mut Scratch, tokens: &[u32], lengths: &[usize]) -> Vec<u32> {
    let mut cache = model.cache();
    let mut logits = Vec::new();
    let mut left = tokens;
    for length in lengths {
        let (piece, rest) = left.split_at(*length);
        let rows = model.forward(piece, &mut cache, scratch, LogitRows::All, &mut NoTap, &|| false).expect("a pass");
        logits.extend(bits(rows));
        left = rest;
    }
    assert!(left.is_empty(), "the lengths add up");
    logits
}

fn last_row(model: &Gpt2, cache: &mut KvCache, scratch: &mut Scratch, tokens: &[u32]) -> Vec<u32> {
    bits(model.forward(tokens, cache, scratch, LogitRows::Last, &mut NoTap, &|| false).expect("a pass"))
}

fn decode_is_prefill() {
    for shape in SHAPES {
        let sizes = configuration(shape);
        let (model, tokens) = (model(&sizes, 1), tokens(&sizes, 2, sizes.n_ctx));
        let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
        let whole = in_pieces(&model, &mut scratch, &tokens, &[tokens.len()]);
        let (mut cache, mut at) = (model.cache(), 0);
        for token in &tokens {
            let row = last_row(&model, &mut cache, &mut scratch, &[*token]);
            assert!(row == whole[at..at + row.len()], "position {} of {shape:?}", at / row.len());
            at += row.len();
        }
    }
}

fn any_split_of_the_prompt() {
    for shape in SHAPES {
        let sizes = configuration(shape);
        let (model, tokens) = (model(&sizes, 3), tokens(&sizes, 4, 38));
        let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
        let whole = in_pieces(&model, &mut scratch, &tokens, &[38]);
        for lengths in [&[1, 37][..], &[37, 1], &[9, 13, 16], &[2, 3, 5, 7, 11, 10], &[12, 12, 14], &[19, 19]] {
            assert!(in_pieces(&model, &mut scratch, &tokens, lengths) == whole, "{lengths:?} of {shape:?}");
        }
        let last = last_row(&model, &mut model.cache(), &mut scratch, &tokens);
        assert!(last == whole[whole.len() - last.len()..], "only the last row, {shape:?}");
    }
}

fn any_number_of_threads() {
    for shape in SHAPES {
        let sizes = configuration(shape);
        let (model, tokens) = (model(&sizes, 5), tokens(&sizes, 6, 39));
        let mut expected = None;
        for threads in [1, 2, 3, 8] {
            let mut scratch = Scratch::new(&sizes, threads, Instructions::detect());
            let logits = in_pieces(&model, &mut scratch, &tokens, &[20, 1, 18]);
            assert!(*expected.get_or_insert(logits.clone()) == logits, "{threads} threads, {shape:?}");
        }
    }
}

fn any_instruction_set() {
    for shape in SHAPES {
        let sizes = configuration(shape);
        let (model, tokens) = (model(&sizes, 5), tokens(&sizes, 6, 30));
        let mut expected = None;
        for instructions in Instructions::available() {
            let mut scratch = Scratch::new(&sizes, 1, instructions);
            let logits = in_pieces(&model, &mut scratch, &tokens, &[20, 1, 9]);
            assert!(*expected.get_or_insert(logits.clone()) == logits, "{}, {shape:?}", instructions.name());
        }
    }
}

/// The room that all rows once took is still there, and the one row of the last chunk is all of it.
fn a_last_chunk_of_one_after_all_rows() {
    let sizes = configuration(SHAPES[1]);
    let (model, tokens) = (model(&sizes, 3), tokens(&sizes, 4, 260));
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let whole = in_pieces(&model, &mut scratch, &tokens, &[260]);
    for length in 250..=260 {
        let last = last_row(&model, &mut model.cache(), &mut scratch, &tokens[..length]);
        assert!(last == whole[(length - 1) * last.len()..][..last.len()], "{length} tokens");
    }
}

fn a_tap_changes_nothing() {
    let sizes = configuration(SHAPES[1]);
    let (model, tokens) = (model(&sizes, 5), tokens(&sizes, 6, 200));
    let mut scratch = Scratch::new(&sizes, 2, Instructions::detect());
    let without = last_row(&model, &mut model.cache(), &mut scratch, &tokens);
    let mut recorder = Recorder::new(true);
    let mut cache = model.cache();
    let with = bits(
        model
            .forward(&tokens, &mut cache, &mut scratch, LogitRows::Last, &mut recorder, &|| false)
            .expect("a pass with a tap"),
    );
    assert!(with == without);
    let selected = recorder.get("cp09.logits").expect("a station");
    assert!(bits(&selected.values) == without);
    assert_eq!(recorder.get("cp04.scores").expect("a station").shape, [2, 200, 200]);

    recorder.next_step();
    model.forward(&[1], &mut cache, &mut scratch, LogitRows::Last, &mut recorder, &|| false).expect("a step");
    let (before, after) = (recorder.get("cp03.step0.k").expect("keys"), recorder.get("cp03.step1.k").expect("keys"));
    assert_eq!((&before.shape[..], &after.shape[..]), (&[200, 2, 64][..], &[201, 2, 64][..]));
    assert!(bits(&before.values) == bits(&after.values[..before.values.len()]), "a step leaves the others alone");
    let k = recorder.get("cp02.k").expect("a station");
    assert!(bits(&k.values) == bits(&before.values), "the cache returns what was put in");
}

fn the_future_changes_nothing() {
    let sizes = configuration(SHAPES[1]);
    let (model, mut tokens) = (model(&sizes, 8), tokens(&sizes, 9, 150));
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let before = in_pieces(&model, &mut scratch, &tokens, &[150]);
    for changed in [149, 100, 70, 1] {
        tokens[changed] = (tokens[changed] + 1) % sizes.vocab_size as u32;
        let after = in_pieces(&model, &mut scratch, &tokens, &[150]);
        let untouched = changed * sizes.vocab_size;
        assert!(before[..untouched] == after[..untouched], "token {changed} reached back");
        assert!(before[untouched..] != after[untouched..], "token {changed} changed nothing");
    }
}

fn a_full_context_is_an_error() {
    let sizes = configuration(SHAPES[0]);
    let (model, tokens) = (model(&sizes, 8), tokens(&sizes, 9, 41));
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let mut cache = model.cache();
    let mut pass = |cache: &mut KvCache, tokens: &[u32]| {
        model.forward(tokens, cache, &mut scratch, LogitRows::Last, &mut NoTap, &|| false).map(|_| ())
    };
    let full = |needed| Err(ForwardError::ContextFull { needed, n_ctx: 40 });
    assert_eq!(pass(&mut cache, &tokens), full(41));
    assert_eq!(cache.len(), 0, "nothing was written");
    assert_eq!(pass(&mut cache, &tokens[..40]), Ok(()), "a prompt may fill the context exactly");
    assert_eq!(pass(&mut cache, &tokens[..1]), full(41));
    cache.reset();
    assert_eq!(pass(&mut cache, &tokens[..1]), Ok(()));
}

fn wrong_input_is_an_error() {
    let (sizes, other) = (configuration(SHAPES[0]), configuration(SHAPES[1]));
    let gpt2 = model(&sizes, 8);
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let mut pass = |tokens: &[u32], cache: &mut KvCache| {
        gpt2.forward(tokens, cache, &mut scratch, LogitRows::Last, &mut NoTap, &|| false).map(|_| ())
    };
    assert_eq!(pass(&[], &mut gpt2.cache()), Err(ForwardError::NoTokens));
    assert_eq!(pass(&[50], &mut gpt2.cache()), Err(ForwardError::UnknownToken { token: 50, vocab_size: 50 }));
    let mut cache = model(&other, 8).cache();
    assert!(matches!(pass(&[1], &mut cache), Err(ForwardError::OtherCache { .. })));
    let mut scratch = Scratch::new(&other, 1, Instructions::detect());
    let result = gpt2.forward(&[1], &mut gpt2.cache(), &mut scratch, LogitRows::Last, &mut NoTap, &|| false);
    assert_eq!(result.map(|_| ()), Err(ForwardError::OtherScratch));
}

fn cancel_between_layers() {
    let sizes = configuration(SHAPES[1]);
    let (model, tokens) = (model(&sizes, 8), tokens(&sizes, 9, 300));
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let expected = last_row(&model, &mut model.cache(), &mut scratch, &tokens);

    let mut cache = model.cache();
    let asked = Cell::new(0);
    let on_the_fourth = || {
        asked.set(asked.get() + 1);
        asked.get() == 4
    };
    let result = model.forward(&tokens, &mut cache, &mut scratch, LogitRows::Last, &mut NoTap, &on_the_fourth);
    assert_eq!(result.map(|_| ()), Err(ForwardError::Cancelled));
    assert_eq!(asked.get(), 4, "two layers: the second layer of the second chunk was not begun");
    let finished = cache.len();
    assert!(finished > 0 && finished < 300, "whole chunks stay: {finished}");
    assert!(cache.keys(0, finished + 1).is_err(), "the first layer of the second chunk was taken back");
    assert!(last_row(&model, &mut cache, &mut scratch, &tokens[finished..]) == expected, "and it goes on from there");
}

fn the_head_is_the_embedding() {
    let model = model(&configuration(SHAPES[0]), 8);
    assert!(model.head.shares_memory_with(&model.embedding.token));
    assert!(!model.head.shares_memory_with(&model.embedding.position));
}
