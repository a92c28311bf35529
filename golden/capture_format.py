"""The capture format: a folder with manifest.json and tensors.safetensors, whole or as slices. See golden/README.md."""

import hashlib
import itertools
import json
import math
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SCHEMA_VERSION = 1
RUN = 8  # elements of a slice that lie side by side, so that a reader sees neighbours
STORED = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64", np.dtype(np.int64): "I64"}
DTYPES = {name: dtype for dtype, name in STORED.items()}


class CaptureError(Exception):
    """A capture that can't be made, written or read; the message is for people."""


@dataclass
class Capture:
    """One run of one engine: who it was, on what, and every tensor that it showed."""

    manifest: dict
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


# Slices -----------------------------------------------------------------------------------------------------------

MASK = (1 << 64) - 1


def mix(z):
    """The finalizer of SplitMix64, as in the recipe of the models."""
    z ^= z >> 30
    z = z * 0xBF58476D1CE4E5B9 & MASK
    z ^= z >> 27
    z = z * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def slice_starts(count, keep):
    """Where the kept runs of RUN elements begin, by row-major index.

    The tensor is cut into keep / RUN parts of equal size; each keeps one run, at a place that a hash decides, so that
    no period of the tensor (a row, a head) is met by the period of the slices. The first part keeps the tensor's first
    elements and the last part its last.
    """
    runs = keep // RUN
    bounds = [count * part // runs for part in range(runs + 1)]
    starts = [low + mix(part) % (high - low - RUN + 1) for part, (low, high) in enumerate(itertools.pairwise(bounds))]
    starts[0], starts[-1] = 0, count - RUN
    return starts


def slice_indices(count, keep):
    return (np.array(slice_starts(count, keep))[:, None] + np.arange(RUN)).reshape(-1)


# Statistics and digests -------------------------------------------------------------------------------------------


def plain(number):
    """A number as JSON has it: the shortest text that reads as it in its own type; what JSON has none for as a string."""
    if not np.isfinite(number):
        return "nan" if np.isnan(number) else "inf" if number > 0 else "-inf"
    return number.item() if isinstance(number, np.integer) else float(str(number))


def station(name):
    return name.split(".")[0]


def layer_and_step(name):
    """What a name says: cp08.block.05, cp03.step1.k.L07."""
    parts = name.split(".")
    step = next((int(part[4:]) for part in parts if part.startswith("step")), 0)
    if parts[-1][:1] == "L" and parts[-1][1:].isdigit():
        return int(parts[-1][1:]), step
    if name.startswith("cp08.block."):
        return int(parts[-1]), step
    return 0, step


def describe(name, array):
    """The manifest's entry of a tensor. The statistics are over its finite numbers; what is not finite is counted."""
    flat = np.ascontiguousarray(array).reshape(-1)
    finite = flat[np.isfinite(flat)]
    wide = finite.astype(np.float64)
    layer, step = layer_and_step(name)
    return {
        "name": name,
        "station": station(name),
        "layer": layer,
        "step": step,
        "shape": list(array.shape),
        "dtype": STORED[array.dtype],
        "sha256": hashlib.sha256(flat.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest(),
        "count": int(flat.size),
        "min": plain(finite.min()) if finite.size else "nan",
        "max": plain(finite.max()) if finite.size else "nan",
        "mean": math.fsum(wide) / wide.size if wide.size else "nan",
        "l2": math.sqrt(math.fsum(wide * wide)) if wide.size else "nan",
        "nan": int(np.isnan(flat).sum()),
        "inf": int(np.isinf(flat).sum()),
        "head": [plain(value) for value in flat[:4]],
        "tail": [plain(value) for value in flat[-4:]],
    }


# Writing ----------------------------------------------------------------------------------------------------------

# How many elements of a larger tensor are kept, where --slices asks for it.
KEPT = 256
KEPT_LOGITS = 2048
WHOLE = ("cp10.", "cp12.")  # the decisions: never cut
# What the entry of a slice says of the tensor that it was cut from.
OF_THE_WHOLE = ("shape", "sha256", "count", "min", "max", "mean", "l2", "nan", "inf")


def kept(name, count):
    keep = KEPT_LOGITS if name.startswith(("cp08.logits", "cp09.")) else KEPT
    return None if name.startswith(WHOLE) or count <= 2 * keep else keep


def write(capture, folder, store=None, slices=False):
    """Writes a capture: a new folder beside, manifest last, then in place of what was there.

    `store` is the dtype that floats are stored in, their own if None. With `slices`, of a large tensor the elements are
    stored that `slice_starts` says, as one row; what it was cut from is described beside, by shape, digest and statistics.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    entries, stored = [], {}
    for name, array in sorted(capture.tensors.items()):
        if store is not None and array.dtype.kind == "f":
            array = array.astype(store)
        array = np.ascontiguousarray(array)
        keep = kept(name, array.size) if slices else None
        if keep:
            whole = {field: value for field, value in describe(name, array).items() if field in OF_THE_WHOLE}
            array = array.reshape(-1)[slice_indices(array.size, keep)]
            entries.append({**describe(name, array), "slices": {"run": RUN, "of": whole}})
        else:
            entries.append(describe(name, array))
        stored[name] = array
    (partial / "tensors.safetensors").write_bytes(safetensors(stored))
    text = manifest_text({"schema_version": SCHEMA_VERSION, **capture.manifest, "tensors": entries})
    (partial / "manifest.json").write_text(text)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def manifest_text(manifest):
    """JSON with one line for each short list, so that a change of it can be read."""
    lists = []

    def shorten(value):
        if isinstance(value, list) and not any(isinstance(part, (dict, list)) for part in value):
            lists.append(json.dumps(value))
            return f"\0{len(lists) - 1}\0"
        if isinstance(value, dict):
            return {key: shorten(part) for key, part in value.items()}
        return [shorten(part) for part in value] if isinstance(value, list) else value

    text = json.dumps(shorten(manifest), indent=1, ensure_ascii=False)
    for index, line in enumerate(lists):
        text = text.replace(f'"\\u0000{index}\\u0000"', line)
    return text + "\n"


def safetensors(tensors):
    """The bytes of a safetensors file, the tensors in the order of their names."""
    header, data = {}, []
    offset = 0
    for name in sorted(tensors):
        array = tensors[name]
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": STORED[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data)


# Reading ----------------------------------------------------------------------------------------------------------


def read(folder):
    """A capture from its folder, with its manifest's `tensors`; of slices what is stored, one row."""
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        raw = (folder / "tensors.safetensors").read_bytes()
        (length,) = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8 : 8 + length])
    except (OSError, ValueError, struct.error) as problem:
        raise CaptureError(f"{folder} is no capture: {problem}") from problem
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        low, high = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[low:high], DTYPES[entry["dtype"]].newbyteorder("<")).reshape(entry["shape"])
    missing = [entry["name"] for entry in manifest["tensors"] if entry["name"] not in tensors]
    if missing:
        raise CaptureError(f"{folder}: the manifest names tensors that are not there: {', '.join(missing)}")
    return Capture(manifest, tensors)
