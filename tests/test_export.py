"""Networks as ONNX files: what ONNX Runtime makes of them is what PyTorch makes, at any size."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import files_in, save_photo
from networks import randomise
from numpy.typing import NDArray
from PIL import Image

from nrknet import __version__
from nrknet.analysis import blur_radius
from nrknet.config import PRESETS, NRKNetConfig
from nrknet.export import CHECKED_SIZES, compare, export_onnx, training_record
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet
from nrknet.weights import load_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
EXAMPLE = Path(__file__).parents[1] / "docs" / "onnx_deblur.py"
SMALL: dict[str, Any] = {"widths": (4, 6), "num_blocks": (1, 1), "num_atoms": 2}
Floats = NDArray[np.float32]


def network(config: NRKNetConfig) -> NRKNet:
    return randomise(NRKNet(config)).eval()


def run(path: Path, photos: Floats) -> list[Floats]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: list[Floats] = session.run(["image", "radius"], {"blurred": photos})
    return found


def photos(*shape: int) -> Floats:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.fixture(scope="module")
def bgr(tmp_path_factory: pytest.TempPathFactory) -> tuple[NRKNet, Path]:
    """A small network as the authors' code has it, and its file."""
    model = network(replace(PRESETS["released"], **SMALL, num_scales=2, expansion="full"))
    path = tmp_path_factory.mktemp("onnx") / "new" / "released.onnx"
    export_onnx(model, path, name="small", training={"steps": 3})
    return model, path


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "lite.onnx"
    export_onnx(load_model("lite", device="cpu"), path, name="lite", training=training_record("lite"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 17, 33), (1, 45, 131)])
def test_colours_are_rgb_at_any_size_and_number_for_a_bgr_network_too(
    bgr: tuple[NRKNet, Path], batch: int, height: int, width: int
) -> None:
    model, path = bgr
    blurred = photos(batch, 3, height, width)
    image, radius = run(path, blurred)
    with torch.inference_mode():
        output = model(torch.from_numpy(blurred).flip(1))
        expected = output.image.flip(1).numpy()
        true_radius = blur_radius(output.scales[-1])[..., :height, :width].numpy()
    assert image.shape == (batch, 3, height, width) and radius.shape == (batch, 1, height, width)
    assert image.dtype == radius.dtype == np.float32
    assert np.abs(image - expected).max() < 1e-4
    assert np.abs(radius - true_radius).max() < 1e-2 and true_radius.max() > 0.1
    assert np.abs(expected - expected[:, ::-1]).max() > 0.1, "the colours must differ for this to mean anything"


@pytest.mark.slow
def test_the_file_says_what_it_is(bgr: tuple[NRKNet, Path]) -> None:
    _, path = bgr
    proto = onnx.load(path, load_external_data=False)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said["nrknet_version"] == __version__ and said["name"] == "small" and said["license"] == "MIT"
    assert (said["precision"], said["opset"], said["minimum_size"]) == ("float32", "18", "16")
    assert said["size_multiple"] == "4", "two scales, two levels"
    assert said["color_order"] == "RGB" and json.loads(said["training"]) == {"steps": 3}
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": 18}
    assert {v.name for v in proto.graph.input} == {"blurred"}
    assert not any(tensor.HasField("data_location") and tensor.data_location for tensor in proto.graph.initializer)
    assert files_in(path.parent) == ["released.onnx"], "one file, and no leftovers"


@pytest.mark.slow
def test_a_file_of_other_weights_is_found_out(bgr: tuple[NRKNet, Path]) -> None:
    model, path = bgr
    other = randomise(NRKNet(model.config), seed=1).eval()
    with pytest.raises(ValueError, match="differs from PyTorch's by"):
        compare(other, path.read_bytes())
    with pytest.raises(ValueError, match="cannot be written as ONNX"):
        compare(model, b"no model")


@pytest.mark.slow
def test_what_does_not_agree_is_not_written_and_the_old_file_stays(
    bgr: tuple[NRKNet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = bgr
    old = tmp_path / "old.onnx"
    old.write_bytes(b"as it was")
    graph = onnx.load(path)
    del graph.metadata_props[:]
    made = graph.SerializeToString()
    monkeypatch.setattr("nrknet.onnx_graph.build_graph", lambda *_, **__: onnx.ModelProto.FromString(made))
    other = randomise(NRKNet(model.config), seed=1).eval()
    with pytest.raises(ValueError, match="nothing was written"):
        export_onnx(other, old)
    assert old.read_bytes() == b"as it was" and files_in(tmp_path) == ["old.onnx"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, old)
    assert np.array_equal(run(old, photos(1, 3, 20, 20))[0], run(path, photos(1, 3, 20, 20))[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "opset", "message"),
    [("a.pt", 18, "must end in .onnx"), ("a.onnx", 17, "opset must be a whole number from 18")],
)
def test_another_suffix_or_opset_is_refused(name: str, opset: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_onnx(NRKNet(PRESETS["lite"]), tmp_path / name, opset=opset)
    assert not files_in(tmp_path)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r'pip install "nrknet\[onnx\]"'):
        export_onnx(NRKNet(PRESETS["lite"]), tmp_path / "a.onnx")


def test_the_training_record_is_that_of_the_network_s_folder(tmp_path: Path) -> None:
    assert training_record("lite")["validation"]
    assert training_record(tmp_path) == training_record("owner/name") == {}
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        training_record(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("atoms", ["recursive", "nonrecursive", "nonseparable", "gaussian"])
def test_every_kind_of_atoms_can_be_exported(atoms: str, tmp_path: Path) -> None:
    """Atoms of up to 35 pixels, which reach further than the smallest image; the other parts change along with them."""
    ours = atoms in ("nonrecursive", "nonseparable")
    config = replace(
        PRESETS["default" if ours else "paper"],
        atoms=atoms,
        num_atoms=17,
        widths=(4,),
        num_blocks=(1,),
        num_scales=1,
        num_coordinates=None,
        memory="none" if atoms == "gaussian" else "convlstm",
        taps="symmetric" if atoms == "nonrecursive" else "free",
    )
    opset = 20 if atoms == "gaussian" else 18
    done = export_onnx(network(config), tmp_path / "network.onnx", opset=opset)
    assert done.image_difference < 1e-4 and done.radius_difference < 1e-2
    versions = {entry.domain: entry.version for entry in onnx.load(done.path).opset_import}
    assert versions == {"": opset}


@pytest.mark.slow
def test_lite_agrees_with_pytorch_on_odd_sizes(lite: Path) -> None:
    sizes = [*CHECKED_SIZES, (1, 65, 39)]
    image, radius = compare(load_model("lite", device="cpu"), lite.read_bytes(), sizes=sizes)
    assert image < 1e-4 and radius < 1e-2


@pytest.mark.slow
def test_the_example_does_what_the_deblurrer_does_without_pytorch(lite: Path, tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "photo.png", size=(75, 50))
    restored = tmp_path / "restored.png"
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'nrknet', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(EXAMPLE), str(lite), str(photo), str(restored)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("blur radius: ")
    found = np.asarray(Image.open(restored)).astype(int)
    expected = Deblurrer("lite", device="cpu")(np.asarray(Image.open(photo)))
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - np.asarray(Image.open(photo))).max() > 1
