"""A layer norm, its result captured: python3 example.py DIRECTORY"""

import array
import math
import sys

from llorch_tap import Tap

T, C = 2, 6


def layer_norm(x):
    """(x - mean) / sqrt(variance + 1e-5), row by row: [T, C]"""
    rows = []
    for row in x:
        mean = sum(row) / C
        variance = sum((value - mean) ** 2 for value in row) / C
        rows.append([(value - mean) / math.sqrt(variance + 1e-5) for value in row])
    return rows


def main(directory):
    x = [[0.5, -1.25, 2.0, 0.125, -0.75, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    normed = layer_norm(x)
    # as an engine would have them: 32 bits wide, in one buffer
    flat = memoryview(array.array("f", [value for row in x for value in row])).cast("B").cast("f", [T, C])
    normed_flat = memoryview(array.array("f", [value for row in normed for value in row])).cast("B").cast("f", [T, C])
    with Tap(
        directory,
        engine="example.py",
        engine_version="1",
        model='a "model"\n',
        compute_dtype="F32",
        sizes={"n_layer": 1, "n_head": 1, "n_embd": C, "n_ctx": 8, "vocab_size": 50257},
        token_ids=[15496, 13],
        prompt="Hello.",
        generated=b"caf\xc3\xa9\xc3",  # ends inside a character
    ) as tap:
        tap.tensor("cp00.embed", flat)
        tap.tensor("cp01.ln_1", normed_flat)
        tap.tensor("extra.step3.L07", [1 / 3, math.nan, math.inf, -math.inf, -0.0])
        tap.tensor("cp10.argmax", [314])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: example.py DIRECTORY")
    main(sys.argv[1])
