"""Results: what was measured and stored, filtered and sorted, and the ablations beside the paper's rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from demo.ablations import METHOD, Ablations, beside_paper, read_ablations, verdict
from demo.interactive import bars
from demo.results import RESULTS, read_evaluations, read_photos
from nrknet.protocols import PROTOCOLS

ABLATION_TABLES = {
    "Table 3, atoms": "3",
    "Table 4, structure": "4",
    "Table 5, losses": "5",
    "Number of atoms J": "J",
}
ENVIRONMENT = ("nrknet", "python", "torch", "processor", "cores", "device", "threads", "precision", "tile")


@st.fragment
def show() -> None:
    """The panel; it needs no photo."""
    try:
        means, photos = _evaluations(str(RESULTS), _stamp(RESULTS))
    except ValueError as error:
        st.error(str(error))
        return
    st.markdown("**Stored evaluations** · one file of `nrknet evaluate --json` each")
    left, middle, right = st.columns(3)
    networks = left.multiselect("Network", sorted(means["model"].unique()), key="filter-network")
    protocols = middle.multiselect("Protocol", sorted(means["protocol"].unique()), key="filter-protocol")
    sets = right.multiselect("Evaluation", sorted(means["name"].unique()), key="filter-name")
    for column, chosen in (("model", networks), ("protocol", protocols), ("name", sets)):
        if chosen:
            means, photos = means[means[column].isin(chosen)], photos[photos[column].isin(chosen)]
    for protocol, group in means.groupby("protocol"):
        st.caption(_about(str(protocol)))
        _table(group.drop(columns=[c for c in ENVIRONMENT if c in group]), f"evaluations-{protocol}")
    with st.expander("Where they were measured"):
        kept = [c for c in ("name", *ENVIRONMENT) if c in means]
        st.dataframe(means[kept], hide_index=True, key="table-environment")
    _photos(photos)
    _ablations()


def _photos(photos: pd.DataFrame) -> None:
    st.markdown("**Photo by photo** · click a column's head to sort")
    wanted = st.text_input("Photo's name contains", key="filter-photo")
    if wanted:
        photos = photos[photos["photo"].str.contains(wanted, case=False, regex=False)]
    for protocol, group in photos.groupby("protocol"):
        st.caption(f"Protocol {protocol}, {len(group)} rows")
        _table(group, f"photos-{protocol}")


def _ablations() -> None:
    path = RESULTS / "ablations.json"
    if not path.is_file():
        return
    try:
        ablations = _read_ablations(str(path), path.stat().st_mtime_ns)
    except ValueError as error:
        st.error(str(error))
        return
    st.markdown("**Ablations** · the paper's figures beside ours, which have another budget and other photos")
    choice = st.segmented_control(
        "Table", list(ABLATION_TABLES), default="Table 3, atoms", required=True, key="ablation-table",
    )  # fmt: skip
    table = beside_paper(ablations, ABLATION_TABLES[choice])
    drawn = table.dropna(subset="network difference")
    left, right = st.columns(2)
    differences = {
        "paper": drawn["paper difference"].tolist(),
        "ours, known radius": drawn["known radius difference"].tolist(),
        "ours, network": drawn["network difference"].tolist(),
    }
    with left:
        figure = bars(drawn.index.tolist(), differences, x="variant", y="PSNR against the full network, dB")
        for trace, column in zip(figure.data[1:], ("known radius error", "network error"), strict=True):
            trace.error_y = {"type": "data", "array": drawn[column].tolist()}
        st.plotly_chart(figure, key="chart-ablations", alt="Differences of the variants to the full network in dB")
    with right:
        st.caption(
            "Bars of error: one standard error, over crops and seeds. " + verdict(ablations, table.index.tolist())
        )
        with st.expander("What was trained"):
            st.caption(ablations.describe())
            st.caption(METHOD)
    _table(table.reset_index(), "ablations")


def _table(table: pd.DataFrame, name: str) -> None:
    """A table that sorts at a click, without the columns that are empty here, and its download."""
    table = table.dropna(axis=1, how="all")
    numbers = {
        column: st.column_config.NumberColumn(format=f"%.{_digits(str(column))}f")
        for column in table.select_dtypes("floating")
    }
    st.dataframe(table, hide_index=True, column_config=numbers, key=f"table-{name}")
    st.download_button(
        "Save as CSV", lambda: table.to_csv(index=False), f"{name}.csv", "text/csv", key=f"csv-{name}",
        on_click="ignore", type="tertiary", icon=":material/download:",
    )  # fmt: skip


def _about(protocol: str) -> str:
    if protocol not in PROTOCOLS:
        return f"Protocol {protocol}"
    return f"Protocol {protocol}, {PROTOCOLS[protocol].whose}: {PROTOCOLS[protocol].about}."


def _digits(column: str) -> int:
    return 4 if any(word in column for word in ("ssim", "lpips")) else 2


def _stamp(folder: Path) -> int:
    """Changes when a result does."""
    return max((file.stat().st_mtime_ns for file in folder.glob("*.json")), default=0)


@st.cache_data(max_entries=2, show_spinner=False)
def _evaluations(folder: str, stamp: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    return read_evaluations(Path(folder)), read_photos(Path(folder))


@st.cache_resource(max_entries=2, show_spinner=False)
def _read_ablations(path: str, stamp: int) -> Ablations:
    return read_ablations(Path(path))
