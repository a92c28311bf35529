//! What an engine's messages say, one by one, in either API.

use serde_json::Value;

use super::Api;

/// How OpenAI's streams end.
pub const DONE: &str = "[DONE]";

/// Tokens of the prompt, and tokens that were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub prompt: u64,
    pub made: u64,
}

/// The text that this message brings; a whole answer brings all of it.
pub fn text(api: Api, data: &Value) -> String {
    let text = match api {
        Api::Openai => {
            let choice = &data["choices"][0];
            [&choice["text"], &choice["delta"]["content"], &choice["message"]["content"]]
                .into_iter()
                .find_map(Value::as_str)
        }
        _ => data["content"].as_str(),
    };
    text.unwrap_or_default().to_owned()
}

/// The ids that it brings, where the API has them.
pub fn ids(data: &Value) -> Vec<u64> {
    data["tokens"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

/// Why the text ended, in the engine's words, where this message says so.
pub fn reason(api: Api, data: &Value) -> Option<&str> {
    match api {
        Api::Openai => data["choices"][0]["finish_reason"].as_str(),
        _ => data["stop_type"].as_str().filter(|_| data["stop"] == true),
    }
}

/// What it counts, where this message does. (llama-server counts in each event; its last is the sum.)
pub fn counted(api: Api, data: &Value) -> Option<Count> {
    let (prompt, made) = match api {
        Api::Openai => (&data["usage"]["prompt_tokens"], &data["usage"]["completion_tokens"]),
        _ => (&data["tokens_evaluated"], &data["tokens_predicted"]),
    };
    Some(Count { prompt: prompt.as_u64()?, made: made.as_u64()? })
}
