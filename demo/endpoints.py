"""What the app's page and its API do: each function is an endpoint, and says what is wrong in one sentence."""

from __future__ import annotations

import errno
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.data_classes import FileData

from demo.album import restore_all
from demo.examples import make_examples
from demo.folders import OWN
from demo.inputs import as_text
from demo.pictures import save_screen_picture
from demo.restorer import (
    Progress,
    Restorer,
    compare,
    load_photo,
    look_at_pixel,
    mixed,
    refocused,
    write_defocus_map,
    write_result,
)
from demo.settings import Settings, finite, position, shortened
from demo.turns import Abandoned, watch
from demo.viewer import Comparison, Pixel
from nrknet.imageio import ImageError

PREVIEW_SIDE = 1024
MOST_PHOTOS = 100
BROKEN = "Something went wrong on the server; try again, or try another photo."
DEFAULTS = Settings()
EXAMPLES = make_examples(OWN.examples)
restorer = Restorer(OWN.restored)
_log = logging.getLogger(__name__)
_OWN_FOLDER = re.compile(re.escape(str(OWN.path)) + r"(/\w+)*/")


def photo_input(**options: Any) -> gr.File:
    """A file to upload, for which the API's page shows the name of a photo.

    Args:
        options: as for `gr.File`.
    """
    photo = gr.File(**options)
    vars(photo)["example_payload"] = lambda: FileData(path="photo.jpg").model_dump()
    return photo


def as_sentence(error: Exception) -> str:
    """What went wrong, with a capital and a full stop, and without the server's folders."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "There is not enough memory for a photo of this size."
    text = _OWN_FOLDER.sub("", " ".join(str(error).split()))
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


@contextmanager
def errors_on_the_page() -> Iterator[None]:
    """Show what was wrong with a visitor's photo as one sentence, and what was wrong here as another."""
    try:
        yield
    except Exception as error:
        said = _explain(error)
        # Gradio keeps the error for a while, which would keep these frames, with all their pixels.
        traceback.clear_frames(error.__traceback__)
        raise gr.Error(as_text(said), print_exception=False) from None


def _explain(error: Exception) -> str:
    if isinstance(error, (ValueError, MemoryError, torch.OutOfMemoryError)):  # ImageError is a ValueError
        return as_sentence(error)
    if isinstance(error, Abandoned):
        return error.message
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _log.error("%s", error)
        return "The server's disk is full; try again later."
    _log.error("an endpoint failed", exc_info=error)
    return BROKEN


def said_by(progress: gr.Progress) -> Progress:
    """Progress as the restorer says it, on the page's bar."""
    return lambda done, what: progress(done, desc=what)


def need_photo(photo: Any) -> None:
    """Raises gr.Error unless there is a photo."""
    if not photo:
        raise gr.Error("Drop a photo first, or pick one of the examples.", print_exception=False)


def show_photo(file: str | None) -> tuple[Any, Any, None, Any, bool]:
    """Shows the dropped photo and its size, or what is wrong with it, and clears what is left of the last one."""
    hidden, cleared = gr.update(value=None, visible=False), (None, gr.update(visible=False), False)
    if not file:
        return hidden, hidden, *cleared
    try:
        photo = load_photo(file)
    except ImageError as error:
        return hidden, gr.update(value=f"**{as_sentence(error)}**", visible=True), *cleared
    height, width = photo.pixels.shape[:2]
    picture = save_screen_picture(photo, OWN.new() / "preview", longest=PREVIEW_SIDE)
    about = f"{width} × {height} pixels ({width * height / 1e6:.1f} megapixels), {8 * photo.pixels.itemsize} bit"
    return gr.update(value=picture, visible=True), gr.update(value=about, visible=True), *cleared


def deblur(
    photo: str | None,
    model: str = DEFAULTS.model,
    precision: str = DEFAULTS.precision,
    strength: float = DEFAULTS.strength,
    terms: int = DEFAULTS.terms,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio recognises it)
) -> tuple[Comparison, Path, Path]:
    """Deblurs one photo that is out of focus in parts.

    Args:
        photo: a photo file: 8 or 16 bit, at most 100 MB and 50 megapixels, at least 16 x 16 pixels.
        model: name of a model; "default" is the best one there is.
        precision: "auto" (the fastest that the machine does well) or "exact" (float32 throughout).
        strength: 0 (the photo as it is) to 1 (the restored one).
        terms: of the Neumann series, 1 to 3; 3 is all that the network was trained with.
    Returns:
        The photo before and after, as pictures for the screen; a picture of the defocus map with its scale in pixels;
        the deblurred photo as a file, the same that the command line writes.
    """
    need_photo(photo)
    with errors_on_the_page():
        settings = Settings(model, precision, strength, terms)
        restored = restorer.restore(str(photo), settings, progress=said_by(progress), check=watch())
        progress(1, desc="Writing the results")
        result = mixed(restored, settings.strength)
        return compare(restored.photo, result), write_defocus_map(restored), write_result(str(photo), result)


def deblur_again(
    is_done: bool, photo: str | None, model: str, precision: str, strength: float, terms: int,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Any:  # fmt: skip
    """The same for settings that were changed when the result was already there."""
    if not is_done or not photo:
        return gr.skip(), gr.skip(), gr.skip()
    return deblur(photo, model, precision, strength, terms, progress)


def deblur_many(
    photos: list[str] | None,
    model: str = DEFAULTS.model,
    precision: str = DEFAULTS.precision,
    strength: float = DEFAULTS.strength,
    terms: int = DEFAULTS.terms,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[Path | None, list[list[str]]]:
    """Deblurs several photos.

    Args:
        photos: photo files, at most 100.
        model, precision, strength, terms: as for /deblur.
    Returns:
        A zip of the deblurred photos, and a table with each photo's name and what became of it.
    """
    need_photo(photos)
    assert photos is not None
    with errors_on_the_page():
        if len(photos) > MOST_PHOTOS:
            raise ValueError(f"{len(photos)} photos are more than {MOST_PHOTOS}; `nrknet deblur` takes any number")
        settings = Settings(model, precision, strength, terms)
        archive, rows = restore_all(
            restorer, photos, settings, explain=as_sentence, progress=said_by(progress), check=watch()
        )
    if archive is None:
        gr.Warning("No photo could be restored.")
    return archive, rows


def kernel(
    photo: str | None, row: int = 0, column: int = 0, model: str = DEFAULTS.model, precision: str = DEFAULTS.precision
) -> tuple[Path, str]:
    """Shows the defocus kernel that the network sees at a pixel.

    Args:
        photo: as for /deblur.
        row, column: of the pixel, from 0.
        model, precision: as for /deblur.
    Returns:
        A picture of the kernel, and a sentence with the radius of the blur.
    """
    need_photo(photo)
    with errors_on_the_page():
        row, column = position(row, column)
        picture, radius = look_at_pixel(str(photo), row, column, Settings(model, precision), check=watch())
    said = f"the photo is out of focus by a radius of {radius:.1f} pixels" if radius >= 0.5 else "the photo is sharp"
    return picture, f"At row {row}, column {column} {said}."


def refocus(
    photo: str | None,
    row: int = 0,
    column: int = 0,
    aperture: float = 1.0,
    model: str = DEFAULTS.model,
    precision: str = DEFAULTS.precision,
    strength: float = DEFAULTS.strength,
    terms: int = DEFAULTS.terms,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[Comparison, Path]:
    """Deblurs a photo and puts it out of focus again, with the plane in focus moved to a pixel.

    Args:
        photo: as for /deblur.
        row, column: of the pixel, from 0.
        aperture: of the lens in units of the photo's, 0 to 4; blur grows with it.
        model, precision, strength, terms: as for /deblur.
    Returns:
        The photo and the refocused one, as pictures for the screen; the refocused photo as a file.
    """
    need_photo(photo)
    with errors_on_the_page():
        settings = Settings(model, precision, strength, terms)
        row, column = position(row, column)
        restored = restorer.restore(str(photo), settings, progress=said_by(progress), check=watch())
        progress(1, desc="Moving the focus")
        result = refocused(restored, row, column, settings, finite("aperture", aperture))
        pixel, labels = Pixel(row=row, column=column), ("before", "refocused")
        shown = compare(restored.photo, result, labels=labels, pixel=pixel)
        return shown, write_result(str(photo), result, ending="_refocused")


def example(name: str = "Cat") -> str:
    """Gives one of the example photos.

    Args:
        name: Cat, Motorcycle, Coffee or Portrait.
    """
    with errors_on_the_page():
        if not isinstance(name, str) or name not in EXAMPLES:
            raise ValueError(f"there is no example {shortened(name)}; there are {', '.join(EXAMPLES)}")
    return str(EXAMPLES[name])
