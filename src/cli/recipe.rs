//! `llorch recipe`: writes a recipe model, so that full-size shapes can be had without a download.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::model::recipe::{OutputFormat, Recipe, Size};

/// Write a model whose weights come from an exact integer recipe.
#[derive(Args, Debug)]
pub struct RecipeArgs {
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
    /// Heads; must divide the width.
    #[arg(long)]
    n_head: Option<usize>,
    /// The width. The feed-forward layers become four times as wide unless --n-inner says otherwise.
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
        let mut configuration = self.size.size().configuration();
        let take = |given: Option<usize>, place: &mut usize| *place = given.unwrap_or(*place);
        take(self.n_embd, &mut configuration.n_embd);
        configuration.n_inner = configuration.n_embd.saturating_mul(4);
        take(self.n_inner, &mut configuration.n_inner);
        take(self.n_layer, &mut configuration.n_layer);
        take(self.n_head, &mut configuration.n_head);
        take(self.n_ctx, &mut configuration.n_ctx);
        take(self.vocab_size, &mut configuration.vocab_size);
        Recipe::new(configuration, self.seed).map_err(|problem| problem.to_string())
    }
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
