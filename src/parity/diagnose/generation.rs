//! What a generation returns: the ids, once everything before them is right or explained, and the text that they spell.

use super::found::Found;
use super::search::anywhere;
use super::{Finding, Named};
use crate::layers::Station;
use crate::parity::Place;
use crate::parity::capture::{Capture, Manifest};
use crate::parity::diff::text::Spelled;
use crate::parity::faults::{Fault, Injected, Injection, without_table};
use crate::parity::oracle::{Operations as _, Request, run};

/// The generated ids, once everything before them is right or explained.
pub fn ids(found: &Found<'_>, reference: Option<&Capture>, findings: &[Finding]) -> Option<Finding> {
    let place = Place::new(Station::GeneratedIds, 0, 0);
    let shown = found.tensors.get(&place)?;
    let expected = reference.and_then(|reference| reference.tensors.get(&place.name()));
    let generate = expected.map_or(shown.values.len(), crate::parity::capture::Tensor::count);
    if found.start > 0 || generate == 0 {
        return None; // what came before the chunk is not known
    }
    let request = Request { tokens: &found.tokens, generate, ..Request::default() };
    // What was found before: in the layers where it was found, or in all.
    let known: Vec<Injection> = findings
        .iter()
        .filter_map(|finding| finding.faults.first())
        .map(|named| named.injection)
        .filter(|injection| !matches!(injection.fault, Fault::BeginningOfText | Fault::PromptTwice))
        .collect();
    let everywhere: Vec<Injection> = known.iter().copied().map(anywhere).collect();
    let gives = |faults: Vec<Injection>| -> bool {
        let run = run(&found.model, &request, &Injected { faults });
        run.is_ok_and(|run| run.get(&place.name()).is_some_and(|ids| ids.values == shown.values))
    };
    if gives(known.clone()) || gives(everywhere.clone()) {
        return None;
    }
    let faults = [
        Fault::StopsEarly,
        Fault::TokenNotAppended,
        Fault::CacheDropped,
        Fault::PositionRestarted,
        Fault::SampledAtZero,
    ];
    let mut named: Vec<Named> = Vec::new();
    for fault in faults {
        for variant in 0..fault.entry().variants.len() {
            let injection = Injection { fault, layer: None, variant };
            let is_new = named.iter().all(|named| named.fault() != fault);
            if is_new && gives(everywhere.iter().copied().chain([injection]).collect()) {
                let evidence = Some("a generation with it gives these ids, one without it does not".to_owned());
                named.push(Named { injection, residual: Some(0.0), evidence });
            }
        }
    }
    // A mistake that was found before and whose size is not known (a bias, another head) may be all there is.
    let parametric = known.iter().any(|injection| injection.fault.entry().parametric);
    if named.is_empty() && parametric {
        return None;
    }
    let statistics = if named.is_empty() { vec![other_ids(found, reference)] } else { Vec::new() };
    Some(Finding::of_generation(found.words(), place, named, statistics))
}

/// What is to be said of ids that no fault explains.
fn other_ids(found: &Found<'_>, reference: Option<&Capture>) -> String {
    let own = found.sampled();
    let name = Station::GeneratedIds.name(0, 0);
    let right = reference.and_then(|reference| reference.tensors.get(&name)).map(|ids| ids.to_f64().into_owned());
    let right: Option<Vec<u32>> = right.map(|ids| ids.iter().map(|id| *id as u32).collect());
    match right {
        Some(right) if right.len() != own.len() && (right.starts_with(&own) || own.starts_with(&right)) => {
            let (count, wanted) = (own.len(), right.len());
            format!(
                "{count} ids where the reference has {wanted}, the same as far as both go: another limit of tokens, or it stopped early"
            )
        }
        _ => {
            "other ids than a greedy generation by this model; the logits of decode steps are in no capture".to_owned()
        }
    }
}

/// The text against the ids that are shown with it, whatever made them: no mistake of the computation can hide it.
pub fn text(found: &Found<'_>, reference: Option<&Capture>, capture: &Capture) -> Option<Finding> {
    let place = Place::new(Station::GeneratedIds, 0, 0);
    let shown = Spelled::of(&capture.manifest);
    let ids = found.get(Station::GeneratedIds, 0, 0).map(|ids| ids.values.clone());
    let ids_of = |capture: &Capture| capture.tensors.get(&place.name()).map(|ids| ids.to_f64().into_owned());
    let agrees = |reference: &&Capture| ids.is_none() || ids_of(reference) == ids;
    let other = reference.filter(agrees).map(|reference| &reference.manifest);
    if shown.is_empty() {
        return None;
    }
    // What it should be: spelled by the model's tokenizer, or the reference's own text of the same ids.
    let known: Vec<u32> = ids.iter().flatten().map(|id| *id as u32).collect();
    let tokenizer = found.model.tokenizer.filter(|_| !known.is_empty());
    // Special tokens may be left out of it.
    let special = |id: &u32| tokenizer.is_some_and(|tokenizer| tokenizer.table().is_special(*id));
    let content: Vec<u32> = known.iter().copied().filter(|id| !special(id)).collect();
    let right: Vec<Vec<u8>> = match tokenizer {
        Some(tokenizer) => [&known, &content]
            .map(|ids| ids.iter().flat_map(|id| tokenizer.table().spelling(*id)).copied().collect())
            .to_vec(),
        None => other.map(|manifest: &Manifest| Spelled::of(manifest).bytes()).into_iter().collect(),
    };
    let right: Vec<Vec<u8>> = right.into_iter().filter(|bytes| !bytes.is_empty()).collect();
    let first = right.first()?;
    if right.iter().any(|right| shown.is(right)) {
        return None;
    }
    let spelled = |fault: Fault, variant: usize| -> Vec<String> {
        let with_ids = |ids: &Vec<u32>| Some(Injected::from(fault).text(tokenizer?, ids));
        match fault {
            Fault::ByteTableMissing => right.iter().map(|right| without_table(variant, right)).collect(),
            _ => [&known, &content].into_iter().filter_map(with_ids).collect(),
        }
    };
    if other.is_some_and(|other| Spelled::of(other) == shown) {
        return None; // both engines spell the same ids alike, and this reading of the tokenizer does not
    }
    let is_shown = |injection: &Injection| {
        spelled(injection.fault, injection.variant).iter().any(|text| shown.is_partly(text.as_bytes()))
    };
    let variants =
        |fault: Fault| (0..fault.entry().variants.len()).map(move |variant| Injection { fault, layer: None, variant });
    let injection = [Fault::ByteTableMissing, Fault::JoinedWithSpaces].into_iter().flat_map(variants).find(is_shown);
    let evidence = format!("the ids spell {:?}, found is {:?}", String::from_utf8_lossy(first), shown.told());
    let Some(injection) = injection else {
        // Other words for the same ids are told where the reference has them as the tokenizer does.
        let is_the_references = other.is_some_and(|other| right.iter().any(|right| Spelled::of(other).is(right)));
        return is_the_references.then(|| Finding::of_generation(found.words(), place, Vec::new(), vec![evidence]));
    };
    let named = Named { injection, residual: None, evidence: Some(evidence) };
    Some(Finding::of_generation(found.words(), place, vec![named], Vec::new()))
}
