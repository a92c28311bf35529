//! The forms in which the harness writes a model: each is read back as the numbers it was written from, and a form that holds
//! other numbers is seen.

use llorch::harness::hostile_files;
use llorch::harness::model_files::{Element, Form, write};
use llorch::model::digest::model_digest;
use llorch::model::file;
use llorch::model::recipe::{Recipe, Size};

pub const TESTS: &[(&str, fn())] = &[
    ("model_files/every_form_is_read_back", every_form_is_read_back),
    ("model_files/rounded_numbers_are_others", rounded_numbers_are_others),
    ("model_files/words", words),
    ("model_files/hostile_files_by_name", hostile_files_by_name),
];

fn digest(words: &str, rounded_to: Element) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = Recipe::new(Size::Odd.configuration(), 7).expect("sound");
    let path = write(&recipe, Form::of(words).expect("a form"), rounded_to, folder.path()).expect("written");
    let model = file::open(&path, &mut |_| {}).expect("opens");
    (model_digest(&model.weights), model.quant_kind)
}

fn every_form_is_read_back() {
    let recipe = Recipe::new(Size::Odd.configuration(), 7).expect("sound");
    let exact = model_digest(&recipe.weights());
    for words in ["plain", "GGUF", "prefixed", "sharded", "head-repeated", "prefixed sharded head-repeated"] {
        assert_eq!(digest(words, Element::F32), (exact.clone(), "F32".into()), "{words}");
    }
    for (words, element) in [("F16", Element::F16), ("BF16 sharded prefixed", Element::Bf16)] {
        let (stored, kind) = digest(words, element);
        assert_eq!(stored, digest("plain", element).0, "{words}");
        assert!(words.starts_with(&kind), "{kind}");
    }
}

fn rounded_numbers_are_others() {
    let exact = digest("plain", Element::F32).0;
    let (half, brain) = (digest("plain", Element::F16).0, digest("plain", Element::Bf16).0);
    assert!(exact != half && exact != brain && half != brain);
}

fn words() {
    assert_eq!(Form::of("plain").ok(), Some(Form::PLAIN));
    assert!(Form::of("F64").is_err());
}

fn hostile_files_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = hostile_files::write("gguf/magic.gguf", folder.path()).expect("it is there");
    assert!(file::open(&path, &mut |_| {}).is_err());
    assert!(hostile_files::write("gguf/no-such.gguf", folder.path()).is_err());
}
