//! The kill matrix: each fault of the catalogue, and the stations that noticed it.

use super::html::{Html, attribute};

#[derive(Clone, Debug, Default)]
pub struct KillMatrix {
    /// In execution order, as columns.
    pub stations: Vec<String>,
    pub faults: Vec<Kill>,
}

#[derive(Clone, Debug, Default)]
pub struct Kill {
    pub fault: String,
    /// Where the catalogue says that it first shows.
    pub shows: String,
    /// Where it was caught; none for one that got through, or that is equivalent.
    pub caught: Option<String>,
    /// The name that the diagnosis gave it.
    pub named: Option<String>,
    /// Why no input can tell it from the real thing.
    pub equivalent: Option<String>,
    /// For each station: how far it is off, as a multiple of the tolerance; none where it was not looked at.
    pub errors: Vec<Option<f64>>,
}

impl Kill {
    fn holds(&self) -> bool {
        self.equivalent.is_some()
            || self.caught.as_ref() == Some(&self.shows) && self.named.as_ref() == Some(&self.fault)
    }
}

pub fn section(parent: &mut Html, kills: &KillMatrix) {
    let caught = kills.faults.iter().filter(|kill| kill.equivalent.is_none() && kill.holds()).count();
    let equivalent = kills.faults.iter().filter(|kill| kill.equivalent.is_some()).count();
    let through = kills.faults.len() - caught - equivalent;
    parent.inside("section", "", |section| {
        section.say("h2", "", "Kill matrix: would the harness notice?");
        let told = format!(
            "{caught} faults caught where they first show and named; {through} not; {equivalent} equivalent on every input."
        );
        section.say("p", if through > 0 { "class=\"lead bad\"" } else { "class=lead" }, &told);
        section.inside("div", "class=scroll", |scroll| {
            scroll.inside("table", "class=\"matrix kills\"", |table| {
                table.inside("tr", "", |tr| {
                    tr.say("th", "scope=col", "Fault");
                    tr.say("th", "scope=col", "Verdict");
                    for station in &kills.stations {
                        tr.inside("th", "scope=col class=up", |th| th.say("span", "", station));
                    }
                });
                kills.faults.iter().for_each(|kill| line(table, kill, &kills.stations));
            });
        });
        section.say("p", "class=quiet", "● caught here first · • differs after that · empty: within tolerance");
    });
}

fn line(table: &mut Html, kill: &Kill, stations: &[String]) {
    table.inside("tr", "", |tr| {
        tr.say("th", "scope=row", &kill.fault);
        let (class, word) = match (&kill.equivalent, kill.holds()) {
            (Some(_), _) => ("none", "equivalent"),
            (None, true) => ("pass", "caught"),
            (None, false) => ("fail", "missed"),
        };
        let why = kill.equivalent.clone().unwrap_or_else(|| match (&kill.caught, &kill.named) {
            (Some(at), Some(name)) => format!("caught at {at} as {name}; it shows at {}", kill.shows),
            (Some(at), None) => format!("caught at {at}, not named; it shows at {}", kill.shows),
            _ => format!("not caught; it shows at {}", kill.shows),
        });
        tr.inside("td", &attribute("title", &why), |td| td.say("span", &format!("class=\"mark {class}\""), word));
        for (station, error) in stations.iter().zip(&kill.errors) {
            let first = kill.caught.as_ref() == Some(station);
            let (class, sign) = match error {
                Some(_) if first => ("first", "●"),
                Some(error) if *error > 1.0 => ("after", "•"),
                _ => ("quiet", ""),
            };
            let told =
                error.map_or("not looked at".to_owned(), |error| format!("{station}: {error:.1} × the tolerance"));
            tr.inside("td", &format!("class={class} {}", attribute("title", &told)), |td| td.text(sign));
        }
    });
}
