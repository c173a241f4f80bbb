"""Figures to point at and zoom into: from arrays to plotly, for the analysis app and for whoever else wants them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from demo.pictures import palette, scale_end
from demo.shrink import shrink

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Floats = NDArray[np.float32]
Curve = tuple[Sequence[float] | NDArray[Any], Sequence[float] | NDArray[Any]]

LINES = ("#0d9488", "#d97706", "#8b5cf6", "#e11d48", "#0284c7", "#65a30d")
"""Readable on white and on black."""
TOOLS_HEIGHT = 30
"""Of plotly's own buttons, which a phone always shows."""
LEGEND_HEIGHT, BAR_HEIGHT = 56, 92
"""Of a legend, and of a colour bar with its title, with those buttons above."""
LEGEND = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
SEQUENTIAL: list[list[Any]] = [[i / 31, "rgb({},{},{})".format(*palette()[round(255 * i / 31)])] for i in range(32)]
DIVERGING = plotly.colors.get_colorscale("RdBu_r")
MAP_SIDE = 320
"""Longer side of a map with values to point at."""
LARGEST_PNG = 1_000_000
"""Pixels up to which a picture travels without loss."""
WIDTH, TALLEST = 500, 640
"""Of a figure in pixels of the screen: a usual width, from which the height of images follows, and its limit."""


def picture(pixels: Pixels, *, longest: int = 2048) -> str:
    """A photo as a data address: PNG up to a megapixel, JPEG of high quality above.

    Args:
        pixels: (H,W,3), 8 or 16 bit.
        longest: the longer side is reduced to this many pixels.
    """
    pixels = shrink(pixels, longest)
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    buffer, image = io.BytesIO(), Image.fromarray(pixels)
    if image.width * image.height <= LARGEST_PNG:
        image.save(buffer, "PNG", compress_level=1)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour_table(scale: Sequence[Sequence[Any]]) -> NDArray[np.uint8]:
    """(256,3) the colours of a plotly colour scale."""
    stops = [position for position, _ in scale]
    colours = np.array([plotly.colors.unlabel_rgb(colour) for _, colour in scale])
    channels = [np.interp(np.linspace(0, 1, 256), stops, colours[:, i]) for i in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def index(*numbers: int) -> str:
    """Numbers as an index below the line, for titles: `"A" + index(3)`."""
    return f"<sub>{','.join(map(str, numbers))}</sub>"


def amplified(image: Floats, gain: float) -> NDArray[np.uint8]:
    """A signed image as a picture: middle grey is 0, `gain` times the value is added to it.

    Args:
        image: (H,W,3), 1 is the range of a photo.
        gain: how many times stronger it is shown.
    """
    return (np.clip(0.5 + gain * image, 0, 1) * 255).round().astype(np.uint8)


def clipped(image: Floats) -> NDArray[np.uint8]:
    """(H,W,3) from 0 to 1 as a picture; what lies outside is cut off."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def flip_figure(pictures: Mapping[str, Pixels], *, width: int = WIDTH) -> go.Figure:
    """Pictures of one scene on top of each other: buttons change from one to the next, and the zoom stays.

    Args:
        pictures: name -> (H,W,3), all of one size; a single one gets no buttons.
        width: that the figure will have, in pixels of the screen.
    """
    figure = go.Figure()
    rows, columns = next(iter(pictures.values())).shape[:2]
    for number, (name, pixels) in enumerate(pictures.items()):
        source = picture(pixels)
        factor = max(1.0, max(rows, columns) / 2048)
        figure.add_image(
            source=source, dx=factor, dy=factor, x0=(factor - 1) / 2, y0=(factor - 1) / 2, name=name,
            visible=number == 0, hovertemplate="row %{y:.0f}, column %{x:.0f}<br>R, G, B %{z}<extra></extra>",
        )  # fmt: skip
    buttons = [
        {"label": name, "method": "restyle", "args": ["visible", [other == name for other in pictures]]}
        for name in pictures
    ]
    if len(pictures) == 1:
        _fit_image(figure, rows, columns, width=width, top=TOOLS_HEIGHT)
        return figure
    _fit_image(figure, rows, columns, width=width, top=TOOLS_HEIGHT + 40)
    figure.update_layout(
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, "showactive": True, "x": 0,
                      "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 8}, "font": {"color": "#52525b"},
                      "bgcolor": "#e4e4e7", "bordercolor": "#a1a1aa"}],
    )  # fmt: skip
    return figure


def value_map(
    values: Floats,
    *,
    label: str,
    unit: str = "",
    signed: bool = False,
    top: float | None = None,
    size: tuple[int, int] | None = None,
    width: int = WIDTH,
) -> go.Figure:
    """A map in colour, its values to point at; reduced to MAP_SIDE by means over boxes.

    Args:
        values: (h,w).
        label: what the values are.
        unit: of the values.
        signed: blue below 0 and red above, instead of dark to bright from 0.
        top: value at the bright end of the colours; None takes the largest.
        size: height and width of the photo that the map covers, whose pixels the axes count; None: its own.
        width: that the figure will have, in pixels of the screen.
    """
    rows, columns = size or values.shape
    top = top or float(np.abs(values).max()) or 1.0
    small = np.ascontiguousarray(shrink(values, MAP_SIDE), np.float32)
    step_y, step_x = rows / small.shape[0], columns / small.shape[1]
    figure = go.Figure(
        go.Heatmap(
            z=small, x0=(step_x - 1) / 2, dx=step_x, y0=(step_y - 1) / 2, dy=step_y,
            zmin=-top if signed else 0, zmax=top, colorscale=DIVERGING if signed else SEQUENTIAL,
            hovertemplate=f"row %{{y:.0f}}, column %{{x:.0f}}<br>{label} %{{z:.4g}} {unit}<extra></extra>",
            colorbar=_colour_bar(f"{label}, {unit}" if unit else label),
        )
    )  # fmt: skip
    _fit_image(figure, rows, columns, width=width, top=BAR_HEIGHT)
    return figure


def defocus_figure(defocus_map: Floats, *, top: float | None = None, width: int = WIDTH) -> go.Figure:
    """A defocus map in the project's colours: (H,W) blur radius in pixels; `top` and `width` as for `value_map`."""
    end = float(scale_end(defocus_map)) if top is None else top
    return value_map(defocus_map, label="blur radius", unit="px", top=end, width=width)


def kernel_map(kernel: Floats, *, label: str = "weight", compress: bool = False, height: int = 400) -> go.Figure:
    """A kernel in colour, its weights to point at; the axes count pixels from its middle.

    Args:
        kernel: (S,S), S odd.
        label: what the weights are called.
        compress: colours follow the square root of the weights, so that small ones show beside large ones.
        height: of the figure in pixels of the screen.
    """
    half = kernel.shape[0] // 2
    offsets = np.arange(-half, half + 1)
    top, lowest = float(np.abs(kernel).max()) or 1.0, float(kernel.min())
    signed = lowest < -1e-4 * top
    shown = np.sign(kernel) * np.sqrt(np.abs(kernel)) if compress else kernel
    end = top**0.5 if compress else top
    bar = _colour_bar(label)
    if compress:
        shares = (-1, -0.1, 0, 0.1, 1) if signed else (0, 0.01, 0.1, 0.3, 1)
        marks = [top * share for share in shares]
        bar |= {"tickvals": [float(np.sign(m) * abs(m) ** 0.5) for m in marks], "ticktext": [f"{m:.2g}" for m in marks]}
    figure = go.Figure(
        go.Heatmap(
            z=shown, x=offsets, y=offsets, customdata=kernel, zmin=-end if signed else 0, zmax=end,
            colorscale=DIVERGING if signed else SEQUENTIAL, colorbar=bar,
            hovertemplate=f"%{{y:+d}} rows, %{{x:+d}} columns<br>{label} %{{customdata:.4g}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="columns from the pixel", constrain="domain", showgrid=False, zeroline=False)
    figure.update_yaxes(
        title="rows", scaleanchor="x", autorange="reversed", constrain="domain", constraintoward="top",
        showgrid=False, zeroline=False,
    )  # fmt: skip
    figure.update_layout(height=height, margin=_margin(BAR_HEIGHT))
    return figure


def curves(
    lines: Mapping[str, Curve],
    *,
    x: str,
    y: str,
    log: bool = False,
    markers: bool = False,
    gradient: bool = False,
    height: int = 340,
) -> go.Figure:
    """Curves over one axis, their values to point at.

    Args:
        lines: name -> (positions, values).
        x, y: titles of the axes, units included.
        log: the values' axis is logarithmic.
        markers: a dot at each position.
        gradient: colours run from the first curve to the last, instead of setting all apart.
        height: of the figure in pixels of the screen.
    """
    figure = go.Figure()
    for number, (name, (positions, values)) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        if gradient:
            colour = SEQUENTIAL[4 + round(22 * number / max(1, len(lines) - 1))][1]
        figure.add_scatter(
            x=np.asarray(positions), y=np.asarray(values), name=name, mode="lines+markers" if markers else "lines",
            line={"color": colour, "width": 1.8},
            hovertemplate=f"{name}<br>{x} %{{x:.3g}}<br>%{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=x)
    if log:
        figure.update_yaxes(title=y, type="log", exponentformat="power")
    else:
        figure.update_yaxes(title=y, exponentformat="none")
    figure.update_layout(
        height=height, margin=_margin(LEGEND_HEIGHT), hovermode="closest", showlegend=1 < len(lines) <= 6, legend=LEGEND
    )
    return figure


def bars(
    names: Sequence[str], groups: Mapping[str, Sequence[float]], *, x: str, y: str, height: int = 320
) -> go.Figure:
    """Bars side by side: for each name one of each group.

    Args:
        names: below the bars.
        groups: name -> a value for each of `names`.
        x, y: titles of the axes, units included.
        height: of the figure in pixels of the screen.
    """
    figure = go.Figure()
    for number, (group, values) in enumerate(groups.items()):
        figure.add_bar(
            x=list(names), y=list(values), name=group, marker_color=LINES[number % len(LINES)],
            hovertemplate=f"{group}, %{{x}}<br>%{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y, exponentformat="none")
    figure.update_layout(
        height=height, margin=_margin(LEGEND_HEIGHT), barmode="group", showlegend=len(groups) > 1, legend=LEGEND
    )
    return figure


def histogram(values: Floats, *, label: str, unit: str, bins: int = 60, height: int = 300) -> go.Figure:
    """How much of a map has which value.

    Args:
        values: of any shape.
        label, unit: of the values.
        bins: how many bars.
        height: of the figure in pixels of the screen.
    """
    counts, edges = np.histogram(values, bins=bins)
    figure = go.Figure(
        go.Bar(
            x=(edges[1:] + edges[:-1]) / 2, y=100 * counts / values.size, width=np.diff(edges), marker_color=LINES[0],
            hovertemplate=f"{label} %{{x:.3g}} {unit}<br>%{{y:.2f}} % of the photo<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title=f"{label}, {unit}")
    figure.update_yaxes(title="share of the photo, %")
    figure.update_layout(height=height, margin=_margin(TOOLS_HEIGHT), bargap=0)
    return figure


def _margin(top: int) -> dict[str, int]:
    return {"l": 8, "r": 8, "t": top, "b": 8}


def _colour_bar(title: str) -> dict[str, Any]:
    """Lies above the map, so that it takes no width on a phone."""
    return {
        "orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "len": 1, "thickness": 10,
        "title": {"text": title, "side": "top"}, "outlinewidth": 0, "nticks": 6,
    }  # fmt: skip


def _fit_image(figure: go.Figure, rows: int, columns: int, *, width: int, top: int) -> None:
    """Square pixels, row 0 on top, no frame, as high as it will be at this width below `top` pixels for the rest."""
    height = min(round(top + 8 + (width - 16) * rows / columns), TALLEST)
    figure.update_layout(height=height, margin=_margin(top))
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(range=[-0.5, columns - 0.5], constraintoward="left", **hidden)
    figure.update_yaxes(range=[rows - 0.5, -0.5], scaleanchor="x", constraintoward="top", **hidden)
