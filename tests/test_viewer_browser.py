"""The viewer of before and after, by mouse, finger and keys."""

from pathlib import Path
from typing import Any

import pytest
from visits import IN_CHROMIUM, PHONE

pytest.importorskip("gradio", reason="the web application needs gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

from app_visits import DESKTOP, Deblurred  # noqa: E402

pytestmark = IN_CHROMIUM


def test_viewer_zooms_moves_and_divides_by_mouse_and_keys(browser: Any, app_url: str, cat_photo: Path) -> None:
    visit = Deblurred(browser, app_url, DESKTOP, cat_photo)
    whole = visit.zoom
    visit.tool("actual")
    assert visit.zoom == 100
    visit.tool("in")
    closer = visit.zoom
    assert closer > 100
    visit.tool("fit")
    assert visit.zoom == whole
    visit.stage.focus()
    visit.page.keyboard.press("+")
    assert visit.zoom > whole
    visit.page.keyboard.press("0")
    box = visit.stage.bounding_box()
    visit.page.mouse.move(box["x"] + 50, box["y"] + 50)
    visit.page.mouse.wheel(0, -300)
    visit.page.wait_for_function(f"parseFloat(document.querySelector('#before-after .scale').innerText) > {whole}")
    left = "() => document.querySelector('#before-after .before img').getBoundingClientRect().left"
    before = visit.page.evaluate(left)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 20, box["y"] + 40)
    visit.page.mouse.up()
    assert visit.page.evaluate(left) == pytest.approx(before - 30, abs=1)
    assert visit.page.locator("#before-after .where").inner_text() == ""  # a drag picks nothing
    visit.page.locator("#before-after .divider").focus()
    visit.page.keyboard.press("Home")
    assert visit.divider == 0
    visit.page.keyboard.press("PageUp")
    assert visit.divider == 20
    grip = visit.page.locator("#before-after .grip").bounding_box()
    visit.page.mouse.move(grip["x"] + 16, grip["y"] + 16)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.75 * box["width"], grip["y"])
    visit.page.mouse.up()
    assert visit.divider == pytest.approx(75, abs=1)
    assert visit.complaints == []


def test_both_sides_of_the_divider_show_the_same_place(browser: Any, app_url: str, cat_photo: Path) -> None:
    visit = Deblurred(browser, app_url, DESKTOP, cat_photo)
    visit.tool("in")
    places = visit.page.evaluate(
        "() => [...document.querySelectorAll('#before-after img')].map(i => "
        "{ const b = i.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"
    )
    assert places[0] == places[1]


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_pixel_is_picked_its_kernel_shown_and_the_focus_moved_there(
    browser: Any, app_url: str, cat_photo: Path, device: dict[str, Any]
) -> None:
    visit = Deblurred(browser, app_url, device, cat_photo)
    box = visit.stage.bounding_box()
    press = visit.stage.tap if device.get("has_touch") else visit.stage.click
    press(position={"x": 0.25 * box["width"], "y": 0.6 * box["height"]})
    visit.page.get_by_text("At row").wait_for()
    row, column = visit.pixel()
    assert (row, column) == (pytest.approx(0.6 * 200, abs=2), pytest.approx(0.25 * 256, abs=2))
    assert visit.page.locator("#kernel img").is_visible()
    visit.page.get_by_role("button", name="Focus here").click()
    download = visit.page.get_by_text("Download the refocused photo")
    download.wait_for()
    sync_api.expect(visit.page.locator("#before-after .tag.right")).to_have_text("refocused")
    with visit.page.expect_download() as caught:
        download.click()
    assert caught.value.suggested_filename == "photo_refocused.png"
    assert not visit.is_wider_than_the_screen
    assert visit.complaints == []


def test_a_pixel_is_picked_with_the_keyboard(browser: Any, app_url: str, cat_photo: Path) -> None:
    visit = Deblurred(browser, app_url, DESKTOP, cat_photo)
    visit.stage.focus()
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("At row").wait_for()
    assert visit.pixel() == (pytest.approx(100, abs=1), pytest.approx(128, abs=1))
