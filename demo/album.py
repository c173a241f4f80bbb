"""Several photos restored into one zip, each as the command line writes it; what cannot be restored is said by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.restorer import Progress, Restorer, Settings, mixed, new_folder, write_result
from nrknet.batch import Job, PhotoFile, plan

Row = list[str]
"""A photo's name and what became of it."""


def restore_all(
    restorer: Restorer, files: Sequence[str], settings: Settings, *, explain: Callable[[Exception], str],
    progress: Progress | None = None,
) -> tuple[Path | None, list[Row]]:  # fmt: skip
    """Restore photos one after the other into a zip.

    Args:
        restorer: what restores them.
        files: the photos.
        settings: for all of them.
        explain: makes a sentence of what was wrong with one.
        progress: called with the finished fraction and what is being done.

    Returns:
        The zip, or None where no photo could be restored; and a row for each photo, in their order.
    """
    jobs = plan([PhotoFile(Path(file), Path()) for file in files], Path())
    archive, rows = new_folder() / "restored.zip", []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:  # photos are compressed already
        for i, job in enumerate(jobs):

            def said(done: float, what: str, i: int = i, job: Job = job) -> None:
                if progress is not None:
                    progress((i + done) / len(jobs), f"{job.source.name} ({i + 1} of {len(jobs)}): {what.lower()}")

            rows.append([job.source.name, _restore_into(zipped, job, restorer, settings, explain, said)])
        names = zipped.namelist()
    return archive if names else None, rows


def _restore_into(
    zipped: zipfile.ZipFile, job: Job, restorer: Restorer, settings: Settings, explain: Callable[[Exception], str],
    progress: Progress,
) -> str:  # fmt: skip
    """Restore one photo into the zip. Returns what became of it."""
    try:
        restored = restorer.restore(str(job.source), settings, progress)
        result = write_result(str(job.source), mixed(restored, settings.strength))
    except (ValueError, MemoryError) as error:
        return explain(error)
    name = job.target.with_suffix(result.suffix).name
    zipped.write(result, name)
    result.unlink()
    return f"restored as {name}"
