//! A diff on the page: the conclusion, the first divergence enlarged, then every station.

use std::collections::BTreeMap;

use super::super::Place;
use super::super::capture::Capture;
use super::super::compare::Pair;
use super::super::diff::figures::{long, short};
use super::super::diff::formula::formula;
use super::super::diff::{Diff, First, Location, Outcome, Row, Standing};
use super::super::tolerance::Profile;
use super::html::{Html, attribute};
use super::picture::{StationPicture, picture};
use super::station::{anchor, card, standing};
use crate::layers::Station;

/// A diff, and what its pictures need of the captures.
#[derive(Clone, Debug)]
pub struct CapturePair {
    pub diff: Diff,
    pub pictures: BTreeMap<String, StationPicture>,
}

/// Stations outside the blocks, of layer 0 and of the first divergence's layer have pictures: what a page can bear.
pub fn captures(diff: &Diff, reference: &Capture, found: &Capture) -> CapturePair {
    let first = diff.first.as_ref().map(|first| first.place);
    let is_shown = |place: Place| {
        place.layer == 0
            || first.is_some_and(|first| first.layer == place.layer)
            || place.station == Station::BlockOutput
    };
    let mut pictures = BTreeMap::new();
    for row in &diff.rows {
        let Some(place) = row.place.filter(|place| is_shown(*place)) else { continue };
        let (Some(reference), Some(found)) = (reference.tensors.get(&row.name), found.tensors.get(&row.name)) else {
            continue;
        };
        let masked = place.station == Station::ScoresMasked;
        let pair = Pair { reference, found, tolerance: row.tolerance, masked };
        if row.comparison.numbers.is_some() && reference.count() > 1 {
            pictures.insert(row.name.clone(), picture(place, pair));
        }
    }
    CapturePair { diff: diff.clone(), pictures }
}

pub fn section(parent: &mut Html, pair: &CapturePair) {
    let diff = &pair.diff;
    parent.inside("section", "", |section| {
        let heading = format!("{} against {}", diff.found.title(), diff.reference.title());
        section.say("h2", "", &heading);
        conclusion(section, pair);
        if diff.rows.is_empty() {
            return;
        }
        section.say("h3", "class=part", "Every station, in the order of computation");
        legend(section);
        section.inside("div", "class=cards", |cards| {
            let shown = |row: &&Row| pair.pictures.contains_key(&row.name);
            for row in diff.rows.iter().filter(shown) {
                card(cards, diff.words(), row, pair.pictures.get(&row.name));
            }
        });
        section.inside("details", "", |details| {
            details.say("summary", "", &format!("All {} tensors as a table", diff.rows.len()));
            table(details, diff);
        });
    });
}

fn conclusion(section: &mut Html, pair: &CapturePair) {
    let diff = &pair.diff;
    let (class, word) = match diff.outcome {
        Outcome::Parity => ("pass", "Parity"),
        Outcome::Divergence => ("fail", "They diverge"),
        Outcome::NotComparable => ("none", "Not comparable"),
    };
    section.inside("div", &format!("class=\"conclusion {class}\""), |block| {
        block.say("p", "class=verdict", word);
        match (&diff.first, &diff.tokens, diff.outcome) {
            (_, _, Outcome::NotComparable) => {
                for mismatch in &diff.mismatches {
                    let told = format!("{}: expected {}, found {}", mismatch.field, mismatch.expected, mismatch.found);
                    block.say("p", "", &told);
                }
            }
            (_, Some(tokens), _) => {
                block.say("p", "", &format!("At the token ids, before anything is computed: {tokens}."))
            }
            (Some(first), ..) => first_divergence(block, pair, first),
            _ => block.say("p", "", &standing_counts(diff)),
        }
        if let Some(text) = &diff.text {
            let told = format!("The generated text: expected {:?}, found {:?}.", text.expected, text.found);
            block.say("p", "", &told);
            if let Some(told) = text.diagnosis.as_deref().or(text.pattern) {
                block.say("p", "", told);
            }
        }
        if let [disagreement, others @ ..] = diff.disagreements.as_slice() {
            let more =
                if others.is_empty() { String::new() } else { format!("; and {} more of the kind", others.len()) };
            block.say("p", "class=quiet", &format!("{disagreement}{more}"));
        }
        if diff.profile != Profile::Exact {
            block.say("p", "class=quiet", &format!("Profile {}: {}", diff.profile.name(), diff.profile.reason()));
        }
    });
}

fn first_divergence(block: &mut Html, pair: &CapturePair, first: &First) {
    let diff = &pair.diff;
    let place = first.place;
    let layer = if place.station.is_of_a_layer() { format!(" of layer {}", place.layer) } else { String::new() };
    block.inside("p", "class=lead", |lead| {
        lead.text("First at ");
        lead.inside("a", &attribute("href", &format!("#{}", anchor(&place.name()))), |link| {
            link.say("code", "", &place.name())
        });
        lead.text(&format!(", {}{layer}. {}", diff.words().title(place.station), standing_counts(diff)));
    });
    let mut points: Vec<(&str, String)> = Vec::new();
    if let Some(diagnosis) = &first.diagnosis {
        points.push(("Cause", diagnosis.clone()));
    }
    points.extend(first.patterns.iter().map(|pattern| ("Looks like", pattern.told.clone())));
    if let Some(location) = &first.location {
        points.push(("Where", format!("{}; worst at {}", location.told_extent(), location.told_index())));
    }
    points.push(("Check", formula(diff.words(), place.station).to_owned()));
    block.inside("dl", "class=points", |list| {
        for (word, told) in points {
            list.inside("div", "", |pair| {
                pair.say("dt", "", word);
                pair.say("dd", "", &told);
            });
        }
    });
    if let Some(location) = &first.location {
        around(block, location);
    }
}

fn around(block: &mut Html, location: &Location) {
    let window = &location.window;
    block.inside("table", "class=around", |table| {
        table.say("caption", "", &format!("Around the worst element ({})", location.told_index()));
        table.inside("tr", "", |tr| {
            tr.say("th", "scope=row", window.axis);
            for at in 0..window.reference.len() {
                tr.say("th", "scope=col", &(window.from + at).to_string());
            }
        });
        for (label, values) in [("reference", &window.reference), ("found", &window.found)] {
            table.inside("tr", "", |tr| {
                tr.say("th", "scope=row", label);
                for (at, value) in values.iter().enumerate() {
                    let class = if window.from + at == window.at { "class=worst" } else { "" };
                    tr.say("td", class, &long(*value));
                }
            });
        }
    });
}

fn standing_counts(diff: &Diff) -> String {
    let words = [
        (Standing::Agrees, "agree"),
        (Standing::Diverges, "diverge"),
        (Standing::Downstream, "are downstream of that"),
        (Standing::NearTie, "are near ties"),
        (Standing::Missing, "are missing"),
        (Standing::NotCompared, "were not compared"),
    ];
    let told: Vec<String> = words
        .into_iter()
        .map(|(standing, word)| (diff.count(standing), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!("Of {} tensors {}.", diff.rows.len(), told.join(", "))
}

/// What the colours of the maps mean.
fn legend(section: &mut Html) {
    let words = [
        "equal",
        "below 1/1000",
        "below 1/100",
        "below 1/10",
        "within the tolerance",
        "up to 10 ×",
        "up to 100 ×",
        "more",
    ];
    section.inside("ul", "class=legend", |list| {
        for (level, word) in words.into_iter().enumerate() {
            list.inside("li", "", |item| {
                item.raw(&format!(
                    "<svg width=14 height=14 aria-hidden=true><rect class=l{level} width=14 height=14 /></svg> "
                ));
                item.text(word);
            });
        }
    });
}

fn table(parent: &mut Html, diff: &Diff) {
    parent.inside("table", "class=rows", |table| {
        table.inside("tr", "", |tr| {
            for head in ["Station", "Verdict", "Max abs", "Allowed", "Needed", "Worst at", "By itself", "Remark"] {
                tr.say("th", "scope=col", head);
            }
        });
        for row in &diff.rows {
            let (class, word) = standing(row);
            table.inside("tr", "", |tr| {
                tr.inside("th", "scope=row", |th| th.say("code", "", &row.name));
                tr.inside("td", "", |td| td.say("span", &format!("class=\"mark {class}\""), word));
                let numbers = row.comparison.numbers.as_ref();
                let cell = |value: Option<f64>| value.map_or("–".to_owned(), short);
                tr.say("td", "", &cell(numbers.map(|it| it.max_abs.value)));
                tr.say("td", &attribute("title", row.tolerance.reason), &cell(numbers.map(|it| it.tolerance)));
                tr.say("td", "", &cell(numbers.map(|it| it.needed)));
                let index =
                    numbers.map(|it| super::super::compare::index_of(&row.comparison.found_shape, it.needed_at));
                tr.say("td", "", &index.map_or("–".to_owned(), |index| format!("{index:?}")));
                tr.say("td", "", &cell(row.local.map(|it| it.max_abs)));
                tr.say("td", "", row.comparison.remark.as_deref().unwrap_or_default());
            });
        }
    });
}
