"""Write what an engine computes as a capture that `llorch diff` reads. One file, the standard library only.

    from llorch_tap import Tap

    with Tap("out/mine", engine="my-engine", token_ids=[15496, 13], prompt="Hello.") as tap:
        tap.tensor("cp01.ln_1", x)          # copied: x may change afterwards

A tensor is anything with the buffer protocol (numpy arrays, array.array, memoryview), a torch tensor, or nested lists of
numbers; it is stored as F32, F64 or I64, row-major. Names are those of a capture: cp01.ln_1 [T, C], cp02.q [T, H, D],
cp03.step0.k [N, H, D], cp04.scores [H, T, N], ... with .L07 for layer 7. The folder appears whole, at the end of the block,
or, after an error, not at all.
"""

import hashlib
import json
import math
import os
import re
import shutil
import struct

__all__ = ["Tap", "TapError"]

FIELDS = {
    "engine": "",
    "engine_version": "",
    "model": "",
    "architecture": "gpt2",
    "sizes": {"n_layer": 0, "n_head": 0, "n_embd": 0, "n_ctx": 0, "vocab_size": 0},
    "model_digest": "",
    "weights_dtype": "",
    "compute_dtype": "",
    "prompt_sha256": "",
    "token_ids": [],
    "start_pos": 0,
    "steps": 0,
    "taps": "llorch_tap.py",
    "generated_text": "",
    "generated_bytes": "",
    "tolerance_profile": "exact",
}
FLOATS = {"e": "F32", "f": "F32", "d": "F64"}
CODES = {"F32": "f", "F64": "d", "I64": "q"}


class TapError(Exception):
    """What cannot be captured, and why."""


class Tap:
    """One capture. Fields of the manifest are arguments, or set later with `field`."""

    def __init__(self, directory, *, engine, token_ids, prompt=None, generated=None, **fields):
        self.directory = os.path.abspath(os.fspath(directory))
        self.fields = dict(FIELDS)
        self.tensors = {}
        self.field(engine=engine, token_ids=[int(token) for token in token_ids], **fields)
        if prompt is not None:
            self.prompt(prompt)
        if generated is not None:
            self.generated(generated)

    def field(self, **fields):
        unknown = sorted(set(fields) - set(FIELDS))
        if unknown:
            raise TapError(f"the manifest has no field {', '.join(unknown)}; it has {', '.join(FIELDS)}")
        self.fields.update(fields)

    def prompt(self, text):
        self.field(prompt_sha256=hashlib.sha256(text.encode()).hexdigest())

    def generated(self, output):
        """Text, or bytes that may end inside a character."""
        data = output.encode() if isinstance(output, str) else bytes(output)
        self.field(generated_text=data.decode(errors="ignore"), generated_bytes=data.hex())

    def tensor(self, name, values):
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= 256 or name == "__metadata__":
            raise TapError(f"{name!r} is no name of a tensor: 1 to 256 bytes of text")
        if name in self.tensors:
            raise TapError(f"{name} is there twice")
        shape, dtype, data = _bytes_of(name, values)
        if len(shape) > 8:
            raise TapError(f"{name}: {len(shape)} dimensions; at most 8")
        self.tensors[name] = (shape, dtype, data)

    def write(self):
        if os.path.exists(self.directory):
            raise TapError(f"{self.directory} is there already, and a capture is never written over another one")
        above, name = os.path.split(self.directory)
        os.makedirs(above, exist_ok=True)
        partial = os.path.join(above, f".{name}~{os.getpid()}-{id(self)}")
        os.mkdir(partial)
        try:
            with open(os.path.join(partial, "tensors.safetensors"), "wb") as file:
                header = self._header()
                file.write(struct.pack("<Q", len(header)))
                file.write(header)
                for _, _, data in self.tensors.values():
                    file.write(data)
            with open(os.path.join(partial, "manifest.json"), "w", encoding="utf-8") as file:
                file.write(self._manifest())
            os.rename(partial, self.directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.write()

    def _header(self):
        header, end = {}, 0
        for name, (shape, dtype, data) in self.tensors.items():
            begin, end = end, end + len(data)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        return text + b" " * (-len(text) % 8)

    def _manifest(self):
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in self.fields.items()]
        tensors = [json.dumps(_summary(name, *tensor), ensure_ascii=False) for name, tensor in self.tensors.items()]
        listed = ",\n    ".join(tensors)
        return "{\n  " + '"schema_version": 1,\n' + ",\n".join(lines) + f',\n  "tensors": [\n    {listed}\n  ]\n}}\n'


def _bytes_of(name, values):
    """Shape, dtype and little-endian bytes, row-major."""
    if hasattr(values, "detach"):  # torch: off its graph and its device
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) in ("torch.bfloat16", "torch.float16") else values).numpy()
    try:
        view = memoryview(values)
    except TypeError:
        return _of_lists(name, values)
    if view.ndim == 0 and view.shape != ():
        raise TapError(f"{name}: a buffer without a shape")
    code = view.format.lstrip("@=<>!")
    if code not in "efdbBhHiIlLqQ?nN" or len(code) != 1:
        raise TapError(f"{name}: numbers of the format {view.format!r}; floats and integers are captured")
    dtype = FLOATS.get(code, "I64")
    order = view.format[0] if view.format[0] in "<>=!" else "@"
    count = math.prod(view.shape)
    raw = view.tobytes()  # row-major, whatever the strides
    return list(view.shape), dtype, _pack(name, dtype, struct.unpack(f"{order}{count}{code}", raw))


def _of_lists(name, values):
    shape, level = [], values
    while isinstance(level, (list, tuple)):
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    flat = []

    def walk(part, sizes):
        if not sizes:
            if isinstance(part, (list, tuple)) or not hasattr(part, "__float__"):
                raise TapError(f"{name}: {part!r} where a number must be")
            flat.append(part)
        elif not isinstance(part, (list, tuple)) or len(part) != sizes[0]:
            raise TapError(f"{name}: the lists have different lengths")
        else:
            for item in part:
                walk(item, sizes[1:])

    walk(values, shape)
    dtype = "I64" if flat and all(isinstance(number, int) for number in flat) else "F64"
    return shape, dtype, _pack(name, dtype, flat)


def _pack(name, dtype, numbers):
    try:
        return struct.pack(f"<{len(numbers)}{CODES[dtype]}", *numbers)
    except (struct.error, OverflowError) as problem:
        raise TapError(f"{name}: {problem}") from problem


def _number(value):
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _shortest(value):
    """An f32 as the shortest number that reads as it: 0.1, where an f64 shows 0.10000000149011612."""
    if not math.isfinite(value):
        return value
    return next(short for digits in range(1, 18) if _as_f32(short := float(f"{value:.{digits}g}")) == value)


def _as_f32(value):
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.inf


def _summary(name, shape, dtype, data):
    numbers = [number for (number,) in struct.iter_unpack(f"<{CODES[dtype]}", data)]
    finite = [float(number) for number in numbers if math.isfinite(number)]
    exact = _shortest if dtype == "F32" else int if dtype == "I64" else float
    total = squares = 0.0
    for number in finite:
        total, squares = total + number, squares + number * number
    layer = re.search(r"\.L(\d+)$|\.block\.(\d+)", name)
    step = re.search(r"\.step(\d+)", name)
    return {
        "name": name,
        "station": name.split(".")[0],
        "layer": int(layer[1] or layer[2]) if layer else 0,
        "step": int(step[1]) if step else 0,
        "shape": shape,
        "dtype": dtype,
        "sha256": hashlib.sha256(data).hexdigest(),
        "count": len(numbers),
        "min": exact(min(finite)) if finite else "nan",
        "max": exact(max(finite)) if finite else "nan",
        "mean": total / len(finite) if finite else "nan",
        "l2": math.sqrt(squares) if finite else "nan",
        "nan": sum(math.isnan(number) for number in numbers),
        "inf": sum(math.isinf(number) for number in numbers),
        "head": [_number(exact(number) if math.isfinite(number) else number) for number in numbers[:4]],
        "tail": [_number(exact(number) if math.isfinite(number) else number) for number in numbers[-4:]],
    }
