//! Checkpoints 9 to 12: the selected row, argmax, softmax, generation.

use super::super::Fault::*;
use super::super::{Entry, Reveal};
use super::CACHED;
use crate::layers::Station;

const PROBABLE: &[Station] = &[Station::SoftmaxHalf, Station::SoftmaxOne, Station::SoftmaxTwo];

pub const ROW: &[Entry] = &[
    Entry::new(FirstRow, "logits of the first position selected")
        .at(9, "cp09.logits", &[Station::SelectedLogits])
        .is("logits[0]", "logits[T − 1]")
        .change("take the last position's row"),
    Entry::new(LastButOneRow, "logits of the last-but-one position selected")
        .at(9, "cp09.logits", &[Station::SelectedLogits])
        .is("logits[T − 2]", "logits[T − 1]")
        .change("take the last position's row"),
    Entry::new(MeanOfRows, "mean of the logits over the positions")
        .at(9, "cp09.logits", &[Station::SelectedLogits])
        .is("Σ logits[t] / T", "logits[T − 1]")
        .change("take the last position's row, not the mean of all"),
];

pub const ARGMAX: &[Entry] = &[
    Entry::new(Argmin, "argmin")
        .at(10, "cp10.argmax", &[Station::Argmax])
        .is("the smallest logit's id", "the largest logit's id")
        .change("take the largest logit"),
    Entry::new(ArgmaxOfWrongRow, "argmax over the wrong row")
        .at(10, "cp10.argmax", &[Station::Argmax])
        .is("argmax(logits[another t])", "argmax(logits[T − 1])")
        .change("take the last position's row")
        .variants(&["the first", "the last but one", "all rows as one"]),
    Entry::new(HighestOnTies, "highest id on ties")
        .at(10, "cp10.argmax", &[Station::Argmax])
        .is("the last of equal largest logits", "the first of equal largest logits")
        .change("replace the best only by a strictly larger logit")
        .by(Reveal::Tie),
    Entry::new(SampledAtZero, "temperature 0 treated as \"sample\"")
        .at(10, "cp10.argmax", &[Station::Argmax])
        .is("an id drawn at random", "the largest logit's id")
        .change("below a temperature of 1e-6 take the argmax, and draw nothing")
        .parametric(),
];

pub const SOFTMAX: &[Entry] = &[
    Entry::new(TemperatureMultiplies, "temperature multiplies the logits")
        .at(11, "cp11.probs.t0.5", PROBABLE)
        .is("softmax(logits · temperature)", "softmax(logits / temperature)")
        .change("divide the logits by the temperature"),
    Entry::new(TemperatureIgnored, "temperature ignored")
        .at(11, "cp11.probs.t0.5", PROBABLE)
        .is("softmax(logits)", "softmax(logits / temperature)")
        .change("divide the logits by the temperature before the softmax")
        .also(&["probabilities of the unscaled logits"]),
    Entry::new(MaximumNotSubtracted, "softmax without subtracting the maximum")
        .at(11, "cp11.probs.t0.5", PROBABLE)
        .is("e^x / Σe^x", "e^(x − m) / Σe^(x − m)")
        .change("subtract the largest logit before the exponential: e^x overflows")
        .by(Reveal::LargeLogits),
    Entry::new(LogSoftmax, "log-softmax returned")
        .at(11, "cp11.probs.t0.5", PROBABLE)
        .is("log softmax(x)", "softmax(x)")
        .change("return probabilities, not their logarithms"),
];

pub const GENERATION: &[Entry] = &[
    Entry::new(CacheDropped, "cache dropped after each token, without recomputing")
        .at(12, "cp03.step1.k", CACHED)
        .is("a decode step sees its own token only", "a decode step sees all positions so far")
        .change("keep the cache between steps, or feed the whole text again")
        .variants(&["the position goes on", "the position restarts", "zeros in its place"]),
    Entry::new(PositionRestarted, "position restarted at 0 in decode")
        .at(12, "cp03.step1.k", &[Station::Embedding])
        .is("position step − 1", "position T + step − 1")
        .change("go on counting positions after the prompt"),
    Entry::new(PromptTwice, "prompt fed twice")
        .at(12, "cp00.embed", &[])
        .is("prompt, prompt", "prompt")
        .change("feed the prompt once, before the first token is sampled"),
    Entry::new(TokenNotAppended, "the sampled token not appended")
        .at(12, "cp03.step1.k", &[Station::Embedding])
        .is("a decode step is fed the prompt's last token", "a decode step is fed the token sampled last")
        .change("append each sampled token to what is fed next"),
    Entry::new(StopsEarly, "stops one token early")
        .at(12, "cp12.ids", &[Station::GeneratedIds])
        .is("max_tokens − 1 tokens", "max_tokens tokens")
        .change("count the tokens that were returned: the first comes from the prefill"),
    Entry::new(BeginningOfText, "a BOS token prepended")
        .at(12, "cp00.embed", &[])
        .is("<|endoftext|>, prompt", "prompt")
        .change("add no token that the model's own tokenizer does not add"),
    Entry::new(JoinedWithSpaces, "detokenised with spaces")
        .at(12, "cp12.text", &[])
        .is("the tokens' texts joined with spaces", "the tokens' bytes one after the other")
        .change("join the bytes; a token brings its own space"),
    Entry::new(ByteTableMissing, "byte-level decoder without the byte table")
        .at(12, "cp12.text", &[])
        .is(
            "the symbols of the vocabulary as they are written there: Ġ for a blank",
            "the bytes that the symbols stand for",
        )
        .change("read each character of a token back as its byte: Ġ is 0x20, Ċ is 0x0A, and so on for all 256")
        .by(Reveal::Blank)
        .variants(&["", "Ġ and Ċ alone are replaced", "▁ of a SentencePiece vocabulary left as it is"]),
];
