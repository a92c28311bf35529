//! The cases of a run: how many ended how, and for each that is not green everything that it has to show.

use super::html::{Html, attribute};

#[derive(Clone, Debug, Default)]
pub struct Cases {
    /// One sentence: what was tested.
    pub target: String,
    pub warning: Option<String>,
    pub seconds: f64,
    pub list: Vec<Case>,
}

#[derive(Clone, Debug, Default)]
pub struct Case {
    pub address: String,
    pub name: String,
    pub feature: String,
    pub level: String,
    pub requirements: Vec<String>,
    /// The word, as everywhere else.
    pub verdict: String,
    /// Which colour: `pass`, `fail`, `tie`, `warn` or `none`.
    pub class: &'static str,
    pub seconds: f64,
    /// Expected, found, and the evidence; empty for a case that passed.
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug)]
pub struct Note {
    pub title: String,
    pub text: String,
}

/// The counts, as a bar and in words.
pub fn summary(parent: &mut Html, cases: &Cases) {
    let mut counts: Vec<(&str, &str, usize)> = Vec::new();
    for case in &cases.list {
        match counts.iter_mut().find(|(word, ..)| *word == case.verdict) {
            Some((.., count)) => *count += 1,
            None => counts.push((&case.verdict, case.class, 1)),
        }
    }
    let order = ["pass", "fail", "tie", "warn", "none"];
    counts.sort_by_key(|(_, class, _)| order.iter().position(|other| other == class));
    let green = !cases.list.is_empty() && cases.list.iter().all(|case| matches!(case.class, "pass" | "none" | "warn"));
    parent.inside("section", "", |section| {
        section.inside("div", if green { "class=\"conclusion pass\"" } else { "class=\"conclusion fail\"" }, |block| {
            block.say("p", "class=verdict", if green { "Nothing failed" } else { "Not everything holds" });
            block.say("p", "class=lead", &cases.target);
            if let Some(warning) = &cases.warning {
                block.say("p", "class=warning", warning);
            }
            bar(block, &counts, cases.list.len());
            let told: Vec<String> = counts.iter().map(|(word, _, count)| format!("{count} {word}")).collect();
            block.say("p", "", &format!("{} cases in {:.1} s: {}.", cases.list.len(), cases.seconds, told.join(", ")));
        });
    });
}

fn bar(block: &mut Html, counts: &[(&str, &str, usize)], total: usize) {
    block.raw("<svg class=bar aria-hidden=true viewBox=\"0 0 1000 10\" preserveAspectRatio=none width=100% height=10>");
    let mut x = 0.0;
    for (_, class, count) in counts {
        let width = *count as f64 * 1000.0 / total.max(1) as f64;
        block.raw(&format!("<rect class=\"{class}\" x={x:.1} width={width:.1} height=10 />"));
        x += width;
    }
    block.raw("</svg>\n");
}

pub fn section(parent: &mut Html, cases: &Cases) {
    let (bad, rest): (Vec<&Case>, Vec<&Case>) =
        cases.list.iter().partition(|case| matches!(case.class, "fail" | "tie" | "warn"));
    if !bad.is_empty() {
        parent.inside("section", "", |section| {
            section.say("h2", "", "What does not hold");
            bad.iter().for_each(|case| failure(section, case));
        });
    }
    parent.inside("section", "", |section| {
        section.say("h2", "", "Every case");
        let mut features: Vec<&str> = Vec::new();
        for case in &cases.list {
            if features.last() != Some(&case.feature.as_str()) && !features.contains(&case.feature.as_str()) {
                features.push(&case.feature);
            }
        }
        for feature in features {
            let of_feature = |case: &&&Case| case.feature == feature;
            let (failed, green) = (bad.iter().filter(of_feature), rest.iter().filter(of_feature));
            let (failed, green): (Vec<&&Case>, Vec<&&Case>) = (failed.collect(), green.collect());
            section.inside("details", "", |details| {
                details.inside("summary", "", |summary| {
                    summary.text(feature);
                    let count = failed.len() + green.len();
                    summary.say("span", "class=quiet", &format!(" {count} cases"));
                    if !failed.is_empty() {
                        summary.say("span", "class=\"mark fail\"", &format!("{} not green", failed.len()));
                    }
                });
                table(details, failed.into_iter().chain(green));
            });
        }
    });
}

fn table<'a>(parent: &mut Html, cases: impl Iterator<Item = &'a &'a Case>) {
    parent.inside("table", "class=rows", |table| {
        table.inside("tr", "", |tr| {
            for head in ["Case", "Verdict", "What holds", "Requirement", "Level", "Time"] {
                tr.say("th", "scope=col", head);
            }
        });
        for case in cases {
            table.inside("tr", "", |tr| {
                tr.inside("th", "scope=row", |th| th.say("code", "", &case.address));
                tr.inside("td", "", |td| td.say("span", &format!("class=\"mark {}\"", case.class), &case.verdict));
                tr.inside("td", "", |td| {
                    td.text(&case.name);
                    // Why something was not tested belongs beside it.
                    for note in case.notes.iter().filter(|_| case.class == "none") {
                        td.say("div", "class=quiet", &format!("{}: {}", note.title, note.text));
                    }
                });
                tr.say("td", "", &case.requirements.join(", "));
                tr.say("td", "", &case.level);
                tr.say("td", "", &time(case.seconds));
            });
        }
    });
}

fn failure(section: &mut Html, case: &Case) {
    let attributes =
        format!("class=\"failure {}\" {}", case.class, attribute("id", &super::station::anchor(&case.address)));
    section.inside("article", &attributes, |article| {
        article.inside("h3", "", |h3| {
            h3.text(&case.name);
            h3.say("span", &format!("class=\"mark {}\"", case.class), &case.verdict);
        });
        let told =
            format!("{} · {} · {} · {}", case.address, case.level, case.requirements.join(", "), time(case.seconds));
        article.say("p", "class=quiet", &told);
        for note in &case.notes {
            article.say("h4", "", &note.title);
            article.say("pre", "tabindex=0", &note.text);
        }
    });
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}
