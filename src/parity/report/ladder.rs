//! The ladder: eight rungs from the ground up, and how far the worker climbed.

use std::fmt::Write as _;

use super::cases::Case;
use super::html::{Html, escape};

/// A rung with the cases that judged it.
#[derive(Clone, Debug, Default)]
pub struct Rung {
    pub number: u8,
    pub name: String,
    pub cases: Vec<Case>,
}

impl Rung {
    /// The gravest of its cases: `fail`, `tie`, `warn`, `pass`, or `none` where nothing could be asked.
    fn class(&self) -> &'static str {
        let has = |class: &str| self.cases.iter().any(|case| case.class == class);
        ["fail", "tie", "warn", "pass"].into_iter().find(|class| has(class)).unwrap_or("none")
    }

    fn told(&self) -> String {
        let count = |class: &str| self.cases.iter().filter(|case| case.class == class).count();
        let words =
            [("pass", "passed"), ("fail", "failed"), ("tie", "open"), ("warn", "not strict"), ("none", "not tested")];
        let told = words.iter().filter(|(class, _)| count(class) > 0);
        let told: Vec<String> = told.map(|(class, word)| format!("{} {word}", count(class))).collect();
        if told.is_empty() { "not asked".to_owned() } else { told.join(", ") }
    }
}

const WIDTH: f64 = 720.0;
const STEP: f64 = 44.0;

pub fn section(parent: &mut Html, rungs: &[Rung]) {
    parent.inside("section", "", |section| {
        section.say("h2", "", "The ladder");
        let told = "Each rung beats what passes the ones below it. It is read from the bottom: what is not green on one rung \
                    makes those above it say less.";
        section.say("p", "class=quiet", told);
        section.inside("div", "class=scroll", |scroll| scroll.raw(&picture(rungs)));
    });
}

fn picture(rungs: &[Rung]) -> String {
    let height = STEP * rungs.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg class=ladder role=img viewBox=\"0 0 {WIDTH} {height}\" width={WIDTH} height={height}><title>The rungs of the ladder, the first at the bottom</title>"
    );
    for x in [14.0, 150.0] {
        let _ = write!(svg, "<rect class=rail x={x} y=0 width=7 height={height} rx=3.5 />");
    }
    for (at, rung) in rungs.iter().rev().enumerate() {
        let y = STEP * at as f64 + 14.0;
        let class = rung.class();
        let title: Vec<String> = rung.cases.iter().map(|case| format!("{} {}", case.verdict, case.name)).collect();
        let _ = write!(
            svg,
            "<g><title>{}</title><rect class=\"rung {class}\" x=8 y={y} width=155 height=20 rx=5 />\
             <text class=number x=85 y={}>{}</text>\
             <text class=name x=182 y={}>{}</text><text class=told x=380 y={}>{}</text></g>",
            escape(&title.join("\n")),
            y + 14.5,
            rung.number,
            y + 15.0,
            escape(&rung.name),
            y + 15.0,
            escape(&rung.told())
        );
    }
    svg.push_str("</svg>\n");
    svg
}
