//! Somebody else's worker: the whole contract a second time, on `std::net` and threads, sharing nothing with the
//! reference. Honest by default; `--mistake NAME` plays one wire mistake, which the suite must catch, and
//! `--oddity NAME` one legal oddity, which it must accept.
//!
//! From the outside in: [`options`] reads the command line, `worker` lives from start-up to exit, `http_server` speaks
//! HTTP, `routes` answers, `execute` admits a job and `run` takes it through. Under these stand `request` (the checks),
//! `jobs` (whose turn it is), `words` (the tokens), `text` (characters and stop sequences), `events` (what is said) and
//! `event_stream` (the bytes). [`mistakes`] and [`oddities`] are the tables of what can be played.

mod callback;
pub(in crate::harness) mod event_stream;
mod events;
mod execute;
mod gzip;
pub(in crate::harness) mod http_server;
mod jobs;
mod logs;
mod metrics;
pub mod mistakes;
mod model;
pub mod oddities;
mod openapi;
pub mod options;
mod request;
mod routes;
mod run;
mod text;
mod words;
mod worker;

use std::process::ExitCode;

pub use mistakes::{Area, MISTAKES, Mistake, Slip};
pub use oddities::{ODDITIES, Oddity, Quirk};

/// `llorch scripted-worker …`; `args` without the program's name and the word itself.
pub fn main(args: &[String]) -> ExitCode {
    if args.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", options::usage());
        return ExitCode::SUCCESS;
    }
    match options::Options::parse(args, &|name| std::env::var(name).ok()) {
        Ok(options) => worker::run(options),
        Err(message) => {
            eprintln!("error: {message}\n\n{}", options::usage());
            ExitCode::from(2)
        }
    }
}
