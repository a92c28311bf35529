//! The haiku's rule: what it accepts, and each way in which it must be able to fail.

use llorch::harness::haiku::{Asked, Violation, numbers, spell};

pub const TESTS: &[(&str, fn())] = &[
    ("haiku/spelling", spelling),
    ("haiku/numbers_of_a_text", numbers_of_a_text),
    ("haiku/exactly_once", exactly_once),
    ("haiku/three_lines", three_lines),
    ("haiku/nonce", nonce),
    ("haiku/every_minute_against_every_other", every_minute_against_every_other),
];

fn spelling() {
    let some: Vec<String> = [0, 1, 9, 10, 13, 19, 20, 21, 30, 40, 42, 59].map(spell).into();
    let expected = [
        "zero",
        "one",
        "nine",
        "ten",
        "thirteen",
        "nineteen",
        "twenty",
        "twenty-one",
        "thirty",
        "forty",
        "forty-two",
        "fifty-nine",
    ];
    assert_eq!(some, expected);
    let mut all: Vec<String> = (0..60).map(spell).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 60);
}

fn numbers_of_a_text() {
    for (text, expected) in [
        ("twenty-one stones", vec!["twenty-one"]),
        ("Twenty One stones", vec!["twenty-one"]),
        ("twenty\u{2010}one, twenty\u{2011}two", vec!["twenty-one", "twenty-two"]),
        ("TWENTY  one", vec!["twenty-one"]),
        ("twenty\none", vec!["twenty", "one"]),
        ("stone, listen, often, seventeen, alone, tensor", vec!["seventeen"]),
        ("one-eyed and well-one one's", vec!["one", "one", "one"]),
        ("twenty ten", vec!["twenty", "ten"]),
        ("twentyone one2 21", vec![]),
        ("zero one", vec!["zero", "one"]),
    ] {
        assert_eq!(numbers(text), expected, "{text:?}");
    }
}

fn broken(minute: u8, text: &str) -> Vec<Violation> {
    Asked { subject: "rain".into(), minute, nonce: "a1B2c3D4".into() }.judge(text)
}

fn exactly_once() {
    let times = |minute, text: &str| match &broken(minute, text)[..] {
        [] => 1,
        [Violation::Word { times, .. }] => *times,
        other => panic!("{other:?}"),
    };
    assert_eq!(times(1, "one stone\nalone\noften"), 1);
    assert_eq!(times(1, "twenty-one stones\nalone\noften"), 0);
    assert_eq!(times(1, "one and\nonly One\nend"), 2);
    assert_eq!(times(20, "twenty-one stones\na\nb"), 0);
    assert_eq!(times(20, "Twenty stones\na\nb"), 1);
    assert_eq!(times(21, "twenty one stones\na\nb"), 1);
    assert_eq!(times(21, "twenty\u{2011}one stones\ntwenty-one\nb"), 2);
    assert_eq!(times(7, "seventeen\nsevenfold\nb"), 0);
    assert_eq!(times(10, "listen\nattend\nten"), 1);
}

fn three_lines() {
    assert_eq!(broken(1, "\none\nb\nc\n"), []);
    assert_eq!(broken(1, "one\nb"), [Violation::Lines(2)]);
    assert_eq!(broken(1, "one\nb\nc\nd"), [Violation::Lines(4)]);
    assert_eq!(broken(1, "one\n\nb\nc"), [Violation::Lines(4)]);
    assert_eq!(broken(1, ""), [Violation::Lines(1), Violation::Word { word: "one".into(), times: 0 }]);
}

fn nonce() {
    assert_eq!(broken(1, "one A1b2C3d4\nb\nc"), [Violation::Nonce]);
    let (one, other) = (Asked::new("rain", 5), Asked::new("rain", 5));
    assert!(one.nonce.len() == 8 && one.nonce != other.nonce && one.nonce.chars().all(char::is_alphanumeric));
    assert!(
        one.prompt().contains(&one.nonce) && one.prompt().contains("about rain") && one.prompt().contains("\"five\"")
    );
}

/// The echo of one minute's word satisfies that minute and no other.
fn every_minute_against_every_other() {
    for written in 0..60 {
        let text = format!("{}\nb\nc", spell(written));
        let accepting: Vec<u8> = (0..60).filter(|asked| broken(*asked, &text).is_empty()).collect();
        assert_eq!(accepting, [written]);
    }
}
