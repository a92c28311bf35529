//! A recipe model as a GGUF file, version 3, as llama.cpp expects it.

use std::io::{self, Write};

use super::write::write_values;
use super::{END_OF_TEXT, FIRST_WORD, Recipe, tokenizer};
use crate::model::configuration::{Configuration, LlamaConfiguration, RopeScaling};
use crate::model::file::{DIVISORS, arrangement, name_in_gguf};
use crate::model::weights::load::Arrangement;

const ALIGNMENT: u64 = 32;

/// The header is built in memory (a few megabytes at fifty thousand tokens), the values are streamed.
pub fn write(recipe: &Recipe, name: &str, sink: &mut dyn Write) -> io::Result<()> {
    let mut header = Header::default();
    describe_model(recipe, name, &mut header);
    describe_tokenizer(recipe.configuration().vocab_size(), &mut header);
    let divisors = rope_divisors(recipe.configuration());
    let tensors = recipe.tensors();
    let arranged = |name: &str| arrangement(recipe.configuration(), name);

    let mut infos = Infos::default();
    for (name, shape) in &tensors {
        // The fastest size first. A transposed matrix is stored as [out, in], so `in` is its fastest.
        let mut sizes = shape.clone();
        if arranged(name) != Arrangement::Transposed {
            sizes.reverse();
        }
        infos.tensor(&name_in_gguf(name), &sizes);
    }
    if !divisors.is_empty() {
        infos.tensor(DIVISORS, &[divisors.len()]);
    }

    let mut start = b"GGUF".to_vec();
    start.extend(3u32.to_le_bytes());
    start.extend(infos.count.to_le_bytes());
    start.extend(header.count.to_le_bytes());
    start.extend(header.bytes);
    start.extend(infos.bytes);
    pad(&mut start);
    sink.write_all(&start)?;

    for (name, shape) in &tensors {
        let (tensor, arranged) = (recipe.tensor(name), arranged(name));
        let count = shape.iter().product::<usize>() as u64;
        write_values(sink, count, |place| tensor.value(index_at(place, arranged, shape)))?;
        write_padding(sink, count)?;
    }
    write_values(sink, divisors.len() as u64, |index| divisors[index as usize])?;
    write_padding(sink, divisors.len() as u64)
}

/// Which element of a tensor as held lies at a place of the file.
fn index_at(place: u64, arranged: Arrangement, shape: &[usize]) -> u64 {
    let rows = shape[0] as u64;
    let width: u64 = shape[1..].iter().map(|&size| size as u64).product();
    match arranged {
        Arrangement::AsHeld => place,
        Arrangement::Transposed => place % rows * width + place / rows,
        Arrangement::Pairs { heads } => {
            let head = rows / heads as u64;
            let (row, column) = (place / width, place % width);
            let within = row % head;
            (row - within + within % 2 * (head / 2) + within / 2) * width + column
        }
    }
}

/// How llama.cpp is told of Llama 3's frequencies: what each is divided by. Empty for all other models.
fn rope_divisors(configuration: &Configuration) -> Vec<f32> {
    let Configuration::Llama(scaled) = configuration else { return Vec::new() };
    match &scaled.rope_scaling {
        RopeScaling::None | RopeScaling::Linear { .. } => Vec::new(),
        RopeScaling::Divisors(divisors) => divisors.clone(),
        RopeScaling::Llama3 { .. } => {
            let plain = LlamaConfiguration { rope_scaling: RopeScaling::None, ..scaled.clone() }.rotary_frequencies();
            plain.into_iter().zip(scaled.rotary_frequencies()).map(|(plain, scaled)| (plain / scaled) as f32).collect()
        }
    }
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

/// The tensors' descriptions, in the order of their bytes.
#[derive(Default)]
struct Infos {
    count: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Infos {
    /// The fastest size first.
    fn tensor(&mut self, name: &str, sizes: &[usize]) {
        put_string(&mut self.bytes, name);
        self.bytes.extend((sizes.len() as u32).to_le_bytes());
        for &size in sizes {
            self.bytes.extend((size as u64).to_le_bytes());
        }
        self.bytes.extend(F32.to_le_bytes());
        self.bytes.extend(self.offset.to_le_bytes());
        self.count += 1;
        self.offset += (4 * sizes.iter().product::<usize>() as u64).next_multiple_of(ALIGNMENT);
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// After `count` values, up to where the next tensor may begin.
fn write_padding(sink: &mut dyn Write, count: u64) -> io::Result<()> {
    let bytes = 4 * count;
    sink.write_all(&vec![0; (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize])
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

fn describe_model(recipe: &Recipe, name: &str, header: &mut Header) {
    let configuration = recipe.configuration();
    let architecture = configuration.architecture();
    header.string("general.architecture", architecture);
    header.string("general.name", name);
    header.unsigned("general.file_type", 0); // all F32
    let mut sizes = vec![
        ("block_count", configuration.n_layer()),
        ("context_length", configuration.n_ctx()),
        ("embedding_length", configuration.n_embd()),
        ("feed_forward_length", configuration.n_inner()),
        ("attention.head_count", configuration.n_head()),
    ];
    let mut numbers = Vec::new();
    match configuration {
        Configuration::Gpt2(gpt2) => numbers.push(("attention.layer_norm_epsilon", gpt2.layer_norm_epsilon)),
        Configuration::Llama(llama) => {
            sizes.extend([
                ("attention.head_count_kv", llama.n_kv_head),
                ("attention.key_length", llama.head_size),
                ("attention.value_length", llama.head_size),
                ("rope.dimension_count", llama.head_size),
            ]);
            numbers.push(("attention.layer_norm_rms_epsilon", llama.rms_norm_epsilon));
            numbers.push(("rope.freq_base", llama.rope_theta));
            if let RopeScaling::Linear { factor } = llama.rope_scaling {
                header.string(&format!("{architecture}.rope.scaling.type"), "linear");
                numbers.push(("rope.scaling.factor", factor));
            }
        }
    }
    for (key, size) in sizes {
        header.unsigned(&format!("{architecture}.{key}"), size as u32); // far below 2³², by the limits of a configuration
    }
    for (key, number) in numbers {
        header.key(&format!("{architecture}.{key}"), FLOAT_32).extend((number as f32).to_le_bytes());
    }
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
