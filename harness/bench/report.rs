//! The figures as a table for people and as JSON for programs.

use serde_json::{Map, Value, json};

use super::statistics::Samples;
use super::subject::Summary;
use super::{Figures, Metric};

#[derive(Clone, Debug)]
pub struct Results {
    pub subject: Summary,
    pub threads: usize,
    pub clients: usize,
    /// Everybody under a name; the first is the one that the others are compared with.
    pub columns: Vec<(String, Figures)>,
    /// Of as many threads, in GB/s.
    pub bandwidth: Samples,
}

impl Results {
    /// How many times as good the first is as another, by the best of each.
    pub fn ratio(&self, other: &Figures, metric: Metric) -> Option<f64> {
        let best = |figures: &Figures| figures.get(metric)?.best(metric.more_is_better()).filter(|value| *value > 0.0);
        let (own, other) = (best(&self.columns.first()?.1)?, best(other)?);
        Some(if metric.more_is_better() { own / other } else { other / own })
    }

    /// Bytes read while decoding, as a share of what memory gives: the best of each.
    pub fn share_of_bandwidth(&self, figures: &Figures) -> Option<f64> {
        let read = self.subject.read_per_token? as f64 / 1e9;
        Some(figures.get(Metric::Decode)?.highest()? * read / self.bandwidth.highest()?)
    }

    pub fn json(&self) -> Value {
        let figure = |metric: Metric, samples: &Samples| {
            json!({
                "best": samples.best(metric.more_is_better()), "median": samples.median(), "samples": samples.values(),
            })
        };
        let targets: Vec<Value> = self
            .columns
            .iter()
            .map(|(name, figures)| {
                let measured = Metric::ALL.into_iter().filter_map(|metric| Some((metric, figures.get(metric)?)));
                let metrics: Map<String, Value> =
                    measured.map(|(metric, samples)| (metric.key().to_owned(), figure(metric, samples))).collect();
                let ratios = Metric::ALL.into_iter().filter_map(|metric| Some((metric, self.ratio(figures, metric)?)));
                let ratios: Map<String, Value> =
                    ratios.map(|(metric, ratio)| (metric.key().to_owned(), ratio.into())).collect();
                json!({
                    "name": name, "metrics": metrics, "share_of_read_bandwidth": self.share_of_bandwidth(figures),
                    "first_is_better_by": ratios,
                })
            })
            .collect();
        json!({
            "model": self.subject, "threads": self.threads, "clients": self.clients,
            "read_bandwidth_gb_per_second": figure(Metric::Decode, &self.bandwidth), "targets": targets,
        })
    }

    /// A line for each metric that anybody has, a column for everybody; behind the others how many times as good the
    /// first is.
    pub fn table(&self) -> String {
        let mut rows = vec![self.head()];
        let measured = |metric: &Metric| self.columns.iter().any(|(_, figures)| figures.get(*metric).is_some());
        rows.extend(Metric::ALL.into_iter().filter(measured).map(|metric| self.row(metric)));
        let shares: Vec<Option<f64>> =
            self.columns.iter().map(|(_, figures)| self.share_of_bandwidth(figures)).collect();
        if shares.iter().any(Option::is_some) {
            let percent = |share: &Option<f64>| share.map_or_else(absent, |share| format!("{:.0} %", 100.0 * share));
            rows.push([vec!["decode, of read bandwidth".to_owned()], shares.iter().map(percent).collect()].concat());
        }
        let text = align(&rows);
        let legend = match self.columns.as_slice() {
            [(first, _), _, ..] => format!("×: how many times as good {first} is\n"),
            _ => String::new(),
        };
        format!("{}\n\n{text}\n{}\n{legend}", self.title(), self.limit())
    }

    fn title(&self) -> String {
        let Summary { model, quant_kind, file_bytes, .. } = &self.subject;
        let (threads, rounds) = (counted(self.threads, "thread"), counted(self.bandwidth.values().len(), "round"));
        format!("{model}, {quant_kind}, {:.0} MiB, {threads}: best of {rounds} (median)", *file_bytes as f64 / MIB)
    }

    fn limit(&self) -> String {
        let best = self.bandwidth.highest().unwrap_or(f64::NAN);
        let median = self.bandwidth.median().unwrap_or(f64::NAN);
        let read = match self.subject.read_per_token {
            Some(bytes) => format!("; {:.0} MB are read for each token", bytes as f64 / 1e6),
            None => String::new(),
        };
        format!("read bandwidth, {}: {best:.1} GB/s ({median:.1}){read}", counted(self.threads, "thread"))
    }

    fn head(&self) -> Vec<String> {
        let names = self.columns.iter().map(|(name, _)| shortened(name));
        std::iter::once(String::new()).chain(names).collect()
    }

    fn row(&self, metric: Metric) -> Vec<String> {
        let cell = |index: usize, figures: &Figures| {
            let Some(samples) = figures.get(metric) else { return absent() };
            let best = samples.best(metric.more_is_better()).unwrap_or(f64::NAN);
            let own = format!("{} ({})", digits(best), digits(samples.median().unwrap_or(f64::NAN)));
            match self.ratio(figures, metric).filter(|_| index > 0) {
                Some(ratio) => format!("{own}  ×{ratio:.2}"),
                None => own,
            }
        };
        let cells = self.columns.iter().enumerate().map(|(index, (_, figures))| cell(index, figures));
        std::iter::once(self.label(metric)).chain(cells).collect()
    }

    fn label(&self, metric: Metric) -> String {
        let Summary { short_prompt_tokens: short, long_prompt_tokens: long, .. } = self.subject;
        let clients = self.clients;
        match metric {
            Metric::Ready => "start to ready, s".into(),
            Metric::FirstToken => format!("first token of {short}, ms"),
            Metric::Decode => "decode, tokens/s".into(),
            Metric::GapMedian => "between tokens, p50 ms".into(),
            Metric::Gap99 => "between tokens, p99 ms".into(),
            Metric::Prefill => format!("prefill of {long}, tokens/s"),
            Metric::ResidentReady => "memory when ready, MiB".into(),
            Metric::ResidentPeak => "memory at most, MiB".into(),
            Metric::LoadRate => format!("{clients} clients, tokens/s"),
            Metric::LoadFirstToken => format!("{clients} clients, first token, p99 ms"),
        }
    }
}

const MIB: f64 = (1 << 20) as f64;

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn absent() -> String {
    "–".into()
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The end of a long command tells more than its beginning.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 32;
    let length = name.chars().count();
    if length <= LONGEST {
        name.to_owned()
    } else {
        "…".chars().chain(name.chars().skip(length - LONGEST + 1)).collect()
    }
}

/// The first column to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(at, (cell, &width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("   {cell:>width$}"),
        });
        padded.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
