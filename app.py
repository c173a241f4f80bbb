"""The web application, also as a Hugging Face Space: drop a photo, press Deblur, compare, download."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

try:
    import spaces  # on a Space with a shared GPU; has to come before torch
except ImportError:
    spaces = None

import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.utils import get_upload_folder

from demo.examples import make_examples
from demo.pictures import draw_defocus_map, save_screen_picture
from nrknet import Analysis, Deblurrer
from nrknet.fast import compiler
from nrknet.imageio import IMAGE_SUFFIXES, ImageError, Photo, output_suffix, read_photo, write_photo
from nrknet.weights import bundled_models

LARGEST_FILE = "100mb"
LARGEST_PHOTO = 50_000_000
PREVIEW_SIDE = 1024
KEEP_FILES_FOR = 3600

PRECISIONS = [("Fast", "auto"), ("Exact (float32 throughout)", "exact")]

INTRODUCTION = """
# Deblur a photo that is out of focus
Drop a photo in which some parts are out of focus, and NRKNet gives it back with those parts sharper.
"""
ABOUT_THE_EXAMPLES = "No photo at hand? Try one of these. The cat's blur is real; in the others it is rendered."
ABOUT_THE_DOWNLOAD = "The same file that `nrknet deblur` writes for your photo, with all its pixels."
ABOUT_THE_MAP = "How far out of focus the photo was: each point of the scene is spread over a disc of this radius."

CSS = """
.gradio-container > main { max-width: 1180px !important; margin: 0 auto; }
.note p { font-size: var(--text-sm); color: var(--neutral-600); }
.dark .note p { color: var(--neutral-400); }
#examples .grid-wrap { padding: 0; min-height: 0; height: auto; }
#examples .gallery-container, #examples { min-height: 0; height: auto; }
#examples .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)); padding: 0; }
#examples .caption-label {
    left: 0; right: 0; bottom: 0; max-width: none; padding: 2px 0;
    border: 0; border-radius: 0; text-align: center; font-size: 11px;
}
#defocus-map img { max-height: 640px; object-fit: contain; }
footer .divider { display: none; }
"""
# On a phone the progress bar lies below what is on the screen.
SHOW_PROGRESS = "() => document.getElementById('before-after').scrollIntoView({behavior: 'smooth', block: 'nearest'})"

SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "Menlo", "Consolas", "monospace"]
# White on the theme's own button colour is too faint to read easily.
THEME = gr.themes.Default(primary_hue="teal", neutral_hue="zinc", font=SYSTEM_FONTS, font_mono=MONO_FONTS).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_600",
)

LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "footer_links": ["api"],
    "max_file_size": LARGEST_FILE,
    "ssr_mode": False,
}

_one_at_a_time = threading.Lock()


@lru_cache(maxsize=2)
def _load(model: str, precision: str) -> Deblurrer:
    return Deblurrer(model, precision=precision)


def load_deblurrer(model: str, precision: str) -> Deblurrer:
    """The deblurrer for these settings: made when it is first asked for, then kept."""
    with _one_at_a_time:
        return _load(model, precision)


def load_photo(file: str) -> Photo:
    """Reads the dropped photo; everything that can be wrong with it is said in one sentence, as an ImageError."""
    try:
        return read_photo(file, max_pixels=LARGEST_PHOTO)
    except ImageError as error:
        # Where the server keeps the file is nothing to its visitors.
        raise ImageError(str(error).replace(str(file), Path(file).name)) from error


def as_sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def show_photo(file: str | None) -> tuple[Any, Any, Any, Any]:
    """Shows the dropped photo and its size, or what is wrong with it, and clears what is left of the last one."""
    hidden = gr.update(value=None, visible=False)
    if not file:
        return hidden, hidden, None, gr.update(visible=False)
    try:
        photo = load_photo(file)
    except ImageError as error:
        return hidden, gr.update(value=f"**{as_sentence(error)}**", visible=True), None, gr.update(visible=False)
    height, width = photo.pixels.shape[:2]
    picture = save_screen_picture(photo, new_folder() / "preview", longest=PREVIEW_SIDE)
    about = f"{width} × {height} pixels ({width * height / 1e6:.1f} megapixels), {8 * photo.pixels.itemsize} bit"
    return gr.update(value=picture, visible=True), gr.update(value=about, visible=True), None, gr.update(visible=False)


def deblur(
    photo: str | None,
    model: str = "default",
    precision: str = "auto",
    progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio recognises it)
) -> tuple[tuple[Path, Path], Path, Path]:
    """Deblurs one photo that is out of focus in parts.

    Args:
        photo: a photo file: 8 or 16 bit, at most 100 MB and 50 megapixels, at least 16 x 16 pixels.
        model: name of a model; "default" is the best one there is.
        precision: "auto" (the fastest that the machine does well) or "exact" (float32 throughout).
    Returns:
        The photo before and after, as pictures for the screen; a picture of the defocus map with its scale in pixels;
        the deblurred photo as a file, the same that the command line writes.
    """
    if not photo:
        raise gr.Error("Drop a photo first, or pick one of the examples.", print_exception=False)
    try:
        source = load_photo(photo)
        progress(0, desc="Loading the model")
        deblurrer = load_deblurrer(model, precision)
        progress(0, desc="Deblurring")
        analysis = deblurrer.analyze(
            source.pixels, details=False, progress=lambda done: progress(done, desc="Deblurring")
        )
        progress(1, desc="Writing the results")
        return write_results(Path(photo), source, analysis)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise gr.Error("There is not enough memory for a photo of this size.", print_exception=False) from error
    except ValueError as error:  # ImageError is one
        raise gr.Error(as_sentence(error), print_exception=False) from error


def write_results(name: Path, source: Photo, analysis: Analysis) -> tuple[tuple[Path, Path], Path, Path]:
    """Writes the pictures for the screen, and the deblurred photo under the name that the command line gives it."""
    folder = new_folder()
    result = source.with_pixels(analysis.image)
    before, after = (
        save_screen_picture(photo, folder / stem) for photo, stem in ((source, "before"), (result, "after"))
    )
    defocus_map = folder / "defocus-map.png"
    draw_defocus_map(analysis.defocus_map).save(defocus_map)
    # In a folder of its own: the photo may be called before.png.
    download = new_folder() / (name.stem + output_suffix(source, name.suffix))
    write_photo(download, result)
    return (before, after), defocus_map, download


def new_folder() -> Path:
    """A folder of its own for the files of one request, where Gradio serves them from and clears them away."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache))


def build(examples: dict[str, Path]) -> gr.Blocks:
    """The page.

    Args:
        examples: label -> file, the photos to try it with.
    """
    models = ["default", *bundled_models()[1:]]  # "default" stands for the first, the best
    with gr.Blocks(title="NRKNet: deblur a photo", delete_cache=(KEEP_FILES_FOR, KEEP_FILES_FOR)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo = gr.File(label="Photo", file_types=sorted(IMAGE_SUFFIXES), height=150)
                preview = gr.Image(label="Preview", interactive=False, buttons=[], height=260, visible=False)
                about = gr.Markdown(visible=False)
                button = gr.Button("Deblur", variant="primary", size="lg")
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
                with gr.Accordion("Advanced", open=False):
                    model = gr.Dropdown(models, value=models[0], label="Model", visible=len(models) > 1)
                    precision = gr.Radio(PRECISIONS, value="auto", label="Precision")
            with gr.Column(scale=3, min_width=300):
                slider = gr.ImageSlider(
                    label="Before and after", interactive=False, format="png", max_height=640, elem_id="before-after"
                )
                with gr.Column(visible=False) as results:
                    download = gr.DownloadButton("Download the deblurred photo", variant="primary")
                    gr.Markdown(ABOUT_THE_DOWNLOAD, elem_classes="note")
                    defocus_map = gr.Image(
                        label="Defocus map",
                        format="png",
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="defocus-map",
                    )
                    gr.Markdown(ABOUT_THE_MAP, elem_classes="note")

        files = list(examples.values())

        def pick(event: gr.SelectData) -> str:
            return str(files[event.index])

        gallery.select(pick, None, photo, api_visibility="private")
        photo.change(
            show_photo, photo, [preview, about, slider, results], api_visibility="private", concurrency_limit=4
        )
        button.click(fn=None, js=SHOW_PROGRESS)
        run = button.click(
            deblur if spaces is None else spaces.GPU(deblur),
            [photo, model, precision],
            [slider, defocus_map, download],
            api_name="deblur",
            concurrency_limit=1,
            show_progress_on=slider,
        )
        run.success(lambda: gr.update(visible=True), None, results, api_visibility="private")
        photo.change(fn=None, cancels=[run])  # its result would appear beside the next photo
    return page


_examples_folder = tempfile.TemporaryDirectory(prefix="nrknet-examples-")
demo = build(make_examples(Path(_examples_folder.name)))

if __name__ == "__main__":
    compiler.start()  # so that the first visitor need not wait for it
    demo.launch(**LAUNCH)
