//! Engines that have an API of their own, and not the contract: `llama-server`'s native one, and the one that OpenAI made
//! common. A `Base` knows in which words it is spoken to.
//!
//! `spell` says a contract's job in the API's words, and `translate` reads its stream as the contract's events, each with
//! the time at which it came: so that the cases about text, seeds, known answers and cancellation are asked of an engine as
//! they are of a worker. `reply` and `rules` read the API's own bytes, where a case is about their form; `slots` looks at
//! what the engine says it is doing. What an API has no word for is UNIMPLEMENTED, and nothing is made up for it.

pub mod reply;
pub mod rules;
pub mod slots;
mod spell;
pub mod translate;

use super::Finding;
use super::case::Case;
use super::http::{Base, Request};
pub use spell::{completion, spell};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Api {
    /// The worker contract.
    #[default]
    Native,
    Llamacpp,
    Openai,
}

/// The tag of a case that an engine with an API of its own is asked, beside the contract's workers or alone.
const TAG: &str = "api";

impl Api {
    pub fn word(self) -> &'static str {
        match self {
            Api::Native => "native",
            Api::Llamacpp => "llamacpp",
            Api::Openai => "openai",
        }
    }

    pub fn is_native(self) -> bool {
        self == Api::Native
    }

    /// Whether a case can be asked in these words: `@api` for both engines' APIs, `@api:openai` for one of them, and none
    /// for the contract alone. What lies under `api/` is about the APIs themselves.
    pub fn asks(self, case: &Case) -> bool {
        match self {
            Api::Native => !case.is_of_an_api(),
            api => case.tags.iter().any(|tag| tag == TAG || tag.strip_prefix("api:") == Some(api.word())),
        }
    }

    /// Where a text is asked for.
    pub fn path(self) -> &'static str {
        match self {
            Api::Native => "/execute",
            Api::Llamacpp => "/completion",
            Api::Openai => "/v1/completions",
        }
    }

    /// Every job takes this request; others are sent as they are.
    fn is_job(self, request: &Request) -> bool {
        !self.is_native() && request.method == "POST" && request.path == "/execute"
    }
}

impl Base {
    #[must_use]
    pub fn speaking(mut self, api: Api) -> Base {
        self.api = api;
        self
    }

    /// The request in this base's own words: what really goes over the wire.
    pub fn spoken(&self, request: &Request) -> Request {
        if self.api.is_job(request) { spell(self.api, request) } else { request.clone() }
    }

    /// What reads the answer to this request.
    pub fn translator(&self, request: &Request) -> Option<translate::Translator> {
        let body = self.api.is_job(request).then(|| request.body_json().unwrap_or_default())?;
        Some(translate::Translator::new(self.api, &body))
    }
}

/// What an API has no word for.
pub fn unspoken(api: Api, what: &str) -> Finding {
    Finding::unimplemented(what, format!("the API {} has no word for it", api.word()))
}
