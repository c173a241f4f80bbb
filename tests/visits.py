"""A page in Chromium, for the tests that use the apps as a visitor does."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.analysis_app import QUIET, chromium

CHROMIUM = chromium()
IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
DARK_PHONE = {**PHONE, "color_scheme": "dark"}
SECONDS = 1000


def launch(playwright: Any) -> Any:
    """A Chromium that asks nothing of the network by itself."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


class PageVisit:
    """A visit to a page, with everything that a visitor would complain about.

    Attributes:
        page: in the browser.
        complaints: answers that are errors, errors of scripts and on the console, requests to other hosts.
    """

    def __init__(self, browser: Any, url: str, device: dict[str, Any], *, patience: int) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_context(**device).new_page()
        self.page.set_default_timeout(patience)
        self.page.on("request", self._check_request)
        self.page.on("websocket", self._check_request)
        self.page.on("response", lambda answer: self._complain(answer.status >= 400, f"{answer.status} {answer.url}"))
        self.page.on("console", lambda message: self._complain(message.type == "error", f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self._complain(True, f"script: {error}"))
        self._host = urlsplit(url).hostname
        self.page.goto(url)

    @property
    def is_wider_than_the_screen(self) -> bool:
        """Whether one has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def _check_request(self, request: Any) -> None:
        address = urlsplit(request.url)
        self._complain(address.scheme not in ("data", "blob") and address.hostname != self._host, request.url)

    def _complain(self, cause: bool, complaint: str) -> None:
        if cause:
            self.complaints.append(complaint)
