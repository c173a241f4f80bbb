"""Processes that torchrun starts train one network as one process does, and none waits for ever for one that failed."""

import builtins
import json
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import several
import torch
from networks import one_line
from several import BATCH, STEPS

from nrknet import processes
from nrknet.commands import several as commands
from nrknet.commands.outcome import UsageError
from nrknet.config import PRESETS
from nrknet.learner import Learner
from nrknet.processes import AgreedError, Processes, join_processes
from nrknet.train import train

pytest.importorskip("accelerate", reason="accelerate is not installed")

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 3e-6}
"""Sums over crops are taken in another order, whose rounding Adam's division carries into the weights."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several.save_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_alone(photos: Path, out: Path, results: Path, *, stop_after: float = math.inf) -> dict[str, Any]:
    """What one process, this one, sees of a run that is killed before it saves the step after `stop_after`."""

    def stop(record: dict[str, float]) -> None:
        if record["step"] > stop_after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Learner, "train_step", Learner.train_step)
        patched.setattr(Learner, "check_agreement", Learner.check_agreement)
        patched.setitem(PRESETS, "tiny", several.TINY)
        several.watch(str(results))
        train(photos, out, preset="tiny", recipe="smoke", batch=BATCH, steps=STEPS, device="cpu", on_step=stop)
    return torch.load(results, weights_only=True)


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of one process that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    return train_alone(photos, folder / "run", folder / "alone.pt")


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Losses of the steps that both have seen, and the weights at the end."""
    known = {step["step"]: step for step in expected["steps"]}
    for step in found["steps"]:
        for name in ("loss", "gain_db"):
            assert step[name] == pytest.approx(known[step["step"]][name], rel=1e-4, abs=1e-5), step["step"]
    for part in ("model", "averaged"):
        torch.testing.assert_close(found[part], expected[part], **CLOSE)


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.slow
def test_two_machines_train_as_one_process_does_and_one_of_them_writes(
    photos: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(several.SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for rank, out in enumerate(("run", "other/run")):
        launch = ["--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(rank), "--master_addr", "127.0.0.1"]
        arguments = several.options(photos, tmp_path / out)
        script = tmp_path / "script.py"
        machines.append(
            several.torchrun([*launch, "--master_port", str(port)], script, arguments, RESULTS=str(tmp_path))
        )
    said = [machine.communicate(timeout=600) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0].count("the trained network is in") == 1 and said[1][0] == "", "the main process alone speaks"
    assert not (tmp_path / "other").exists(), "and it alone writes"

    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [(one["index"], one["count"]) for one in both] == [(0, 2), (1, 2)]
    assert [step["step"] for step in both[0]["steps"]] == list(range(1, STEPS + 1))
    for first, second, whole in zip(both[0]["steps"], both[1]["steps"], alone["steps"], strict=True):
        assert torch.equal(torch.cat([first["sharp"], second["sharp"]]), whole["sharp"]), "each takes half of the crops"
    for one in both:
        assert_close(one, alone)
    for part in ("model", "averaged"):
        assert_equal(both[0][part], both[1][part])
    assert any(name.endswith("running_mean") for name in both[0]["model"]), "statistics of batches are shared too"
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["processes"] == 2 and facts["crops"]["per_step"] == BATCH == facts["recipe"]["batch"]


@pytest.mark.slow
def test_a_run_goes_on_in_other_numbers_of_processes_and_one_that_fails_ends_the_others(
    photos: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    run, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text(several.SCRIPT)
    with pytest.raises(KeyboardInterrupt):
        train_alone(photos, run, tmp_path / "first.pt", stop_after=3)
    assert checkpoint(run)["progress"]["step"] == 3
    launch = ["--standalone", "--nproc_per_node", "2"]
    two = several.torchrun(launch, script, several.options(photos, run), RESULTS=str(tmp_path), FAIL_AT="6")
    _, error = two.communicate(timeout=600)
    assert two.returncode != 0 and "process 1 has failed" in error
    said = [line for line in error.splitlines() if line.startswith("nrknet: ") and "process 1 has failed" not in line]
    assert set(said) <= {"nrknet: another process has ended, and this one too; the other's message says why"}
    assert checkpoint(run)["progress"]["step"] == 6 and json.loads((run / "run.json").read_text())["processes"] == 2
    last = train_alone(photos, run, tmp_path / "last.pt")
    assert [step["step"] for step in last["steps"]] == [7, 8] and last["count"] == 1
    assert_close(last, alone)


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoint.pt", weights_only=True)


PARTS = """
import os, sys, torch
torch.set_num_threads(1)
from nrknet.processes import AgreedError, join_processes
from nrknet.shared_norm import share_statistics

ours = join_processes("cpu")
said = {"gather": ours.gather(ours.index * 10), "share": ours.share({"from": ours.index}, source=1)}
said["mean"] = ours.mean(torch.tensor([1.0, 2.0 + ours.index])).tolist()
turned = torch.full((1, 2, 3, 3), float(ours.index)).to(memory_format=torch.channels_last)
said["spread"] = ours.spread(turned, source=1).unique().tolist()

taken = []
for count in (0, 1, 2, 5):
    taken.append([])
    said[f"turns {count}"] = list(ours.in_turns(lambda i: taken[-1].append(i) or -i, range(count)))
said["taken"] = taken

def complain(text):
    raise ValueError(text)

def refused(work):
    try:
        work()
    except AgreedError as error:
        return str(error)

said["all"] = refused(lambda: ours.together(lambda: complain("no such folder")))
said["one"] = refused(lambda: ours.together(lambda: complain("no such folder") if ours.index else "done"))
said["nested"] = refused(lambda: ours.together(lambda: ours.together(lambda: complain("inside") if ours.index else 1)))
said["bug"] = refused(lambda: ours.together(lambda: {}["key"] if ours.index else 1))
said["turn"] = refused(lambda: list(ours.in_turns(lambda i: complain(f"photo {i} is gone") if i == 1 else i, range(9))))
said["same"] = refused(lambda: ours.check_same({"seed": 3, "batch": None}))
said["other"] = refused(lambda: ours.check_same({"seed": ours.index, "batch": 4, "size": -ours.index}))

x = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
weights = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(1))
share = slice(3 * ours.index, 3 * ours.index + 3)
network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Sigmoid(), torch.nn.BatchNorm2d(3))
share_statistics(network)
for _ in range(2):
    ours_of_x = x[share].clone().requires_grad_()
    (network(ours_of_x) * weights[share]).mean().backward()
state = {"x": ours_of_x.grad, **{name: ours.mean(p.grad) for name, p in network.named_parameters()}}
torch.save({"said": said, "gradients": state, "state": network.state_dict()}, f"{sys.argv[1]}/{ours.index}.pt")
ours.close()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes says."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "script.py").write_text(PARTS)
    two = several.torchrun(["--standalone", "--nproc_per_node", "2"], folder / "script.py", [str(folder)])
    _, error = two.communicate(timeout=600)
    assert two.returncode == 0, error
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_tell_each_other_what_they_have_found(parts: list[dict[str, Any]]) -> None:
    for index, said in enumerate(one["said"] for one in parts):
        assert said["gather"] == [0, 10] and said["share"] == {"from": 1}
        assert said["mean"] == [1.0, 2.5] and said["spread"] == [1.0]
        for count in (0, 1, 2, 5):
            assert said[f"turns {count}"] == [-i for i in range(count)], "in order, none missing"
        assert said["taken"] == [list(range(index, count, 2)) for count in (0, 1, 2, 5)], "and none done twice"


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_all_say_in_the_same_words(parts: list[dict[str, Any]]) -> None:
    for said in (one["said"] for one in parts):
        assert said["all"] == "no such folder" and said["one"] == "process 1 of 2: no such folder"
        assert said["nested"] == "process 1 of 2: inside" and said["turn"] == "process 1 of 2: photo 1 is gone"
        assert said["bug"] == "process 1 of 2: unexpected KeyError: 'key'"
        assert said["same"] is None
        assert said["other"].startswith("process 1 (on ")
        assert "was given another seed and another size than process 0 (on" in said["other"]


@pytest.mark.slow
def test_batch_normalisation_and_its_gradients_are_those_of_all_crops(parts: list[dict[str, Any]]) -> None:
    x = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Sigmoid(), torch.nn.BatchNorm2d(3))
    for _ in range(2):
        x.grad = None
        (network(x) * weights).mean().backward()
    expected = {name: p.grad for name, p in network.named_parameters()}
    assert x.grad is not None
    torch.testing.assert_close(torch.cat([one["gradients"].pop("x") for one in parts]) / 2, x.grad)
    for one in parts:
        torch.testing.assert_close(one["gradients"], expected)
        torch.testing.assert_close(one["state"], dict(network.state_dict()))


# --------------------------------------------------------------------------------------------------- one process only


def test_without_accelerate_several_processes_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def hidden(name: str, *rest: Any) -> Any:
        if name.startswith("accelerate"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(builtins, "__import__", hidden)
    with pytest.raises(ValueError, match=r"2 processes need accelerate: pip install 'nrknet\[train\]'") as caught:
        join_processes("cpu")
    one_line(caught.value)


def test_a_process_without_a_card_of_its_own_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("auto", "cuda"):
        with pytest.raises(ValueError, match="process 4 on .* no graphics card of its own: 2 there") as caught:
            join_processes(device)
        one_line(caught.value)


def test_each_process_takes_the_card_of_its_index_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "8"), ("RANK", "5"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(processes, "TorchrunProcesses", Processes)
    assert join_processes("auto").device == torch.device("cuda") and taken == [1]


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    alone, model = join_processes("cpu"), torch.nn.BatchNorm2d(3)
    assert type(alone) is Processes and alone.is_main and alone.is_first_here and (alone.index, alone.count) == (0, 1)
    assert alone.wrap(model) is model and type(model) is torch.nn.BatchNorm2d
    assert alone.agree(1.5, True) == (1.5, True) and alone.gather("here") == ["here"] and alone.share(3) == 3
    assert list(alone.in_turns(str, [1, 2])) == ["1", "2"]
    with pytest.raises(KeyError):
        alone.together(lambda: dict[str, int]()["key"])


@pytest.mark.parametrize(
    ("index", "error", "raised"),
    [
        ("0", AgreedError("gone"), UsageError),
        ("1", AgreedError("gone"), SystemExit),
        ("1", ValueError("mine alone"), UsageError),
        ("0", FloatingPointError("nan"), FloatingPointError),
        ("1", FloatingPointError("nan"), SystemExit),
        ("1", RuntimeError("[gloo/transport] closed"), ConnectionError),
        ("1", RuntimeError("a bug"), RuntimeError),
    ],
)
def test_what_all_processes_know_the_main_one_alone_says(
    index: str, error: Exception, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", index)

    def fail() -> None:
        raise error

    caught = caught_by(fail)
    assert type(caught) is raised
    assert not isinstance(caught, SystemExit) or caught.code in (1, 2)


def caught_by(work: Callable[[], None]) -> BaseException:
    with pytest.raises(BaseException) as caught, commands.told_once():
        work()
    return caught.value
