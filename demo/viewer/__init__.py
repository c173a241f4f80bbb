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


def make_viewer(**options: Any) -> gr.HTML:
    """A component that shows a Comparison. Its event `pick` has the `row` and the `column` of the pixel picked.

    Args:
        options: as for `gr.HTML`.
    """
    html, css, script = ((_HERE / f"viewer.{suffix}").read_text() for suffix in ("html", "css", "js"))
    viewer = gr.HTML(html_template=html, css_template=css, js_on_load=script, apply_default_css=False, **options)
    # Gradio writes stub files beside the source of every class that is derived from a component.
    viewer.data_model = Comparison
    vars(viewer)["api_info"] = Comparison.model_json_schema
    return viewer
