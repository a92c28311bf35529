//! One page that shows a run or a comparison to people who would rather look than read: a single HTML file without a
//! script, with its pictures inside.
//!
//! [`Page`] is the data, from whoever has it: diffs with the captures they were made of, the kill matrix, the streams of
//! a run, its cases. Each part has a file; `html` is the tiny language that they are written in, `style.css` the looks.

mod cases;
mod diff;
mod gallery;
mod html;
mod kills;
mod ladder;
mod matrix;
mod picture;
mod station;
mod waterfall;

use super::diff::Diff;
use html::{Html, tag};

pub use cases::{Case, Cases, Note};
pub use diff::{CapturePair, captures};
pub use gallery::{Climb, Standing};
pub use kills::{Kill, KillMatrix};
pub use ladder::Rung;
pub use picture::StationPicture;
pub use waterfall::{Moment, Run};

/// What a page shows; what is empty is left out.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub title: String,
    pub subtitle: String,
    pub diffs: Vec<CapturePair>,
    /// Whole engines against independent ones, for the matrix alone: each under a name.
    pub engines: Vec<(String, Diff)>,
    pub cases: Option<Cases>,
    pub runs: Vec<Run>,
    pub kills: Option<KillMatrix>,
    pub ladder: Vec<Rung>,
    pub gallery: Vec<Climb>,
}

impl Page {
    /// The whole file.
    pub fn html(&self) -> String {
        let mut body = Html::default();
        let title = if self.title.is_empty() { "llorch diff" } else { &self.title };
        body.inside("header", "class=top", |header| {
            header.inside("h1", "", |h1| h1.text(title));
            if !self.subtitle.is_empty() {
                header.inside("p", "class=quiet", |p| p.text(&self.subtitle));
            }
        });
        body.inside("main", "", |main| {
            if !self.diffs.is_empty() || !self.engines.is_empty() {
                matrix::engines(main, &self.engines, &self.diffs);
            }
            if let Some(cases) = &self.cases {
                cases::summary(main, cases);
            }
            if !self.ladder.is_empty() {
                ladder::section(main, &self.ladder);
            }
            if !self.gallery.is_empty() {
                gallery::section(main, &self.gallery);
            }
            for pair in &self.diffs {
                diff::section(main, pair);
            }
            if let Some(cases) = &self.cases {
                cases::section(main, cases);
            }
            if !self.runs.is_empty() {
                waterfall::section(main, &self.runs);
            }
            if let Some(kills) = &self.kills {
                kills::section(main, kills);
            }
        });
        body.inside("footer", "class=quiet", |footer| {
            footer.text("Written by llorch. Everything is in this file: it needs no network and no script.");
        });
        let head = format!(
            "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n{}\n<style>\n{}</style>",
            tag("title", title),
            include_str!("style.css")
        );
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n{head}\n</head>\n<body>\n{}</body>\n</html>\n",
            body.done()
        )
    }
}
