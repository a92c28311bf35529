//! One station on a card: its map, its histogram, and found against reference.

use std::fmt::Write as _;

use super::super::diff::figures::short;
use super::super::diff::{Row, Standing};
use super::html::{Html, attribute, escape};
use super::picture::{Histogram, Map, StationPicture};
use crate::parity::Words;

const MAP_WIDTH: usize = 320;
const CHART: (usize, usize) = (156, 84);

pub fn card(parent: &mut Html, words: Words, row: &Row, picture: Option<&StationPicture>) {
    let (class, word) = standing(row);
    let attributes = format!("class=\"card {class}\" {}", attribute("id", &anchor(&row.name)));
    parent.inside("article", &attributes, |card| {
        card.inside("h3", "", |h3| {
            h3.say("code", "", &row.name);
            h3.say("span", &format!("class=\"mark {class}\""), word);
        });
        if let Some(place) = row.place {
            card.say("p", "class=quiet", words.title(place.station));
        }
        if let Some(picture) = picture {
            card.raw(&map(&picture.map, &row.name));
            card.inside("div", "class=charts", |charts| {
                charts.raw(&histogram(&picture.histogram, &row.name));
                charts.raw(&scatter(&picture.points, &row.name));
            });
        }
        if let Some(remark) = &row.comparison.remark {
            card.say("p", "", remark);
        }
        figures(card, row);
    });
}

fn figures(card: &mut Html, row: &Row) {
    let Some(numbers) = &row.comparison.numbers else { return };
    let mut pairs = vec![
        ("shape", format!("{:?}", row.comparison.found_shape)),
        ("max abs", short(numbers.max_abs.value)),
        ("allowed", short(numbers.tolerance)),
        ("needed", short(numbers.needed)),
        ("RMSE", short(numbers.rmse)),
        ("cosine", format!("{:.6}", numbers.cosine)),
    ];
    if let Some(local) = row.local {
        pairs.push(("by itself", short(local.max_abs)));
    }
    card.inside("dl", "", |list| {
        for (name, value) in pairs {
            list.inside("div", "", |pair| {
                pair.say("dt", "", name);
                pair.say("dd", "", &value);
            });
        }
    });
}

/// The class and the word of a row's standing; every colour has a word beside it.
pub fn standing(row: &Row) -> (&'static str, &'static str) {
    match row.standing() {
        Standing::Agrees => ("pass", "agrees"),
        Standing::Diverges => ("fail", "diverges"),
        Standing::Downstream => ("after", "downstream"),
        Standing::NearTie => ("tie", "near tie"),
        Standing::Missing => ("fail", "missing"),
        Standing::NotCompared => ("none", "not compared"),
    }
}

pub fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// One path for each level: runs of equal cells as rectangles.
fn map(map: &Map, name: &str) -> String {
    let mut paths = vec![String::new(); 8];
    for (y, line) in map.levels.chunks(map.columns.max(1)).enumerate() {
        let mut x = 0;
        while x < line.len() {
            let level = line[x];
            let run = line[x..].iter().take_while(|other| **other == level).count();
            if level > 0 {
                let _ = write!(paths[usize::from(level)], "M{x} {y}h{run}v1h-{run}z");
            }
            x += run;
        }
    }
    let height = (map.rows * 8).clamp(16, 140);
    let worst = map.levels.iter().copied().max().unwrap_or_default();
    let words = [
        "every number is equal",
        "all differences are below a thousandth of the tolerance",
        "all differences are below a hundredth of the tolerance",
        "all differences are below a tenth of the tolerance",
        "all differences are within the tolerance",
        "differences are up to 10 times the tolerance",
        "differences are up to 100 times the tolerance",
        "differences are more than 100 times the tolerance",
    ];
    let ((down, high), (across, wide)) = (&map.down, &map.across);
    let told =
        format!("{name}: map of the error, {high} × {wide} ({down} by {across}): {}.", words[usize::from(worst)]);
    let mut svg = format!(
        "<figure class=map><svg role=img viewBox=\"0 0 {} {}\" width={MAP_WIDTH} height={height} preserveAspectRatio=none \
         shape-rendering=crispEdges><title>{}</title><rect class=l0 width={} height={} />",
        map.columns,
        map.rows,
        escape(&told),
        map.columns,
        map.rows
    );
    for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let _ = write!(svg, "<path class=l{level} d=\"{path}\"/>");
    }
    let _ = writeln!(
        svg,
        "</svg><figcaption>{high} {down}{} ↓ · {wide} {} →</figcaption></figure>",
        s(*high),
        escape(across)
    );
    svg
}

fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Bars of half decades; the line is the tolerance.
fn histogram(histogram: &Histogram, name: &str) -> String {
    let (width, height) = CHART;
    let plot = height - 14;
    let bins = histogram.counts.len().max(1);
    let most = histogram.counts.iter().copied().max().unwrap_or_default().max(1) as f64;
    let step = width as f64 / bins as f64;
    let limit = histogram.tolerance_at.map_or(width as f64 + 1.0, |at| at * width as f64);
    let mut bars = String::new();
    for (bin, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // Few stay visible beside many.
        let tall = (*count as f64 / most).sqrt() * (plot as f64 - 4.0);
        let x = bin as f64 * step;
        let class = if bin > 0 && x >= limit - 0.01 { "over" } else { "under" };
        let _ = write!(
            bars,
            "<rect class={class} x={x:.1} y={:.1} width={:.1} height={tall:.1} />",
            plot as f64 - tall,
            step - 0.6
        );
    }
    if let Some(at) = histogram.tolerance_at {
        let x = at * width as f64;
        let _ = write!(bars, "<path class=limit d=\"M{x:.1} 0V{plot}\"/>");
    }
    let total: usize = histogram.counts.iter().sum();
    let equal = histogram.counts.first().copied().unwrap_or_default();
    let told = format!("{name}: histogram of {total} differences on a logarithmic scale; {equal} are 0.");
    let mut labels = String::new();
    for (decade, label) in [(-9.0, "1e-9"), (-6.0, "1e-6"), (-3.0, "1e-3"), (0.0, "1")] {
        let x = (1.0 + (decade + 12.0) * 2.0) * step;
        let _ = write!(labels, "<text x={x:.1} y={} >{label}</text>", height - 3);
    }
    format!(
        "<svg role=img class=histogram viewBox=\"0 0 {width} {height}\" width={width} height={height}><title>{}</title>\
         <path class=axis d=\"M0 {plot}H{width}\"/>{bars}{labels}</svg>\n",
        escape(&told)
    )
}

/// Found over reference: on the line where they agree.
fn scatter(points: &[(f64, f64)], name: &str) -> String {
    let size = CHART.1 as f64;
    let finite = points.iter().flat_map(|(r, f)| [*r, *f]);
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let span = if high > low { high - low } else { 1.0 };
    let place = |value: f64| 3.0 + (value - low) / span * (size - 6.0);
    let mut dots = String::new();
    for (r, f) in points {
        let _ = write!(dots, "M{:.1} {:.1}h.01", place(*r), size - place(*f));
    }
    let worst = points.last().map_or(String::new(), |(r, f)| {
        format!("<circle class=worst cx={:.1} cy={:.1} r=3 />", place(*r), size - place(*f))
    });
    let range = if points.is_empty() {
        "no finite numbers".to_owned()
    } else {
        format!("from {} to {}", short(low), short(high))
    };
    let told = format!("{name}: found (up) against reference (right), {range}; the ring is the worst element.");
    format!(
        "<svg role=img class=scatter viewBox=\"0 0 {size} {size}\" width={size} height={size}><title>{}</title>\
         <path class=axis d=\"M0 {size}L{size} 0\"/><path class=dots d=\"{dots}\"/>{worst}</svg>\n",
        escape(&told)
    )
}
