"""Several photos restored into one zip, each as the command line writes it; what cannot be restored is said by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.folders import OWN
from demo.restorer import Progress, Restorer, mixed, write_result
from demo.settings import Settings
from demo.turns import Check
from nrknet.batch import Job, PhotoFile, plan

ARCHIVE_BYTES = 4 << 30
"""Of restored photos in one zip."""

Row = list[str]
"""A photo's name and what became of it."""


def restore_all(
    restorer: Restorer, files: Sequence[str], settings: Settings, *, explain: Callable[[Exception], str],
    progress: Progress | None = None, check: Check = lambda: None,
) -> tuple[Path | None, list[Row]]:  # fmt: skip
    """Restore photos one after the other into a zip.

    Args:
        restorer: what restores them.
        files: the photos.
        settings: for all of them.
        explain: makes a sentence of what was wrong with one.
        progress: called with the finished fraction and what is being done.
        check: raises Abandoned when they are not wanted any more.

    Returns:
        The zip, or None where no photo could be restored; and a row for each photo, in their order.
    """
    jobs = plan([PhotoFile(Path(file), Path()) for file in files], Path())
    archive, rows = OWN.new() / "restored.zip", []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:  # photos are compressed already
        for i, job in enumerate(jobs):

            def said(done: float, what: str, i: int = i, job: Job = job) -> None:
                if progress is not None:
                    progress((i + done) / len(jobs), f"{job.source.name} ({i + 1} of {len(jobs)}): {what.lower()}")

            check()
            OWN.keep(files)  # the last ones would grow old while the first ones are restored
            rows.append([job.source.name, _restore_into(zipped, job, restorer, settings, explain, said, check)])
        names = zipped.namelist()
    return archive if names else None, rows


def _restore_into(
    zipped: zipfile.ZipFile, job: Job, restorer: Restorer, settings: Settings, explain: Callable[[Exception], str],
    progress: Progress, check: Check,
) -> str:  # fmt: skip
    """Restore one photo into the zip. Returns what became of it."""
    if sum(entry.file_size for entry in zipped.infolist()) > ARCHIVE_BYTES:
        return f"Left out, because the zip has {ARCHIVE_BYTES >> 30} GB already."
    try:
        restored = restorer.restore(str(job.source), settings, progress=progress, check=check)
        result = write_result(str(job.source), mixed(restored, settings.strength))
    except (ValueError, MemoryError) as error:
        return explain(error)
    name = job.target.with_suffix(result.suffix).name
    try:
        zipped.write(result, name)
    finally:
        result.unlink()
    return f"restored as {name}"
