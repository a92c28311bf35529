//! Prometheus text, as `GET /metrics` answers it: samples with their labels, and what changed between two scrapes.

use std::collections::BTreeMap;
use std::fmt;

use super::Finding;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", key(&self.name, &self.labels))
    }
}

/// One answer of `GET /metrics`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    pub samples: Vec<Sample>,
    /// From the `# TYPE` lines: metric → `counter`, `gauge`, `histogram`, `summary`, `untyped`.
    pub types: BTreeMap<String, String>,
}

/// A sample that is not the same in two scrapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The name with its labels, as the text writes them.
    pub sample: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |value: Option<f64>| value.map_or("absent".to_string(), |value| value.to_string());
        write!(out, "{}: {} → {}", self.sample, told(self.before), told(self.after))
    }
}

impl Scrape {
    pub fn parse(text: &str) -> Result<Scrape, Finding> {
        let mut scrape = Scrape::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                let words: Vec<&str> = comment.split_whitespace().collect();
                if let ["TYPE", name, kind] = words[..] {
                    scrape.types.insert(name.into(), kind.into());
                }
            } else if !line.is_empty() {
                let sample = sample(line).map_err(|problem| {
                    Finding::fail("Prometheus text", format!("line {}: {problem}: {line}", number + 1))
                })?;
                scrape.samples.push(sample);
            }
        }
        Ok(scrape)
    }

    /// The value of the sample with this name and at least these labels; a finding where there is none or several.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64, Finding> {
        let wanted = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<&Sample> = self.samples.iter().filter(wanted).collect();
        match found[..] {
            [one] => Ok(one.value),
            [] => {
                let near: Vec<String> = self.samples.iter().filter(|s| s.name == name).map(Sample::to_string).collect();
                let shown =
                    if near.is_empty() { "it is not there".into() } else { format!("only {}", near.join(", ")) };
                Err(Finding::fail(format!("the metric {name} {labels:?}"), shown))
            }
            _ => Err(Finding::fail(format!("one sample {name} {labels:?}"), format!("{} samples", found.len()))),
        }
    }

    /// The sum over all labels; 0 where the metric has no sample yet.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name) || self.types.contains_key(name)
    }

    /// All samples that are not the same in `after`, those left out whose name is in `except`.
    pub fn changes(&self, after: &Scrape, except: &[&str]) -> Vec<Change> {
        let index = |scrape: &Scrape| -> BTreeMap<String, f64> {
            let kept = scrape.samples.iter().filter(|sample| !except.contains(&sample.name.as_str()));
            kept.map(|sample| (sample.to_string(), sample.value)).collect()
        };
        let (old, new) = (index(self), index(after));
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        let change = |name: &String| {
            let (before, after) = (old.get(name).copied(), new.get(name).copied());
            let same = before.map(f64::to_bits) == after.map(f64::to_bits);
            (!same).then(|| Change { sample: name.clone(), before, after })
        };
        names.into_iter().filter_map(change).collect()
    }
}

fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_string();
    }
    let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// `name{label="value",…} value [timestamp]`
fn sample(line: &str) -> Result<Sample, String> {
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).ok_or("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no metric name".into());
    }
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let mut words = rest.split_whitespace();
    let value = match words.next().ok_or("no value")? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().map_err(|_| format!("{number:?} is no number"))?,
    };
    if words.next().is_some_and(|timestamp| timestamp.parse::<i64>().is_err()) || words.next().is_some() {
        return Err("more than a value and a timestamp".into());
    }
    Ok(Sample { name: name.into(), labels, value })
}

/// Reads up to the closing brace and gives what follows it.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (label, value) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next() {
                None => return Err("a label whose quote is not closed".into()),
                Some((at, '"')) => break at,
                Some((_, '\\')) => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    _ => return Err("an unknown escape in a label".into()),
                },
                Some((_, character)) => text.push(character),
            }
        };
        labels.insert(label.trim().into(), text);
        rest = &value[end + 1..];
    }
}
