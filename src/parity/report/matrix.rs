//! Engines × stations: the whole page in one look.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Place;
use super::super::diff::{Diff, Row, Standing};
use super::super::station::title;
use super::diff::CapturePair;
use super::html::{Html, attribute};
use super::station::{anchor, standing};
use crate::layers::Station;

/// A row for each engine (or for each layer of one, where it shows several), a column for each station.
pub fn engines(parent: &mut Html, pairs: &[CapturePair]) {
    let places = pairs.iter().flat_map(|pair| &pair.diff.rows).filter_map(|row| row.place);
    let stations: BTreeSet<Column> = places.map(Column::of).collect();
    if stations.is_empty() {
        return;
    }
    parent.inside("section", "", |section| {
        section.say("h2", "", "At a glance");
        section.inside("div", "class=scroll", |scroll| {
            scroll.inside("table", "class=matrix", |table| {
                table.inside("tr", "", |tr| {
                    tr.say("td", "", "");
                    for station in &stations {
                        tr.inside("th", &format!("scope=col {}", attribute("title", title(station.station))), |th| {
                            th.say("span", "", &station.head());
                        });
                    }
                });
                for pair in pairs {
                    lines(table, &pair.diff, &stations);
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

fn lines(table: &mut Html, diff: &Diff, stations: &BTreeSet<Column>) {
    let mut layers: BTreeMap<usize, BTreeMap<Column, &Row>> = BTreeMap::new();
    for row in &diff.rows {
        let Some(place) = row.place else { continue };
        let cell = layers.entry(place.layer).or_default().entry(Column::of(place)).or_insert(row);
        if severity(row) > severity(cell) {
            *cell = row;
        }
    }
    let many = layers.len() > 1;
    for (layer, cells) in layers {
        table.inside("tr", "", |tr| {
            let name = match (layer, many) {
                (0, false) => diff.found.title(),
                (0, true) => format!("{}, layer 0", diff.found.title()),
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
                                let link = format!(
                                    "{} {}",
                                    attribute("href", &format!("#{}", anchor(&row.name))),
                                    attribute("aria-label", &format!("{}: {word}", row.name))
                                );
                                td.say("a", &link, sign(row));
                            },
                        );
                    }
                    None => tr.say("td", "class=empty", ""),
                }
            }
        });
    }
}

fn severity(row: &Row) -> u8 {
    match row.standing() {
        Standing::Diverges => 5,
        Standing::Missing => 4,
        Standing::NearTie => 3,
        Standing::Downstream => 2,
        Standing::NotCompared => 1,
        Standing::Agrees => 0,
    }
}

fn sign(row: &Row) -> &'static str {
    match row.standing() {
        Standing::Agrees => "✓",
        Standing::Diverges => "✕",
        Standing::Downstream => "↓",
        Standing::NearTie => "≈",
        Standing::Missing => "?",
        Standing::NotCompared => "–",
    }
}
