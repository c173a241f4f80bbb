"""The analysis app, driven by streamlit's own harness."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from networks import random_network
from PIL import Image
from skimage import data

st = pytest.importorskip("streamlit", reason="the analysis app needs streamlit")
pytest.importorskip("plotly", reason="the analysis app needs plotly")
from streamlit.testing.v1 import AppTest  # noqa: E402

import demo.studio  # noqa: E402
from demo.panels import common  # noqa: E402
from demo.studio import analyze, read_upload, restored_file, subject  # noqa: E402
from nrknet.config import PRESETS  # noqa: E402
from nrknet.imageio import ImageError, Photo, read_photo  # noqa: E402
from nrknet.inference import Deblurrer  # noqa: E402
from nrknet.weights import save_model  # noqa: E402

APP = Path(demo.studio.__file__).with_name("analysis.py")
PANELS = {  # panel -> its sliders
    "Overview": 0,
    "Atoms": 1,
    "Pixel kernels": 2,
    "Coefficients": 1,
    "Neumann series": 1,
    "Defocus map": 0,
    "Reblur": 1,
    "Compare": 0,
    "Results": 0,
}


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    """Each test starts without networks and analyses; the example photos, which take seconds, stay."""
    yield
    demo.studio._analyze.clear()
    demo.studio.load_deblurrer.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of each photo that a network is given."""
    found: list[tuple[int, ...]] = []
    real = Deblurrer.analyze

    def counted(self: Deblurrer, image: Any, **options: Any) -> Any:
        found.append(image.shape)
        return real(self, image, **options)

    monkeypatch.setattr(Deblurrer, "analyze", counted)
    return found


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of another structure, whose colours have atoms of their own."""
    folder = tmp_path_factory.mktemp("rival")
    save_model(random_network(PRESETS["released"]), folder)
    return str(folder)


def open_app(network: str, view: str = "Overview", *, other: str | None = None) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.session_state["network"] = network
    app.session_state["other"] = other
    return turn_to(app, view)


def turn_to(app: AppTest, view: str) -> AppTest:
    app.session_state["view"] = app.query_params["view"] = view  # as a browser has both
    app.run()
    assert not app.exception, app.exception
    return app


def table(app: AppTest, *columns: str) -> Any:
    """The table that has these columns."""
    (found,) = [frame.value for frame in app.dataframe if set(columns) <= set(frame.value)]
    return found


def png(height: int, width: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_slider_of_every_panel_moves_and_the_network_runs_once(
    network: str, calls: list[tuple[int, ...]]
) -> None:
    app = open_app(network)
    for view, count in PANELS.items():
        turn_to(app, view)
        assert len(app.slider) + len(app.select_slider) == count, view
        for number in range(len(app.slider)):
            for end in (app.slider[number].min, app.slider[number].max):
                app.slider[number].set_value(end).run()
                assert not app.exception and app.slider[number].value == end
        for gain in (1, 100) if view == "Reblur" else ():
            app.select_slider[0].set_value(gain).run()
            assert not app.exception
        assert not app.error
    assert calls == [data.chelsea().shape]


def test_the_page_begins_with_what_it_shows(network: str) -> None:
    first = open_app(network).main.children[0]
    assert first.type == "caption" and network in first.value  # streamlit shows strings that stand alone in a script


@pytest.mark.parametrize("view", [view for view in PANELS if view != "Results"])
def test_atoms_of_each_colour_and_all_scales_are_shown_too(rival: str, network: str, view: str) -> None:
    app = open_app(rival, view, other=network)
    for number, chooser in enumerate(app.segmented_control):
        for value in (1, 2):  # scales 1 and 2, colours G and B
            app.segmented_control[number].set_value(value).run()
            assert not app.exception, chooser.label
    assert not app.error


def test_a_network_without_taps_says_so(tmp_path: Path) -> None:
    save_model(random_network(replace(PRESETS["paper"], atoms="gaussian")), tmp_path)
    app = open_app(str(tmp_path), "Atoms")
    assert "(gaussian) are not built from three taps" in app.info[0].value


def test_a_typed_network_stays_chosen_and_is_offered_to_compare_with(network: str) -> None:
    app = open_app(network)
    app.selectbox(key="other").select(network).run()
    assert [app.selectbox(key=key).value for key in ("network", "other")] == [network, network]
    app.selectbox(key="network").select("lite").run()
    assert [app.selectbox(key=key).value for key in ("network", "other")] == ["lite", network]


def test_a_slider_changes_the_map(network: str) -> None:
    app = open_app(network, "Coefficients")

    def shown() -> str:
        return str(app.get_by_key("map-coefficient").proto)

    before = shown()
    app.slider[0].set_value(2).run()
    assert shown() != before
    app.slider[0].set_value(0).run()
    assert shown() == before


def test_a_pixel_is_the_same_in_all_panels(network: str, rival: str) -> None:
    app = open_app(network, "Pixel kernels", other=rival)
    app.slider[0].set_value(17).run()
    app.slider[1].set_value(33).run()
    turn_to(app, "Compare")
    assert [slider.value for slider in app.slider] == [17, 33]


def test_examples_are_chosen_and_each_is_analysed_once(network: str, calls: list[tuple[int, ...]]) -> None:
    app = open_app(network)
    for name in ("Portrait", "Cat", "Portrait"):
        app.selectbox(key="photo").select(name).run()
        assert not app.exception
    assert calls == [data.chelsea().shape, data.astronaut().shape]


def test_an_upload_becomes_the_photo(network: str, calls: list[tuple[int, ...]]) -> None:
    app = open_app(network)
    app.file_uploader[0].upload("beach.png", png(40, 56), "image/png").run()
    assert not app.exception and not app.error
    assert app.selectbox(key="photo").value == "beach.png"
    assert calls[-1] == (40, 56, 3) and "56 × 40" in [metric.value for metric in app.metric]


def test_a_broken_upload_is_named_in_one_sentence_and_nothing_is_lost(
    network: str, calls: list[tuple[int, ...]]
) -> None:
    app = open_app(network)
    app.file_uploader[0].upload("beach.png", png(40, 56), "image/png").run()
    app.file_uploader[0].set_value(("holiday.jpg", b"\xff\xd8\xff\xe0 no photo", "image/jpeg")).run()
    assert not app.exception
    (error,) = app.error
    assert error.value.startswith("Cannot read holiday.jpg: ") and error.value.endswith(".")
    assert error.value.count(". ") == 0 and "/" not in error.value
    assert app.selectbox(key="photo").value == "beach.png" and len(calls) == 2
    app.file_uploader[0].set_value(("fine.png", png(32, 32), "image/png")).run()
    assert not app.error and app.selectbox(key="photo").value == "fine.png"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dot.png", png(12, 40), "dot.png is 40x12 pixels; at least 16x16 are needed."),
        ("empty.png", b"", "Cannot read empty.png: the file is empty."),
        ("note.png", b"hello", "Cannot read note.png: it is not a JPEG, PNG, TIFF, WebP, BMP or GIF image."),
    ],
)
def test_what_is_no_photo_to_look_at_is_refused(name: str, content: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_upload(name, content)
    assert str(caught.value) == message


def test_an_unknown_network_is_said_and_the_results_stay(calls: list[tuple[int, ...]]) -> None:
    app = open_app("nowhere")
    assert "nowhere" in app.error[0].value and calls == []
    assert len(turn_to(app, "Results").dataframe) > 2


def test_a_second_network_that_is_not_there_leaves_the_first(network: str) -> None:
    app = open_app(network, "Compare", other="nowhere")
    assert "nowhere" in app.error[0].value and app.info
    assert turn_to(app, "Overview").metric


def test_two_networks_are_compared(network: str, rival: str, calls: list[tuple[int, ...]]) -> None:
    app = open_app(network, "Compare", other=rival)
    facts = table(app, "network", "parameters")
    assert facts["network"].tolist() == [network, rival] and facts["parameters"].nunique() == 2
    assert len(calls) == 2


def test_two_networks_are_compared_on_a_photo_of_16_bits(network: str, rival: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.random.default_rng(0).integers(0, 65536, (32, 40, 3), np.uint16), photometric="rgb")
    app = open_app(network, "Compare", other=rival)
    app.file_uploader[0].upload("deep.tif", file.getvalue(), "image/tiff").run()
    assert not app.exception, app.exception
    assert any("they differ by" in text.value for text in app.markdown)


def test_a_large_photo_is_offered_reduced_and_said_to_be(
    network: str, calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nrknet.inference.DETAIL_PIXELS", 50_000)
    app = open_app(network, "Coefficients")
    app.radio[0].set_value(50_000).run()
    height, width = calls[-1][:2]
    assert 45_000 < height * width <= 50_000 and app.slider
    assert f"reduced to {width} × {height}" in app.info[0].value and "0.1 megapixels" in app.info[0].value
    app.radio[0].set_value(0).run()
    assert not app.slider and "no more" in app.info[0].value
    for view in PANELS:
        turn_to(app, view)
    assert calls == [data.chelsea().shape, (height, width, 3)]


def test_results_are_filtered_by_protocol_network_and_photo(network: str) -> None:
    app = open_app(network, "Results")
    everything = table(app, "photo", "psnr")
    assert set(table(app, "photos", "psnr")["protocol"]) == {"default"} and len(everything) > 100
    app.multiselect(key="filter-protocol").select("cuhk").run()
    assert not app.exception and not [f for f in app.dataframe if "psnr" in f.value]
    assert set(table(app, "photo")["protocol"]) == {"cuhk"}
    app.multiselect(key="filter-protocol").set_value(["default"]).run()
    name = everything["photo"].iloc[0]
    app.text_input[0].set_value(name.lower()).run()
    assert set(table(app, "photo")["photo"]) == {name}
    app.text_input[0].set_value("").run()
    evaluation = everything["name"].iloc[-1]
    app.multiselect(key="filter-name").set_value([evaluation]).run()
    assert set(table(app, "photo")["name"]) == {evaluation}


def test_the_restored_file_has_the_depth_and_the_pixels_of_the_analysis(network: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), np.uint16)
    shown = subject("x.tif", Photo(pixels, icc_profile=b"profile"))
    seen = analyze(shown, network)
    path = tmp_path / "restored.png"
    path.write_bytes(restored_file(shown, seen))
    found = read_photo(path)
    assert np.array_equal(found.pixels, seen.analysis.image) and found.pixels.dtype == np.uint16
    assert found.icc_profile == b"profile"


def test_a_network_that_was_trained_further_is_loaded_again(tmp_path: Path) -> None:
    shown = subject("x.png", Photo(data.chelsea()[:40, :50]))
    save_model(random_network(PRESETS["paper"], seed=1), tmp_path)
    first = analyze(shown, str(tmp_path))
    assert analyze(shown, str(tmp_path)) is first
    save_model(random_network(replace(PRESETS["paper"], num_atoms=5), seed=2), tmp_path)
    assert len(analyze(shown, str(tmp_path)).analysis.atoms) == 6


def test_a_saved_figure_stands_alone_and_its_numbers_come_back() -> None:
    from demo.interactive import curves

    page = common._page(curves({"a": ([0, 1], [2, 3])}, x="x", y="y"), "A title")
    assert "A title" in page and "<script src=" not in page and 4e6 < len(page) < 7e6
    arrays = {"kernel": torch.rand(3, 5).numpy()}
    with np.load(io.BytesIO(common._npz(arrays))) as found:
        assert np.array_equal(found["kernel"], arrays["kernel"])
