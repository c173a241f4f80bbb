"""nrknet evaluate: the table, the file of scores, and what is refused before any work."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from commandline import save_photo
from networks import random_alexnet
from PIL import Image
from several import torchrun

from nrknet import cli


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test downloads AlexNet, or depends on whether it was downloaded here before."""
    monkeypatch.delenv("NRKNET_LPIPS_BACKBONE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("nrknet.perceptual.BACKBONE_URL", "http://127.0.0.1:9/alexnet.pth")


def test_evaluate_prints_a_table_and_writes_json(
    pairs: Path, tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results" / "scores.json"
    options = ["--root", str(pairs), "--model", network, "--device", "cpu", "--limit", "2", "--json", str(file)]
    assert cli.main(["evaluate", "--dataset", "pairs", *options]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:3] == ["photo", "psnr", "psnr_affine"]
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "mean"]
    assert "protocol default" in printed.out and "ssim_gaussian 11x11" in printed.out, "which SSIM is said"
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert len(scores["images"]) == 2 and scores["environment"]["torch"] == torch.__version__
    assert f"{scores['mean']['psnr']:.3f}" in lines[4]
    assert scores["mean"]["lpips"] is None and lines[4].split()[-3:-1] == ["-", "-"]
    assert printed.err.startswith("nrknet: the LPIPS column stays empty: ") and printed.err.count("\n") == 1


def test_evaluate_takes_the_backbone_and_the_protocol_that_are_named(
    pairs: Path, tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, file = tmp_path / "alexnet.pth", tmp_path / "scores.json"
    torch.save(random_alexnet(), backbone)
    options = ["--root", str(pairs), "--model", network, "--device", "cpu", "--lpips-backbone", str(backbone)]
    assert cli.main(["evaluate", "--dataset", "pairs", *options, "--protocol", "nrknet", "--json", str(file)]) == 0
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert scores["protocol"] == "nrknet" and scores["mean"]["lpips_bgr"] > 0 and scores["mean"]["lpips_bgr_input"] > 0
    assert capsys.readouterr().err == ""
    backbone.write_bytes(b"not weights")
    assert cli.main(["evaluate", "--dataset", "pairs", *options]) == 2
    error = capsys.readouterr().err
    assert "alexnet.pth does not hold" in error and error.count("\n") == 1


def test_evaluate_measures_photos_without_a_sharp_version(
    tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        save_photo(tmp_path / "image" / f"out_of_focus{number:04}.jpg", size=(40, 32), seed=number)
        save_photo(tmp_path / "gt" / f"out_of_focus{number:04}.png", size=(40, 32), seed=number)
    options = ["--dataset", "cuhk", "--root", str(tmp_path), "--model", network, "--device", "cpu"]
    assert cli.main(["evaluate", *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.split()[:4] == ["photo", "sharpening", "sharpening_blurred", "sharpening_sharp"]
    assert printed.err == "", "LPIPS is not asked for"
    assert cli.main(["evaluate", *options, "--protocol", "papers"]) == 2
    assert "for photos with a sharp version" in capsys.readouterr().err


def test_evaluate_looks_at_all_files_before_it_loads_a_network(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_photo(pairs / "target" / "2.png", size=(32, 31))
    options = ["--dataset", "pairs", "--root", str(pairs), "--model", "no-such-model"]
    assert cli.main(["evaluate", *options]) == 2
    error = capsys.readouterr().err
    assert "differ in size" in error and error.count("\n") == 1


def test_evaluate_scores_saved_photos_at_another_size_without_a_model(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.json"
    for i in range(3):
        with Image.open(pairs / "target" / f"{i}.png") as sharp:
            sharp.resize((24, 20), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    options = ["--restored", str(tmp_path), "--resize", "24x20", "--json", str(file), "--model", "no-such-model"]
    assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), *options]) == 0
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert scores["resize"] == "24x20" and scores["mean"]["share_better"] == 1
    assert scores["mean"]["psnr"] is None, "equal images have an infinite PSNR"
    assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), "--restored", str(pairs)]) == 2
    assert "holds no restored photo of 0" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["640", "0x10", "axb", "640x480x3", "-64x64"])
def test_evaluate_refuses_a_size_that_is_none(size: str, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "--dataset", "pairs", "--root", str(pairs), f"--resize={size}"])
    assert stop.value.code == 2 and "as in 1024x683" in capsys.readouterr().err


def test_evaluate_without_pairs_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for root in (tmp_path, tmp_path / "gone"):
        assert cli.main(["evaluate", "--dataset", "pairs", "--root", str(root)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("nrknet: ") and error.count("\n") == 1


@pytest.mark.slow
def test_two_processes_share_the_photos_and_find_what_one_finds_or_end_together_with_one_message(
    pairs: Path, tmp_path: Path, network: str
) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    script, launch = tmp_path / "script.py", ["--standalone", "--nproc_per_node", "2"]
    script.write_text("import sys\nfrom nrknet import cli\nsys.exit(cli.main(sys.argv[1:]))\n")
    damaged = tmp_path / "damaged"
    shutil.copytree(pairs, damaged)
    photo = damaged / "source" / "1.png"
    photo.write_bytes(photo.read_bytes()[:-100])

    def arguments(root: Path, file: str) -> list[str]:
        options = ["--model", network, "--device", "cpu", "--protocol", "default", "--json", str(tmp_path / file)]
        return ["evaluate", "--dataset", "pairs", "--root", str(root), *options]

    good, bad = (torchrun(launch, script, arguments(root, f"{root.name}.json")) for root in (pairs, damaged))
    assert cli.main(arguments(pairs, "alone.json")) == 0
    printed, error = good.communicate(timeout=600)
    assert good.returncode == 0 and printed.count("psnr_affine") == 2, error  # in the heading, and below
    alone, shared = (json.loads((tmp_path / name).read_text()) for name in ("alone.json", "pairs.json"))
    assert (alone["environment"]["processes"], shared["environment"]["processes"]) == (1, 2)
    for scores in (alone, shared):
        scores["mean"].pop("seconds")
        for image in scores["images"]:
            image.pop("seconds")
    assert shared["images"] == alone["images"] and shared["mean"] == alone["mean"]

    printed, error = bad.communicate(timeout=600)
    said = [line for line in error.splitlines() if line.startswith("nrknet: ") and "LPIPS" not in line]
    assert bad.returncode != 0 and printed == "" and not (tmp_path / "damaged.json").exists()
    assert len(said) == 1 and said[0].startswith("nrknet: process 1 of 2: ") and str(photo) in said[0]
