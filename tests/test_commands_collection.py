"""nrknet deblur --engine ray: its arguments, what it prints and how it exits. Ray itself is tested with the engine."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import files_in, save_photo

from nrknet import cli
from nrknet.bulk import engine
from nrknet.bulk.cluster import ClusterError
from nrknet.bulk.engine import Options, Outcome
from nrknet.bulk.manifest import Record

pytest.importorskip("ray")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Instead of Ray: notes what was asked for, says that the first photo was restored and the second failed."""
    calls: list[Any] = []

    class Collection(engine.Collection):
        def restore(
            self, options: Options, report: Callable[[Record], object], begin: Callable[[int], object] = print
        ) -> Outcome:
            calls.append((self, options))
            for source, status in zip(self.sources, ("done", "failed"), strict=False):
                report({"source": source.place, "target": source.target, "status": status, "reason": "no pixels"})
            return Outcome(1, 2, len(self.sources) - 1, self.out.path("manifest.parquet"))

    monkeypatch.setattr(engine, "Collection", Collection)
    return calls


@pytest.mark.parametrize("form", ["IN OUT", "IN -o OUT"])
def test_both_ways_to_name_the_output_folder_work(
    form: str, tmp_path: Path, out: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = save_photo(tmp_path / "a.png")
    output = [str(out)] if form == "IN OUT" else ["-o", str(out)]
    assert cli.main(["deblur", "--engine", "ray", str(photo), *output]) == 0
    ((collection, options),) = asked
    assert collection.out.place == str(out) and [source.place for source in collection.sources] == [str(photo)]
    assert options == Options()
    captured = capsys.readouterr()
    assert captured.out == f"manifest: {out / 'manifest.parquet'}\n1 deblurred, 2 skipped, 0 failed\n"
    assert captured.err == f"{photo} -> {out / 'a.png'}\n"


def test_options_reach_the_engine_and_failures_the_exit_status(
    tmp_path: Path, out: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        save_photo(tmp_path / name)
    given = "--workers 3 --retries 0 --ray-address host:1 --device cpu "
    given += "--tile 256 --precision exact --strength 0.5 --terms 2"
    arguments = ["--engine", "ray", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "gone.png", str(out)]
    assert cli.main(["deblur", *arguments, *given.split(), "--model", "lite", "--skip-existing"]) == 1
    ((_, options),) = asked
    assert options == Options(
        model="lite", device="cpu", precision="exact", tile=256, strength=0.5, terms=2, skip_existing=True, workers=3,
        retries=0, ray_address="host:1",
    )  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out.endswith("1 deblurred, 2 skipped, 2 failed\n")
    assert "nrknet: gone.png: no such file or folder\n" in captured.err
    assert f"nrknet: {tmp_path / 'b.png'}: no pixels\n" in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("PHOTO", "-o OUT_DIR is missing"),
        ("--engine ray PHOTO", "the output folder is missing: nrknet deblur --engine ray IN OUT"),
        ("PHOTO -o OUT --workers 2", "--workers needs --engine ray"),
        ("PHOTO -o OUT --ray-address host:1", "--ray-address needs --engine ray"),
        ("s3://bucket/a.png -o OUT", "s3://bucket/a.png: addresses need --engine ray"),
        ("PHOTO -o s3://bucket/out", "s3://bucket/out: addresses need --engine ray"),
        ("--engine ray PHOTO OUT --device cuda:1", "device must be auto, cpu, cuda or mps"),
        ("--engine ray PHOTO memory://out", "memory://out: workers in other processes cannot reach it"),
        ("--engine ray PHOTO nosuch://out", "nosuch://out: nothing here knows such addresses"),
        ("--engine ray gone.png OUT", "gone.png: no such file or folder"),
        ("--engine ray PHOTO OUT --model no-such-network", "no-such-network"),
        ("--engine ray PHOTO OUT --tile 3", "tile must be"),
        ("--engine ray PHOTO PHOTO/out", "a.png"),
    ],
)
def test_what_makes_no_sense_exits_with_2_in_one_sentence(
    arguments: str, says: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def never(_: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(engine, "cluster", never)
    photo = save_photo(tmp_path / "a.png")
    words = [word.replace("PHOTO", str(photo)).replace("OUT", str(out)) if "-o" not in word or word == "OUT" else word
             for word in arguments.split()]  # fmt: skip
    assert cli.main(["deblur", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("nrknet: ") and error.count("\n") == 1
    assert not out.exists() or files_in(out) == []


@pytest.mark.parametrize("argument", ["--workers=0", "--retries=-1", "--engine=spark"])
def test_an_argument_out_of_range_exits_with_2(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["deblur", "a.png", "out", "--engine=ray", argument])
    assert left.value.code == 2 and argument.partition("=")[0] in capsys.readouterr().err


def test_a_cluster_that_is_not_there_exits_with_2_and_leaves_nothing(
    tmp_path: Path, out: Path, network: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ClusterError("there is no Ray cluster to be reached at host:1")

    monkeypatch.setattr(engine, "cluster", refuse)
    photo = save_photo(tmp_path / "a.png")
    assert cli.main(["deblur", "--engine", "ray", str(photo), str(out), "--model", network]) == 2
    assert capsys.readouterr().err == "nrknet: there is no Ray cluster to be reached at host:1\n"
    assert files_in(out) == []


def test_without_the_extra_the_sentence_names_it(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    photo = save_photo(tmp_path / "a.png")
    assert cli.main(["deblur", "--engine", "ray", str(photo), str(out)]) == 2
    assert capsys.readouterr().err == 'nrknet: --engine ray needs Ray; install it with: pip install "nrknet[ray]"\n'
