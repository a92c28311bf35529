//! Chat templates: the model's own, as transformers renders it.

use std::fs;
use std::path::Path;

use clap::Parser;
use llorch::cli::infer::Flags;
use llorch::model::chat::{ChatTemplate, Message};
use llorch::model::recipe::{LlamaSize, OutputFormat, Recipe, Size};
use serde_json::json;

pub const TESTS: &[(&str, fn())] = &[
    ("chat/turns", turns),
    ("chat/of_a_model", of_a_model),
    ("chat/refused", refused),
    ("chat/command_line", command_line),
];

/// With the blocks, methods and functions that templates in use are written with.
const TEMPLATE: &str = r#"{{ bos_token }}{% for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('Unknown role ' + message.role) }}
    {%- endif %}
    {{- '<|' + message['role'] + '|>\n' + message['content'].strip() + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"#;

fn message(role: &'static str, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

fn folder(path: &Path, template: serde_json::Value) {
    let size = LlamaSize::of(llorch::model::configuration::LlamaArchitecture::Llama, Size::Tiny).expect("a size");
    Recipe::llama(size, 1).expect("a recipe").write(path, OutputFormat::Safetensors).expect("written");
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "<|endoftext|>"}, "chat_template": template});
    fs::write(path.join("tokenizer_config.json"), config.to_string()).expect("written");
}

fn turns() {
    let template = ChatTemplate::new(TEMPLATE.to_owned());
    let text = template.render(&[message("system", "Be brief."), message("user", " Hi! ")]).expect("renders");
    assert_eq!(text, "<|system|>\nBe brief.\n<|user|>\nHi!\n<|assistant|>\n");
}

fn of_a_model() {
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("model");
    folder(&path, TEMPLATE.into());
    let rendered = |path: &Path| ChatTemplate::of_model(path).expect("a template").render(&[message("user", "Hi")]);
    let expected = "<s><|user|>\nHi<|endoftext|>\n<|assistant|>\n";
    assert_eq!(rendered(&path).expect("renders"), expected);
    assert_eq!(rendered(&path.join("model.safetensors")).expect("renders"), expected);
    // Several by name; and a file of its own, which counts more.
    let several = json!([{"name": "tool_use", "template": "no"}, {"name": "default", "template": TEMPLATE}]);
    fs::write(path.join("tokenizer_config.json"), json!({"chat_template": several}).to_string()).expect("written");
    assert_eq!(rendered(&path).expect("renders"), "<|user|>\nHi\n<|assistant|>\n");
    fs::write(path.join("chat_template.jinja"), "{{ messages[0]['content'] | upper }}").expect("written");
    assert_eq!(rendered(&path).expect("renders"), "HI");
}

fn refused() {
    let said = |template: &str| {
        let rendered = ChatTemplate::new(template.to_owned()).render(&[message("tool", "x")]);
        rendered.expect_err("no text").to_string()
    };
    assert!(said(TEMPLATE).contains("Unknown role tool"), "{}", said(TEMPLATE));
    assert!(said("\n{% if %}").contains("line 2"), "{}", said("\n{% if %}"));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    assert!(said(endless).contains("fuel"), "{}", said(endless));
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("model");
    folder(&path, serde_json::Value::Null);
    let absent = ChatTemplate::of_model(&path).expect_err("none").to_string();
    assert!(absent.ends_with("the model has no chat template"), "{absent}");
}

fn command_line() {
    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let (path, file) = (scratch.path().join("model"), scratch.path().join("own.jinja"));
    folder(&path, TEMPLATE.into());
    fs::write(&file, "[{{ messages | length }}{{ bos_token }}]{{ messages[-1].content }}").expect("written");
    let prompt = |words: &[&str]| {
        let command = Command::try_parse_from([&["infer", "--prompt", "Hi", "--print-prompt"], words].concat());
        command.map_err(|problem| problem.to_string()).map(|command| command.flags.prompt().map_err(|p| p.to_string()))
    };
    let (model, own) = (path.display().to_string(), format!("--chat-template={}", file.display()));
    let asked = |words: &[&str]| prompt(words).expect("a command line");
    assert_eq!(asked(&[]), Ok("Hi".into()), "never silently");
    let whole = "<s><|system|>\nS<|endoftext|>\n<|user|>\nHi<|endoftext|>\n<|assistant|>\n";
    assert_eq!(asked(&["--chat-template", "--model", &model, "--system", "S"]), Ok(whole.into()));
    assert_eq!(asked(&[&own, "--model", &model, "--system", "S"]), Ok("[2<s>]Hi".into()));
    assert_eq!(asked(&[&own]), Ok("[1]Hi".into()));
    assert!(asked(&["--chat-template"]).is_err_and(|said| said.contains("--chat-template needs --model")));
    assert!(prompt(&["--system", "S"]).is_err() && prompt(&["--model", &model]).is_err());
}
