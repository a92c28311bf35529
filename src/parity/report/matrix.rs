//! Engines × stations: the whole page in one look.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Place;
use super::super::diff::{Diff, Row};
use super::diff::CapturePair;
use super::html::{Html, attribute};
use super::station::{anchor, standing};
use crate::layers::Station;
use crate::parity::Words;

/// A row for each engine (or for each layer of one, where it shows several), a column for each station. Those that have a
/// section of their own on the page, under its engine's name, are linked with it; the others come with a name.
pub fn engines(parent: &mut Html, named: &[(String, Diff)], pairs: &[CapturePair]) {
    let diffs = named.iter().map(|(_, diff)| diff).chain(pairs.iter().map(|pair| &pair.diff));
    let places = diffs.flat_map(|diff| &diff.rows).filter_map(|row| row.place);
    let stations: BTreeSet<Column> = places.map(Column::of).collect();
    if stations.is_empty() {
        return;
    }
    let words = Words::of("", stations.iter().map(|column| column.station));
    parent.inside("section", "", |section| {
        section.say("h2", "", "At a glance");
        section.inside("div", "class=scroll", |scroll| {
            scroll.inside("table", "class=matrix", |table| {
                table.inside("tr", "", |tr| {
                    tr.say("td", "", "");
                    for station in &stations {
                        let title = attribute("title", words.title(station.station));
                        tr.inside("th", &format!("scope=col {title}"), |th| th.say("span", "", &station.head()));
                    }
                });
                for (name, diff) in named {
                    lines(table, diff, name, false, &stations);
                }
                for pair in pairs {
                    lines(table, &pair.diff, &pair.diff.found.title(), true, &stations);
                }
            });
        });
        section.inside("p", "class=quiet", |p| {
            p.text("✓ agrees · ✕ diverges · ↓ downstream of a divergence · ≈ near tie · ? missing · – not compared");
        });
    });
}

/// A station of the prefill, or of all decode steps together, in any layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    decode: bool,
    station: Station,
}

impl Column {
    fn of(place: Place) -> Column {
        Column { decode: place.step > 0 || place.station == Station::GeneratedIds, station: place.station }
    }

    /// `cp06.gelu`
    fn head(self) -> String {
        let step = if self.decode { ".decode" } else { "" };
        self.station.name(0, 0).replace(".step0", step).replace("block.00", "block")
    }
}

fn lines(table: &mut Html, diff: &Diff, title: &str, linked: bool, stations: &BTreeSet<Column>) {
    let mut layers: BTreeMap<usize, BTreeMap<Column, &Row>> = BTreeMap::new();
    for row in &diff.rows {
        let Some(place) = row.place else { continue };
        let cell = layers.entry(place.layer).or_default().entry(Column::of(place)).or_insert(row);
        if row.standing().severity() > cell.standing().severity() {
            *cell = row;
        }
    }
    let many = layers.len() > 1;
    for (layer, cells) in layers {
        table.inside("tr", "", |tr| {
            let name = match (layer, many) {
                (0, false) => title.to_owned(),
                (0, true) => format!("{title}, layer 0"),
                _ => format!("layer {layer}"),
            };
            tr.say("th", "scope=row", &name);
            for station in stations {
                match cells.get(station) {
                    Some(row) => {
                        let (class, word) = standing(row);
                        tr.inside(
                            "td",
                            &format!("class=\"{class}\" {}", attribute("title", &format!("{}: {word}", row.name))),
                            |td| {
                                if !linked {
                                    return td.text(row.standing().sign());
                                }
                                let link = format!(
                                    "{} {}",
                                    attribute("href", &format!("#{}", anchor(&row.name))),
                                    attribute("aria-label", &format!("{}: {word}", row.name))
                                );
                                td.say("a", &link, row.standing().sign());
                            },
                        );
                    }
                    None => tr.say("td", "class=empty", ""),
                }
            }
        });
    }
}
