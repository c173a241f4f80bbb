"""Visits to the web application in Chromium, with and without a result on the page."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright import sync_api
from visits import SECONDS, PageVisit

DESKTOP = {"viewport": {"width": 1280, "height": 900}}


class Visit(PageVisit):
    """A visit to the application."""

    def __init__(self, browser: Any, url: str, device: dict[str, Any]) -> None:
        for context in browser.contexts:
            context.close()  # an earlier test's page would go on drawing
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


class Deblurred(Visit):
    """A visit with a result on the page."""

    def __init__(self, browser: Any, url: str, device: dict[str, Any], photo: Path) -> None:
        super().__init__(browser, url, device)
        self.drop(photo)
        self.wait_for_preview()
        self.button.click()
        self.wait_for_result()
        self.page.wait_for_timeout(0.8 * SECONDS)  # until the page has scrolled there

    @property
    def stage(self) -> Any:
        return self.page.locator("#before-after .stage")

    @property
    def zoom(self) -> float:
        """Per cent of the photo's pixels."""
        return float(self.page.locator("#before-after .scale").inner_text().removesuffix(" %"))

    @property
    def divider(self) -> float:
        """Per cent of the width."""
        return float(self.page.locator("#before-after .divider").get_attribute("aria-valuenow"))

    @property
    def link(self) -> dict[str, list[str]]:
        """The settings in the page's address."""
        return parse_qs(urlsplit(self.page.url).query)

    def pixel(self) -> tuple[int, int]:
        """Row and column in the fields, once they are the marked ones."""
        where = self.page.locator("#before-after .where")
        row, column = (int(n) for n in where.inner_text().removeprefix("row ").split(", column "))
        sync_api.expect(self.page.get_by_label("Row", exact=True)).to_have_value(str(row))
        sync_api.expect(self.page.get_by_label("Column", exact=True)).to_have_value(str(column))
        return row, column

    def tool(self, name: str) -> None:
        self.page.locator(f"#before-after button[data-do={name}]").click()
