//! What must hold of a capture by itself, with no golden beside it. Each property is a sentence's end in the features:
//! `"cp05.probs" is "a distribution over the past"`.

use std::collections::BTreeSet;

use crate::harness::Finding;
use crate::harness::ladder::reference::{Reference, softmax};
use crate::model::Configuration;
use crate::parity::Place;
use crate::parity::capture::{Capture, Tensor, Values};
use crate::parity::compare::is_masked;
use crate::parity::oracle::Model;

type Check = fn(&Capture, &Reference) -> Result<(), Finding>;

pub const PROPERTIES: &[(&str, &str, Check)] = &[
    ("cp01.ln_1", "normalised before scale and shift", normalised),
    ("cp02.q", "different from k and v", different),
    ("cp03.step0", "what was put in", put_in),
    ("cp03.step1", "the step before and one position more", one_more),
    ("cp04.scores_masked", "masked above the diagonal and untouched elsewhere", masked),
    ("cp05.probs", "a distribution over the past", distribution),
    ("cp06.c_fc", "as wide inside as the model says", |capture, reference| wide(capture, reference, "cp06.c_fc")),
    ("cp06.gelu", "as wide inside as the model says", |capture, reference| wide(capture, reference, "cp06.gelu")),
    ("cp06.gate", "as wide inside as the model says", |capture, reference| wide(capture, reference, "cp06.gate")),
    ("cp06.up", "as wide inside as the model says", |capture, reference| wide(capture, reference, "cp06.up")),
    ("cp06.swiglu", "as wide inside as the model says", |capture, reference| wide(capture, reference, "cp06.swiglu")),
    ("cp07.block", "different from its input and not collapsed", not_collapsed),
    ("cp08.block", "there for every layer, each different from the former", every_block),
    ("cp09.logits", "the last row of cp08.logits", last_row),
    ("cp10.argmax", "the lowest id of the largest selected logit", lowest_id),
    ("cp11.probs", "the softmax of the selected logits", own_softmax),
];

pub fn check(tensor: &str, property: &str, capture: &Capture, reference: &Reference) -> Result<(), Finding> {
    let known = PROPERTIES.iter().find(|(name, words, _)| *name == tensor && *words == property);
    let (_, _, check) =
        known.ok_or_else(|| Finding::error("a property of a tensor", format!("{tensor} is {property:?}")))?;
    if !has(&reference.model(), tensor) {
        let architecture = reference.file.configuration.architecture();
        return Err(Finding::unimplemented(format!("a model with the station {tensor}"), architecture));
    }
    check(capture, reference)
}

/// Whether the model computes what a property is about.
pub fn has(model: &Model<'_>, tensor: &str) -> bool {
    Place::of_name(tensor).is_none_or(|place| model.has(place.station))
}

fn tensor<'a>(capture: &'a Capture, name: &str) -> Result<&'a Tensor, Finding> {
    capture.tensors.get(name).ok_or_else(|| Finding::fail(format!("the tensor {name}"), "the capture does not have it"))
}

/// One that others' captures may be without.
fn optional<'a>(capture: &'a Capture, name: &str) -> Result<&'a Tensor, Finding> {
    capture
        .tensors
        .get(name)
        .ok_or_else(|| Finding::unimplemented(format!("the tensor {name}"), "the capture does not have it"))
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    let width = tensor.shape.last().copied().unwrap_or(1).max(1);
    tensor.to_f64().chunks(width).map(<[f64]>::to_vec).collect()
}

fn mean_and_variance(row: &[f64]) -> (f64, f64) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    (mean, row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / row.len() as f64)
}

fn normalised(capture: &Capture, reference: &Reference) -> Result<(), Finding> {
    let c = reference.file.configuration.n_embd();
    let weight =
        |name: &str| reference.file.weights.get(name, &[c]).map_err(|error| Finding::error(name, error.to_string()));
    // RMSNorm shifts nothing, neither before nor after, and its mean square is what becomes one.
    let (scale, shift) = match reference.file.configuration {
        Configuration::Gpt2(_) => (weight("h.0.ln_1.weight")?, Some(weight("h.0.ln_1.bias")?)),
        Configuration::Llama(_) => (weight("layers.0.input_layernorm.weight")?, None),
    };
    let moments = |row: &[f64]| match &shift {
        Some(_) => mean_and_variance(row),
        None => (0.0, row.iter().map(|value| value.powi(2)).sum::<f64>() / row.len() as f64),
    };
    let shift = |c: usize| shift.as_ref().map_or(0.0, |shift| f64::from(shift.values()[c]));
    let epsilon = reference.model().epsilon();
    let (input, output) = (optional(capture, "cp00.embed")?, tensor(capture, "cp01.ln_1")?);
    for (t, (x, y)) in rows(input).iter().zip(rows(output)).enumerate() {
        // a scale of nothing can't be undone
        let plain: Vec<f64> = (0..c)
            .filter(|c| scale.values()[*c].abs() > 1e-2)
            .map(|c| (y[c] - shift(c)) / f64::from(scale.values()[c]))
            .collect();
        if plain.len() < c {
            return Err(Finding::unimplemented(
                "a norm whose scale can be undone",
                format!("{} of {c} channels", plain.len()),
            ));
        }
        let ((mean, variance), (_, v)) = (moments(&plain), moments(x));
        let expected = v / (v + epsilon);
        if mean.abs() > 1e-6 || (variance - expected).abs() > 1e-5 {
            let expected = format!("row {t} of mean 0 ± 1e-6 and variance {expected:.7} ± 1e-5 before scale and shift");
            return Err(Finding::fail(expected, format!("mean {mean:.2e}, variance {variance:.7}")));
        }
    }
    Ok(())
}

fn different(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let names = ["cp02.q", "cp02.k", "cp02.v"];
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        if tensor(capture, names[one])? == tensor(capture, names[other])? {
            return Err(Finding::fail(format!("{} different from {}", names[one], names[other]), "they are the same"));
        }
    }
    Ok(())
}

fn put_in(capture: &Capture, reference: &Reference) -> Result<(), Finding> {
    let keys = match reference.file.configuration {
        Configuration::Gpt2(_) => tensor(capture, "cp02.k")?,
        Configuration::Llama(_) => optional(capture, "cp02.k_rope")?,
    };
    for (which, made) in [("k", keys), ("v", tensor(capture, "cp02.v")?)] {
        if tensor(capture, &format!("cp03.step0.{which}"))? != made {
            let expected = format!("cp03.step0.{which} equal to what was put in, bit for bit");
            return Err(Finding::fail(expected, "it is not"));
        }
    }
    Ok(())
}

fn one_more(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    for which in ["k", "v"] {
        let (before, after) =
            (tensor(capture, &format!("cp03.step0.{which}"))?, tensor(capture, &format!("cp03.step1.{which}"))?);
        let grown = [&[before.shape[0] + 1], &before.shape[1..]].concat();
        if after.shape != grown {
            return Err(Finding::fail(format!("cp03.step1.{which} of shape {grown:?}"), format!("{:?}", after.shape)));
        }
        let (before, after) = (before.to_f64(), after.to_f64());
        if let Some(at) = (0..before.len()).find(|at| before[*at].to_bits() != after[*at].to_bits()) {
            let expected = format!("cp03.step1.{which} unchanged before its last position");
            return Err(Finding::fail(expected, format!("number {at}: {} was {}", after[at], before[at])));
        }
        if after[before.len()..].iter().all(|value| *value == 0.0) {
            return Err(Finding::fail(format!("cp03.step1.{which} with something in its last position"), "zeros"));
        }
    }
    Ok(())
}

fn masked(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let (plain, masked) = (tensor(capture, "cp04.scores")?, tensor(capture, "cp04.scores_masked")?);
    let heads = capture.manifest.sizes.n_head;
    let tokens = capture.manifest.token_ids.len();
    let shape = vec![heads, tokens, capture.manifest.start_pos + tokens];
    if plain.shape != shape || masked.shape != shape {
        return Err(Finding::fail(
            format!("scores of shape {shape:?}"),
            format!("{:?} and {:?}", plain.shape, masked.shape),
        ));
    }
    let (plain, after) = (plain.to_f64(), masked.to_f64());
    for at in 0..after.len() {
        let (s, t) = (at % shape[2], at / shape[2] % shape[1] + capture.manifest.start_pos);
        let right = if s > t { is_masked(after[at]) } else { plain[at].to_bits() == after[at].to_bits() };
        if !right {
            let expected = if s > t { "masked".to_owned() } else { format!("{}", plain[at]) };
            return Err(Finding::fail(format!("{expected} at position {s} for token {t}"), after[at].to_string()));
        }
    }
    Ok(())
}

fn distribution(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let probabilities = optional(capture, "cp05.probs")?;
    let tokens = capture.manifest.token_ids.len();
    for (index, row) in rows(probabilities).iter().enumerate() {
        let t = index % tokens + capture.manifest.start_pos;
        let sum: f64 = row.iter().sum();
        let ahead = row.iter().skip(t + 1).find(|value| **value != 0.0);
        let outside = row.iter().find(|value| !(0.0..=1.0).contains(*value));
        if (sum - 1.0).abs() > 1e-5 || ahead.is_some() || outside.is_some() {
            let found = format!("sum {sum:.7}, ahead {ahead:?}, outside [0, 1] {outside:?}");
            return Err(Finding::fail(
                format!("row {index} that sums to 1 and gives nothing to positions after {t}"),
                found,
            ));
        }
    }
    Ok(())
}

fn wide(capture: &Capture, reference: &Reference, name: &str) -> Result<(), Finding> {
    let shape = vec![capture.manifest.token_ids.len(), reference.file.configuration.n_inner()];
    let found = &tensor(capture, name)?.shape;
    if *found == shape {
        Ok(())
    } else {
        Err(Finding::fail(format!("{name} of shape {shape:?}"), format!("{found:?}")))
    }
}

fn not_collapsed(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let (input, output) = (optional(capture, "cp00.embed")?, tensor(capture, "cp07.block")?);
    if input.values == output.values {
        return Err(Finding::fail("a block that changes its input", "it gives it back"));
    }
    for (t, (x, y)) in rows(input).iter().zip(rows(output)).enumerate() {
        let ((_, before), (_, after)) = (mean_and_variance(x), mean_and_variance(&y));
        if after < 1e-2 * before {
            return Err(Finding::fail(
                format!("row {t} with a hundredth of its input's variance at least"),
                format!("{after:.3e} after {before:.3e}"),
            ));
        }
    }
    Ok(())
}

fn every_block(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let mut seen: BTreeSet<Vec<u64>> = BTreeSet::new();
    for layer in 0..capture.manifest.sizes.n_layer {
        let block = tensor(capture, &format!("cp08.block.{layer:02}"))?;
        if !seen.insert(block.to_f64().iter().map(|value| value.to_bits()).collect()) {
            return Err(Finding::fail(format!("block {layer} with an output of its own"), "that of an earlier one"));
        }
    }
    Ok(())
}

fn last_row(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let (all, selected) = (tensor(capture, "cp08.logits")?, tensor(capture, "cp09.logits")?);
    let last = rows(all).pop().unwrap_or_default();
    let off = last.iter().zip(selected.to_f64().iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // an engine that computes that row alone may round otherwise
    if last.len() == selected.count() && off <= 1e-5 {
        return Ok(());
    }
    Err(Finding::fail(
        "cp09.logits within 1e-5 of the last row of cp08.logits",
        format!("{} numbers, off by {off:.3e}", selected.count()),
    ))
}

fn lowest_id(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let logits = tensor(capture, "cp09.logits")?.to_f64().into_owned();
    let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    match &tensor(capture, "cp10.argmax")?.values {
        Values::I64(ids) if ids[..] == [best as i64] => Ok(()),
        found => Err(Finding::fail(format!("token {best}, the lowest id of the largest logit"), format!("{found:?}"))),
    }
}

fn own_softmax(capture: &Capture, _: &Reference) -> Result<(), Finding> {
    let logits = tensor(capture, "cp09.logits")?.to_f64().into_owned();
    for (name, temperature) in [("cp11.probs.t0.5", 0.5), ("cp11.probs.t1.0", 1.0), ("cp11.probs.t2.0", 2.0)] {
        let (found, expected) = (tensor(capture, name)?.to_f64().into_owned(), softmax(&logits, temperature));
        let off = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |worst: f64, off| if off.is_nan() { f64::INFINITY } else { worst.max(off) });
        let sum: f64 = found.iter().sum();
        if found.len() != expected.len()
            || off > 1e-6
            || (sum - 1.0).abs() > 1e-6
            || best_five(&found) != best_five(&expected)
        {
            let told = format!(
                "off by {off:.3e}, sum {sum:.8}, best {:?}, expected {:?}",
                best_five(&found),
                best_five(&expected)
            );
            return Err(Finding::fail(
                format!("{name} within 1e-6 of the softmax of cp09.logits, with the same best five"),
                told,
            ));
        }
    }
    Ok(())
}

/// The five likeliest, as probabilities in f32 tell them apart: equal ones are in the order of their ids.
fn best_five(probabilities: &[f64]) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..probabilities.len()).collect();
    ids.sort_by(|a, b| (probabilities[*b] as f32).total_cmp(&(probabilities[*a] as f32)).then(a.cmp(b)));
    ids.truncate(5);
    ids
}

/// The token axis of each station whose rows before the last must not know of the last token.
pub fn same_before_last(first: &Capture, second: &Capture) -> Result<(), Finding> {
    let tokens = first.manifest.token_ids.len();
    let mut judged = 0;
    for (name, one) in first
        .tensors
        .iter()
        .filter(|(name, _)| name.as_str() < "cp09" && !name.contains(".step1") && !name.contains(".step2"))
    {
        let Some(other) = second.tensors.get(name).filter(|other| other.shape == one.shape) else {
            return Err(Finding::fail(format!("{name} of one shape in both captures"), "missing, or of another shape"));
        };
        // [T, …], or [H, T, N] for the scores and probabilities
        let by_heads =
            one.shape.len() == 3 && one.shape[0] != tokens || name.starts_with("cp04") || name == "cp05.probs";
        let (a, b) = (one.to_f64(), other.to_f64());
        let inner: usize = one.shape.iter().skip(1).product();
        for at in 0..a.len() {
            let (t, s) = if by_heads { (at / one.shape[2] % one.shape[1], at % one.shape[2]) } else { (at / inner, 0) };
            if t + 1 < tokens && s + 1 < tokens {
                judged += 1;
                if a[at].to_bits() != b[at].to_bits() {
                    let expected = format!("{name} at token {t} unchanged by the last token");
                    return Err(Finding::fail(expected, format!("{} and {}", a[at], b[at])));
                }
            }
        }
    }
    if judged > 0 { Ok(()) } else { Err(Finding::error("tensors with more than one token", "none")) }
}
