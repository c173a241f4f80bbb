"""The web application, used as a photographer uses it: in a browser."""

import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from visits import DARK_PHONE, IN_CHROMIUM, PHONE, SECONDS

pytest.importorskip("gradio", reason="the web application needs gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

from app_visits import DESKTOP, Deblurred, Visit  # noqa: E402

from demo import restorer  # noqa: E402
from nrknet import Analysis  # noqa: E402

pytestmark = IN_CHROMIUM


@pytest.mark.parametrize("device", [DESKTOP, PHONE, DARK_PHONE], ids=["desktop", "phone", "dark-phone"])
def test_photo_is_dropped_deblurred_compared_and_downloaded(
    browser: Any, app_url: str, cat_photo: Path, tmp_path: Path, device: dict[str, Any]
) -> None:
    visit = Visit(browser, app_url, device)
    visit.drop(cat_photo)
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


def test_example_is_picked_and_deblurred_with_the_keyboard_alone(browser: Any, app_url: str) -> None:
    visit = Visit(browser, app_url, DESKTOP)
    thumbnail = visit.page.locator("#examples button").first
    thumbnail.focus()
    visit.page.keyboard.press("Enter")
    visit.wait_for_preview()
    visit.button.focus()
    visit.page.keyboard.press("Enter")
    visit.wait_for_result()
    assert visit.complaints == []


def test_button_without_a_photo_says_what_to_do(browser: Any, app_url: str) -> None:
    visit = Visit(browser, app_url, DESKTOP)
    visit.button.click()
    visit.page.get_by_text("Drop a photo first, or pick one of the examples.").wait_for()


def test_broken_photo_is_named_at_once_and_leaves_no_preview(browser: Any, app_url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a photo")
    visit = Visit(browser, app_url, PHONE)
    visit.drop(broken)
    visit.page.get_by_text("Cannot read broken.png").wait_for()
    assert not visit.page.get_by_text("Preview").is_visible()
    assert not visit.is_wider_than_the_screen


class SlowDeblurrer:
    """Stays at half of its work until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def analyze(
        self, image: np.ndarray, *, details: bool, terms: int | None, progress: Callable[[float], None]
    ) -> Analysis:
        progress(0.5)
        self.released.wait(120)
        return Analysis(image, np.ones(image.shape[:2], np.float32), None, None, np.ones((1, 1, 1, 1), np.float32))


def test_progress_is_shown_and_the_next_photo_keeps_the_result_away(
    browser: Any, app_url: str, cat_photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deblurrer = SlowDeblurrer()
    monkeypatch.setattr(restorer, "load_deblurrer", lambda model, precision: deblurrer)
    Image.open(cat_photo).rotate(180).save(cat_photo)  # one that the server does not remember
    visit = Visit(browser, app_url, PHONE)
    visit.drop(cat_photo)
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


class EndlessDeblurrer:
    """Works until its progress stops it."""

    def analyze(
        self, image: np.ndarray, *, details: bool, terms: int | None, progress: Callable[[float], None]
    ) -> Analysis:
        while True:
            time.sleep(0.05)
            progress(0.5)


def test_stop_is_there_while_a_photo_is_restored_and_the_next_one_works(
    browser: Any, app_url: str, cat_photo: Path
) -> None:
    Image.open(cat_photo).rotate(90).save(cat_photo)  # one that the server does not remember
    visit = Visit(browser, app_url, PHONE)
    stop = visit.page.get_by_role("button", name="Stop").first
    visit.drop(cat_photo)
    visit.wait_for_preview()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restorer, "load_deblurrer", lambda model, precision: EndlessDeblurrer())
        visit.button.click()
        visit.page.get_by_text("Deblurring - 50.0%").wait_for()
        stop.click()
        stop.wait_for(state="hidden")
    visit.button.click()  # the network is free again, or this would wait for ever
    visit.wait_for_result()
    stop.wait_for(state="hidden")
    assert visit.complaints == []


def test_html_in_a_name_is_shown_and_not_run(browser: Any, app_url: str, cat_photo: Path) -> None:
    name = "\"'><img src=x onerror=window.hacked=1><script>hacked=1</script>&lt;img src=x onerror=hacked=1&gt;.png"
    files = [{"name": name, "mimeType": "image/png", "buffer": content} for content in (b"broken", b"")]
    visit = Visit(browser, app_url, DESKTOP)
    visit.page.locator("input[type=file]").first.set_input_files(files[0])
    visit.page.get_by_text("Cannot read").first.wait_for()
    visit.button.click()
    visit.page.locator(".toast-body").first.wait_for()
    visit.page.get_by_role("tab", name="Several photos").click()
    visit.page.locator("input[type=file]").last.set_input_files(files)
    visit.page.get_by_role("button", name="Deblur all").click()
    visit.page.get_by_text("Cannot read").locator("visible=true").first.wait_for()
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("img[src=x]").count() == 0


def test_next_photo_clears_the_result_of_the_last_one(browser: Any, app_url: str, cat_photo: Path) -> None:
    visit = Visit(browser, app_url, DESKTOP)
    visit.drop(cat_photo)
    visit.wait_for_preview()
    visit.button.click()
    visit.wait_for_result()
    visit.page.locator("#examples button").first.click()
    visit.download.wait_for(state="hidden")
    assert visit.page.locator("#before-after img[src]").count() == 0


def test_strength_changes_the_result_and_the_link_which_opens_with_it(
    browser: Any, app_url: str, cat_photo: Path
) -> None:
    visit = Deblurred(browser, app_url, DESKTOP, cat_photo)
    after = visit.page.locator("#before-after .after img")
    full = after.get_attribute("src")
    field = visit.page.get_by_label("number input for Strength")
    field.fill("0.3")
    field.press("Enter")
    visit.page.wait_for_function("s => document.querySelector('#before-after .after img').src !== s", arg=full)
    visit.page.wait_for_function("location.search.includes('strength=0.3')")
    assert visit.link["strength"] == ["0.3"] and visit.link["terms"] == ["3"] and visit.link["model"] == ["default"]
    other = Visit(browser, visit.page.url, DESKTOP)
    sync_api.expect(other.page.get_by_label("number input for Strength")).to_have_value("0.3")
    assert visit.complaints == [] and other.complaints == []


def test_several_photos_are_dropped_and_come_back_in_one_zip(
    browser: Any, app_url: str, cat_photo: Path, tmp_path: Path
) -> None:
    broken, other = tmp_path / "broken.png", tmp_path / "other.png"
    broken.write_bytes(b"not a photo")
    Image.open(cat_photo).rotate(180).save(other)
    visit = Visit(browser, app_url, PHONE)
    visit.page.get_by_role("tab", name="Several photos").click()
    visit.page.locator("input[type=file]").nth(1).set_input_files([cat_photo, broken, other])
    visit.page.locator("td[aria-label='other.png']").wait_for()
    visit.page.get_by_role("button", name="Deblur all").click()
    download = visit.page.get_by_text("Download the zip")
    download.wait_for()
    visit.page.get_by_text("Cannot read broken.png").locator("visible=true").first.wait_for()
    with visit.page.expect_download() as caught:
        download.click()
    with zipfile.ZipFile(caught.value.path()) as zipped:
        assert sorted(zipped.namelist()) == ["other.png", "photo.png"]
    assert not visit.is_wider_than_the_screen
    assert visit.complaints == []


def test_the_program_on_the_page_works_as_it_stands(browser: Any, app_url: str, tmp_path: Path) -> None:
    visit = Visit(browser, app_url, DESKTOP)
    visit.page.get_by_text("Use it from a program").click()
    lines = visit.page.locator("#program .cm-line")
    lines.first.wait_for()
    program = "\n".join(lines.all_inner_texts())
    assert app_url.rstrip("/") in program
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).name == "cat.png"


def test_light_turns_dark_and_back(browser: Any, app_url: str) -> None:
    visit = Visit(browser, app_url, DESKTOP)
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(background)
    visit.page.get_by_role("button", name="Light or dark").click()
    dark = visit.page.evaluate(background)
    visit.page.get_by_role("button", name="Light or dark").click()
    assert visit.page.evaluate(background) == light != dark


def test_every_control_is_reached_with_the_tab_key_in_the_order_of_the_page(
    browser: Any, app_url: str, cat_photo: Path
) -> None:
    visit = Deblurred(browser, app_url, DESKTOP, cat_photo)
    visit.page.evaluate("document.activeElement.blur()")
    name = "e => e.getAttribute('aria-label') || e.innerText"
    reached = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate(f"({name})(document.activeElement)"))
    text = " | ".join(str(name) for name in reached)
    for name in ("Deblur", "Strength", "Neumann", "Copy link", "The photo. Plus and minus", "Divider", "Download the"):
        assert name in text or name.lower() in text.lower(), f"{name} not in {text}"
