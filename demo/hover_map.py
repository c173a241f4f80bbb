"""A map in colour with its values under the pointer, quick enough to follow a slider.

A plotly chart in Streamlit is built anew whenever its numbers change, which takes several hundred milliseconds on a
slow machine; this changes the address of one picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from demo.interactive import DIVERGING, SEQUENTIAL, colour_table
from demo.shrink import shrink

Floats = NDArray[np.float32]

PICTURE_SIDE, VALUES_SIDE = 512, 256
"""Longer sides in pixels of the picture and of the grid of values that travel to the browser."""
TALLEST = 560
TABLES = {False: colour_table(SEQUENTIAL), True: colour_table(DIVERGING)}
"""(256,3) colours, of signed values or not."""

_HTML = """
<div class="all">
  <div class="above"></div><div class="title"></div><div class="ramp"></div><div class="ticks"></div>
  <div class="frame"><img draggable="false"><div class="tip" role="status"></div></div>
  <div class="below"></div>
</div>
"""
_CSS = """
.all { font: 14px var(--st-font), sans-serif; color: var(--st-text-color); }
.title { margin-bottom: 4px; }
.ramp { height: 10px; border-radius: 2px; }
.ticks { position: relative; height: 20px; opacity: 0.75; margin: 2px 0 6px; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.ticks span:first-child { transform: none; }
.ticks span:last-child { transform: translateX(-100%); }
.frame { position: relative; line-height: 0; cursor: crosshair; touch-action: pan-y; }
img { width: 100%; border-radius: 2px; }
img.blocks { image-rendering: pixelated; }
.tip {
  position: absolute; display: none; pointer-events: none; padding: 4px 8px; line-height: 1.4; white-space: nowrap;
  color: #fafafa; background: rgba(24, 24, 27, 0.88); border-radius: 4px; z-index: 1;
}
.above { margin-bottom: 8px; }
.below { opacity: 0.75; margin-top: 4px; }
sub, sup { line-height: 0; }
"""
_JS = """
export default function ({ data: { map: data }, parentElement }) {
  const find = (name) => parentElement.querySelector(name);
  const frame = find(".frame"), image = find("img"), tip = find(".tip");
  find(".all").style.maxWidth = `${data.width}px`;
  find(".title").innerHTML = data.title;
  find(".above").textContent = data.above;
  find(".below").textContent = data.below;
  find(".ramp").style.background = data.ramp;
  find(".ticks").replaceChildren(...data.ticks.map(([at, text]) => {
    const tick = document.createElement("span");
    tick.style.left = `${100 * at}%`;
    tick.textContent = text;
    return tick;
  }));
  image.alt = data.alt;
  image.className = data.blocks ? "blocks" : "";
  image.src = data.picture;
  const bytes = Uint8Array.from(atob(data.values), (c) => c.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  const hide = () => { tip.style.display = "none"; };
  frame.onpointermove = frame.onpointerdown = (event) => {
    const box = image.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return hide();
    const value = values[Math.floor(y * data.grid[0]) * data.grid[1] + Math.floor(x * data.grid[1])];
    const place = (share, count, first) => Number((data.step * (Math.floor(share * count) + first)).toFixed(4));
    const [row, column] = [place(y, data.rows, data.first[0]), place(x, data.columns, data.first[1])];
    const [down, right] = data.names;
    tip.textContent = `${down} ${row}, ${right} ${column}: ${Number(value.toPrecision(4))} ${data.unit}`;
    tip.style.display = "block";
    tip.style.top = y < 0.5 ? `${100 * y + 4}%` : "";
    tip.style.bottom = y < 0.5 ? "" : `${100 * (1 - y) + 4}%`;
    tip.style.left = x < 0.5 ? `${100 * x}%` : "";
    tip.style.right = x < 0.5 ? "" : `${100 * (1 - x)}%`;
  };
  frame.onpointerleave = hide;
  hide();
}
"""

_component = st.components.v2.component("nrknet_hover_map", html=_HTML, css=_CSS, js=_JS)


def hover_map(
    values: Floats,
    *,
    key: str,
    title: str,
    unit: str = "",
    signed: bool = False,
    top: float | None = None,
    size: tuple[int, int] | None = None,
    centred: bool = False,
    compress: bool = False,
    above: str = "",
    below: str = "",
    step: float = 1,
    names: tuple[str, str] = ("row", "column"),
) -> None:
    """Show a map; the pointer says row, column and value.

    Args:
        values: (h,w).
        key: of the widget.
        title: above the colours; HTML for indices, so never a visitor's text.
        unit: of the values.
        signed: blue below 0 and red above, instead of dark to bright from 0.
        top: value at the bright end of the colours; None takes the largest.
        size: height and width of the photo that the map covers, whose pixels are counted; None: its own.
        centred: rows and columns are counted from the middle, and each value is a visible block.
        compress: colours follow the square root of the values.
        above, below: plain text; as part of the map it is quicker than an element of its own.
        step: from one row and column to the next, in the unit of the sides.
        names: of the sides.
    """
    rows, columns = size or values.shape
    end = top or float(np.abs(values).max()) or 1.0
    grid = np.ascontiguousarray(shrink(values, VALUES_SIDE), "<f4")
    data: dict[str, Any] = {
        "picture": _png(levels(shrink(values, PICTURE_SIDE), top=end, signed=signed, compress=compress), signed),
        "values": base64.b64encode(grid.tobytes()).decode(),
        "grid": list(grid.shape),
        "rows": rows,
        "columns": columns,
        "first": [-(rows // 2), -(columns // 2)] if centred else [0, 0],
        "width": round(min(900, TALLEST * columns / rows)),
        "title": title,
        "alt": f"Map of {values.shape[0]} by {values.shape[1]} values",
        "unit": unit,
        "ramp": _ramp(signed),
        "ticks": ticks(end, signed=signed, compress=compress),
        "blocks": centred,
        "above": above,
        "below": below,
        "step": step,
        "names": list(names),
    }
    _component(key=key, data={"map": data})  # every value at the top is searched for tables


def levels(values: Floats, *, top: float, signed: bool, compress: bool = False) -> NDArray[np.uint8]:
    """(h,w) the places of (h,w) values in the table of colours, 0 to 255; arguments as for `hover_map`."""
    shares = np.clip(values / top, -1 if signed else 0, 1)
    if compress:
        shares = np.sign(shares) * np.sqrt(np.abs(shares))
    if signed:
        shares = (shares + 1) / 2
    return np.round(255 * shares).astype(np.uint8)


def ticks(top: float, *, signed: bool, compress: bool) -> list[tuple[float, str]]:
    """Where on the bar of colours, from 0 to 1, which value is written."""
    shares: Sequence[float] = (0, 0.01, 0.1, 0.3, 1) if compress else (0, 0.25, 0.5, 0.75, 1)
    if signed:
        shares = (-1, -0.1, 0, 0.1, 1) if compress else (-1, -0.5, 0, 0.5, 1)
    places = [float(np.sign(s) * abs(s) ** 0.5) if compress else s for s in shares]
    return [((p + 1) / 2 if signed else p, f"{s * top:.2g}") for p, s in zip(places, shares, strict=True)]


def _png(levels: NDArray[np.uint8], signed: bool) -> str:
    """A picture of (h,w) places in the table of colours, as a data address; with a palette it is quickly packed."""
    image, buffer = Image.fromarray(levels), io.BytesIO()
    image.putpalette(TABLES[signed].tobytes())
    image.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _ramp(signed: bool) -> str:
    table = TABLES[signed][::15]
    return f"linear-gradient(to right, {', '.join('rgb({},{},{})'.format(*colour) for colour in table)})"
