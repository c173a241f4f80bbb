"""The package as others get it: what the wheel and the source distribution hold, and what an installed wheel does."""

import email.message
import email.parser
import email.policy
import importlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from commandline import save_photo

import nrknet

pytest.importorskip("build", reason="packages are made by `build`")

ROOT = Path(__file__).parent.parent
FOLDERS = ("benchmarks", "demo", "docs", "notebooks", "nrknet", "tests")
MOST_BYTES = {"wheel": 5_000_000, "sdist": 4_000_000}
GOOD = """
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import nrknet
from nrknet import PRESETS, VARIANTS, Analysis, Deblurrer, NRKNet, NRKNetConfig, NRKNetOutput, ScaleOutput
from nrknet import evaluate, load_model
from nrknet.metrics import psnr

photo: NDArray[np.uint8] = np.zeros((32, 32, 3), np.uint8)
deblurrer = Deblurrer("lite", device="cpu")
assert_type(deblurrer(photo), NDArray[np.uint8])
assert_type(psnr(deblurrer(photo), photo), float)
assert_type(load_model("lite"), NRKNet)
assert_type(PRESETS["lite"], NRKNetConfig)
assert_type(nrknet.__version__, str)


def radii(seen: Analysis) -> NDArray[np.float32]:
    return seen.defocus_map


def coarsest(output: NRKNetOutput) -> ScaleOutput:
    return output.scales[0]
"""
BAD = """
from nrknet import Deblurer  # attr-defined
from nrknet import Deblurrer, load_model

Deblurrer(precision=1)  # arg-type
Deblurrer()("photo.jpg")  # type-var
load_model(3)  # arg-type
"""
# PyTorch's types take mypy most of its time, and are not what is looked at.
MYPY = """
[mypy]
strict = true
[mypy-torch.*]
follow_imports = skip
"""


def build(source: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Package would be ignored" not in done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, for a build leaves its traces."""
    folder = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.name in FOLDERS:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that is made from it."""
    return build(source, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.EmailMessage:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"nrknet-{nrknet.__version__}.dist-info/METADATA").decode()
    return email.parser.Parser(policy=email.policy.default.clone(raise_on_defect=False)).parsestr(text)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment: the wheel is installed there, what it needs is borrowed from this one."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*command, str(wheel)], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def contents(wheel: Path) -> dict[str, int]:
    """File -> checksum."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def test_public_names_are_those_that_are_found() -> None:
    assert set(nrknet.__all__) == {*nrknet._HOMES, "__version__"}
    for name, home in nrknet._HOMES.items():
        assert getattr(nrknet, name) is getattr(importlib.import_module(f"nrknet.{home}"), name)
    with pytest.raises(AttributeError, match="Deblurer"):
        _ = nrknet.Deblurer  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path, source: Path) -> None:
    inside = set(contents(wheel))
    of_package = {name for name in inside if name.startswith("nrknet/")}
    assert of_package == {p.relative_to(source).as_posix() for p in (source / "nrknet").rglob("*") if p.is_file()}
    assert {name.split("/")[0] for name in inside - of_package} == {f"nrknet-{nrknet.__version__}.dist-info"}
    assert of_package >= {
        "nrknet/py.typed", "nrknet/lpips_heads.safetensors", "nrknet/lpips_heads.LICENSE",
        "nrknet/pretrained/lite/model.safetensors", "nrknet/pretrained/lite/config.json",
        "nrknet/pretrained/lite/training.json", "nrknet/fast/kernels/pixels.cpp", "nrknet/fast/kernels/common.h",
    }  # fmt: skip
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.slow
def test_the_source_distribution_makes_the_wheel_that_the_sources_make(
    wheel: Path, source: Path, tmp_path: Path
) -> None:
    (direct,) = build(source, tmp_path, "--wheel").glob("*.whl")
    assert contents(direct) == contents(wheel)


@pytest.mark.slow
def test_the_source_distribution_brings_what_tests_and_documentation_need(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "tests/conftest.py", "tests/test_package.py", "tests/commandline.py", "docs/conf.py", "docs/package.md",
        "docs/extensions/command_help.py", "app.py", "demo/.streamlit/config.toml", "benchmarks/results/speed.json",
        "Makefile", "requirements.txt", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "README.md",
    }  # fmt: skip
    assert not [name for name in names if name.startswith("notebooks") or name.endswith(".pyc")]
    assert path.stat().st_size < MOST_BYTES["sdist"]


@pytest.mark.slow
def test_the_wheel_is_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    assert wheel.stat().st_size < unpacked < MOST_BYTES["wheel"]


@pytest.mark.slow
def test_the_metadata_is_complete(metadata: email.message.EmailMessage) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("nrknet", nrknet.__version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT AND BSD-2-Clause"
    assert metadata.get_all("License-File") == ["LICENSE", "nrknet/lpips_heads.LICENSE"]
    assert {"app", "train", "analysis", "notebooks", "ray", "onnx", "docs", "test", "dev"} <= {
        *metadata.get_all("Provides-Extra", [])
    }
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert not [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]  # PEP 639
    core = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert {re.split(r"[<>=]", need)[0] for need in core} == {
        "torch", "numpy", "pillow", "tifffile", "imagecodecs", "safetensors", "huggingface-hub", "tqdm", "scikit-image",
    }  # fmt: skip


@pytest.mark.slow
def test_the_description_can_be_read_away_from_the_repository(metadata: email.message.EmailMessage) -> None:
    description = metadata.get_payload()
    assert isinstance(description, str) and description.lstrip().startswith("# NRKNet")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert not [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("https://")]


@pytest.mark.slow
def test_an_installed_wheel_deblurs_a_photo_far_from_the_repository(python: Path, tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "photo.png", size=(40, 32))
    program = str(python.parent / "nrknet")
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "NRKNET_KERNELS": "off"}  # no compiler, as many users have none
    said = subprocess.run([program, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.stdout == f"nrknet {nrknet.__version__}\n" and not said.stderr
    code = "import nrknet; print(nrknet.__file__)"
    where = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert Path(where).is_relative_to(python.parent.parent)
    command = [program, "deblur", photo.name, "-o", "restored"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "restored" / "photo.png").is_file()


@pytest.mark.slow
def test_a_strict_type_checker_sees_the_types_of_an_installed_wheel(python: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="types are checked by mypy")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--python-executable", str(python), "good.py", "bad.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = re.findall(r"^(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    expected = [
        ("bad", str(number), line.partition("# ")[2])
        for number, line in enumerate(BAD.splitlines(), start=1)
        if "# " in line
    ]
    assert found == expected, done.stdout + done.stderr
