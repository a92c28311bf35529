//! A recipe model as a GGUF file, version 3, as llama.cpp expects a GPT-2.

use std::io::{self, Write};

use super::write::write_values;
use super::{END_OF_TEXT, FIRST_WORD, Recipe, tokenizer};
use crate::model::file::{is_transposed, name_in_gguf};

const ALIGNMENT: u64 = 32;

/// The header is built in memory (a few megabytes at fifty thousand tokens), the values are streamed.
pub fn write(recipe: &Recipe, name: &str, sink: &mut dyn Write) -> io::Result<()> {
    let tensors = recipe.configuration().tensors();
    let mut header = Header::default();
    describe_model(recipe, name, &mut header);
    describe_tokenizer(recipe.configuration().vocab_size, &mut header);

    let mut infos = Vec::new();
    let mut offset = 0u64;
    for (name, shape) in &tensors {
        put_string(&mut infos, &name_in_gguf(name));
        // The fastest size first. A transposed matrix is stored as [out, in], so `in` is its fastest.
        let mut sizes = shape.clone();
        if !is_transposed(name) {
            sizes.reverse();
        }
        infos.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes {
            infos.extend((size as u64).to_le_bytes());
        }
        infos.extend(F32.to_le_bytes());
        infos.extend(offset.to_le_bytes());
        offset += (4 * shape.iter().product::<usize>() as u64).next_multiple_of(ALIGNMENT);
    }

    let mut start = b"GGUF".to_vec();
    start.extend(3u32.to_le_bytes());
    start.extend((tensors.len() as u64).to_le_bytes());
    start.extend(header.count.to_le_bytes());
    start.extend(header.bytes);
    start.extend(infos);
    pad(&mut start);
    sink.write_all(&start)?;

    for (name, shape) in &tensors {
        let tensor = recipe.tensor(name);
        let count = shape.iter().product::<usize>() as u64;
        match (is_transposed(name), shape.as_slice()) {
            (true, &[inputs, outputs]) => {
                let (inputs, outputs) = (inputs as u64, outputs as u64);
                write_values(sink, count, |place| tensor.value(place % inputs * outputs + place / inputs))?;
            }
            _ => write_values(sink, count, |index| tensor.value(index))?,
        }
        let bytes = 4 * count;
        sink.write_all(&vec![0; (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize])?;
    }
    Ok(())
}

/// ggml's number of the element type, and GGUF's numbers of the value types used here.
const F32: u32 = 0;
const UNSIGNED_32: u32 = 4;
const SIGNED_32: u32 = 5;
const FLOAT_32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

#[derive(Default)]
struct Header {
    count: u64,
    bytes: Vec<u8>,
}

impl Header {
    fn key(&mut self, key: &str, value_type: u32) -> &mut Vec<u8> {
        self.count += 1;
        put_string(&mut self.bytes, key);
        self.bytes.extend(value_type.to_le_bytes());
        &mut self.bytes
    }

    fn string(&mut self, key: &str, value: &str) {
        put_string(self.key(key, STRING), value);
    }

    fn unsigned(&mut self, key: &str, value: u32) {
        self.key(key, UNSIGNED_32).extend(value.to_le_bytes());
    }

    fn array(&mut self, key: &str, element: u32, count: usize) -> &mut Vec<u8> {
        let bytes = self.key(key, ARRAY);
        bytes.extend(element.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
        bytes
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

fn describe_model(recipe: &Recipe, name: &str, header: &mut Header) {
    let configuration = recipe.configuration();
    header.string("general.architecture", "gpt2");
    header.string("general.name", name);
    header.unsigned("general.file_type", 0); // all F32
    let sizes = [
        ("block_count", configuration.n_layer),
        ("context_length", configuration.n_ctx),
        ("embedding_length", configuration.n_embd),
        ("feed_forward_length", configuration.n_inner),
        ("attention.head_count", configuration.n_head),
    ];
    for (key, size) in sizes {
        header.unsigned(&format!("gpt2.{key}"), size as u32); // far below 2³², by the limits of a configuration
    }
    let epsilon = configuration.layer_norm_epsilon as f32;
    header.key("gpt2.attention.layer_norm_epsilon", FLOAT_32).extend(epsilon.to_le_bytes());
}

fn describe_tokenizer(vocab_size: usize, header: &mut Header) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    header.string("tokenizer.ggml.model", "gpt2");
    header.string("tokenizer.ggml.pre", "gpt-2");
    let tokens = header.array("tokenizer.ggml.tokens", STRING, vocab_size);
    for token in tokenizer::tokens(vocab_size) {
        put_string(tokens, &token);
    }
    let types = header.array("tokenizer.ggml.token_type", SIGNED_32, vocab_size);
    for id in 0..vocab_size as u32 {
        let kind = match id {
            END_OF_TEXT => CONTROL,
            FIRST_WORD.. => USER_DEFINED,
            _ => NORMAL,
        };
        types.extend(kind.to_le_bytes());
    }
    header.array("tokenizer.ggml.merges", STRING, 0);
    header.unsigned("tokenizer.ggml.bos_token_id", END_OF_TEXT);
    header.unsigned("tokenizer.ggml.eos_token_id", END_OF_TEXT);
}
