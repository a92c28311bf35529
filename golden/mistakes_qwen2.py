"""Mistakes in Qwen2, for mistakes.py: one change each to transformers' own modules, and three of them together.

The first three cost a real project 23 days, since they hide each other. So each is there alone, in each pair and with
both others; of several, the first tensor that differs is that of the earliest.
"""

import itertools
from pathlib import Path

import torch
import transformers_capture as script
from mistakes import TEXT, Family, Mistake, replaced
from tokenizers import decoders
from torch import nn
from transformers.models.qwen2 import modeling_qwen2


def layers(change):
    def make(model):
        for layer in model.model.layers:
            change(layer)

    return make


def norms(forward):
    """Another norm in every place: `forward(x, weight, eps)`."""

    def make(model):
        for module in model.modules():
            if isinstance(module, modeling_qwen2.Qwen2RMSNorm):
                module.forward = lambda x, module=module: forward(x, module.weight, module.variance_epsilon)

    return make


def root_mean_square(x, weight, eps):
    return weight * (x / (x.square().mean(-1, keepdim=True) + eps).sqrt())


def biases_zeroed(layer):
    attention = layer.self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.bias.data.zero_()


def adjacent_pairs(q, k, cos, sin, unsqueeze_dim=1):
    """Channels 2 i and 2 i + 1 turned together; cos and sin are [1, T, D], their halves alike."""

    def twice(part):
        return part[..., : part.shape[-1] // 2].repeat_interleave(2, dim=-1).unsqueeze(unsqueeze_dim)

    def turn(x):
        return torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)

    return q * twice(cos) + turn(q) * twice(sin), k * twice(cos) + turn(k) * twice(sin)


def decoded_without_table(_):
    """The symbols of the vocabulary as they are written there, joined: `ĠThe`."""

    def symbols(tokenizer, ids):
        tokenizer.decoder = decoders.Fuse()
        return tokenizer.decode(ids, skip_special_tokens=True).encode()

    return replaced(script, "token_bytes", symbols)(None)


def frequencies(change):
    """Other angles: `change(inv_freq)`, [D / 2]."""

    def make(model):
        rotary = model.model.rotary_emb
        rotary.inv_freq = nn.Buffer(change(rotary.inv_freq), persistent=False)

    return make


def positions_shifted(model):
    rotary = model.model.rotary_emb
    honest = rotary.forward
    rotary.forward = lambda x, position_ids: honest(x, position_ids + 1)


def values_in_groups(hidden, repeats):
    """Query head h attends with head h mod KV: [1, KV, T, D] → [1, H, T, D]."""
    return hidden.repeat(1, repeats, 1, 1)


def grouped_product(q, k, v):
    return q @ k.repeat(len(q) // len(k), 1, 1).transpose(1, 2)


def gate_and_up_swapped(layer):
    layer.mlp.gate_proj, layer.mlp.up_proj = layer.mlp.up_proj, layer.mlp.gate_proj


def up_activated(layer):
    mlp = layer.mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.gate_proj(x) * mlp.act_fn(mlp.up_proj(x)))


def head_untied(model):
    """A head that was made anew, as a loader leaves it that looks for `lm_head.weight` in a file without one."""
    weight = model.lm_head.weight
    random = torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)) * 0.3
    model.lm_head.weight = nn.Parameter(random.to(weight.dtype))


def scale_missing(layer):
    layer.self_attn.scaling = 1.0


MANDATORY = [
    Mistake("QkvBiasesZeroed", "the biases of q, k and v zeroed at load", "cp02.q", layers(biases_zeroed)),
    Mistake(
        "RotaryAdjacentPairs", "adjacent pairs turned in place of halves", "cp02.q_rope",
        replaced(modeling_qwen2, "apply_rotary_pos_emb", adjacent_pairs),
    ),
    Mistake("ByteTableMissing", "a byte-level decoder without the byte table", TEXT, decoded_without_table),
]


def together(mistakes):
    def make(model):
        undo = [mistake.make(model) for mistake in mistakes]
        return lambda: [one() for one in undo if one]

    return Mistake(
        "+".join(mistake.fault for mistake in mistakes), "; ".join(mistake.what for mistake in mistakes),
        mistakes[0].first, make,
    )


MISTAKES = [
    *MANDATORY,
    *(together(several) for count in (2, 3) for several in itertools.combinations(MANDATORY, count)),
    Mistake("RmsEpsilon", "eps 1e-5 in place of 1e-6", "cp01.ln_1", norms(lambda x, w, _: root_mean_square(x, w, 1e-5))),
    Mistake(
        "MeanSubtracted", "layer norm in place of root mean square", "cp01.ln_1",
        norms(lambda x, w, eps: root_mean_square(x - x.mean(-1, keepdim=True), w, eps)),
    ),
    Mistake(
        "RopeBase", "a rope base of 10 000 in place of 1 000 000", "cp02.q_rope",
        frequencies(lambda honest: 10_000.0 ** (-torch.arange(len(honest)) / len(honest))),
    ),
    Mistake("RopePositionOffByOne", "positions counted from one", "cp02.q_rope", positions_shifted),
    Mistake(
        "HeadGroup", "query head h reads head h mod KV", "cp04.scores",
        replaced(modeling_qwen2, "repeat_kv", values_in_groups), {"product": grouped_product},
    ),
    Mistake(
        "ScoreScaleMissing", "scores not divided by the root of the head size", "cp04.scores", layers(scale_missing),
        {"product": lambda q, k, v: script.product(q, k, v) * q.shape[-1] ** 0.5},
    ),
    Mistake("GateUpSwapped", "the matrices of gate and up swapped", "cp06.gate", layers(gate_and_up_swapped)),
    Mistake("UpActivated", "silu of up in place of gate", "cp06.swiglu", layers(up_activated)),
    Mistake(
        "GeluGate", "GELU in place of SiLU", "cp06.swiglu", layers(lambda layer: setattr(layer.mlp, "act_fn", nn.GELU())),
    ),
    Mistake("UntiedHead", "a head of its own where it is the embedding", "cp08.logits", head_untied),
]

FAMILY = Family(
    folder="qwen2",
    recipe=["--architecture", "qwen2", "--size", "tiny"],
    prompt="Hello",
    max_tokens=6,
    mistakes=MISTAKES,
    # Words with a blank before them are tokens here: without the table the blank is a `Ġ`.
    tokenizer=Path(__file__).resolve().parent.parent / "fixtures" / "tiny" / "tokenizer.json",
)
