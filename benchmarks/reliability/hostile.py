"""Weights from somebody who means harm: files that would run code, take memory, or can only give garbage.

    python -m benchmarks.reliability.hostile

Every file is given to everything that reads weights, in a process of its own whose memory is watched. What is recorded:
how many were tried, ran code, were loaded, were refused in another way than by one sentence, and the memory they took.
"""

import argparse
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.reliability import figures

MEBIBYTE = 1 << 20


class Runs:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class RunsLater(Runs):
    """Its state, which the opcode BUILD sets, holds what runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), {"state": Runs(self.call[0], *self.call[1])}


def touch_command(canary: Path) -> str:
    """A shell command that makes a file."""
    return f"echo > '{canary}'"


def pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that make the file `canary` when they are unpickled without care."""
    command = touch_command(canary)
    system, code = Runs(os.system, command), Runs(exec, f"open({str(canary)!r}, 'w').close()")
    quoted = command.encode()
    return {
        **{f"system, protocol {n}": pickle.dumps(system, protocol=n) for n in range(6)},
        "exec": pickle.dumps(code, protocol=2),
        "a process": pickle.dumps(Runs(subprocess.call, ["touch", str(canary)]), protocol=2),
        "among tensors' names": pickle.dumps({"GCM.kernels": system}, protocol=2),
        "as state": pickle.dumps({"a": RunsLater(os.system, command)}, protocol=2),
        "opcode INST": b"(S" + repr(command).encode() + b"\nios\nsystem\n.",
        "opcode OBJ": b"(cos\nsystem\nS" + repr(command).encode() + b"\no.",
        "names from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93X"
        + struct.pack("<I", len(quoted)) + quoted + b"\x85R.",
    }  # fmt: skip


def _zipped(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _saved(value: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _entries(file: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with_pickle(described: bytes) -> bytes:
    """A file of torch.save with another description of what is in it."""
    entries = _entries(_saved({"a": torch.zeros(4)}))
    return _zipped({name: described if name.endswith("data.pkl") else content for name, content in entries.items()})


def _tar(described: bytes) -> bytes:
    """As the first versions of PyTorch wrote."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(described)
            archive.addfile(entry, io.BytesIO(described))
    return buffer.getvalue()


def _legacy(described: bytes) -> bytes:
    """As torch.save wrote before its files were zip archives: magic number, protocol, system, then the object."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + described + pickle.dumps([], protocol=2)


def _numpy(value: Runs) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 1)), buffer)
    return buffer.getvalue()


def that_run(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Files that would make `canary`, in all wrappings that weights come in: name, content."""
    for name, content in pickles(canary).items():
        yield f"{name}, plain", content
        yield f"{name}, in a zip archive", _with_pickle(content)
        yield f"{name}, in an old file", _legacy(content)
    system = Runs(os.system, touch_command(canary))
    content = pickle.dumps(system, protocol=2)
    yield "a zip archive in a zip archive", _with_pickle(_with_pickle(content))
    yield "a zip archive that is compressed", _zipped(_entries(_with_pickle(content)), compression=zipfile.ZIP_DEFLATED)
    yield "two descriptions", _zipped({**_entries(_with_pickle(content)), "other/data.pkl": content})
    yield "a tar archive", _tar(content)
    yield "a TorchScript archive", _script()
    scripted = _entries(_script())
    yield (
        "a TorchScript archive that runs",
        _zipped({n: content if n.endswith(".pkl") else c for n, c in scripted.items()}),
    )
    yield "numpy's objects", _numpy(system)
    yield "numpy's objects in an archive", _zipped({"a.npy": _numpy(system)})
    yield "a pickled module", _saved(torch.nn.Linear(2, 2))


def that_take_memory() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much more than they hold: name, content."""
    small = _saved({"a": torch.zeros(4)})
    described = next(content for name, content in _entries(small).items() if name.endswith("data.pkl"))
    million = b"J" + struct.pack("<i", 1 << 28)
    claims = described.replace(b"K\x04t", million + b"t").replace(b"K\x00K\x04\x85", b"K\x00" + million + b"\x85")
    assert claims.count(million) == 2
    yield "one number said to be a thousand billion", _saved({"a": torch.zeros(1).expand(10**12)})
    shared = torch.zeros(1 << 18)
    yield "a thousand tensors with the same numbers", _saved({str(i): shared[i:] for i in range(1000)})
    yield "a storage said to be a gigabyte", _with_pickle(claims)
    zeros = {n: bytes(1 << 28) if "/data/" in n else c for n, c in _entries(_with_pickle(claims)).items()}
    yield "zeros, compressed", _zipped(zeros, compression=zipfile.ZIP_DEFLATED)
    yield (
        "an array of a gigabyte in twenty bytes",
        _with_pickle(b"\x80\x02cbuiltins\nbytearray\n" + million + b"\x85R."),
    )
    yield "the same in an old file", _legacy(b"\x80\x02c__builtin__\nbytearray\n" + million + b"\x85R.")
    old = _saved({"a": torch.zeros(4)}, zipped=False)
    yield (
        "an old file's storage said to be a gigabyte",
        old.replace(b"K\x04Nt", million + b"Nt").replace(b"K\x04\x85", million + b"\x85"),
    )
    index = torch.zeros(1, 1, dtype=torch.long)
    yield (
        "a sparse tensor",
        _saved({"a": torch.sparse_coo_tensor(index, torch.ones(1), (10**12,), check_invariants=True)}),
    )
    yield "a million marks", b"\x80\x02" + b"(" * 10**6 + b"."
    yield "lists in lists", b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
    yield "a text said to be ten terabytes", b"\x80\x04\x8d" + struct.pack("<Q", 10**13) + b"abc."


def with_header(header: bytes, numbers: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header) if length is None else length) + header + numbers


def _described(start: int, stop: int, *, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def safetensors(good: dict[str, Tensor]) -> Iterator[tuple[str, bytes]]:
    """Files model.safetensors that are broken, lie or hold garbage; `good` are weights that fit the network."""
    name = next(name for name, value in good.items() if value.ndim == 4)
    yield "empty", b""
    yield "a header said to be exabytes", with_header(b"{}", length=1 << 62)
    yield "a header of spaces", with_header(b"{}" + b" " * 2 * MEBIBYTE)
    yield (
        "a hundred thousand tensors",
        with_header(json.dumps({f"unet.{i}": _described(0, 0, shape=(0,)) for i in range(100_000)}).encode()),
    )
    yield "lists in lists", with_header(b'{"a":' + b"[" * 100_000)
    yield (
        "offsets that overlap",
        with_header(json.dumps({"a": _described(0, 16), "b": _described(8, 24)}).encode(), bytes(24)),
    )
    yield "offsets beyond the end", with_header(json.dumps({"a": _described(0, 1 << 40)}).encode(), bytes(16))
    yield "offsets that run backwards", with_header(json.dumps({"a": _described(16, 0)}).encode(), bytes(16))
    yield (
        "a shape larger than its numbers",
        with_header(json.dumps({"a": _described(0, 16, shape=(10**9,))}).encode(), bytes(16)),
    )
    yield (
        "a shape that overflows",
        with_header(json.dumps({"a": _described(0, 16, shape=(1 << 33, 1 << 33))}).encode(), bytes(16)),
    )
    yield (
        "a name twice",
        with_header(
            b'{"a":'
            + json.dumps(_described(0, 16)).encode()
            + b',"a":'
            + json.dumps(_described(0, 16)).encode()
            + b"}",
            bytes(16),
        ),
    )
    yield "a pickle", pickle.dumps(good[name].tolist())
    for what, value in garbage(good[name]):
        if not value.is_sparse and value.layout == torch.strided and not value.is_quantized:
            yield f"{what} in {name}", save({**good, name: value.contiguous()})


def garbage(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What a parameter must not be, from one that is right: name, tensor."""
    first = torch.zeros_like(tensor)
    first.view(-1)[0] = 1
    yield "NaN", tensor.where(first == 0, torch.nan)
    yield "infinity", tensor.where(first == 0, torch.inf)
    yield "a number beyond 32 bits", tensor.double().where(first == 0, 1e300)
    yield "whole numbers", tensor.int()
    yield "complex numbers", tensor.to(torch.complex64)
    yield "yes and no", tensor > 0
    yield "8-bit floats", tensor.to(torch.float8_e4m3fn)
    yield "another shape", tensor.flatten()[:-1]
    yield "a sparse tensor", tensor.to_sparse()
    yield "a quantised tensor", torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def released_garbage() -> Iterator[tuple[str, bytes]]:
    """The authors' state dict with one tensor that is wrong: name, content."""
    from benchmarks.released_reference import fill_weights

    good, name = fill_weights(1), "APU.conv.main.0.weight"
    for what, value in garbage(good[name]):
        yield f"{what} in {name}", _saved({**good, name: value})


def configurations(good: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Files config.json that are broken, too large or too much; `good` is one that is right."""
    text = json.dumps(good)

    def changed(**values: Any) -> bytes:
        return json.dumps({**good, **values}).encode()

    yield "a billion channels", changed(widths=[10**9] * 3)
    yield "a gigabyte of channels", changed(widths=[512] * 4, num_blocks=[32] * 4)
    yield (
        "every value at its largest",
        changed(
            widths=[512] * 4, num_blocks=[32] * 4, memory_channels=512, memory_kernel=15, image_blocks=32, num_atoms=64
        ),
    )
    yield "numbers as text", changed(widths=["8", "8", "8"])
    yield "numbers with fractions", changed(num_atoms=14.0)
    yield "yes for a number", changed(num_scales=True)
    yield "NaN", changed(radii=[0, float("nan"), 2])
    yield "infinity", changed(radii=[0, 1, float("inf")])
    yield "a number of ten thousand digits", text.replace('"stem": 2', '"stem": 1' + "0" * 10_000).encode()
    yield "a name of 90 000 letters", changed(atoms="a" * 90_000)
    yield "a key of 90 000 letters", changed(**{"a" * 90_000: 1})
    yield "a list of 40 000 radii", changed(radii=[0] * 40_000)
    yield "a key twice", text.replace("{", '{"stem": 2, ', 1).encode()
    yield "lists in lists", b"[" * 90_000
    yield "objects in objects", b'{"a":' * 15_000
    yield "200 kB of spaces", text.encode() + b" " * 200_000
    yield "UTF-16", text.encode("utf-16")
    yield "UTF-8 with a mark", b"\xef\xbb\xbf" + text.encode()
    yield "half a letter", changed(atoms="\ud800")
    yield "bytes that are no text", b"\xff\xfe\xfd" * 10
    yield "a list", b"[]"
    yield "nothing", b""


# --------------------------------------------------------------------------------------------------- trying them all


def attempts(folder: Path, canary: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every file, given to everything that reads such files: name, call."""
    from nrknet.checkpoint import CHECKPOINT_FILE, read_checkpoint
    from nrknet.config import PRESETS
    from nrknet.folder import CONFIG_FILE, WEIGHTS_FILE
    from nrknet.model import NRKNet
    from nrknet.perceptual import load_lpips
    from nrknet.weights import load_model, save_model

    network, run = folder / "network", folder / "run"
    run.mkdir()
    save_model(NRKNet(PRESETS["lite"]), network)
    weights, config = ((network / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE))

    def put(path: Path, content: bytes) -> Path:
        path.write_bytes(content)
        return path

    for name, content in (*that_run(canary), *that_take_memory(), *released_garbage()):
        pth = put(folder / "hostile.pth", content)
        yield f"{name}, as .pth", lambda pth=pth: load_model(pth, device="cpu")  # type: ignore[misc]
        yield f"{name}, as the backbone of LPIPS", lambda pth=pth: load_lpips(pth)  # type: ignore[misc]
        put(run / CHECKPOINT_FILE, content)
        if " in APU." not in name:  # that is a file of good tensors, and no checkpoint
            yield f"{name}, as {CHECKPOINT_FILE}", lambda: read_checkpoint(run)
        put(network / WEIGHTS_FILE, content)
        yield f"{name}, as {WEIGHTS_FILE}", lambda: load_model(network, device="cpu")
    tensors = NRKNet(PRESETS["lite"]).state_dict()
    for name, content in safetensors(tensors):
        put(network / WEIGHTS_FILE, content)
        yield f"{name}, as {WEIGHTS_FILE}", lambda: load_model(network, device="cpu")
    put(network / WEIGHTS_FILE, weights)
    for name, content in configurations(json.loads(config)):
        put(network / CONFIG_FILE, content)
        yield f"{name}, as {CONFIG_FILE}", lambda: load_model(network, device="cpu")


def outcome(call: Callable[[], object]) -> str:
    """ "loaded", "refused" (by one sentence), or what went wrong."""
    try:
        call()
    except ValueError as error:
        message = str(error)
        return "refused" if message.strip() and "\n" not in message and len(message) < 1500 else f"said {message[:300]}"
    except BaseException as error:
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    return "loaded"


def measure() -> dict[str, Any]:
    """Try every file; to be called in a process that has done nothing else, for its memory is measured."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"tried": 0, "refused": 0, "ran": [], "loaded": [], "otherwise": {}, "slowest_seconds": 0.0}
    most = 0
    with tempfile.TemporaryDirectory() as name:
        canary = Path(name) / "canary"
        for what, call in attempts(Path(name), canary):
            before, started = _peak_bytes(), time.perf_counter()
            said = outcome(call)
            found["slowest_seconds"] = round(max(found["slowest_seconds"], time.perf_counter() - started), 2)
            most = max(most, _peak_bytes() - before)
            found["tried"] += 1
            if canary.exists():
                found["ran"].append(what)
                canary.unlink()
            if said in ("refused", "loaded"):
                found.update(refused=found["refused"] + 1) if said == "refused" else found["loaded"].append(what)
            else:
                found["otherwise"][what] = said
    return {**found, "most_megabytes": round(most / MEBIBYTE, 1)}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, help="file of figures (default: %(default)s)")
    args = parser.parse_args()
    found = measure()
    print(json.dumps(found, indent=1))
    figures.record("hostile", found, args.json)


if __name__ == "__main__":
    main()
