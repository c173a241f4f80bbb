"""The manifest of a collection: a Parquet file that says of every photo what was done, what failed and why.

A worker writes a record of a result just before it moves the result into place. So after a kill at any moment a record
whose result is there (by its SHA-256) stands for a photo that is done, and any other for nothing. The manifest's
writer gathers records in parts, and joins the parts in the end, because Parquet files cannot grow.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nrknet.bulk.sources import Source
from nrknet.bulk.storage import Folder, Found, LocalFolder, StorageError, persist

MANIFEST = "manifest.parquet"
WORK = ".nrknet-bulk"
"""The folder in the output folder for what a run needs while it lasts."""
PART_ROWS, PART_SECONDS = 1000, 30.0
Record = dict[str, Any]

COLUMNS = {
    "source": "string", "target": "string", "status": "string", "reason": "string", "attempts": "int32",
    "seconds": "float64", "width": "int32", "height": "int32", "megapixels": "float64", "source_bytes": "int64",
    "source_version": "string", "target_bytes": "int64", "target_sha256": "string", "model": "string",
    "weights": "string", "precision": "string", "tile": "string", "strength": "float64", "terms": "int32",
    "nrknet_version": "string", "worker": "string", "finished_at": "timestamp",
}  # fmt: skip
"""Of the manifest, with their Parquet types; a timestamp is in microseconds, UTC."""
_HOW = ("weights", "precision", "tile", "strength", "terms")
"""What a result depends on beside its photo."""


def new_record(source: Source, status: str, reason: str | None, how: Record) -> Record:
    """A row of the manifest that says nothing yet about a result.

    Args:
        source: the photo.
        status: "done", "failed", or "skipped" for a result that no run recorded.
        reason: why not done, in one sentence.
        how: model, weights, precision, tile, strength, terms and nrknet_version.
    """
    empty = dict.fromkeys(COLUMNS)
    about = {"source": source.place, "source_bytes": source.size, "source_version": source.version}
    state = {"target": source.target, "status": status, "reason": reason, "attempts": 0, "finished_at": now()}
    return {**empty, **about, **how, **state}


def now() -> str:
    """The time for `finished_at`."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def sha256(path: Path) -> str:
    """Of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_record(out: Folder, record: Record) -> None:
    """Say what is about to be put in place."""
    out.write(_record_name(record["target"]), json.dumps(record).encode())


def finished(out: Folder, target: str) -> Record | None:
    """The record of a result that is in place, or None."""
    name = _record_name(target)
    record = _read_record(out, name) if out.look(name) else None
    return record if record and _is_in_place(out, record) else None


def _record_name(target: str) -> str:
    return f"{WORK}/records/{hashlib.sha256(target.encode()).hexdigest()[:32]}.json"


def _read_record(out: Folder, name: str) -> Record | None:
    try:
        record: Record = json.loads(out.read(name))
    except (ValueError, FileNotFoundError):  # some store's half of a file
        return None
    return record


def _is_in_place(out: Folder, record: Record) -> bool:
    found = out.look(record["target"])
    if found is None or found.size != record["target_bytes"]:
        return False
    digest = sha256(Path(out.path(found.name))) if isinstance(out, LocalFolder) else _digest(out.read(found.name))
    return digest == record["target_sha256"]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Manifest:
    """The manifest of one output folder, for the one process that writes it.

    Opening it gathers what earlier runs left, killed ones too.

    Args:
        out: the output folder.
        clock: seconds, for when a part is due.

    Raises:
        StorageError: the manifest there cannot be read, or is none.
    """

    def __init__(self, out: Folder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._rows: list[Record] = []
        self._flushed = clock()
        self._num_parts = 0
        self._run = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
        self._gather()
        self._done = dict(self._read_done())

    @property
    def path(self) -> str:
        """Where it is."""
        return self._out.path(MANIFEST)

    def holds(self, source: Source, found: Found, how: Record) -> bool:
        """Whether a result that is there was made of this photo, as it is now, in this way."""
        return self._done.get(source.target) == (found.size, _fingerprint(source, how))

    def add(self, record: Record) -> None:
        """Note what became of a photo; stored when a thousand photos or half a minute have come together."""
        self._rows.append(record)
        if len(self._rows) >= PART_ROWS or self._clock() - self._flushed >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Store what was added as a part; the workers' own records of it are not needed any more."""
        if self._rows:
            name = f"{WORK}/parts/{self._run}-{self._num_parts:06}.parquet"
            self._write(name, _table(self._rows))
            self._num_parts += 1
            self._delete([_record_name(row["target"]) for row in self._rows if row["status"] == "done"])
            self._rows = []
        self._flushed = self._clock()

    def close(self) -> None:
        """Join everything in one file, with the results that were not reported before the workers were stopped."""
        self.flush()
        self._gather()

    def _gather(self) -> None:
        """Take up what was left: records of results in place, and parts."""
        names = [found.name for found in persist(lambda: list(self._out.files(f"{WORK}/records")), self._out.place)]
        records = [_read_record(self._out, name) for name in names if name.endswith(".json")]
        self._rows = [record for record in records if record and _is_in_place(self._out, record)]
        self.flush()
        self._delete(names)
        self._join()

    def _parts(self) -> list[str]:
        found = persist(lambda: list(self._out.files(f"{WORK}/parts")), self._out.place)
        return sorted(part.name for part in found if part.name.endswith(".parquet"))

    def _join(self) -> None:
        """Put the parts behind the manifest; of two rows about one result the later one counts."""
        import pyarrow as pa

        parts = self._parts()
        if not parts:
            return
        tables = [self._read(part) for part in parts]
        if self._out.look(MANIFEST):
            tables.insert(0, self._read(MANIFEST))
        table = pa.concat_tables(tables)
        last = {target: row for row, target in enumerate(table["target"].to_pylist())}
        self._write(MANIFEST, table.take(pa.array(sorted(last.values()), pa.int64())))
        self._delete(parts)

    def _read_done(self) -> Iterator[tuple[str, tuple[int, bytes]]]:
        if not self._out.look(MANIFEST):
            return
        names = ["target", "target_bytes", "source", "source_bytes", "source_version", *_HOW]
        table = self._read(MANIFEST)
        table = table.filter([status == "done" for status in table["status"].to_pylist()]).select(names)
        for batch in table.to_batches(max_chunksize=10_000):  # as Python objects all of them would take gigabytes
            for row in batch.to_pylist():
                source = Source(row["source"], row["target"], row["source_bytes"], row["source_version"])
                yield row["target"], (row["target_bytes"], _fingerprint(source, row))

    def _read(self, name: str) -> Any:
        import pyarrow.parquet as pq

        content = persist(lambda: self._out.read(name), self._out.path(name))
        try:
            return pq.read_table(io.BytesIO(content), schema=_schema())
        except Exception as error:
            why = " ".join(str(error).split())
            raise StorageError(f"{self._out.path(name)}: cannot be read as a manifest; move it away ({why})") from error

    def _write(self, name: str, table: Any) -> None:
        import pyarrow.parquet as pq

        file = io.BytesIO()
        pq.write_table(table, file, compression="zstd")
        persist(lambda: self._out.write(name, file.getvalue()), self._out.path(name))

    def _delete(self, names: list[str]) -> None:
        persist(lambda: self._out.delete(names), self._out.place)


def _fingerprint(source: Source, how: Record) -> bytes:
    words = json.dumps([source.place, source.size, source.version, *(str(how[name]) for name in _HOW)])
    return hashlib.blake2b(words.encode(), digest_size=16).digest()


def _schema() -> Any:
    import pyarrow as pa

    types = {"timestamp": pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, types.get(kind) or pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def _table(rows: list[Record]) -> Any:
    import pyarrow as pa

    times = [datetime.fromisoformat(row["finished_at"]) for row in rows]
    return pa.Table.from_pylist(
        [{**row, "finished_at": when} for row, when in zip(rows, times, strict=True)], schema=_schema()
    )
