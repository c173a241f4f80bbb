"""What a program sends to an endpoint: refused in one sentence where it is not what the endpoint takes."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like

LONGEST = 300
NOT_TAKEN = "One of the values is not of the kind that is expected here; the page lists them under Use via API."
NOT_UPLOADED = "A photo has to be uploaded first; the server reads no other files."
ADDRESS = "Send the photo itself and not its address; the server fetches nothing."
_log = logging.getLogger(__name__)


def as_text(message: str) -> str:
    """A message for gr.Error, which the page shows as HTML and in full."""
    message = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
    return message.replace("<", "&lt;")


def explain_wrong_inputs(page: gr.Blocks) -> None:
    """Let a page say in one sentence what is wrong with inputs; Gradio alone says nothing, or writes a traceback."""
    process = page.preprocess_data

    async def preprocess_data(block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        if len(inputs) != len(block_fn.inputs):
            said = f"This endpoint takes {len(block_fn.inputs)} values, got {len(inputs)}."
        elif any(is_http_url_like(path) for path in files_in(inputs)):
            said = ADDRESS
        else:
            try:
                return await process(block_fn, inputs, *args, **options)
            except gr.Error as error:
                said = error.message if error.message.endswith(".") else f"{error.message}."
            except InvalidPathError:
                said = NOT_UPLOADED
            except Exception as error:  # conversions and checks of Gradio, of components and of pydantic
                said = NOT_TAKEN
                _log.info("inputs refused: %.300r", error)
        raise gr.Error(as_text(said), print_exception=False)

    vars(page)["preprocess_data"] = preprocess_data


def files_in(value: Any) -> list[str]:
    """Paths of all files that a program named, or addresses, which the server would fetch without any limit."""
    found, waiting = [], [value]
    while waiting:  # no recursion: there is no saying how deep they are nested
        value = waiting.pop()
        if isinstance(value, dict):
            found += [value["path"]] if isinstance(value.get("path"), str) else []
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
