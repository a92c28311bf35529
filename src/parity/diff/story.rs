//! A diff told to a person: the conclusion first, then the numbers around the worst element, then each station on a line.

use anstyle::{AnsiColor, Style};

use super::super::tolerance::{Profile, Rule};
use super::figures::{long, short};
use super::formula::formula;
use super::rows::Local;
use super::text::TEXT;
use super::{Diff, First, Location, Noise, Outcome, Row, Standing};

/// The whole of it, with colours; a stream that wants none strips them.
pub fn tell(diff: &Diff) -> String {
    let mut text = String::new();
    match diff.outcome {
        Outcome::NotComparable => not_comparable(diff, &mut text),
        Outcome::Parity => parity(diff, &mut text),
        Outcome::Divergence => divergence(diff, &mut text),
    }
    if let [disagreement, others @ ..] = diff.disagreements.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!("; and {} more of the kind", others.len()) };
        point(&mut text, "Manifest", &format!("{disagreement}{more}"));
    }
    sides(diff, &mut text);
    if diff.rows.is_empty() {
        return text;
    }
    if let Some(location) = diff.first.as_ref().and_then(|first| first.location.as_ref()) {
        window(location, &mut text);
    }
    table(diff, &mut text);
    counts(diff, &mut text);
    text
}

fn line(text: &mut String, content: &str) {
    text.push_str(content.trim_end());
    text.push('\n');
}

/// `  word  sentence`, the word in bold; lines stay lines.
fn point(text: &mut String, word: &str, sentence: &str) {
    let word = paint(Style::new().bold(), &format!("{word:<10}"));
    let wrapped = sentence.lines().flat_map(|sentence| wrap(sentence, 84));
    let sentence = wrapped.collect::<Vec<_>>().join(&format!("\n{:14}", ""));
    line(text, &format!("  {word}  {sentence}"));
}

fn not_comparable(diff: &Diff, text: &mut String) {
    let head = paint(AnsiColor::Yellow.on_default().bold(), "NOT COMPARABLE");
    let fields: Vec<&str> = diff.mismatches.iter().map(|mismatch| mismatch.field).collect();
    line(text, &format!("{head}  the two captures are not of the same computation: {}", fields.join(", ")));
    for mismatch in &diff.mismatches {
        point(text, mismatch.field, &format!("expected {}", mismatch.expected));
        let width = 4 + mismatch.field.len().max(10);
        line(text, &format!("{:<1$}found    {2}", "", width, mismatch.found));
    }
    let advice = match diff.mismatches.iter().any(|mismatch| mismatch.field == "model_digest") {
        true => {
            "capture both with the same model; a quantised model is compared with its original by --allow-different-weights"
        }
        false => "capture both with the same model and the same prompt",
    };
    point(text, "To do", advice);
}

fn parity(diff: &Diff, text: &mut String) {
    let head = paint(AnsiColor::Green.on_default().bold(), "PARITY");
    let agree = diff.count(Standing::Agrees);
    if let Some(noise) = diff.noise {
        line(
            text,
            &format!("{head}  {agree} {} the signal that is asked for.", plural(agree, "tensor keeps", "tensors keep")),
        );
        least(diff, noise, text);
        return not_compared(diff, text);
    }
    let worst = diff.rows.iter().filter_map(|row| Some((row, row.comparison.numbers.as_ref()?)));
    let closest = worst
        .filter(|(row, numbers)| row.standing() == Standing::Agrees && numbers.tolerance > 0.0)
        .max_by(|(_, a), (_, b)| (a.needed / a.tolerance).total_cmp(&(b.needed / b.tolerance)));
    let closest = closest.map_or(String::new(), |(row, numbers)| {
        if numbers.needed == 0.0 {
            return "; every number is equal".to_owned();
        }
        format!("; the closest to its limit is {}: {} of {}", row.name, short(numbers.needed), short(numbers.tolerance))
    });
    line(
        text,
        &format!("{head}  {agree} {} within tolerance{closest}.", plural(agree, "tensor agrees", "tensors agree")),
    );
    not_compared(diff, text);
}

/// Where least of the signal is left: of whole passes, and of steps on their own inputs.
fn least(diff: &Diff, noise: Noise, text: &mut String) {
    let told = |(row, sqnr): (&Row, f64), asked: f64| format!("{sqnr:.1} dB at {}, {asked:.0} dB asked for", row.name);
    if let Some(found) = diff.least_accumulated() {
        point(text, "Whole", &format!("{} ({})", told(found, noise.accumulated), noise.reason));
    }
    if let Some(found) = diff.least_by_itself() {
        point(text, "By itself", &told(found, noise.by_itself));
    }
}

fn not_compared(diff: &Diff, text: &mut String) {
    let others = diff.count(Standing::NotCompared);
    if others > 0 {
        let names = diff.rows.iter().filter(|row| row.standing() == Standing::NotCompared).map(|row| row.name.as_str());
        let mut names: Vec<&str> = names.take(4).collect();
        if others > names.len() {
            names.push("…");
        }
        let told = format!(
            "{others} {} not compared, and so not passed: {}; see below.",
            plural(others, "tensor was", "tensors were"),
            names.join(", ")
        );
        point(text, "Note", &told);
    }
}

fn divergence(diff: &Diff, text: &mut String) {
    let head = paint(AnsiColor::Red.on_default().bold(), "DIVERGES");
    if let Some(tokens) = &diff.tokens {
        line(text, &format!("{head}  at the token ids, before anything is computed: {tokens}."));
        point(text, "Expected", &excerpt(&tokens.expected));
        point(text, "Found", &excerpt(&tokens.found));
        point(
            text,
            "Check",
            "how the prompt becomes tokens: no special token is added, and each is fed once, in order",
        );
        return;
    }
    let Some(row) = diff.first_row() else { return without_place(diff, &head, text) };
    let Some(first) = &diff.first else { return };
    let place = first.place;
    let layer = if place.station.is_of_a_layer() { format!(" of layer {}", place.layer) } else { String::new() };
    let step = if place.step > 0 { format!(" after decode step {}", place.step) } else { String::new() };
    line(text, &format!("{head}  first at {}: {}{layer}{step}.", bold(&row.name), diff.words().title(place.station)));
    if let Some(diagnosis) = &first.diagnosis {
        point(text, "Cause", diagnosis);
    }
    what_is_wrong(row, first, text);
    for pattern in &first.patterns {
        point(text, "Looks like", &pattern.told);
    }
    point(text, "Check", formula(diff.words(), place.station));
    before_it(diff, row, text);
    other_text(diff, text);
}

/// The generated text, which no tensor shows.
fn other_text(diff: &Diff, text: &mut String) {
    let Some(other) = &diff.text else { return };
    if let Some(diagnosis) = &other.diagnosis {
        point(text, "Cause", diagnosis);
    }
    point(text, "Text", &format!("expected {:?}, found {:?}", other.expected, other.found));
    if let Some(pattern) = other.pattern {
        point(text, "Looks like", pattern);
    }
}

/// Missing tensors and near ties have no place where numbers part.
fn without_place(diff: &Diff, head: &str, text: &mut String) {
    let names: Vec<&str> = diff.missing().map(|row| row.name.as_str()).collect();
    if diff.text.is_some() {
        line(text, &format!("{head}  first at {}: the generated text, by itself.", bold(TEXT)));
        other_text(diff, text);
    } else if let Some(noise) = diff.noise
        && names.is_empty()
    {
        line(text, &format!("{head}  a step keeps less of its own inputs' signal than an engine's rounding explains."));
        return least(diff, noise, text);
    }
    if !names.is_empty() {
        let subject = plural(names.len(), "tensor is missing", "tensors are missing");
        line(text, &format!("{head}  {} {subject} from the found capture: {}.", names.len(), few(&names)));
        point(text, "Note", "no tensor that is there differs; one that is missing has not passed");
    }
    for row in diff.rows.iter().filter(|row| row.standing() == Standing::NearTie) {
        let tie = paint(AnsiColor::Magenta.on_default().bold(), "NEAR-TIE");
        line(text, &format!("{tie}  {}: another token, and the logits could not decide.", row.name));
        point(text, "Logits", row.comparison.remark.as_deref().unwrap_or_default());
    }
    let tie_or_missing = !names.is_empty() || diff.count(Standing::NearTie) > 0 || diff.text.is_some();
    if !tie_or_missing && !diff.disagreements.is_empty() {
        line(text, &format!("{head}  every tensor agrees, and a manifest says something else than its tensors."));
    } else if names.is_empty()
        && diff.text.is_none()
        && diff.count(Standing::Agrees) == 0
        && diff.count(Standing::NearTie) == 0
    {
        line(text, &format!("{head}  no tensor could be compared: the two captures have no station in common."));
    }
}

fn what_is_wrong(row: &Row, first: &First, text: &mut String) {
    if let Some(remark) = &row.comparison.remark {
        point(text, "Wrong", remark);
    }
    let Some((location, numbers)) = first.location.as_ref().zip(row.comparison.numbers.as_ref()) else { return };
    let difference = (location.found - location.expected).abs();
    let Location { expected, found, .. } = location;
    let (index, extent) = (location.told_index(), location.told_extent());
    let share = format!("{} of {} numbers", location.beyond, location.count);
    point(text, "Where", &format!("{extent}; {share} are beyond the tolerance; worst at {index}"));
    let allowed = match row.tolerance.rule {
        Rule::Exact => "they must be equal bit for bit".to_owned(),
        rule => format!("{} is allowed", short(rule.allowed(*expected))),
    };
    let told = format!(
        "expected {}, found {}: {} apart, {allowed} ({})",
        long(*expected),
        long(*found),
        short(difference),
        row.tolerance.reason
    );
    point(text, "How much", &told);
    let told = format!(
        "cosine {:.6}, NMSE {}, RMSE {}, mean difference {}",
        numbers.cosine,
        short(numbers.nmse),
        short(numbers.rmse),
        short(numbers.mean_difference)
    );
    point(text, "Overall", &told);
}

/// What is known to be right, and what is not known.
fn before_it(diff: &Diff, row: &Row, text: &mut String) {
    let before = || diff.rows.iter().take_while(|other| other.name != row.name);
    let names: Vec<&str> =
        before().filter(|other| other.standing() == Standing::Agrees).map(|row| row.name.as_str()).collect();
    let told = match names.as_slice() {
        [] => "nothing was compared before it".to_owned(),
        [one] => format!("{one} agrees"),
        [.., last] => format!("all {} tensors compared before it agree, up to {last}", names.len()),
    };
    point(text, "Before it", &told);
    let missing: Vec<&str> =
        before().filter(|other| other.standing() == Standing::Missing).map(|row| row.name.as_str()).collect();
    if !missing.is_empty() {
        let told =
            format!("{} {}: it may begin there", few(&missing), plural(missing.len(), "is missing", "are missing"));
        point(text, "Unknown", &told);
    }
    let others: Vec<&str> = diff
        .rows
        .iter()
        .filter(|other| other.standing() == Standing::Diverges && other.name != row.name)
        .map(|row| row.name.as_str())
        .collect();
    if !others.is_empty() {
        point(text, "Also", &format!("{}, which {} does not go into", few(&others), row.name));
    }
    let local = |other: &&Row| other.name != row.name && other.local.is_some_and(|local| local.verdict.is_divergence());
    let wrong: Vec<&str> = diff.rows.iter().filter(local).map(|row| row.name.as_str()).collect();
    if !wrong.is_empty() {
        point(
            text,
            "Second",
            &format!(
                "{} {} wrong on {} own inputs too",
                few(&wrong),
                plural(wrong.len(), "is", "are"),
                plural(wrong.len(), "its", "their")
            ),
        );
    }
}

fn sides(diff: &Diff, text: &mut String) {
    text.push('\n');
    for (word, side) in [("reference", &diff.reference), ("found", &diff.found)] {
        let model = if side.model.is_empty() { String::new() } else { format!(" · {}", side.model) };
        line(text, &dim(&format!("{word:<9}  {}{model} · {} tensors", side.title(), side.tensors)));
    }
    if !diff.token_ids.is_empty() {
        let count = diff.token_ids.len();
        let told = format!("prompt     {count} {} {}", plural(count, "token", "tokens"), excerpt(&diff.token_ids));
        line(text, &dim(&told));
    }
    if diff.profile != Profile::Exact {
        line(text, &format!("profile    {}: {}", diff.profile.name(), diff.profile.reason()));
    }
    if !diff.unknown.is_empty() {
        let told = format!("not known  {}: one side does not say, so that nobody checked it", diff.unknown.join(", "));
        line(text, &told);
    }
    text.push('\n');
}

/// Reference and found side by side around the worst element.
fn window(location: &Location, text: &mut String) {
    let window = &location.window;
    let others: Vec<String> = location
        .index
        .iter()
        .take(location.index.len().saturating_sub(1))
        .map(|coordinate| format!("{} {}", coordinate.axis, coordinate.at))
        .collect();
    let place = if others.is_empty() { String::new() } else { format!(", {}", others.join(", ")) };
    line(text, &bold(&format!("Around the worst element{place}")));
    let columns: Vec<usize> = (window.from..window.from + window.reference.len()).collect();
    let mut row = |label: &str, cell: &dyn Fn(usize) -> String| {
        let mut content = format!("  {label:<18}");
        for at in &columns {
            let cell = format!("{:>13}", cell(*at - window.from));
            content.push_str(&if *at == window.at { bold(&cell) } else { cell });
        }
        line(text, &content);
    };
    row(window.axis, &|at| (window.from + at).to_string());
    row("reference", &|at| long(window.reference[at]));
    row("found", &|at| long(window.found[at]));
    row("difference", &|at| short(window.found[at] - window.reference[at]));
    text.push('\n');
}

fn table(diff: &Diff, text: &mut String) {
    let width = diff.rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max(7);
    let isolated = diff.rows.iter().any(|row| row.local.is_some());
    let local_head = if isolated { format!("  {:>9}", "by itself") } else { String::new() };
    let head = format!(
        "{:<width$}  {:<12}  {:>9}  {:>9}  {:>9}{local_head}",
        "station", "verdict", "max abs", "allowed", "needed"
    );
    line(text, &bold(&head));
    for row in &diff.rows {
        let standing = row.standing();
        let word = format!("{:<12}", word(row));
        let styled = paint(style(standing), &word);
        let remark = row.comparison.remark.as_deref().unwrap_or_default();
        let content = match &row.comparison.numbers {
            Some(numbers) => {
                let remark = if standing == Standing::Agrees && remark.is_empty() {
                    String::new()
                } else {
                    format!("  {remark}")
                };
                let [max, allowed, needed] = [numbers.max_abs.value, numbers.tolerance, numbers.needed].map(short);
                let alone = |local: &Local| match diff.noise {
                    Some(_) if local.max_abs == 0.0 => "exact".to_owned(),
                    Some(_) => format!("{:.1} dB", local.sqnr),
                    None => short(local.max_abs),
                };
                let local = match (&row.local, isolated) {
                    (Some(local), _) if local.verdict.is_divergence() => {
                        format!("  {}", paint(AnsiColor::Red.on_default(), &format!("{:>9}", alone(local))))
                    }
                    (Some(local), _) => format!("  {:>9}", alone(local)),
                    (None, true) => format!("  {:>9}", "–"),
                    (None, false) => String::new(),
                };
                format!("{max:>9}  {allowed:>9}  {needed:>9}{local}{remark}")
            }
            None => remark.to_owned(),
        };
        let name = format!("{:<width$}", row.name);
        let is_aside = matches!(standing, Standing::Downstream | Standing::NotCompared);
        let [name, content] = if is_aside { [dim(&name), dim(&content)] } else { [name, content] };
        line(text, &format!("{name}  {styled}  {content}"));
    }
    text.push('\n');
}

/// The word of a row: its verdict, or that it follows from what went before.
fn word(row: &Row) -> &'static str {
    if row.standing() == Standing::Downstream { "downstream" } else { row.comparison.verdict.word() }
}

fn counts(diff: &Diff, text: &mut String) {
    let kinds = [
        (Standing::Agrees, "agree"),
        (Standing::Diverges, "diverge"),
        (Standing::Downstream, "downstream"),
        (Standing::NearTie, "near tie"),
        (Standing::Missing, "missing"),
        (Standing::NotCompared, "not compared"),
    ];
    let told = kinds.into_iter().map(|(standing, word)| (diff.count(standing), standing, word));
    let told: Vec<String> = told
        .filter(|(count, ..)| *count > 0)
        .map(|(count, standing, word)| paint(style(standing), &format!("{count} {word}")))
        .collect();
    let profile =
        if diff.profile == Profile::Exact { String::new() } else { format!(" (profile {})", diff.profile.name()) };
    line(text, &format!("{} tensors: {}{profile}", diff.rows.len(), told.join(", ")));
}

fn style(standing: Standing) -> Style {
    match standing {
        Standing::Agrees => AnsiColor::Green.on_default(),
        Standing::Diverges | Standing::Missing => AnsiColor::Red.on_default().bold(),
        Standing::NearTie => AnsiColor::Magenta.on_default().bold(),
        Standing::Downstream => Style::new().dimmed(),
        Standing::NotCompared => AnsiColor::Cyan.on_default(),
    }
}

fn paint(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

fn bold(text: &str) -> String {
    paint(Style::new().bold(), text)
}

fn dim(text: &str) -> String {
    paint(Style::new().dimmed(), text)
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn few(names: &[&str]) -> String {
    match names.len() {
        0..=4 => names.join(", "),
        count => format!("{} and {} more", names[..3].join(", "), count - 3),
    }
}

fn excerpt(ids: &[u32]) -> String {
    let shown: Vec<String> = ids.iter().take(12).map(u32::to_string).collect();
    format!("[{}{}]", shown.join(", "), if ids.len() > 12 { ", …" } else { "" })
}

/// Lines no longer than `width`, broken at spaces.
fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let indent = sentence.len() - sentence.trim_start().len();
    let mut lines = vec![sentence[..indent].to_owned()];
    for word in sentence.trim_start().split(' ') {
        let current = lines.last_mut().map(|line| line.chars().count()).unwrap_or_default();
        if current > indent && current + 1 + word.chars().count() > width {
            lines.push(format!("{:indent$}{word}", ""));
        } else if let Some(line) = lines.last_mut() {
            if current > indent {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
