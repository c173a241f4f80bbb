"""The web application, also as a Hugging Face Space: drop a photo, press Deblur, compare, download."""

from __future__ import annotations

import json
import os
from contextlib import suppress

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # which it sums up after every request

with suppress(ImportError):
    import spaces  # noqa: F401  (on a Space with a shared GPU it has to come before torch)

from typing import Any, NamedTuple

import gradio as gr

from demo import endpoints, gpu
from demo.appearance import COPY_LINK, KEEP_SETTINGS, LOOK, SHOW_RESULT, SWITCH_DARK
from demo.endpoints import DEFAULTS, EXAMPLES, MOST_PHOTOS, photo_input, restorer
from demo.restorer import load_deblurrer
from demo.serving import end_on_terminate, serve
from demo.settings import MODELS
from demo.viewer import make_viewer
from nrknet.fast import compiler
from nrknet.imageio import IMAGE_SUFFIXES
from nrknet.refocus import MOST_APERTURE
from nrknet.weights import bundled_models

PRECISIONS = [("Fast", "auto"), ("Exact (float32 throughout)", "exact")]

INTRODUCTION = """
# Deblur a photo that is out of focus
Drop a photo in which some parts are out of focus, and NRKNet gives it back with those parts sharper.
"""
ABOUT_THE_EXAMPLES = "No photo at hand? Try one of these. The cat's blur is real; in the others it is rendered."
ABOUT_THE_DOWNLOAD = "The same file that `nrknet deblur` writes for your photo, with all its pixels."
ABOUT_THE_MAP = "How far out of focus the photo was: each point of the scene is spread over a disc of this radius."
ABOUT_PIXELS = "Click or tap a pixel of the result, press Enter on it, or type its row and column."
ABOUT_FOCUS = (
    "Puts the result out of focus again, with the plane in focus moved to the pixel. The blur found in a photo does "
    "not tell what lies before that plane and what behind; all is taken to lie behind."
)
ABOUT_SEVERAL = f"Up to {MOST_PHOTOS} photos, restored with the settings below, come back in one zip."
PROGRAM = """\
from gradio_client import Client, handle_file

client = Client("{address}")
photo = client.predict("Cat", api_name="/example")  # or the name of a file of yours
comparison, defocus_map, restored = client.predict(
    handle_file(photo), strength=1.0, api_name="/deblur"
)
print(restored)
"""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
AT_ONCE: dict[str, Any] = {**PRIVATE, "queue": False}
"""What only shows and hides: it must work while others' photos wait."""
ONE_PHOTO: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "one-photo"}
SEVERAL_PHOTOS: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "several-photos"}
"""These two take turns at the network (`demo.turns`), photo by photo; more at a time would only take more memory."""


class Controls(NamedTuple):
    """The settings on the page, in the order in which endpoints take them."""

    model: gr.Dropdown
    precision: gr.Radio
    strength: gr.Slider
    terms: gr.Slider


class Single(NamedTuple):
    """What belongs to one photo, where it is dropped."""

    photo: gr.File
    preview: gr.Image
    about: gr.Markdown
    button: gr.Button
    stop: gr.Button


class Result(NamedTuple):
    """What belongs to its result."""

    viewer: gr.HTML
    panel: gr.Column
    download: gr.DownloadButton
    defocus_map: gr.Image
    tabs: gr.Tabs
    at_a_pixel: gr.Tab


def build(examples: dict[str, Any]) -> gr.Blocks:
    """The page.

    Args:
        examples: label -> file, the photos to try it with.
    """
    with gr.Blocks(title="NRKNet: deblur a photo") as page:
        gr.Markdown(INTRODUCTION)
        # kept by the page; the server would forget a gr.State, as it remembers only some visits
        is_done = gr.Checkbox(False, visible="hidden")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                with gr.Tabs():
                    with gr.Tab("One photo"):
                        single = one_photo(examples)
                    with gr.Tab("Several photos"):
                        several = several_photos()
                controls = settings(page)
            with gr.Column(scale=3, min_width=300):
                result = results()
        connect(single, controls, result, is_done)
        deblur_several(*several, controls)
        with result.at_a_pixel:
            at_a_pixel(single.photo, controls, result)
        from_a_program(page)
    return page


def one_photo(examples: dict[str, Any]) -> Single:
    """Where one photo is dropped or picked."""
    photo = photo_input(label="Photo", file_types=sorted(IMAGE_SUFFIXES), height=150)
    preview = gr.Image(label="Preview", interactive=False, buttons=[], height=260, visible=False)
    about = gr.Markdown(visible=False)
    button = gr.Button("Deblur", variant="primary", size="lg")
    stop = gr.Button("Stop", visible=False)
    gr.Markdown(ABOUT_THE_EXAMPLES, elem_classes="note")
    gallery = gr.Gallery(
        [(str(path), label) for label, path in examples.items()],
        label="Examples",
        show_label=False,
        container=False,
        columns=len(examples),
        height="auto",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )
    files = list(examples.values())

    def pick(event: gr.SelectData) -> str:
        return str(files[event.index])

    gallery.select(pick, None, photo, **AT_ONCE)
    return Single(photo, preview, about, button, stop)


def several_photos() -> tuple[gr.File, gr.Button, gr.Button, gr.DownloadButton, gr.Dataframe]:
    """Where several are dropped, and their results."""
    photos = gr.File(label="Photos", file_count="multiple", file_types=sorted(IMAGE_SUFFIXES), height=150)
    button = gr.Button("Deblur all", variant="primary", size="lg")
    stop = gr.Button("Stop", visible=False)
    gr.Markdown(ABOUT_SEVERAL, elem_classes="note")
    archive = gr.DownloadButton("Download the zip", variant="primary", visible=False)
    table = gr.Dataframe(
        headers=["Photo", "What became of it"], interactive=False, wrap=True, visible=False, label="Photos"
    )
    return photos, button, stop, archive, table


def settings(page: gr.Blocks) -> Controls:
    """The settings; a link to the page holds them, and the page opens with those of its link."""
    with gr.Accordion("Settings", open=True):
        strength = gr.Slider(
            0, 1, DEFAULTS.strength, step=0.05, label="Strength", info="0 is the photo as it is, 1 the restored one"
        )
        terms = gr.Slider(
            1, DEFAULTS.terms, DEFAULTS.terms, step=1, label="Neumann terms",
            info="Fewer cut the series short, which restores less",
        )  # fmt: skip
        best = (f"{bundled_models()[0]}, the best that is bundled", MODELS[0])
        labelled = [best, *((name, name) for name in MODELS[1:])]
        model = gr.Dropdown(labelled, value=MODELS[0], label="Model")
        precision = gr.Radio(PRECISIONS, value=DEFAULTS.precision, label="Precision")
        with gr.Row():
            copy = gr.Button("Copy link to these settings", size="sm", elem_id="copy-link", min_width=120)
            dark = gr.Button("Light or dark", size="sm", min_width=120)
    controls = Controls(model, precision, strength, terms)
    page.load(settings_of_link, None, list(controls), show_progress="hidden", **AT_ONCE)
    for control in controls:
        control.change(fn=None, inputs=list(controls), js=KEEP_SETTINGS, **PRIVATE)
    copy.click(fn=None, js=COPY_LINK, **PRIVATE)
    dark.click(fn=None, js=SWITCH_DARK, **PRIVATE)
    return controls


def settings_of_link(request: gr.Request) -> tuple[str, str, float, int]:
    """The settings that the page's address names; the usual ones for what it does not name, or names wrongly."""
    query = request.query_params

    def number(name: str, low: float, high: float) -> float:
        try:
            value = float(query.get(name, ""))
        except ValueError:
            return high
        return value if low <= value <= high else high

    model, precision = query.get("model", ""), query.get("precision", "")
    return (
        model if model in MODELS else MODELS[0],
        precision if precision in dict(PRECISIONS).values() else DEFAULTS.precision,
        number("strength", 0, DEFAULTS.strength),
        int(number("terms", 1, DEFAULTS.terms)),
    )


def results() -> Result:
    """What a photo became, and what there is to do with it."""
    viewer = make_viewer(elem_id="before-after")
    with gr.Column(visible=False) as panel:
        download = gr.DownloadButton("Download the deblurred photo", variant="primary")
        gr.Markdown(ABOUT_THE_DOWNLOAD, elem_classes="note")
        with gr.Tabs() as tabs:
            with gr.Tab("Defocus map", id="map"):
                defocus_map = gr.Image(
                    label="Defocus map", format="png", interactive=False, buttons=["fullscreen"], elem_id="defocus-map"
                )
                gr.Markdown(ABOUT_THE_MAP, elem_classes="note")
            tab = gr.Tab("At a pixel", id="pixel")
    return Result(viewer, panel, download, defocus_map, tabs, tab)


def at_a_pixel(photo: gr.File, controls: Controls, result: Result) -> None:
    """The kernel at a pixel, and the focus moved there."""
    gr.Markdown(ABOUT_PIXELS, elem_classes="note")
    with gr.Row():
        row = gr.Number(0, label="Row", precision=0, minimum=0, min_width=90)
        column = gr.Number(0, label="Column", precision=0, minimum=0, min_width=90)
        look = gr.Button("Show the kernel", min_width=140)
    picture = gr.Image(label="Kernel", format="png", interactive=False, buttons=[], visible=False, elem_id="kernel")
    said = gr.Markdown()
    aperture = gr.Slider(0, MOST_APERTURE, 1, step=0.1, label="Aperture", info="1 is the photo's; wider blurs more")
    button = gr.Button("Focus here")
    stop = gr.Button("Stop", visible=False)
    gr.Markdown(ABOUT_FOCUS, elem_classes="note")
    progress = gr.Markdown()
    download = gr.DownloadButton("Download the refocused photo", visible=False)

    def picked(event: gr.EventData) -> tuple[int, int, Any]:
        return event.row, event.column, gr.update(selected="pixel")

    inputs = [photo, row, column, controls.model, controls.precision]
    pick = result.viewer.pick(picked, None, [row, column, result.tabs], **AT_ONCE)
    shown = [
        pick.then(endpoints.kernel, inputs, [picture, said], api_name="picked", **PRIVATE, **ONE_PHOTO),
        look.click(endpoints.kernel, inputs, [picture, said], api_name="kernel", **ONE_PHOTO),
    ]
    for event in shown:
        event.success(lambda: gr.update(visible=True), None, picture, **AT_ONCE)
    offer_stop(stop, button)
    run = button.click(
        endpoints.refocus,
        [photo, row, column, aperture, *controls],
        [result.viewer, download],
        api_name="refocus",
        show_progress_on=progress,
        **ONE_PHOTO,
    )
    run.success(lambda: gr.update(visible=True), None, download, js=SHOW_RESULT, **AT_ONCE)
    photo.change(lambda: [gr.update(value=None, visible=False), "", gr.update(visible=False)], None,
                 [picture, said, download], **AT_ONCE)  # fmt: skip
    photo.change(fn=None, cancels=[run])
    let_stop(stop, run)


def connect(single: Single, controls: Controls, result: Result, is_done: gr.Checkbox) -> None:
    """From the photo to its result, and again when a setting is changed."""
    photo, shown = single.photo, [result.viewer, result.defocus_map, result.download]
    photo.change(
        endpoints.show_photo, photo, [single.preview, single.about, result.viewer, result.panel, is_done],
        concurrency_limit=2, **PRIVATE,
    )  # fmt: skip
    offer_stop(single.stop, single.button)
    run = single.button.click(
        endpoints.deblur,
        [photo, *controls],
        shown,
        api_name="deblur",
        show_progress_on=single.preview,
        **ONE_PHOTO,
    )
    run.success(lambda: (gr.update(visible=True), True), None, [result.panel, is_done], js=SHOW_RESULT, **AT_ONCE)
    again = gr.on(
        [controls.strength.change, controls.terms.change],
        endpoints.deblur_again,
        [is_done, photo, *controls],
        shown,
        trigger_mode="always_last",
        show_progress_on=single.preview,
        **PRIVATE,
        **ONE_PHOTO,
    )
    photo.change(fn=None, cancels=[run, again])  # their results would appear beside the next photo
    let_stop(single.stop, run)


SHOWN: dict[str, Any] = {"show_progress": "hidden", **AT_ONCE}


def offer_stop(stop: gr.Button, button: gr.Button) -> None:
    """Show a button when another one is pressed; called before that is told to start a run."""
    button.click(lambda: gr.update(visible=True), None, stop, **SHOWN)


def let_stop(stop: gr.Button, run: Any) -> None:
    """Let a button stop a run, and hide it when that is done."""
    for done in (run.then, stop.click):
        done(lambda: gr.update(visible=False), None, stop, **SHOWN)
    stop.click(fn=None, cancels=[run])


def deblur_several(
    photos: gr.File, button: gr.Button, stop: gr.Button, archive: gr.DownloadButton, table: gr.Dataframe,
    controls: Controls,
) -> None:  # fmt: skip
    """From several photos to their zip."""
    shown, hidden = gr.update(visible=True), gr.update(visible=False)
    photos.change(lambda: (hidden, hidden), None, [archive, table], **AT_ONCE)
    offer_stop(stop, button)
    run = button.click(
        endpoints.deblur_many,
        [photos, *controls],
        [archive, table],
        api_name="deblur_many",
        show_progress_on=table,
        **SEVERAL_PHOTOS,
    )
    run.success(lambda file: (shown if file else hidden, shown), archive, [archive, table], **AT_ONCE)
    let_stop(stop, run)


def from_a_program(page: gr.Blocks) -> None:
    """A program that works as it stands, with the address of this page in it."""
    with gr.Accordion("Use it from a program", open=False):
        gr.Markdown("`pip install gradio_client`, then run this. All endpoints: *Use via API*, below.")
        program = gr.Code(language="python", interactive=False, label="Python", elem_id="program")
        name, path = gr.Textbox(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(endpoints.example, name, path, api_name="example")

    # only the browser knows the address by which it came here
    address = 'window.location.origin + window.location.pathname.replace(/[/]$/, "")'
    page.load(fn=None, outputs=program, js=f'() => {json.dumps(PROGRAM)}.replace("{{address}}", {address})', **PRIVATE)


demo = build(EXAMPLES)
LAUNCH = {**LOOK, **serve(demo, restorer)}
if gpu.IS_SHARED:  # the processes that get the card are copies of this one
    for model in MODELS:
        for _, precision in PRECISIONS:
            load_deblurrer(model, precision)

if __name__ == "__main__":
    if not gpu.IS_SHARED:
        compiler.start()  # so that the first visitor need not wait for it
    end_on_terminate()
    demo.launch(**LAUNCH)
