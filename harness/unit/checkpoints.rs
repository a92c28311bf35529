//! What must hold of a capture by itself: it holds of the reference, and each property falls with the number that it is
//! about.

use llorch::harness::checkpoints::properties::{PROPERTIES, check, has, same_before_last};
use llorch::harness::checkpoints::{Subject, judge, models};
use llorch::harness::ladder::reference::Reference;
use llorch::harness::selection::ModelFormat;
use llorch::harness::verdict::Verdict;
use llorch::parity::Capture;
use llorch::parity::capture::{Tensor, Values};
use llorch::parity::faults::in_f32;

pub const TESTS: &[(&str, fn())] = &[
    ("checkpoints/properties_hold_of_the_reference", properties_hold_of_the_reference),
    ("checkpoints/each_property_falls_with_its_number", each_property_falls_with_its_number),
    ("checkpoints/judges_see_a_changed_number", judges_see_a_changed_number),
    ("checkpoints/what_comes_later_must_not_show", what_comes_later_must_not_show),
    ("checkpoints/turned_heads_are_the_same_function", turned_heads_are_the_same_function),
    ("checkpoints/a_few_weights_make_another_text", a_few_weights_make_another_text),
];

fn reference(subject: &str) -> (Reference, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let subject = Subject::of(subject).expect("a subject");
    let path = subject.write_model(folder.path(), ModelFormat::Safetensors).expect("a model");
    (Reference::open(&path).expect("a reference"), folder)
}

fn captured(reference: &Reference, prompt: &str) -> Capture {
    in_f32(reference.capture(&reference.encode(prompt), 2, 8).expect("a capture"))
}

fn properties_hold_of_the_reference() {
    for subject in ["recipe-odd/hello", "tiny/hello", "loud/hello", "twins/hello", "recipe-qwen2/hello"] {
        let (reference, _folder) = reference(subject);
        let capture = captured(&reference, "Hello.");
        for (tensor, property, _) in PROPERTIES.iter().filter(|(tensor, ..)| has(&reference.model(), tensor)) {
            let held = check(tensor, property, &capture, &reference);
            assert!(held.is_ok(), "{subject}: {tensor} is {property:?}: {held:?}");
        }
    }
}

/// Changes one number of a tensor, in the way that the property is about.
fn change(capture: &mut Capture, name: &str, change: impl Fn(&mut Vec<f32>, &[usize])) {
    let tensor = capture.tensors.get_mut(name).expect("the tensor");
    let mut values: Vec<f32> = tensor.to_f64().iter().map(|value| *value as f32).collect();
    change(&mut values, &tensor.shape.clone());
    *tensor = Tensor::f32(&tensor.shape.clone(), values);
}

fn each_property_falls_with_its_number() {
    type Change = fn(&mut Capture);
    let changes: &[(&str, Change)] = &[
        ("cp01.ln_1", |capture| {
            change(capture, "cp01.ln_1", |values, _| values.iter_mut().for_each(|value| *value *= 1.001))
        }),
        ("cp02.q", |capture| drop(capture.tensors.insert("cp02.q".into(), capture.tensors["cp02.k"].clone()))),
        ("cp03.step0", |capture| {
            change(capture, "cp03.step0.v", |values, _| values[3] = f32::from_bits(values[3].to_bits() ^ 1))
        }),
        ("cp03.step1", |capture| {
            change(capture, "cp03.step1.k", |values, _| values[0] = f32::from_bits(values[0].to_bits() ^ 1))
        }),
        ("cp04.scores_masked", |capture| change(capture, "cp04.scores_masked", |values, _| values[1] = -1e4)),
        ("cp05.probs", |capture| change(capture, "cp05.probs", |values, _| values[1] = 1e-3)),
        ("cp06.c_fc", |capture| capture.tensors.get_mut("cp06.c_fc").expect("there").shape[1] -= 1),
        ("cp06.gelu", |capture| capture.tensors.get_mut("cp06.gelu").expect("there").shape[1] += 1),
        ("cp06.gate", |capture| capture.tensors.get_mut("cp06.gate").expect("there").shape[1] += 1),
        ("cp06.up", |capture| capture.tensors.get_mut("cp06.up").expect("there").shape[1] += 1),
        ("cp06.swiglu", |capture| capture.tensors.get_mut("cp06.swiglu").expect("there").shape[1] += 1),
        ("cp07.block", |capture| {
            change(capture, "cp07.block", |values, _| values.iter_mut().for_each(|value| *value *= 1e-3))
        }),
        ("cp08.block", |capture| {
            drop(capture.tensors.insert("cp08.block.01".into(), capture.tensors["cp08.block.00"].clone()))
        }),
        ("cp09.logits", |capture| change(capture, "cp09.logits", |values, _| values[7] += 1e-3)),
        ("cp10.argmax", |capture| drop(capture.tensors.insert("cp10.argmax".into(), Tensor::i64(&[1], vec![0])))),
        ("cp11.probs", |capture| change(capture, "cp11.probs.t2.0", |values, _| values[0] += 1e-5)),
    ];
    for subject in ["recipe-odd/hello", "recipe-qwen2/hello"] {
        let (reference, _folder) = reference(subject);
        let capture = captured(&reference, "Hello.");
        for (tensor, property, _) in PROPERTIES.iter().filter(|(tensor, ..)| has(&reference.model(), tensor)) {
            let (_, change) = changes.iter().find(|(name, _)| name == tensor).expect("a change for each property");
            let mut wrong = capture.clone();
            change(&mut wrong);
            let held = check(tensor, property, &wrong, &reference);
            let failed = held.is_err_and(|finding| finding.verdict == Verdict::Fail);
            assert!(failed, "{subject}: {tensor} is still {property:?}");
        }
    }
    // A tie that is broken upwards.
    let (twins, _folder) = self::reference("twins/hello");
    let mut tied = captured(&twins, "Hello.");
    if let Values::I64(ids) = &mut tied.tensors.get_mut("cp10.argmax").expect("there").values {
        ids[0] += 1;
    }
    assert!(check("cp10.argmax", "the lowest id of the largest selected logit", &tied, &twins).is_err());
}

fn judges_see_a_changed_number() {
    let (reference, _folder) = reference("recipe-odd/hello");
    let right = captured(&reference, "Hello.");
    for checkpoint in 1..=9 {
        assert_eq!(judge::agrees(&right, &right, checkpoint), Ok(()));
        assert_eq!(judge::follows(&right, &reference, checkpoint), Ok(()));
        assert_eq!(judge::same_bits(&[&right, &right], checkpoint), Ok(()));
        let name = right.tensors.keys().find(|name| name.starts_with(&format!("cp{checkpoint:02}"))).expect("a tensor");
        let mut wrong = right.clone();
        change(&mut wrong, name, |values, _| values[0] += 0.05);
        assert!(judge::agrees(&wrong, &right, checkpoint).is_err(), "{name}");
        assert!(judge::follows(&wrong, &reference, checkpoint).is_err(), "{name}");
        assert!(judge::same_bits(&[&right, &wrong], checkpoint).is_err(), "{name}");
        let mut missing = right.clone();
        missing.tensors.retain(|name, _| !name.starts_with(&format!("cp{checkpoint:02}")));
        assert!(judge::agrees(&missing, &right, checkpoint).is_err(), "nothing of checkpoint {checkpoint} passed");
    }
}

fn what_comes_later_must_not_show() {
    let (reference, _folder) = reference("recipe-odd/hello");
    let (one, other) = (captured(&reference, "Hello."), captured(&reference, "Hello!"));
    assert_eq!(same_before_last(&one, &other), Ok(()));
    let mut leaking = other.clone();
    change(&mut leaking, "cp05.attn_out", |values, _| values[0] += 1e-6);
    assert!(same_before_last(&one, &leaking).is_err());
}

/// The model of a subject with its tensors changed.
fn changed(of: &Reference, folder: &tempfile::TempDir, change: impl FnOnce(&mut models::Tensors)) -> Reference {
    let path = folder.path().join("model.safetensors");
    assert!(of.file.configuration.n_layer() > 0 && path.exists(), "the model lies in its folder");
    let other = tempfile::tempdir().expect("a folder");
    Reference::open(&models::rewrite(&path, other.path(), change).expect("a changed model")).expect("it can be read")
}

fn turned_heads_are_the_same_function() {
    for subject in ["recipe-odd/hello", "recipe-qwen2/hello"] {
        let (reference, folder) = reference(subject);
        let configuration = reference.file.configuration.clone();
        let turned = changed(&reference, &folder, |tensors| models::turn_heads(tensors, &configuration));
        let [before, after] = [&reference, &turned].map(|reference| captured(reference, "Hello."));
        assert_ne!(before.tensors["cp02.v"], after.tensors["cp02.v"], "{subject}");
        let logits = |capture: &Capture| capture.tensors["cp09.logits"].to_f64().into_owned();
        let apart = logits(&before).iter().zip(logits(&after)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-4, "{subject}: {apart:e}");
    }
}

fn a_few_weights_make_another_text() {
    for subject in ["recipe-odd/hello", "recipe-qwen2/hello"] {
        let (reference, folder) = reference(subject);
        let ids = |reference: &Reference| reference.greedy("Hello.", 8).expect("it runs").ids;
        let before = ids(&reference);
        let others = (0..5u64).map(|draw| {
            let drawn = (draw + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ids(&changed(&reference, &folder, |tensors| models::perturb(tensors, drawn)))
        });
        assert!(others.into_iter().any(|after| after != before), "{subject}: {before:?} whatever is moved");
    }
}
