#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3", "torch==2.15.0", "transformers==5.24.0",
# ]
# ///
"""Captures Hugging Face transformers: the stations of a forward pass, by hooks on its own, unmodified modules.

    transformers_capture.py --model DIR --prompt 'Hello.' --output DIR
    transformers_capture.py --model DIR --tokens 15496,13 --steps 2 --max-tokens 10 --dtype float32 --output DIR

Nothing of the model is written again here. Two things no module shows. Rotated queries and keys are what the model's own
function returns, which is called as ever and listened to. The attention scores live inside a function: they are computed
in float64 from the model's own q and k, and proven by holding softmax(mask(scores)) against the model's own
probabilities. Where that does not hold, there is no capture.

Llama and Qwen2 go through float32 in their norms, their softmax and their angles whatever they compute in: those are
their authors' modules, and so their float64 is a float32 in three places.

With `uv` the versions above are fetched; without it, install the same ones with pip.
"""

import argparse
import hashlib
import itertools
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.generation import TemperatureLogitsWarper

sys.path.insert(0, str(Path(__file__).resolve().parent))
import capture_format
from capture_format import Capture, CaptureError

TEMPERATURES = (0.5, 1.0, 2.0)
# How far softmax(mask(scores)) may be from the model's own probabilities, by the type that its softmax is computed in; and
# a rounding of the largest score more, which is what a softmax in that type is given.
PROOF = {torch.float64: 1e-12, torch.float32: 2e-6}


# What each architecture shows, and where ------------------------------------------------------------------------


def rows(_, tensor):
    """[1, T, C] → [T, C]"""
    return {"": tensor[0]}


def first_rows(_, outputs):
    return {"": outputs[0][0]}


def split_qkv(config, tensor):
    """[1, T, 3C] → q, k, v, each [T, H, D]"""
    parts = tensor[0].split(config.n_embd, dim=-1)
    return {name: part.reshape(part.shape[0], config.n_head, -1) for name, part in zip([".q", ".k", ".v"], parts)}


def heads(config, tensor):
    """[1, T, H · D] → [T, H, D], of queries, keys or values"""
    return {"": tensor[0].reshape(tensor.shape[1], -1, head_size(config))}


def head_size(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


@dataclass
class Probe:
    """A station, the module that shows it, on which side, and how what it shows becomes tensors."""

    station: str
    module: str
    unpack: Callable = rows
    of_input: bool = False


@dataclass
class Architecture:
    before: list[Probe]
    layer: list[Probe]
    """Of every block, `{layer}` in the module's path."""
    block: Probe
    after: list[Probe]
    scale: Callable
    """What scores are multiplied with."""
    rotary: str | None = None
    """The attention of a block, whose module has the function that turns queries and keys; none where none does."""
    softmax: torch.dtype | None = None
    """What its softmax is computed in; if none, what all else is."""


GATED = Architecture(
    before=[Probe("cp00.embed", "model.embed_tokens")],
    layer=[
        Probe("cp01.ln_1", "model.layers.{layer}.input_layernorm"),
        Probe("cp02.q", "model.layers.{layer}.self_attn.q_proj", heads),
        Probe("cp02.k", "model.layers.{layer}.self_attn.k_proj", heads),
        Probe("cp02.v", "model.layers.{layer}.self_attn.v_proj", heads),
        Probe("cp05.probs", "model.layers.{layer}.self_attn", lambda _, outputs: {"": outputs[1][0]}),
        Probe("cp05.merged", "model.layers.{layer}.self_attn.o_proj", of_input=True),
        Probe("cp05.attn_out", "model.layers.{layer}.self_attn", first_rows),
        Probe("cp07.attn_residual", "model.layers.{layer}.post_attention_layernorm", of_input=True),
        Probe("cp06.ln_2", "model.layers.{layer}.post_attention_layernorm"),
        Probe("cp06.gate", "model.layers.{layer}.mlp.gate_proj"),
        Probe("cp06.up", "model.layers.{layer}.mlp.up_proj"),
        Probe("cp06.swiglu", "model.layers.{layer}.mlp.down_proj", of_input=True),
        Probe("cp06.c_proj", "model.layers.{layer}.mlp"),
        Probe("cp07.block", "model.layers.{layer}"),
    ],
    block=Probe("cp08.block", "model.layers.{layer}"),
    after=[Probe("cp08.ln_f", "model.norm"), Probe("cp08.logits", "lm_head")],
    scale=lambda config: head_size(config) ** -0.5,
    rotary="model.layers.0.self_attn",
    softmax=torch.float32,
)

ARCHITECTURES = {
    "llama": GATED,
    "qwen2": GATED,
    "gpt2": Architecture(
        before=[Probe("cp00.embed", "transformer.drop")],
        layer=[
            Probe("cp01.ln_1", "transformer.h.{layer}.ln_1"),
            Probe("cp02", "transformer.h.{layer}.attn.c_attn", split_qkv),
            Probe("cp05.probs", "transformer.h.{layer}.attn", lambda _, outputs: {"": outputs[1][0]}),
            Probe("cp05.merged", "transformer.h.{layer}.attn.c_proj", of_input=True),
            Probe("cp05.attn_out", "transformer.h.{layer}.attn", first_rows),
            Probe("cp07.attn_residual", "transformer.h.{layer}.ln_2", of_input=True),
            Probe("cp06.ln_2", "transformer.h.{layer}.ln_2"),
            Probe("cp06.c_fc", "transformer.h.{layer}.mlp.c_fc"),
            Probe("cp06.gelu", "transformer.h.{layer}.mlp.act"),
            Probe("cp06.c_proj", "transformer.h.{layer}.mlp"),
            Probe("cp07.block", "transformer.h.{layer}"),
        ],
        block=Probe("cp08.block", "transformer.h.{layer}"),
        after=[Probe("cp08.ln_f", "transformer.ln_f"), Probe("cp08.logits", "lm_head")],
        scale=lambda config: (config.n_embd // config.n_head) ** -0.5,
    ),
}


def suffix(layer):
    return f".L{layer:02}" if layer else ""


class Probes:
    """The hooks, while a pass is to be seen."""

    def __init__(self, model, architecture, every_layer):
        self.config, self.seen, self.handles, self.restore = model.config, {}, [], lambda: None
        for probe in architecture.before + architecture.after:
            self.attach(model, probe, "", None)
        for layer in range(model.config.num_hidden_layers):
            for probe in architecture.layer if every_layer or layer == 0 else ():
                self.attach(model, probe, suffix(layer), layer)
            self.attach(model, architecture.block, f".{layer:02}", layer)
        if architecture.rotary:
            self.listen(model.get_submodule(architecture.rotary), every_layer)

    def attach(self, model, probe, ending, layer):
        module = model.get_submodule(probe.module.format(layer=layer))

        def keep(shown):
            if isinstance(shown, tuple) and probe.unpack is rows:
                shown = shown[0]
            for part, tensor in probe.unpack(self.config, shown).items():
                # A copy: what is shown may be computed upon in place.
                self.seen[probe.station + part + ending] = tensor.detach().clone()

        if probe.of_input:
            self.handles.append(module.register_forward_pre_hook(lambda _, inputs: keep(inputs)))
        else:
            self.handles.append(module.register_forward_hook(lambda _, inputs, output: keep(output)))

    def listen(self, attention, every_layer):
        """To the function that turns the queries and keys of one block after the other."""
        module = sys.modules[type(attention).__module__]
        own, calls = module.apply_rotary_pos_emb, itertools.count()

        def listening(*arguments, **named):
            turned, layer = own(*arguments, **named), next(calls)
            if every_layer or layer == 0:
                for part, tensor in zip("qk", turned):  # each [1, H, T, D]
                    self.seen[f"cp02.{part}_rope{suffix(layer)}"] = tensor[0].transpose(0, 1).clone()
            return turned

        module.apply_rotary_pos_emb = listening
        self.restore = lambda: setattr(module, "apply_rotary_pos_emb", own)

    def detach(self):
        for handle in self.handles:
            handle.remove()
        self.restore()


# The run --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def run(model, architecture, prompt_ids, steps, max_tokens, end_ids, every_layer):
    """Every tensor of a greedy generation, the prefill's stations and the cache after each of `steps` decode steps."""
    config, cache = model.config, DynamicCache(config=model.config)
    layers = range(config.num_hidden_layers if every_layer else 1)
    probes = Probes(model, architecture, every_layer)
    try:
        logits = model(torch.tensor([prompt_ids]), past_key_values=cache, use_cache=True).logits[0]
    finally:
        probes.detach()
    tensors = probes.seen
    for layer in layers:
        tensors |= scores(tensors, suffix(layer), architecture.scale(config), architecture.softmax or logits.dtype)

    ids, margins, step = [], [], 0
    tensors["cp09.logits"] = last = logits[-1].clone()
    tensors |= cached(cache, layers, step)
    while True:
        ids.append(int(np.argmax(last.numpy())))  # the lowest id where several are the largest
        best, second = last.topk(2).values
        margins.append((best - second).item())
        is_last = ids[-1] in end_ids or len(ids) >= max_tokens
        if is_last and step >= steps or len(prompt_ids) + len(ids) > config.max_position_embeddings:
            break
        if is_last:
            # The cache after more steps was asked for than tokens are generated.
            raise CaptureError(f"the text ends after {len(ids)} tokens: {steps} decode steps can't be captured")
        last = model(torch.tensor([ids[-1:]]), past_key_values=cache, use_cache=True).logits[0, -1]
        step += 1
        if step <= steps:
            tensors |= cached(cache, layers, step)
    if step < steps:
        raise CaptureError(f"the context is full after {step} decode steps: {steps} can't be captured")

    tensors["cp10.argmax"] = torch.tensor(ids[:1], dtype=torch.int64)
    for temperature in TEMPERATURES:
        scaled = TemperatureLogitsWarper(temperature)(None, tensors["cp09.logits"])
        tensors[f"cp11.probs.t{temperature}"] = scaled.softmax(dim=-1)
    tensors["cp12.ids"] = torch.tensor(ids, dtype=torch.int64)
    tensors["cp12.margins"] = torch.tensor(margins, dtype=torch.float64)  # by how much each of them was chosen
    return ids, {name: tensors[name].contiguous().numpy() for name in sorted(tensors)}


def cached(cache, layers, step):
    """The cache, [1, H, N, D] → [N, H, D]."""
    return {
        f"cp03.step{step}.{part}{suffix(layer)}": held[0].transpose(0, 1).clone()
        for layer in layers
        for part, held in (("k", cache.layers[layer].keys), ("v", cache.layers[layer].values))
    }


def product(q, k, v):
    """q is [H, T, D], k and v are [KV, T, D], a head of them for H / KV of the queries; the scores are [H, T, T]."""
    return q @ k.repeat_interleave(len(q) // len(k), dim=0).transpose(1, 2)


def causal(plain):
    future = torch.ones(plain.shape[1:], dtype=torch.bool).triu(diagonal=1)
    return plain.masked_fill(future, -torch.inf)


def scores(tensors, ending, scale, dtype, product=product, mask=causal, axis=-1):
    """The scores of one layer from its own q and k, in float64, if its own probabilities prove them."""
    turned = "_rope" if f"cp02.q_rope{ending}" in tensors else ""
    parts = [f"q{turned}", f"k{turned}", "v"]
    q, k, v = (tensors[f"cp02.{part}{ending}"].double().transpose(0, 1) for part in parts)
    plain = product(q, k, v) * scale
    masked = mask(plain)
    own = tensors[f"cp05.probs{ending}"].double()
    tolerance = PROOF[dtype] + torch.finfo(dtype).eps * plain.abs().max().item()
    difference = (masked.softmax(dim=axis) - own).abs().max().item()
    if not difference <= tolerance:
        raise CaptureError(
            f"the scores{ending} are not the model's: softmax(mask(scores)) differs from its own probabilities by "
            f"{difference:.3e}, and {tolerance:.0e} is allowed"
        )
    return {f"cp04.scores{ending}": plain, f"cp04.scores_masked{ending}": masked}


# The model ------------------------------------------------------------------------------------------------------


def open_model(path, dtype):
    """A model from its folder, in evaluation mode, and the architecture that it is of."""
    config = AutoConfig.from_pretrained(path)
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise CaptureError(f"{path} is of architecture {config.model_type}; known: {', '.join(ARCHITECTURES)}")
    # Loaded as float32 whatever is computed in: wider is exact, and the digest is over these.
    model, loading = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, use_safetensors=True
    )
    if loading["missing_keys"]:
        raise CaptureError(f"{path} lacks {', '.join(sorted(loading['missing_keys']))}")
    return model.eval().to(dtype), architecture


def model_digest(model):
    """SHA-256 over the weights in the order of their names, as little-endian f32; a tied head and masks are not weights."""
    digest = hashlib.sha256()
    prefix = f"{model.base_model_prefix}."
    # Parameters are no buffers, and one that two modules share comes once, under its first name.
    parameters = {name.removeprefix(prefix): parameter for name, parameter in model.named_parameters()}
    for name in sorted(parameters, key=str.encode):
        digest.update(parameters[name].detach().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def weights_dtype(folder):
    """As stored; several in the order of their names."""
    kinds = set()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        kinds |= {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    return "+".join(sorted(kinds))


def open_tokenizer(folder):
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    try:
        bpe = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as problem:
        raise CaptureError(f"{folder} has neither tokenizer.json nor vocab.json with merges.txt: {problem}") from problem
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_table():
    """GPT-2's alphabet: the character that stands for each byte, the other way round."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def token_bytes(tokenizer, ids):
    """The bytes of tokens; special ones, such as the end of text, have none."""
    table, added = byte_table(), tokenizer.get_added_tokens_decoder()

    def one(id):
        if id in added:  # literal text
            return b"" if added[id].special else added[id].content.encode()
        return bytes(table[letter] for letter in tokenizer.id_to_token(id) or "")

    return b"".join(map(one, ids))


def end_ids(config):
    """The tokens that end a text."""
    end = config.eos_token_id
    return set(end) if isinstance(end, list) else {end} - {None}


def capture(model, architecture, folder, arguments):
    """The capture that the command line asks for."""
    tokenizer = open_tokenizer(folder)
    if arguments.tokens is not None:
        ids = arguments.tokens
        prompt = token_bytes(tokenizer, ids)
    else:
        ids = tokenizer.encode(arguments.prompt, add_special_tokens=False).ids
        prompt = arguments.prompt.encode()
    config = model.config
    if not ids:
        raise CaptureError("the prompt has no tokens")
    if len(ids) > config.max_position_embeddings:
        raise CaptureError(f"the prompt has {len(ids)} tokens and the context {config.max_position_embeddings}")
    if max(ids) >= config.vocab_size:
        raise CaptureError(f"the prompt has token {max(ids)} and the vocabulary {config.vocab_size} tokens")
    every_layer = arguments.checkpoint_layers == "all"
    generated, tensors = run(
        model, architecture, ids, arguments.steps, arguments.max_tokens, end_ids(config), every_layer
    )
    text = token_bytes(tokenizer, generated)
    manifest = {
        "engine": "transformers",
        "engine_version": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "model": arguments.name or folder.resolve().name,
        "architecture": config.model_type,
        "sizes": {
            "n_layer": config.num_hidden_layers,
            "n_head": config.num_attention_heads,
            "n_embd": config.hidden_size,
            "n_ctx": config.max_position_embeddings,
            "vocab_size": config.vocab_size,
        },
        "model_digest": model_digest(model),
        "weights_dtype": weights_dtype(folder),
        "compute_dtype": {torch.float64: "F64", torch.float32: "F32"}[model.dtype],
        "prompt_sha256": hashlib.sha256(prompt).hexdigest(),
        "token_ids": ids,
        "start_pos": 0,
        "steps": arguments.steps,
        "taps": "hooks on unmodified modules, eager attention",
        "generated_text": text.decode(errors="replace"),
        "generated_bytes": text.hex(),
        "tolerance_profile": "exact",
    }
    return Capture(manifest, tensors)


def token_list(text):
    return [int(part) for part in text.replace(",", " ").split()]


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder, or model.safetensors in it")
    parser.add_argument("--name", help="the model's name in the manifest; the folder's if not given")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt")
    prompt.add_argument("--tokens", type=token_list, help="ids, separated by commas")
    parser.add_argument("--steps", type=int, default=2, help="decode steps whose cache is captured")
    parser.add_argument("--max-tokens", type=int, default=10)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="what is computed in")
    parser.add_argument("--store", choices=("float64", "float32"), help="what is stored; as computed if not given")
    parser.add_argument("--slices", action="store_true", help="of large tensors, statistics, digest and slices only")
    parser.add_argument("--checkpoint-layers", choices=("first", "all"), default="first")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(arguments)


def main():
    arguments = parse()
    transformers.utils.logging.disable_progress_bar()
    folder = arguments.model if arguments.model.is_dir() else arguments.model.parent
    try:
        if not arguments.model.exists():
            raise CaptureError(f"{arguments.model} does not exist")
        if arguments.model.is_file() and arguments.model.name != "model.safetensors":
            raise CaptureError(f"{arguments.model}: give a folder, or model.safetensors in it")
        model, architecture = open_model(folder, getattr(torch, arguments.dtype))
        made = capture(model, architecture, folder, arguments)
        capture_format.write(made, arguments.output, arguments.store, arguments.slices)
    except (CaptureError, OSError, ValueError) as problem:
        print(f"transformers_capture: {problem}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {len(made.tensors)} tensors of {len(made.manifest['token_ids'])} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
