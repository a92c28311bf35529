"""Mistakes in GPT-2, for mistakes.py: one change each to transformers' own modules."""

import copy
import functools

import torch
import transformers_capture as script
from mistakes import Family, Mistake, replaced
from torch import nn
from transformers import DynamicCache
from transformers.models.gpt2 import modeling_gpt2

HEADS, SIZE = 3, 5

# Ways to change a model -----------------------------------------------------------------------------------------


def blocks(change):
    def make(model):
        for block in model.transformer.h:
            change(block)

    return make


def norms(forward):
    """Another layer norm in every place: `forward(x, weight, bias, eps)`."""

    def make(model):
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.forward = functools.partial(
                    lambda module, x: forward(x, module.weight, module.bias, module.eps), module
                )

    return make


def plain_norm(x, weight, bias, eps, correction=0):
    variance = x.var(-1, keepdim=True, correction=correction)
    return (x - x.mean(-1, keepdim=True)) / (variance + eps).sqrt() * weight + bias


def columns(order):
    """q, k and v in another order of columns, after the projection."""

    def make(model):
        index = torch.tensor(order(torch.arange(3 * HEADS * SIZE)).reshape(-1).tolist())
        for block in model.transformer.h:
            block.attn.c_attn.register_forward_hook(lambda _, inputs, output: output[..., index])

    return make


def attribute(path, value):
    """An attribute of a module of every block, `mlp.act`, set to what `value(block)` gives."""

    def change(block):
        *way, last = path.split(".")
        setattr(functools.reduce(getattr, way, block), last, value(block))

    return blocks(change)


def zero(path):
    return blocks(lambda block: functools.reduce(getattr, path.split("."), block).data.zero_())


def mask(change):
    """Another mask for the prompt; a decode step has one row and no future."""
    before = modeling_gpt2.create_causal_mask

    def create(**arguments):
        made = before(**arguments)
        return change(made) if arguments["inputs_embeds"].shape[1] > 1 else made

    return replaced(modeling_gpt2, "create_causal_mask", create)


def attention(probabilities=None, output=None, product=None):
    """The attention function with one part of it replaced."""

    def forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        is_prompt = query.shape[2] > 1
        weights = product(query, key) if product and is_prompt else query @ key.transpose(-1, -2)
        weights = weights * scaling
        if attention_mask is not None:
            weights = weights + attention_mask
        weights = probabilities(weights) if probabilities and is_prompt else weights.softmax(-1)
        if output and is_prompt:
            return output(weights, value), weights
        return (weights @ value).transpose(1, 2), weights

    return replaced(modeling_gpt2, "eager_attention_forward", forward)


def block_forward(body):
    """Another order of a block's parts: `body(block, x, attend)`."""

    def change(block):
        def forward(x, past_key_values=None, attention_mask=None, *_, **arguments):
            kept = {key: value for key, value in arguments.items() if not key.startswith("encoder")}

            def attend(h):
                return block.attn(h, past_key_values=past_key_values, attention_mask=attention_mask, **kept)[0]

            return body(block, x, attend)

        block.forward = forward

    return blocks(change)


def first_residual_missing(block, x, attend):
    h = attend(block.ln_1(x))
    return h + block.mlp(block.ln_2(h))


def second_residual_missing(block, x, attend):
    return block.mlp(block.ln_2(x + attend(block.ln_1(x))))


def values_as_keys(_):
    before = DynamicCache.update

    def update(cache, keys, values, *rest, **named):
        return before(cache, values, values, *rest, **named)

    DynamicCache.update = update
    return lambda: setattr(DynamicCache, "update", before)


def positions_shifted(model):
    table = model.transformer.wpe.weight.data
    table.copy_(torch.cat([table[1:], table[-1:]]))


def embedding_scaled(model):
    model.transformer.wte.register_forward_hook(lambda _, inputs, output: output * (HEADS * SIZE) ** 0.5)


def final_norm_skipped(model):
    model.transformer.ln_f = nn.Identity()


def final_norm_twice(model):
    norm = model.transformer.ln_f
    once = norm.forward
    norm.forward = lambda x: once(once(x))


def without_future(plain, seen):
    future = torch.ones(plain.shape[1:], dtype=torch.bool).triu(diagonal=seen)
    return plain.masked_fill(future, -torch.inf)


def future_visible(made):
    """The mask moved by one: [1, 1, T, N]."""
    return torch.cat([made[..., 1:, :], torch.zeros_like(made[..., :1, :])], dim=-2)


THIRD = HEADS * SIZE
MISTAKES = [
    Mistake("PositionOffByOne", "learned positions shifted by one", "cp00.embed", positions_shifted),
    Mistake("EmbeddingScaled", "token embedding scaled by the root of the width", "cp00.embed", embedding_scaled),
    Mistake("UnbiasedVariance", "variance divided by N - 1", "cp01.ln_1", norms(functools.partial(plain_norm, correction=1))),
    Mistake("Epsilon1e12", "eps 1e-12", "cp01.ln_1", norms(lambda x, w, b, _: plain_norm(x, w, b, 1e-12))),
    Mistake(
        "MeanNotSubtracted", "layer norm without subtracting the mean", "cp01.ln_1",
        norms(lambda x, w, b, eps: x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() * w + b),
    ),
    Mistake("ShiftMissing", "layer norm without its shift", "cp01.ln_1", norms(lambda x, w, b, eps: plain_norm(x, w, 0, eps))),
    Mistake(
        "RmsNorm", "root mean square in place of layer norm", "cp01.ln_1",
        norms(lambda x, w, b, eps: x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w + b),
    ),
    Mistake("ProjectionBiasMissing", "no bias on q, k and v", "cp02.q", zero("attn.c_attn.bias")),
    Mistake("KeyValueSwapped", "k and v swapped", "cp02.k", columns(lambda at: at.reshape(3, THIRD)[[0, 2, 1]])),
    Mistake(
        "HeadsInterleaved", "heads read as [T, D, H]", "cp02.q",
        columns(lambda at: at.reshape(3, SIZE, HEADS).transpose(1, 2)),
    ),
    Mistake(
        "SplitPerHead", "q, k and v split per head, [H, 3, D]", "cp02.q",
        columns(lambda at: at.reshape(HEADS, 3, SIZE).transpose(0, 1)),
    ),
    Mistake(
        "ValueInKeySlot", "v stored in the slot of k", "cp03.step0.k", values_as_keys,
        {"product": lambda q, k, v: script.product(q, v, v)},
    ),
    Mistake(
        "ScoreScaleMissing", "scores not divided by the root of the head size", "cp04.scores",
        attribute("attn.scaling", lambda _: 1.0), {"product": lambda q, k, v: script.product(q, k, v) * SIZE**0.5},
    ),
    Mistake(
        "KeyNotTransposed", "q times k as it lies, where T = D", "cp04.scores",
        attention(product=lambda q, k: q @ k), {"product": lambda q, k, v: q @ k},
    ),
    Mistake("MaskMissing", "no causal mask", "cp04.scores_masked", mask(lambda _: None), {"mask": lambda plain: plain}),
    Mistake(
        "FutureVisible", "mask off by one: one future token is seen", "cp04.scores_masked", mask(future_visible),
        {"mask": functools.partial(without_future, seen=2)},
    ),
    Mistake(
        "SoftmaxWrongAxis", "softmax over the queries", "cp05.probs",
        attention(probabilities=lambda weights: weights.softmax(-2)), {"axis": -2},
    ),
    Mistake(
        "OtherHeadsValues", "each head reads the values of the next", "cp05.merged",
        attention(output=lambda weights, value: (weights @ value.roll(-1, dims=1)).transpose(1, 2)),
    ),
    Mistake(
        "MergedHeadFirst", "heads merged as they lie, [H, T]", "cp05.merged",
        attention(output=lambda weights, value: (weights @ value).reshape(1, -1, HEADS, SIZE)),
    ),
    Mistake("OutputBiasMissing", "no bias on the attention's c_proj", "cp05.attn_out", zero("attn.c_proj.bias")),
    Mistake(
        "OutputTransposed", "the attention's c_proj transposed", "cp05.attn_out",
        attribute("attn.c_proj.weight.data", lambda block: block.attn.c_proj.weight.data.T.contiguous()),
    ),
    Mistake("FirstResidualMissing", "no residual around attention", "cp07.attn_residual", block_forward(first_residual_missing)),
    Mistake(
        "FirstNormsWeights", "ln_1's weights used for ln_2", "cp06.ln_2", attribute("ln_2", lambda block: copy.deepcopy(block.ln_1))
    ),
    Mistake("HiddenBiasMissing", "no bias on c_fc", "cp06.c_fc", zero("mlp.c_fc.bias")),
    Mistake("ErfGelu", "GELU by erf in place of tanh", "cp06.gelu", attribute("mlp.act", lambda _: nn.GELU())),
    Mistake("Silu", "SiLU in place of GELU", "cp06.gelu", attribute("mlp.act", lambda _: nn.SiLU())),
    Mistake("FeedForwardBiasMissing", "no bias on the MLP's c_proj", "cp06.c_proj", zero("mlp.c_proj.bias")),
    Mistake("SecondResidualMissing", "no residual around the MLP", "cp07.block", block_forward(second_residual_missing)),
    Mistake("FinalNormSkipped", "no ln_f", "cp08.ln_f", final_norm_skipped),
    Mistake("FinalNormTwice", "ln_f applied twice", "cp08.ln_f", final_norm_twice),
]

FAMILY = Family(
    folder="",
    # Five tokens and heads of five numbers: a k that is not transposed has the right shape.
    recipe=["--size", "tiny", "--n-layer", "2", "--n-head", "3", "--n-embd", "15", "--n-ctx", "24", "--vocab-size", "300"],
    prompt="Hello",
    max_tokens=6,
    mistakes=MISTAKES,
)
