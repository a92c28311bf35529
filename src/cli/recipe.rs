//! `llorch recipe`: writes a recipe model, so that full-size shapes can be had without a download.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::model::configuration::LlamaArchitecture;
use crate::model::recipe::{LlamaSize, OutputFormat, Recipe, Size};

/// Write a model whose weights come from an exact integer recipe.
#[derive(Args, Debug)]
pub struct RecipeArgs {
    /// What the model is: learned positions, or rotary ones with grouped heads and gated layers.
    #[arg(long, value_enum, default_value = "gpt2")]
    architecture: ArchitectureName,
    /// The shapes to begin from.
    #[arg(long, value_enum)]
    size: SizeName,
    /// Another seed gives other weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value = "safetensors")]
    format: FormatName,
    /// A folder for safetensors, a file for GGUF. Must not exist yet.
    #[arg(long)]
    output: PathBuf,
    /// Blocks, in place of the size's own.
    #[arg(long)]
    n_layer: Option<usize>,
    /// Heads; with gpt2 they must divide the width.
    #[arg(long)]
    n_head: Option<usize>,
    /// Heads of keys and values, with llama and qwen2; must divide the heads.
    #[arg(long)]
    n_kv_head: Option<usize>,
    /// The width of a head, with llama and qwen2; where only a new width or number of heads is given, one by the other.
    #[arg(long)]
    head_size: Option<usize>,
    /// The width. With gpt2 the feed-forward layers become four times as wide unless --n-inner says otherwise.
    #[arg(long)]
    n_embd: Option<usize>,
    /// The width inside the feed-forward layers.
    #[arg(long)]
    n_inner: Option<usize>,
    /// The longest context.
    #[arg(long)]
    n_ctx: Option<usize>,
    /// Tokens, 257 or more.
    #[arg(long)]
    vocab_size: Option<usize>,
    /// Whether the head is the embedding, with llama and qwen2, in place of the size's own.
    #[arg(long)]
    tied: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchitectureName {
    Gpt2,
    Llama,
    Qwen2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SizeName {
    Tiny,
    Odd,
    Gpt2,
    Gpt2Medium,
}

impl SizeName {
    pub fn size(self) -> Size {
        match self {
            SizeName::Tiny => Size::Tiny,
            SizeName::Odd => Size::Odd,
            SizeName::Gpt2 => Size::Gpt2,
            SizeName::Gpt2Medium => Size::Gpt2Medium,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    Safetensors,
    Gguf,
}

impl RecipeArgs {
    fn recipe(&self) -> Result<Recipe, String> {
        match self.architecture {
            ArchitectureName::Gpt2 => self.gpt2(),
            ArchitectureName::Llama => self.llama(LlamaArchitecture::Llama),
            ArchitectureName::Qwen2 => self.llama(LlamaArchitecture::Qwen2),
        }
    }

    fn gpt2(&self) -> Result<Recipe, String> {
        if self.n_kv_head.is_some() || self.head_size.is_some() || self.tied.is_some() {
            return Err("--n-kv-head, --head-size and --tied are for --architecture llama and qwen2".into());
        }
        let mut configuration = self.size.size().configuration();
        take(self.n_embd, &mut configuration.n_embd);
        configuration.n_inner = configuration.n_embd.saturating_mul(4);
        take(self.n_inner, &mut configuration.n_inner);
        take(self.n_layer, &mut configuration.n_layer);
        take(self.n_head, &mut configuration.n_head);
        take(self.n_ctx, &mut configuration.n_ctx);
        take(self.vocab_size, &mut configuration.vocab_size);
        Recipe::new(configuration, self.seed).map_err(|problem| problem.to_string())
    }

    fn llama(&self, architecture: LlamaArchitecture) -> Result<Recipe, String> {
        let size = self.size.size();
        let Some(LlamaSize { mut configuration, tied }) = LlamaSize::of(architecture, size) else {
            return Err(format!("the size {} is one of gpt2; {} has tiny and odd", size.name(), architecture.name()));
        };
        take(self.n_embd, &mut configuration.n_embd);
        take(self.n_inner, &mut configuration.n_inner);
        take(self.n_layer, &mut configuration.n_layer);
        take(self.n_head, &mut configuration.n_head);
        take(self.n_kv_head, &mut configuration.n_kv_head);
        if self.n_embd.is_some() || self.n_head.is_some() {
            configuration.head_size = configuration.n_embd / configuration.n_head.max(1);
        }
        take(self.head_size, &mut configuration.head_size);
        take(self.n_ctx, &mut configuration.n_ctx);
        take(self.vocab_size, &mut configuration.vocab_size);
        let tied = self.tied.unwrap_or(tied);
        Recipe::llama(LlamaSize { configuration, tied }, self.seed).map_err(|problem| problem.to_string())
    }
}

fn take(given: Option<usize>, place: &mut usize) {
    *place = given.unwrap_or(*place);
}

pub fn run(args: &RecipeArgs) -> ExitCode {
    let format = match args.format {
        FormatName::Safetensors => OutputFormat::Safetensors,
        FormatName::Gguf => OutputFormat::Gguf,
    };
    let recipe = match args.recipe() {
        Ok(recipe) => recipe,
        Err(message) => {
            eprintln!("error: no such recipe: {message}");
            return ExitCode::from(2);
        }
    };
    match recipe.write(&args.output, format) {
        Ok(bytes) => {
            println!("{}: {bytes} bytes of weights, seed {}", args.output.display(), recipe.seed());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
