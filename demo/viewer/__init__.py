"""A photo before and after, behind a divider: zoom, move, full screen, and pick a pixel; by mouse, finger or keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData, GradioModel

_HERE = Path(__file__).parent


class Pixel(GradioModel):
    """A pixel of a photo.

    Attributes:
        row, column: from the top and from the left, from 0.
    """

    row: int
    column: int


class Comparison(GradioModel):
    """What is shown.

    Attributes:
        before, after: pictures of one size.
        width, height: of the photo in pixels.
        before_label, after_label: what stands in their corners.
        pixel: the picked one, if any.
    """

    before: FileData
    after: FileData
    width: int
    height: int
    before_label: str = "before"
    after_label: str = "after"
    pixel: Pixel | None = None


class Viewer(gr.HTML):
    """Shows a Comparison. Its event `pick` has the `row` and the `column` of the pixel that was picked.

    Args:
        options: as for `gr.HTML`.
    """

    data_model = Comparison

    def __init__(self, value: Comparison | None = None, **options: Any) -> None:
        html, css, script = ((_HERE / f"viewer.{suffix}").read_text() for suffix in ("html", "css", "js"))
        super().__init__(
            value, html_template=html, css_template=css, js_on_load=script, apply_default_css=False, **options
        )

    def preprocess(self, payload: Comparison | None) -> Comparison | None:
        """What the page shows, as it is."""
        return payload

    def postprocess(self, value: Comparison | None) -> Comparison | None:
        """What is to be shown, as it is."""
        return value

    def api_info(self) -> dict[str, Any]:
        """What the API's page says of it."""
        return Comparison.model_json_schema()

    def example_payload(self) -> None:
        """Nothing: it is an output."""

    def example_value(self) -> None:
        """Nothing: it is an output."""
