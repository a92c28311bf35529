#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3", "torch==2.15.0", "transformers==5.24.0",
# ]
# ///
"""Deliberate mistakes, put by hand into Hugging Face transformers, and captured: what a diagnosis is tested against.

    mistakes.py --llorch PATH       writes fixtures/mistakes

A test tool, and no reference. The faults of the catalogue live in this project's own forward pass, and so does what names
them; these were made in somebody else's engine, so that the two can't share an error. Each capture is held against the
honest one here: the first tensor that differs, in the order of execution, must be the one that the list says. The lists
are in mistakes_gpt2.py and mistakes_qwen2.py.
"""

import argparse
import copy
import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent))
import capture_format
import transformers_capture as script

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "mistakes"
STEPS = 2
ORDER = """cp00.embed cp01.ln_1 cp02.q cp02.k cp02.v cp02.q_rope cp02.k_rope cp03.step0.k cp03.step0.v cp04.scores
    cp04.scores_masked cp05.probs cp05.merged cp05.attn_out cp07.attn_residual cp06.ln_2 cp06.c_fc cp06.gelu cp06.gate cp06.up
    cp06.swiglu cp06.c_proj cp07.block cp08.block.00 cp08.block.01 cp08.ln_f cp08.logits cp09.logits cp10.argmax
    cp11.probs.t0.5 cp11.probs.t1.0 cp11.probs.t2.0 cp03.step1.k cp03.step1.v cp03.step2.k cp03.step2.v cp12.ids""".split()
TOLERANCE = {"cp00": 1e-5, "cp01": 1e-5, "cp08": 1e-3, "cp09": 1e-3, "cp10": 0, "cp12": 0}  # 1e-4 elsewhere
TEXT = "the text"
"""What parts where every tensor is right and the bytes of the text are not."""


@dataclass
class Mistake:
    fault: str
    """Its name in the catalogue; several are joined by `+`, in the order in which they show."""
    what: str
    first: str
    """The tensor that changes first."""
    make: object
    """Changes a model; what it returns is undone afterwards."""
    scores: dict = field(default_factory=dict)
    """How its scores are to be had, where they are not the usual ones."""


@dataclass
class Family:
    """The mistakes of one architecture, made in one recipe model."""

    folder: str
    recipe: list[str]
    prompt: str
    max_tokens: int
    mistakes: list[Mistake]
    tokenizer: Path | None = None
    """In the place of the recipe's."""


def replaced(module, name, value):
    """Something of transformers' own source, until the capture is made."""

    def make(_):
        before = getattr(module, name)
        setattr(module, name, value)
        return lambda: setattr(module, name, before)

    return make


# Captures -------------------------------------------------------------------------------------------------------


def capture(family, model, architecture, folder, mistake=None):
    model = copy.deepcopy(model)
    undo = mistake.make(model) if mistake else None
    usual = script.scores
    script.scores = functools.partial(usual, **mistake.scores) if mistake else usual
    try:
        asked = ["--model", str(folder), "--output", "none", "--name", "recipe-mistakes", "--prompt", family.prompt]
        asked += ["--steps", str(STEPS), "--max-tokens", str(family.max_tokens)]
        return script.capture(model, architecture, folder, script.parse(asked))
    finally:
        script.scores = usual
        if undo:
            undo()


def first_difference(honest, other):
    for name in (name for name in ORDER if name in honest.tensors):
        expected, found = honest.tensors[name].astype(np.float64), other.tensors[name].astype(np.float64)
        if expected.shape != found.shape:
            return name
        with np.errstate(invalid="ignore"):
            apart = np.where(expected == found, 0.0, np.abs(expected - found) / np.maximum(1.0, np.abs(expected)))
        if not apart.max() <= TOLERANCE.get(name.split(".")[0], 1e-4):
            return name
    return None if honest.manifest["generated_bytes"] == other.manifest["generated_bytes"] else TEXT


def make_all(family, llorch):
    """Writes the captures of one family; how many of them part from the honest one at another place than is said."""
    place = FIXTURES / family.folder
    place.mkdir(parents=True, exist_ok=True)
    folder = place / ".model"
    subprocess.run([*llorch, "recipe", *family.recipe, "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    if family.tokenizer:
        shutil.copy(family.tokenizer, folder / "tokenizer.json")
    try:
        model, architecture = script.open_model(folder, torch.float64)
        honest = capture(family, model, architecture, folder)
        capture_format.write(honest, place / "honest", store="float32")
        listed, wrong = [], 0
        for mistake in family.mistakes:
            made = capture(family, model, architecture, folder, mistake)
            # The weights in the file are the honest ones: the mistake is in the engine that reads them.
            made.manifest["model_digest"] = honest.manifest["model_digest"]
            made.manifest["engine"] = "transformers, with a mistake"
            made.manifest["taps"] = f"hooks; by hand: {mistake.what}"
            found = first_difference(honest, made)
            wrong += found != mistake.first
            print(f"{'ok   ' if found == mistake.first else 'WRONG'} {mistake.fault}: {found}")
            capture_format.write(made, place / mistake.fault, store="float32")
            listed.append({"fault": mistake.fault, "what": mistake.what, "first": mistake.first})
        table = {"recipe": family.recipe, "prompt": family.prompt, "honest": "honest", "mistakes": listed}
        (place / "mistakes.json").write_text(capture_format.manifest_text(table))
        return wrong
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    import mistakes_gpt2
    import mistakes_qwen2

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llorch", type=Path, help="the tool, for the recipe models; built if not given")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    llorch = [str(arguments.llorch)] if arguments.llorch else ["cargo", "run", "--quiet", "--bin", "llorch", "--"]
    shutil.rmtree(FIXTURES, ignore_errors=True)
    families = [mistakes_gpt2.FAMILY, mistakes_qwen2.FAMILY]
    return 1 if sum(make_all(family, llorch) for family in families) else 0


if __name__ == "__main__":
    sys.exit(main())
