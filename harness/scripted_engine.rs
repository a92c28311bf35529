//! `llorch scripted-engine`: a server that answers as `llama-server` does, in its own words and in OpenAI's, and makes one
//! mistake where it is told to. Behind it an honest worker computes, so that it is as right as it can be in everything else;
//! it takes llama-server's flags, so that it can be put where one is looked for. (`front` answers, `words` spells.)

mod front;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    Canned,
    Echo,
    EmptyEvent,
    NamedEvents,
    NoDone,
    NoReason,
    TextAfterEnd,
    MadeWrong,
    PromptWrong,
    AnotherId,
    WholeDiffers,
    Burst,
    Deaf,
    DeafWhole,
    SeedIgnored,
    TemperatureIgnored,
    StopIgnored,
    OtherModel,
    TakesAnything,
    ErrorWithoutMessage,
    ContextIgnored,
    CutShort,
}

#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    pub name: &'static str,
    pub does: &'static str,
    pub slip: Slip,
}

const fn mistake(name: &'static str, slip: Slip, does: &'static str) -> Mistake {
    Mistake { name, does, slip }
}

pub const MISTAKES: &[Mistake] = &[
    mistake("canned-text", Slip::Canned, "one haiku for whatever is asked"),
    mistake("echo", Slip::Echo, "the quoted word of the prompt in a template"),
    mistake("garbled-event", Slip::EmptyEvent, "an event whose data is no JSON"),
    mistake("named-events", Slip::NamedEvents, "events with names"),
    mistake("no-done", Slip::NoDone, "OpenAI's stream without [DONE], llama-server's with one"),
    mistake("no-reason", Slip::NoReason, "no message says why the text ended"),
    mistake("text-after-end", Slip::TextAfterEnd, "a text after the reason of the end"),
    mistake("made-wrong", Slip::MadeWrong, "one token too many is counted"),
    mistake("prompt-wrong", Slip::PromptWrong, "one token of the prompt too few is counted"),
    mistake("another-answer", Slip::AnotherId, "the last message names another answer, or another request"),
    mistake("whole-differs", Slip::WholeDiffers, "the answer that comes whole is another than the streamed one"),
    mistake("burst", Slip::Burst, "everything is sent at once, at the end"),
    mistake("deaf", Slip::Deaf, "goes on when its client has gone"),
    mistake("deaf-whole", Slip::DeafWhole, "goes on when the client of a whole answer has gone"),
    mistake("seed-ignored", Slip::SeedIgnored, "every job has a seed of its own"),
    mistake("temperature-ignored", Slip::TemperatureIgnored, "always greedy"),
    mistake("stop-ignored", Slip::StopIgnored, "stop sequences end nothing"),
    mistake("other-model", Slip::OtherModel, "the model file is ignored: the server brings its weights"),
    mistake("takes-anything", Slip::TakesAnything, "what it can't read it replaces by something"),
    mistake("error-without-message", Slip::ErrorWithoutMessage, "a refusal that says nothing"),
    mistake("context-ignored", Slip::ContextIgnored, "a prompt that is too long is cut, and answered"),
    mistake("cut-short", Slip::CutShort, "the stream breaks off before its end"),
];

/// What the command line says.
pub struct Options {
    pub model: PathBuf,
    pub alias: Option<String>,
    pub port: u16,
    pub api_key: Option<String>,
    pub slip: Option<Slip>,
}

/// llama-server's flags, those that matter here; the others are llama-server's business.
fn options(words: &[String]) -> Result<Options, String> {
    let value = |names: &[&str]| {
        let at = words.iter().position(|word| names.contains(&word.as_str()))?;
        words.get(at + 1).cloned()
    };
    let model = value(&["--model", "-m"]).ok_or("--model FILE is missing")?;
    let port = value(&["--port"]).unwrap_or_else(|| "8080".into());
    let port = port.parse().map_err(|_| format!("--port: '{port}' is no port"))?;
    let slip = match value(&["--mistake"]) {
        Some(name) => {
            let known = MISTAKES.iter().find(|mistake| mistake.name == name);
            Some(known.ok_or_else(|| format!("--mistake: '{name}' is none"))?.slip)
        }
        None => None,
    };
    let key = value(&["--api-key-file"]).map(std::fs::read_to_string).transpose();
    let api_key = key.map_err(|error| format!("--api-key-file: {error}"))?.map(|key| key.trim().to_owned());
    Ok(Options { model: model.into(), alias: value(&["--alias", "-a"]), port, api_key, slip })
}

pub fn main(words: &[String]) -> ExitCode {
    match options(words) {
        Ok(options) => front::run(options).unwrap_or_else(|problem| {
            eprintln!("scripted-engine: {problem}");
            ExitCode::FAILURE
        }),
        Err(message) => {
            eprintln!(
                "error: {message}\n\nUsage: llorch scripted-engine --model FILE [--port PORT] [--mistake NAME]\n"
            );
            for mistake in MISTAKES {
                eprintln!("  {:22} {}", mistake.name, mistake.does);
            }
            ExitCode::from(2)
        }
    }
}
