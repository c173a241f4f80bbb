"""A photo on which a pixel is picked: by a click, a tap, or the arrow keys."""

from collections.abc import Callable

import streamlit as st

# Plotly's charts report no clicks on images in Streamlit, only on points.
_HTML = """
<div class="frame" tabindex="0" role="application"
     aria-label="The photo: click a pixel, or move with the arrow keys, ten pixels at a time with shift">
  <img alt="" draggable="false"><span class="across"></span><span class="down"></span>
</div>
"""
_CSS = """
.frame { position: relative; cursor: crosshair; border-radius: 4px; overflow: hidden; line-height: 0; }
.frame:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
img { width: 100%; user-select: none; }
span { position: absolute; background: #fff; mix-blend-mode: difference; pointer-events: none; }
.across { left: 0; right: 0; height: 1px; }
.down { top: 0; bottom: 0; width: 1px; }
"""
_JS = """
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export default function ({ data: { photo: data }, parentElement, setTriggerValue }) {
  const frame = parentElement.querySelector(".frame");
  const image = frame.querySelector("img");
  if (image.src !== data.picture) image.src = data.picture;
  let pixel = [data.row, data.column];
  const draw = () => {
    frame.querySelector(".across").style.top = `${(100 * (pixel[0] + 0.5)) / data.rows}%`;
    frame.querySelector(".down").style.left = `${(100 * (pixel[1] + 0.5)) / data.columns}%`;
  };
  const pick = (row, column) => {
    const inside = (value, count) => Math.min(Math.max(Math.floor(value), 0), count - 1);
    pixel = [inside(row, data.rows), inside(column, data.columns)];
    draw();
    setTriggerValue("pixel", pixel);
  };
  frame.onclick = (event) => {
    const box = image.getBoundingClientRect();
    pick(((event.clientY - box.top) / box.height) * data.rows, ((event.clientX - box.left) / box.width) * data.columns);
  };
  frame.onkeydown = (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const pixels = event.shiftKey ? 10 : 1;
    pick(pixel[0] + pixels * step[0], pixel[1] + pixels * step[1]);
  };
  draw();
}
"""

_component = st.components.v2.component("nrknet_pixel_picker", html=_HTML, css=_CSS, js=_JS)


def pixel_picker(
    picture: str, *, size: tuple[int, int], row: int, column: int, key: str, on_pick: Callable[[int, int], None]
) -> None:
    """Show a photo with a crosshair at a pixel, and say when another is picked.

    Args:
        picture: the photo as a data address.
        size: its height and width in pixels, which need not be the picture's.
        row, column: where the crosshair is.
        key: of the widget.
        on_pick: called with row and column before the next run.
    """

    def picked() -> None:
        value = st.session_state[key].pixel
        if value is not None:
            on_pick(*value)

    data = {"picture": picture, "rows": size[0], "columns": size[1], "row": row, "column": column}
    _component(key=key, data={"photo": data}, on_pixel_change=picked)
