"""Whether there may be a graphics card, and how many threads there are, found out without PyTorch."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commandline import child_environment

from nrknet import accelerators
from nrknet.weights import pick_device


def test_what_is_said_without_pytorch_is_not_contradicted_by_it() -> None:
    if pick_device("auto").type != "cpu":
        assert accelerators._perhaps_a_card()


@pytest.mark.parametrize(
    ("system", "there", "card"),
    [
        ("linux", (), False),
        ("linux", ("libcuda.so.1",), True),
        ("win32", (), False),
        ("win32", ("nvcuda.dll",), True),
        ("win32", ("amdhip64.dll",), True),
        ("darwin", (), True),  # perhaps Metal's, which PyTorch knows
    ],
)
def test_drivers_tell(system: str, there: tuple[str, ...], card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        if name not in there:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(accelerators, "_AMD_ON_LINUX", "/no/such/device")
    assert accelerators._perhaps_a_card() == card


def test_a_card_of_amd_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kfd").touch()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(accelerators, "_AMD_ON_LINUX", str(tmp_path / "kfd"))
    assert accelerators._perhaps_a_card()


def test_where_a_network_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerators.on_cpu("cpu") and accelerators.on_cpu(torch.device("cpu"))
    assert not accelerators.on_cpu("cuda") and not accelerators.on_cpu("nonsense")
    for found in ("cpu", "cuda"):
        monkeypatch.setattr("nrknet.weights.pick_device", lambda _, found=found: torch.device(found))
        assert accelerators.on_cpu("auto") == (found == "cpu")


COUNT = """
from nrknet.fast.threads import num_threads
before = num_threads()
import torch
print(before, num_threads())
"""


@pytest.mark.parametrize("wanted", [None, "1", "3", "2,4", "none"])
def test_as_many_threads_as_pytorch_has(wanted: str | None) -> None:
    variables = child_environment({} if wanted is None else {"OMP_NUM_THREADS": wanted})
    if wanted is None:
        variables.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    without, by_pytorch = map(int, done.stdout.split())
    assert without == by_pytorch if wanted != "3" else 1 <= without <= by_pytorch  # it may take more than there are
