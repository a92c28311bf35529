//! Engines × stations: the whole page in one look.

use std::collections::BTreeMap;

use super::super::Place;
use super::super::diff::{Diff, Row, Standing};
use super::super::station::title;
use super::diff::CapturePair;
use super::html::{Html, attribute};
use super::station::{anchor, standing};
use crate::layers::Station;

/// A row for each engine (or for each layer of one, where it shows several), a column for each station.
pub fn engines(parent: &mut Html, pairs: &[CapturePair]) {
    let stations: Vec<Station> = {
        let mut stations: Vec<Station> =
            pairs.iter().flat_map(|pair| &pair.diff.rows).filter_map(|row| Some(row.place?.station)).collect();
        stations.sort();
        stations.dedup();
        stations
    };
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
                        tr.inside("th", &format!("scope=col {}", attribute("title", title(*station))), |th| {
                            th.say("span", "", &head(*station));
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

/// `cp06.gelu`, with every step and layer in one column.
fn head(station: Station) -> String {
    station.name(0, 0).replace(".step0", "").replace("block.00", "block")
}

fn lines(table: &mut Html, diff: &Diff, stations: &[Station]) {
    let mut layers: BTreeMap<usize, BTreeMap<Station, &Row>> = BTreeMap::new();
    for row in &diff.rows {
        let Some(Place { station, layer, .. }) = row.place else { continue };
        let cell = layers.entry(layer).or_default().entry(station).or_insert(row);
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
