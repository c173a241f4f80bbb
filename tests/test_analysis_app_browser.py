"""The analysis app, used in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from visits import DARK_PHONE, IN_CHROMIUM, SECONDS, PageVisit

pytest.importorskip("streamlit", reason="the analysis app needs streamlit")
pytest.importorskip("plotly", reason="the analysis app needs plotly")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

from benchmarks.analysis_app import press, serve  # noqa: E402
from nrknet.weights import load_model  # noqa: E402

pytestmark = IN_CHROMIUM

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PANELS = {  # panel -> something that it shows
    "Overview": ".st-key-chart-before-after .main-svg",
    "Atoms": ".st-key-chart-atom img",
    "Pixel kernels": ".st-key-chart-kernel img",
    "Coefficients": ".st-key-chart-coefficient img",
    "Neumann series": ".st-key-chart-term img",
    "Defocus map": ".st-key-chart-defocus .main-svg",
    "Reblur": ".st-key-chart-amplified img",
    "Compare": "[data-testid=stAlert]",
    "Results": "[data-testid=stDataFrame]",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve() as address:
        yield address


class Visit(PageVisit):
    """A visit to the analysis app."""

    def __init__(self, browser: Any, url: str, device: dict[str, Any]) -> None:
        super().__init__(browser, url, device, patience=60 * SECONDS)
        self.turn_to("Overview")

    def turn_to(self, view: str) -> None:
        self.page.get_by_role("tab", name=view).click()
        self.page.locator(PANELS[view]).first.wait_for()

    def slider(self, label: str) -> Any:
        return self.page.locator(f"input[type=range][aria-label='{label}']")


@pytest.fixture(scope="module")
def desktop(browser: Any, url: str) -> Visit:
    """One visit for several tests: to load plotly takes longer than they do."""
    return Visit(browser, url, DESKTOP)


def test_every_panel_is_shown_without_errors_and_without_outside_requests(desktop: Visit) -> None:
    for view in PANELS:
        desktop.turn_to(view)
        assert not desktop.is_wider_than_the_screen, view
    assert desktop.complaints == []


def test_panels_fit_a_dark_phone(browser: Any, url: str) -> None:
    visit = Visit(browser, url, DARK_PHONE)
    for view in ("Overview", "Pixel kernels", "Neumann series", "Results"):
        visit.turn_to(view)
        assert not visit.is_wider_than_the_screen, view
    assert visit.complaints == []


def test_a_slider_changes_its_figure_and_the_pointer_says_its_values(desktop: Visit) -> None:
    desktop.turn_to("Atoms")
    assert press(desktop.page, desktop.slider("Atom j"), "atom", "ArrowRight") > 0  # returns when the figure is another
    assert desktop.slider("Atom j").input_value() == "4"
    desktop.page.locator(".st-key-chart-atom img").hover()
    kernel = load_model("lite", device="cpu").atoms.kernels().detach()[4, 0]
    middle = float(kernel[len(kernel) // 2, len(kernel) // 2])
    tip = desktop.page.locator(".st-key-chart-atom .tip")
    sync_api.expect(tip).to_have_text(f"row 0, column 0: {middle:.4g} ")
    assert desktop.complaints == []


def test_a_click_on_the_photo_picks_the_pixel_and_arrows_move_it(desktop: Visit) -> None:
    desktop.turn_to("Pixel kernels")
    photo, (row, column) = desktop.page.locator(".frame[role=application]"), map(desktop.slider, ("Row", "Column"))
    box = photo.bounding_box()
    photo.click(position={"x": 0.25 * box["width"], "y": 0.75 * box["height"]})
    sync_api.expect(row).not_to_have_value("150")  # of 300, where it began
    found = int(row.input_value()), int(column.input_value())
    assert abs(found[0] - 225) <= 1 and abs(found[1] - 112) <= 1
    photo.press("ArrowDown")
    sync_api.expect(row).to_have_value(str(found[0] + 1))
    photo.press("Shift+ArrowLeft")
    sync_api.expect(column).to_have_value(str(found[1] - 10))
    assert desktop.complaints == []


def test_a_figure_is_saved_as_a_page_that_works_offline(browser: Any, desktop: Visit, tmp_path: Path) -> None:
    desktop.turn_to("Defocus map")
    desktop.page.locator(".st-key-save-defocus button").click()
    with desktop.page.expect_download() as caught:
        desktop.page.get_by_role("button", name="Figure as HTML").click()
    caught.value.save_as(tmp_path / "figure.html")
    saved = browser.new_context(offline=True).new_page()
    saved.goto((tmp_path / "figure.html").as_uri())
    saved.locator(".main-svg").first.wait_for()
    assert desktop.complaints == []
