"""Collections on Ray: two workers, killed workers, killed runs, interrupted runs, folders and object storage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster import ray_environment, running_cluster
from commandline import files_in, save_photo

from nrknet.bulk import cluster as bulk_cluster
from nrknet.bulk.engine import Collection, Options, Outcome
from nrknet.bulk.manifest import Record
from nrknet.bulk.sources import Source
from nrknet.bulk.worker import Restorer
from nrknet.inference import Deblurrer, restore_file

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow

SIZE = (64, 48)


@pytest.fixture(scope="module")
def store() -> Iterator[str | None]:
    """The address of an S3 server in this process; None where there is none to run."""
    try:
        import s3fs  # noqa: F401
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def environment(store: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of all processes with Ray, this one too."""
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    environment = {**ray_environment(tmp_path_factory.mktemp("shims")), **keys, "AWS_ENDPOINT_URL": store or ""}
    with pytest.MonkeyPatch.context() as patch:
        for name in (*keys, "AWS_ENDPOINT_URL", "RAY_AUTH_MODE"):
            patch.setenv(name, environment[name])
        yield environment


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    with running_cluster(environment) as address:
        yield address


@pytest.fixture
def options(address: str, network: str) -> Options:
    return Options(model=network, device="cpu", workers=2, ray_address=address)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos, two in a sub-folder, and a file that is none."""
    folder = tmp_path / "photos"
    for i in range(8):
        save_photo(folder / f"{i}.png", size=SIZE, seed=i)
    save_photo(folder / "trip" / "8.bmp", size=SIZE, seed=8)
    save_photo(folder / "trip" / "9.jpg", size=SIZE, seed=9)
    (folder / "broken.jpg").write_bytes(b"these are not pixels")
    return folder


def nothing(_: Record) -> None:
    """For runs whose manifest says it all."""


def restore(
    photos: Path | str, out: Path | str, options: Options, report: Callable[[Record], object] = nothing
) -> Outcome:
    return Collection([str(photos)], str(out)).restore(options, report)


def rows(manifest: str | Path) -> dict[str, Record]:
    """The manifest by source name, which must come once."""
    table = pq.read_table(manifest).to_pylist()
    found = {Path(row["source"]).name: row for row in table}
    assert len(found) == len(table)
    return found


def test_two_workers_restore_everything_though_one_is_killed(
    photos: Path, tmp_path: Path, out: Path, options: Options, network: str
) -> None:
    killed: list[int] = []

    def kill_the_first(record: Record) -> None:
        if not killed and record["status"] == "done":
            killed.append(int(record["worker"].rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    outcome = restore(photos, out, options, kill_the_first)
    assert (outcome.num_done, outcome.num_skipped, outcome.num_failed) == (10, 0, 1)
    found = rows(outcome.manifest)
    broken = found.pop("broken.jpg")
    assert (broken["status"], broken["attempts"]) == ("failed", 1) and str(photos / "broken.jpg") in broken["reason"]
    workers = {int(row["worker"].rpartition(":")[2]) for row in found.values()}
    assert killed[0] in workers and len(workers) >= 2 and os.getpid() not in workers
    assert not psutil.pid_exists(killed[0])
    assert {row["status"] for row in found.values()} == {"done"}
    assert {(row["width"], row["height"]) for row in found.values()} == {SIZE}
    assert files_in(out) == sorted([*(row["target"] for row in found.values()), "manifest.parquet"])
    assert not (out / ".nrknet-bulk").exists()
    deblurrer = Deblurrer(network, device="cpu")
    for row in found.values():
        alone = tmp_path / "alone" / row["target"]
        alone.parent.mkdir(parents=True, exist_ok=True)
        restore_file(deblurrer, Path(row["source"]), alone)
        assert (out / row["target"]).read_bytes() == alone.read_bytes()
    again = restore(photos, out, options)
    assert (again.num_done, again.num_skipped, again.num_failed) == (0, 10, 1)


def test_a_photo_that_kills_its_workers_fails_and_one_that_was_in_place_is_not_redone(
    photos: Path, out: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mortal(Restorer):
        """Dies of one photo whenever it sees it, and once between another's result and the report of it."""

        def settle(self, source: Source) -> Record:
            record = super().settle(source)
            mark = Path(self._settings.out).with_name("unlucky")
            if source.place.endswith("2.png") and not mark.exists():
                mark.write_text(str((Path(self._settings.out) / source.target).stat().st_mtime_ns))
                os.kill(os.getpid(), signal.SIGKILL)
            return record

        def _restore(self, source: Source, record: Record, started: float) -> Record:
            if source.place.endswith("1.png"):
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._restore(source, record, started)

    monkeypatch.setattr(bulk_cluster, "Restorer", Mortal)
    outcome = restore(photos, out, replace(options, retries=1))
    assert (outcome.num_done, outcome.num_failed) == (9, 2)
    found = rows(outcome.manifest)
    assert (found["1.png"]["status"], found["1.png"]["attempts"]) == ("failed", 2)
    assert found["1.png"]["reason"] == "its worker died 2 times"
    assert (found["2.png"]["status"], found["2.png"]["attempts"]) == ("done", 1)
    assert (out / "2.png").stat().st_mtime_ns == int(out.with_name("unlucky").read_text())


def test_workers_that_cannot_start_end_the_run_in_one_sentence(
    photos: Path, out: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stillborn(Restorer):
        def __init__(self, *_: object) -> None:
            raise RuntimeError("no such graphics card")

    monkeypatch.setattr(bulk_cluster, "Restorer", Stillborn)
    with pytest.raises(bulk_cluster.ClusterError, match="no such graphics card") as failed:
        restore(photos, out, options)
    assert "\n" not in str(failed.value)
    assert files_in(out) == []


def test_an_interruption_keeps_the_manifest(photos: Path, out: Path, options: Options) -> None:
    def interrupt(_: Record) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(photos, out, options, interrupt)
    results = {name for name in files_in(out) if name.endswith((".png", ".jpg"))}
    in_manifest = {row["target"] for row in rows(out / "manifest.parquet").values() if row["status"] == "done"}
    assert in_manifest == results
    assert not (out / ".nrknet-bulk").exists()


def test_a_killed_run_goes_on_without_redoing_or_losing_a_photo(
    tmp_path: Path, out: Path, network: str, environment: dict[str, str], options: Options
) -> None:
    folder = tmp_path / "photos"
    for i in range(60):
        save_photo(folder / f"{i:02}.png", size=(160, 120), seed=i)
    arguments = ["--engine", "ray", str(folder), str(out), "--workers", "2", "--model", network, "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-m", "nrknet", "deblur", *arguments], env=environment)
    try:
        wait_until(lambda: process.poll() is not None or any(out.glob("*.png")))
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    assert family and process.returncode == -signal.SIGKILL
    wait_until(lambda: not any(is_at_work(member) for member in family))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 0 < len(before) < 60
    outcome = restore(folder, out, options)
    assert (outcome.num_done, outcome.num_skipped, outcome.num_failed) == (60 - len(before), len(before), 0)
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert {row["status"] for row in rows(outcome.manifest).values()} == {"done"}
    assert files_in(out) == sorted([*(f"{i:02}.png" for i in range(60)), "manifest.parquet"])


def test_photos_go_from_one_bucket_to_another(
    photos: Path, tmp_path: Path, options: Options, store: str | None, network: str
) -> None:
    if store is None:
        pytest.skip("needs s3fs and moto's server")
    import fsspec

    system: Any = fsspec.filesystem("s3", use_listings_cache=False)
    system.mkdir("photos")
    system.mkdir("restored")
    system.put(str(photos) + "/", "photos/2024/", recursive=True)
    system.pipe_file("photos/2024/really.jpg", (photos / "0.png").read_bytes())
    outcome = restore("s3://photos/2024", "s3://restored/2024", options)
    assert (outcome.num_done, outcome.num_skipped, outcome.num_failed) == (11, 0, 1)
    results = {path.removeprefix("restored/2024/") for path in system.find("restored/2024")}
    assert results == {*(f"{i}.png" for i in range(8)), "trip/8.png", "trip/9.jpg", "really.png", "manifest.parquet"}
    (tmp_path / "manifest").write_bytes(system.cat_file("restored/2024/manifest.parquet"))
    broken = rows(tmp_path / "manifest")["broken.jpg"]
    assert broken["reason"].startswith("Cannot read s3://photos/2024/broken.jpg: it is not a JPEG")
    restore_file(Deblurrer(network, device="cpu"), photos / "3.png", tmp_path / "alone.png")
    assert system.cat_file("restored/2024/3.png") == (tmp_path / "alone.png").read_bytes()
    system.rm_file("restored/2024/4.png")
    system.pipe_file("photos/2024/5.png", (photos / "6.png").read_bytes())
    again = restore("s3://photos/2024", "s3://restored/2024", options)
    assert (again.num_done, again.num_skipped, again.num_failed) == (2, 9, 1)
    assert system.cat_file("restored/2024/5.png") == system.cat_file("restored/2024/6.png")


def wait_until(condition: Callable[[], bool]) -> None:
    """Or give up, minutes later, and let the test's own assertions say what is missing."""
    deadline = time.monotonic() + 280
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def is_at_work(process: Any) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
