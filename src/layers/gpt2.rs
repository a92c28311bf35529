//! GPT-2 of any size: its weights, and the forward pass through them.

use crate::cache::{CacheError, CacheShape, KvCache};
use crate::layers::{
    Activations, AttentionOutput, Block, Chunk, Embedding, FeedForward, LayerNorm, Qkv, Station, Tap, attention,
    transformer,
};
use crate::model::{Gpt2Configuration, ModelError, Weight, Weights};
use crate::tensor::{Buffer, Compute, Instructions};

pub struct Gpt2 {
    pub configuration: Gpt2Configuration,
    pub embedding: Embedding,
    pub blocks: Vec<Block>,
    pub ln_f: LayerNorm,
    /// The token embedding's own memory, used once more, unless the file has a head that differs from it.
    pub head: Weight, // [V, C]
}

/// Which rows of the logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    Last,
    All,
}

/// The last rows of a chunk whose logits are wanted, and the row of the logits where they go.
#[derive(Clone, Copy)]
struct Wanted {
    rows: usize,
    at: usize,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForwardError {
    #[error("there are no tokens to compute")]
    NoTokens,
    #[error("token {token} is not in the vocabulary of {vocab_size}")]
    UnknownToken { token: u32, vocab_size: usize },
    #[error("the context is full: {needed} positions needed, {n_ctx} there are")]
    ContextFull { needed: usize, n_ctx: usize },
    #[error("the cache is for another model: {found:?}, and this one has {expected:?}")]
    OtherCache { found: CacheShape, expected: CacheShape },
    #[error("the working memory is for another model")]
    OtherScratch,
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cancelled")]
    Cancelled,
}

/// Everything that a pass writes into, besides the cache, and the threads that do it: made once, used for every token.
pub struct Scratch {
    compute: Compute,
    width: usize,
    hidden_width: usize,
    /// Rows there is room for.
    rows: usize,
    x: Buffer,         // [T, C]
    normed: Buffer,    // [T, C]
    qkv: Buffer,       // [T, 3C]
    merged: Buffer,    // [T, C]
    projected: Buffer, // [T, C]
    hidden: Buffer,    // [T, 4C]
    logits: Buffer,    // [1, V], or [T, V] once all rows were asked for
}

/// Among the weights only where it is not the embedding.
const HEAD: &str = "lm_head.weight";

impl Gpt2 {
    pub fn load(configuration: Gpt2Configuration, weights: &Weights) -> Result<Self, ModelError> {
        let Gpt2Configuration { n_layer, n_embd: c, n_inner, n_ctx, vocab_size, layer_norm_epsilon, .. } =
            configuration;
        let norm = |name: &str| -> Result<LayerNorm, ModelError> {
            Ok(LayerNorm {
                weight: weights.get(&format!("{name}.weight"), &[c])?,
                bias: weights.get(&format!("{name}.bias"), &[c])?,
                epsilon: layer_norm_epsilon,
            })
        };
        let linear = |name: String, inputs: usize, outputs: usize| -> Result<(Weight, Weight), ModelError> {
            let weight = weights.get(&format!("{name}.weight"), &[inputs, outputs])?;
            Ok((weight, weights.get(&format!("{name}.bias"), &[outputs])?))
        };
        let block = |layer: usize| -> Result<Block, ModelError> {
            let name = |part: &str| format!("h.{layer}.{part}");
            let (qkv_weight, qkv_bias) = linear(name("attn.c_attn"), c, 3 * c)?;
            let (output_weight, output_bias) = linear(name("attn.c_proj"), c, c)?;
            let (fc_weight, fc_bias) = linear(name("mlp.c_fc"), c, n_inner)?;
            let (proj_weight, proj_bias) = linear(name("mlp.c_proj"), n_inner, c)?;
            Ok(Block {
                layer,
                ln_1: norm(&name("ln_1"))?,
                qkv: Qkv { weight: qkv_weight, bias: qkv_bias },
                attention_output: AttentionOutput { weight: output_weight, bias: output_bias },
                ln_2: norm(&name("ln_2"))?,
                feed_forward: FeedForward { fc_weight, fc_bias, proj_weight, proj_bias },
            })
        };
        let token = weights.get("wte.weight", &[vocab_size, c])?;
        Ok(Self {
            head: if weights.has(HEAD) { weights.get(HEAD, &[vocab_size, c])? } else { token.clone() },
            embedding: Embedding { token, position: weights.get("wpe.weight", &[n_ctx, c])? },
            blocks: (0..n_layer).map(block).collect::<Result<_, _>>()?,
            ln_f: norm("ln_f")?,
            configuration,
        })
    }

    /// An empty cache for this model's context.
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.cache_shape())
    }

    pub fn cache_shape(&self) -> CacheShape {
        let Gpt2Configuration { n_layer, n_head, n_embd, n_ctx, .. } = self.configuration;
        CacheShape { n_layer, n_head, head_size: n_embd / n_head, n_ctx }
    }

    /// Computes `tokens` at the positions after those in the cache. Returns logits: [1, V] of the last token, or [T, V].
    ///
    /// A prompt goes through in chunks, a decode step is a chunk of one; with a tap the prompt is one chunk, since a
    /// station is one tensor. Neither changes a bit. `cancelled` is asked before every layer of every chunk; after it
    /// said yes, or after any error, the cache holds the chunks that were finished.
    pub fn forward<'s, T: Tap>(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        scratch: &'s mut Scratch,
        rows: LogitRows,
        tap: &mut T,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<&'s [f32], ForwardError> {
        self.check(tokens, cache, scratch)?;
        let vocabulary = self.configuration.vocab_size;
        let every_row = T::ON || rows == LogitRows::All;
        let longest = if T::ON { tokens.len() } else { scratch.chunk_rows(tokens.len()) };
        scratch.make_room(longest, if every_row { tokens.len() * vocabulary } else { vocabulary });

        let mut done = 0;
        for part in tokens.chunks(longest) {
            let last = done + part.len() == tokens.len();
            let keep = if every_row { part.len() } else { usize::from(last) };
            let wanted = Wanted { rows: keep, at: if every_row { done } else { 0 } };
            let result = self.chunk(part, cache, scratch, wanted, tap, cancelled);
            if result.is_err() {
                cache.truncate(cache.len());
                result?;
            }
            done += part.len();
        }
        let logits = &scratch.logits[..if every_row { tokens.len() * vocabulary } else { vocabulary }];
        let selected = &logits[logits.len() - vocabulary..];
        tap.tensor(Station::Logits, 0, &[tokens.len(), vocabulary], || logits.to_vec());
        tap.tensor(Station::SelectedLogits, 0, &[vocabulary], || selected.to_vec());
        Ok(if rows == LogitRows::All { logits } else { selected })
    }

    fn check(&self, tokens: &[u32], cache: &KvCache, scratch: &Scratch) -> Result<(), ForwardError> {
        let Gpt2Configuration { n_ctx, vocab_size, n_embd, n_inner, .. } = self.configuration;
        if tokens.is_empty() {
            return Err(ForwardError::NoTokens);
        }
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(ForwardError::UnknownToken { token, vocab_size });
        }
        let (found, expected) = (cache.shape(), self.cache_shape());
        // a cache may be for a shorter context than the model's
        if (CacheShape { n_ctx, ..found }) != expected || found.n_ctx > n_ctx {
            return Err(ForwardError::OtherCache { found, expected });
        }
        if (scratch.width, scratch.hidden_width) != (n_embd, n_inner) {
            return Err(ForwardError::OtherScratch);
        }
        let needed = cache.len() + tokens.len();
        if needed > found.n_ctx {
            return Err(ForwardError::ContextFull { needed, n_ctx: found.n_ctx });
        }
        Ok(())
    }

    /// One chunk through all layers.
    fn chunk<T: Tap>(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        scratch: &mut Scratch,
        wanted: Wanted,
        tap: &mut T,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ForwardError> {
        let (width, vocabulary) = (self.configuration.n_embd, self.configuration.vocab_size);
        let chunk = Chunk { start: cache.len(), rows: tokens.len() };
        let shape = [chunk.rows, width];
        let (mut activations, logits) = scratch.activations(chunk.rows);

        self.embedding.forward(tokens, chunk.start, activations.x);
        tap.tensor(Station::Embedding, 0, &shape, || activations.x.to_vec());

        for block in &self.blocks {
            if cancelled() {
                return Err(ForwardError::Cancelled);
            }
            let keep = if block.layer + 1 == self.blocks.len() { wanted.rows } else { chunk.rows };
            transformer::forward(block, &mut activations, cache, chunk, keep, tap)?;
        }
        let keep = wanted.rows;
        if keep > 0 {
            let Activations { compute, x, normed, .. } = activations;
            let (x, normed) = (&x[(chunk.rows - keep) * width..], &mut normed[..keep * width]);
            self.ln_f.forward(compute, x, normed);
            tap.tensor(Station::FinalLayerNorm, 0, &shape, || normed.to_vec());

            let logits = &mut logits[wanted.at * vocabulary..][..keep * vocabulary]; // [keep, V]
            compute.matmul_transposed(normed, self.head.values(), width, logits);
        }
        cache.advance(chunk.rows);
        Ok(())
    }
}

impl Scratch {
    /// Room for passes of this model on `threads` threads.
    pub fn new(configuration: &Gpt2Configuration, threads: usize, instructions: Instructions) -> Self {
        let Gpt2Configuration { n_layer, n_head, n_embd, n_inner, n_ctx, vocab_size, .. } = *configuration;
        let shape = CacheShape { n_layer, n_head, head_size: n_embd / n_head, n_ctx };
        let rows = prompt_rows(n_embd).min(n_ctx);
        let mut scratch = Self {
            compute: Compute::new(threads, instructions, attention::workspace_floats(shape)),
            width: n_embd,
            hidden_width: n_inner,
            rows: 0,
            x: Buffer::zeros(0),
            normed: Buffer::zeros(0),
            qkv: Buffer::zeros(0),
            merged: Buffer::zeros(0),
            projected: Buffer::zeros(0),
            hidden: Buffer::zeros(0),
            logits: Buffer::zeros(0),
        };
        scratch.make_room(rows, vocab_size);
        scratch
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let activations = [&self.x, &self.normed, &self.qkv, &self.merged, &self.projected, &self.hidden, &self.logits];
        let floats = activations.iter().map(|buffer| buffer.len()).sum::<usize>() + self.compute.workspace_floats();
        floats * size_of::<f32>()
    }

    pub fn threads(&self) -> usize {
        self.compute.threads()
    }

    fn chunk_rows(&self, tokens: usize) -> usize {
        tokens.min(prompt_rows(self.width))
    }

    /// Grows the buffers where a pass needs more than any before: with a tap or with all logits, never otherwise.
    fn make_room(&mut self, rows: usize, logits: usize) {
        if rows > self.rows {
            let (width, hidden_width) = (self.width, self.hidden_width);
            self.x = Buffer::zeros(rows * width);
            self.normed = Buffer::zeros(rows * width);
            self.qkv = Buffer::zeros(rows * 3 * width);
            self.merged = Buffer::zeros(rows * width);
            self.projected = Buffer::zeros(rows * width);
            self.hidden = Buffer::zeros(rows * hidden_width);
            self.rows = rows;
        }
        if logits > self.logits.len() {
            self.logits = Buffer::zeros(logits);
        }
    }

    /// The buffers cut to `rows`, and the logits.
    fn activations(&mut self, rows: usize) -> (Activations<'_>, &mut [f32]) {
        let (width, hidden_width) = (self.width, self.hidden_width);
        let activations = Activations {
            compute: &mut self.compute,
            x: &mut self.x[..rows * width],
            normed: &mut self.normed[..rows * width],
            qkv: &mut self.qkv[..rows * 3 * width],
            merged: &mut self.merged[..rows * width],
            projected: &mut self.projected[..rows * width],
            hidden: &mut self.hidden[..rows * hidden_width],
        };
        (activations, &mut self.logits)
    }
}

/// Rows of a prompt that go through the layers together: many enough to pay for reading the weights, few enough that a
/// layer, and so the wait for a cancel, stays at some ten milliseconds.
fn prompt_rows(width: usize) -> usize {
    const MULTIPLICATIONS: usize = 2_000_000_000;
    (MULTIPLICATIONS / (12 * width * width)).clamp(32, 256) / 8 * 8
}
