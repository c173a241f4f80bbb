"""The web application, used as a photographer uses it: in a browser."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import data_dir
from visits import DARK_PHONE, IN_CHROMIUM, PHONE, SECONDS, PageVisit, launch

pytest.importorskip("gradio", reason="the web application needs gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

import app  # noqa: E402
from nrknet import Analysis  # noqa: E402

pytestmark = IN_CHROMIUM

DESKTOP = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    _, url, _ = app.demo.launch(**app.LAUNCH, prevent_thread_lock=True, quiet=True)
    yield url
    app.demo.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    with Image.open(Path(data_dir) / "chelsea.png") as cat:
        cat.convert("RGB").crop((60, 20, 316, 220)).save(path)
    return path


class Visit(PageVisit):
    """A visit to the application."""

    def __init__(self, browser: Any, url: str, device: dict[str, Any]) -> None:
        super().__init__(browser, url, device, patience=120 * SECONDS)
        self.button.wait_for()

    @property
    def button(self) -> Any:
        return self.page.get_by_role("button", name="Deblur", exact=True)

    @property
    def download(self) -> Any:
        return self.page.get_by_text("Download the deblurred photo")

    def drop(self, photo: Path) -> None:
        self.page.locator("input[type=file]").first.set_input_files(photo)

    def wait_for_preview(self) -> None:
        self.page.get_by_text("megapixels").wait_for()

    def wait_for_result(self) -> None:
        """Until both pictures of the slider and the map have been loaded."""
        self.download.wait_for()
        loaded = "p => [...document.querySelectorAll(p)].filter(i => i.complete && i.naturalWidth > 0).length"
        self.page.wait_for_function(f"({loaded})('#before-after img') >= 2 && ({loaded})('#defocus-map img') >= 1")


@pytest.mark.parametrize("device", [DESKTOP, PHONE, DARK_PHONE], ids=["desktop", "phone", "dark-phone"])
def test_photo_is_dropped_deblurred_compared_and_downloaded(
    browser: Any, url: str, photo: Path, tmp_path: Path, device: dict[str, Any]
) -> None:
    visit = Visit(browser, url, device)
    visit.drop(photo)
    visit.wait_for_preview()
    visit.button.click()
    visit.wait_for_result()
    visit.page.screenshot(path=tmp_path / "result.png", full_page=True)
    with visit.page.expect_download() as caught:
        visit.download.click()
    assert caught.value.suggested_filename == "photo.png"
    assert Image.open(caught.value.path()).size == (256, 200)
    assert not visit.is_wider_than_the_screen
    assert visit.complaints == []


def test_example_is_picked_and_deblurred_with_the_keyboard_alone(browser: Any, url: str) -> None:
    visit = Visit(browser, url, DESKTOP)
    thumbnail = visit.page.locator("#examples button").first
    thumbnail.focus()
    visit.page.keyboard.press("Enter")
    visit.wait_for_preview()
    visit.button.focus()
    visit.page.keyboard.press("Enter")
    visit.wait_for_result()
    assert visit.complaints == []


def test_button_without_a_photo_says_what_to_do(browser: Any, url: str) -> None:
    visit = Visit(browser, url, DESKTOP)
    visit.button.click()
    visit.page.get_by_text("Drop a photo first, or pick one of the examples.").wait_for()


def test_broken_photo_is_named_at_once_and_leaves_no_preview(browser: Any, url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a photo")
    visit = Visit(browser, url, PHONE)
    visit.drop(broken)
    visit.page.get_by_text("Cannot read broken.png").wait_for()
    assert not visit.page.get_by_text("Preview").is_visible()
    assert not visit.is_wider_than_the_screen


class SlowDeblurrer:
    """Stays at half of its work until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def analyze(self, image: np.ndarray, *, details: bool, progress: Callable[[float], None]) -> Analysis:
        progress(0.5)
        self.released.wait(120)
        return Analysis(image, np.ones(image.shape[:2], np.float32), None, None, np.ones((1, 1, 1, 1), np.float32))


def test_progress_is_shown_and_the_next_photo_keeps_the_result_away(
    browser: Any, url: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deblurrer = SlowDeblurrer()
    monkeypatch.setattr(app, "load_deblurrer", lambda model, precision: deblurrer)
    visit = Visit(browser, url, PHONE)
    visit.drop(photo)
    visit.wait_for_preview()
    visit.button.click()
    bar = visit.page.get_by_text("Deblurring - 50.0%")
    bar.wait_for()
    sync_api.expect(bar).to_be_in_viewport(timeout=60 * SECONDS)
    visit.page.locator("#examples button").first.click()
    visit.page.get_by_text("451 × 300 pixels").wait_for()
    visit.page.wait_for_timeout(1 * SECONDS)
    deblurrer.released.set()
    visit.page.wait_for_timeout(3 * SECONDS)
    assert not visit.download.is_visible()


def test_next_photo_clears_the_result_of_the_last_one(browser: Any, url: str, photo: Path) -> None:
    visit = Visit(browser, url, DESKTOP)
    visit.drop(photo)
    visit.wait_for_preview()
    visit.button.click()
    visit.wait_for_result()
    visit.page.locator("#examples button").first.click()
    visit.download.wait_for(state="hidden")
    assert visit.page.locator("#before-after img").count() == 0
