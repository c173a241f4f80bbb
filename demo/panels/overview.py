"""Overview: the photo, the restored photo, the defocus map, and the network's parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from demo.interactive import amplified, defocus_figure, flip_figure
from demo.panels.common import chart, magnitude, unit
from demo.studio import Seen, Subject, restored_file
from nrknet.analysis import rms
from nrknet.complexity import HEIGHT, WIDTH, Complexity, complexity, count_parameters
from nrknet.config import NRKNetConfig

GAIN = 4


def show(shown: Subject, seen: Seen) -> None:
    """The panel."""
    analysis, (height, width) = seen.analysis, seen.pixels.shape[:2]
    change = unit(analysis.image) - unit(seen.pixels)
    with st.container(horizontal=True, gap="large"):  # wraps on a phone
        facts = {
            "Photo": (f"{width} × {height}", "Width and height in pixels, as the network was shown it"),
            "Blur radius": (f"{float(np.median(analysis.defocus_map)):.2f} px", "Median over the photo"),
            "RMS change": (magnitude(255 * rms(change)), "From the photo to the restored one, in steps of 8 bits"),
            "Time": (f"{seen.seconds:.2f} s", f"On {seen.deblurrer.device}; the network ran once, and this is kept"),
        }
        for label, (value, meaning) in facts.items():
            st.metric(label, value, help=meaning, width="content")
    pictures = {
        "Photo": seen.pixels,
        "Restored": analysis.image,
        f"Change ×{GAIN}": amplified(change, GAIN),
    }
    left, right = st.columns([3, 2])
    with left:
        st.markdown("**Before and after** · the buttons change the picture, the zoom stays")
        chart(
            flip_figure(pictures, width=590), "before-after", title=f"{shown.name}: before and after",
            values=lambda: {"photo": seen.pixels, "restored": analysis.image},
        )  # fmt: skip
        st.download_button(
            "Restored photo, PNG", lambda: restored_file(shown, seen), f"{shown.name}-restored.png", "image/png",
            key="restored", on_click="ignore", icon=":material/download:", type="primary",
        )  # fmt: skip
    with right:
        st.markdown("**Defocus map** · over what radius each point is spread")
        chart(
            defocus_figure(analysis.defocus_map, width=390), "defocus-overview", title=f"{shown.name}: defocus map",
            values=lambda: {"defocus_map": analysis.defocus_map},
        )  # fmt: skip
    _network(seen)


@st.fragment
def _network(seen: Seen) -> None:
    """What the network is made of."""
    st.markdown(f"**Network** · {seen.network}")
    left, right = st.columns(2)
    parameters = count_parameters(seen.deblurrer.model)
    parts = {"part": [*parameters, "all"], "parameters": [*parameters.values(), sum(parameters.values())]}
    if left.toggle("Count multiply-accumulates, which takes some seconds", key="count-macs", persist_state="session"):
        cost = _complexity(seen.config)
        parts[f"GMAC at {WIDTH}×{HEIGHT}"] = [round(n / 1e9, 2) for n in (*cost.macs.values(), cost.total_macs)]
    numbers = {"parameters": st.column_config.NumberColumn(format="localized")}
    left.dataframe(pd.DataFrame(parts), hide_index=True, column_config=numbers, key="network-parts")
    settings = {name: str(value) for name, value in seen.config.to_dict().items()}
    right.dataframe(
        pd.DataFrame({"setting": list(settings), "value": list(settings.values())}),
        hide_index=True, height=240, key="network-settings",
    )  # fmt: skip


@st.cache_data(max_entries=8, show_spinner="Counting parameters and multiply-accumulates …")
def _complexity(config: NRKNetConfig) -> Complexity:
    return complexity(config)
