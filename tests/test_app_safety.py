"""The web application under attack: nothing gets in, nothing gets out, nothing is left, and it goes on."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the web application needs gradio")

import gradio as gr
from gradio.route_utils import GradioMultiPartParser
from starlette.formparsers import MultiPartException
from starlette.requests import Request

import app
from benchmarks.reliability.app_attacks import HOSTILE_NAMES, forbidden_addresses, is_leak, wrong_inputs
from benchmarks.reliability.app_client import API, AppClient, uploaded
from benchmarks.reliability.app_photos import is_identical, is_same_photo, make_photo
from demo import album, endpoints, folders, gate, housekeeping, inputs, restorer, serving, turns
from demo.folders import OWN, OwnFolder
from demo.settings import Settings
from nrknet import Analysis

ROOT = Path(app.__file__).parent
PATIENCE = 120
T = TypeVar("T")


def visit(url: str, what: Callable[[AppClient], Awaitable[T]]) -> T:
    """What a visitor gets."""

    async def visit() -> T:
        async with AppClient(url) as client:
            return await what(client)

    return asyncio.run(visit())


async def deblur(client: AppClient, photo: bytes, **options: Any) -> Any:
    settings = {"model": "default", "precision": "auto", "strength": 1, "terms": 3, **options}
    return await client.call("deblur", [uploaded(await client.upload(photo)), *settings.values()])


def served() -> set[Path]:
    return {path for path in OWN.served.rglob("*") if path.is_file()}


class FakeDeblurrer:
    """Says its progress until it is stopped, or for its first photo until it is released.

    Attributes:
        begun, stopped, released: events.
        widths: of the photos, in the order in which they came.
    """

    def __init__(self) -> None:
        self.begun, self.stopped, self.released = threading.Event(), threading.Event(), threading.Event()
        self.widths: list[int] = []

    def analyze(self, image: Any, *, details: bool, terms: int | None, progress: Callable[[float], None]) -> Analysis:
        self.widths.append(image.shape[1])
        self.begun.set()
        deadline = time.monotonic() + PATIENCE
        try:
            while not self.released.wait(0.01) and time.monotonic() < deadline:
                progress(0.5)
        except turns.Abandoned:
            self.stopped.set()
            raise
        return Analysis(image, np.ones(image.shape[:2], np.float32), None, None, np.ones((1, 1, 1, 1), np.float32))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDeblurrer:
    deblurrer = FakeDeblurrer()
    monkeypatch.setattr(restorer, "load_deblurrer", lambda model, precision: deblurrer)
    return deblurrer


def test_no_address_gives_away_a_file_of_the_server_or_of_another_visitor(app_url: str) -> None:
    async def look(client: AppClient) -> list[str]:
        own = await client.upload(make_photo(1, (64, 64)))
        addresses = forbidden_addresses(own)
        assert len(addresses) > 50
        answers = [(address, await client.http.get(address)) for address in addresses]
        assert (await client.http.get(f"{API}/file={own}")).status_code == 200
        return [address for address, answer in answers if is_leak(answer.status_code, answer.content)]

    assert visit(app_url, look) == []


def test_wrong_inputs_and_foreign_files_get_one_sentence_each_and_the_app_goes_on(app_url: str) -> None:
    photo = make_photo(2, (64, 64))

    async def attack(client: AppClient) -> list[str]:
        wrong = wrong_inputs(await client.upload(photo))
        answers = [(data, await client.call(endpoint, data)) for endpoint, data in wrong]
        assert (await deblur(client, photo)).kind == "done"
        return [f"{data} {a}"[-300:] for data, a in answers if a.kind != "refused" or not a.is_sentence]

    assert visit(app_url, attack) == []


def test_numbers_that_json_should_not_hold_and_deep_nests_are_refused(app_url: str) -> None:
    async def attack(client: AppClient) -> list[str]:
        said = []
        for value in ("NaN", "Infinity", "[" * 900 + "]" * 900, "[" * 5000 + "]" * 5000):
            body = f'{{"data": [null, "default", "auto", {value}, 3]}}'.encode()
            answer = await client.http.post(f"{API}/call/deblur", content=body, headers={"content-type": "text/json"})
            if answer.status_code == 200:
                event = answer.json()["event_id"]
                said.append((await client.http.get(f"{API}/call/deblur/{event}")).text)
            else:
                said.append(answer.text)
        return said

    assert all("event: complete" not in text and "Traceback" not in text for text in visit(app_url, attack))


@pytest.mark.parametrize(
    "wrong",
    [{"model": "/etc"}, {"model": "owner/name"}, {"precision": "half"}, {"strength": float("nan")}, {"strength": 1.1},
     {"strength": "1"}, {"strength": True}, {"terms": 0}, {"terms": 1.5}, {"terms": float("inf")}, {"terms": None}],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_cannot_even_be_made(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Settings(**wrong)
    assert Settings(terms=2.0).terms == 2  # type: ignore[arg-type]


def test_the_server_fetches_nothing_for_a_visitor() -> None:
    address, nested = "http://127.0.0.1/x.png", {"a": [{"path": "HTTPS://host/x", "b": {"path": "/y"}}], "path": 7}
    assert inputs.files_in([uploaded(address)]) == [address]
    assert sorted(inputs.files_in(nested)) == ["/y", "HTTPS://host/x"]


def test_hostile_names_stay_in_their_folder_and_the_photo_comes_back(app_url: str) -> None:
    photo, before = make_photo(3, (64, 64)), set(OWN.path.parent.iterdir())

    async def attack(client: AppClient) -> int:
        done = 0
        for name in HOSTILE_NAMES:
            sent = await client.http.post(f"{API}/upload", files=[("files", (name, photo, "image/png"))])
            assert sent.status_code in (200, 400), name
            if sent.status_code == 200:
                path = Path(sent.json()[0])
                assert path.parent.parent == OWN.served and not set('<>"') & set(path.name)
                answer = await client.call("deblur", [uploaded(str(path)), "default", "auto", 1, 3])
                assert answer.kind == "done" and is_same_photo(photo, await client.file(answer.data[2]["path"]))
                done += 1
        return done

    assert visit(app_url, attack) >= len(HOSTILE_NAMES) - 1
    assert set(OWN.path.parent.iterdir()) == before


def test_every_one_of_many_visitors_gets_the_own_photo_back(app_url: str) -> None:
    async def one(number: int) -> bool:
        photo = make_photo(number, (64 + number, 70))
        async with AppClient(app_url) as client:
            answer = await deblur(client, photo, strength=number % 2)
            result, before = [await client.file(f["path"]) for f in (answer.data[2], answer.data[0]["before"])]
        return is_identical(photo, before) and (is_same_photo if number % 2 else is_identical)(photo, result)

    async def all_at_once() -> list[bool]:
        return list(await asyncio.gather(*map(one, range(100, 112))))

    assert asyncio.run(all_at_once()) == [True] * 12


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(app_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.demo, "max_file_size", 5000)
    before = served()

    async def attack(client: AppClient) -> tuple[int, str]:
        answer = await client.http.post(f"{API}/upload", files=[("files", ("a.png", bytes(6000)))])
        return answer.status_code, answer.text

    status, said = visit(app_url, attack)
    assert status == 413 and said.endswith(".") and served() == before


@pytest.mark.parametrize("says_its_length", [True, False])
def test_an_upload_that_is_too_large_altogether_is_refused_and_leaves_nothing(
    app_url: str, monkeypatch: pytest.MonkeyPatch, says_its_length: bool
) -> None:
    monkeypatch.setattr(gate, "MOST_UPLOADED", 10_000)
    before = served()
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = (head + bytes(4000) + b"\r\n") * 4 + b"--b--\r\n"

    async def chunks() -> Any:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    async def attack(client: AppClient) -> tuple[int, str]:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        answer = await client.http.post(f"{API}/upload", content=body if says_its_length else chunks(), headers=kind)
        return answer.status_code, answer.text

    status, said = visit(app_url, attack)
    assert status == 413 and "larger than the maximum allowed size" in said and served() == before


def test_an_upload_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    messages = [
        {"type": "http.request", "body": head + bytes(1000), "more_body": True}, {"type": "http.disconnect"}
    ]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": f"{API}/upload",
             "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}  # fmt: skip

    async def receive() -> Any:
        return messages.pop(0)

    async def upload() -> None:
        request = Request(scope, gate.bounded(scope, receive))
        await GradioMultiPartParser(request.headers, request.stream(), upload_dir=tmp_path, max_file_size=9999).parse()

    with pytest.raises(MultiPartException, match="broken off"):
        asyncio.run(upload())
    assert not list(tmp_path.iterdir())


def test_any_other_request_is_bounded_too(app_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_SENT", 2000)

    async def chunks() -> Any:
        for _ in range(30):
            yield b"[" * 100

    async def attack(client: AppClient) -> list[int]:
        bodies: list[Any] = [b"[" * 3000, chunks()]
        kind = {"content-type": "application/json"}
        return [(await client.http.post(f"{API}/call/deblur", content=b, headers=kind)).status_code for b in bodies]

    assert visit(app_url, attack) == [413, 413]


def test_a_full_disk_is_said_and_the_app_goes_on(app_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = make_photo(5, (64, 64))

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device", "/secret")

    async def attack(client: AppClient) -> Any:
        own = await client.upload(photo)
        with monkeypatch.context() as broken:
            broken.setattr(folders, "LEAST_FREE", 1 << 60)
            refused = await client.http.post(f"{API}/upload", files=[("files", ("a.png", photo))])
        with monkeypatch.context() as broken:
            broken.setattr(endpoints, "compare", no_room)
            failed = await client.call("deblur", [uploaded(own), "default", "auto", 1, 3])
        return refused, failed, await deblur(client, photo)

    refused, failed, done = visit(app_url, attack)
    assert refused.status_code == 507 and "disk is full" in refused.text
    assert failed.said == "The server's disk is full; try again later." and done.kind == "done"


def test_what_nobody_expected_is_one_sentence_that_gives_nothing_away(
    app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(endpoints, "write_defocus_map", fail)
    answer = visit(app_url, lambda client: deblur(client, make_photo(6, (64, 64))))
    assert answer.kind == "refused" and answer.said == endpoints.BROKEN


def test_a_full_queue_is_said_and_nothing_goes_past_it(app_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_WAITING", 0)

    async def ask(client: AppClient) -> tuple[Any, int]:
        direct = await client.http.post(f"{API}/run/deblur", json={"data": [None, "default", "auto", 1, 3]})
        return await client.call("deblur", [None, "default", "auto", 1, 3]), direct.status_code

    answer, direct = visit(app_url, ask)
    assert answer.kind == "full" and answer.is_sentence and "try again" in answer.said
    assert direct == 404


@pytest.mark.parametrize("how", ["leave_midway", "cancel_midway"])
def test_work_that_nobody_waits_for_stops_and_the_next_begins(app_url: str, fake: FakeDeblurrer, how: str) -> None:
    photo = make_photo(len(how), (72, 64))

    async def go(client: AppClient) -> bool:
        own = await client.upload(photo)
        return bool(await getattr(client, how)("deblur", [uploaded(own), "default", "auto", 1, 3]))

    assert visit(app_url, go)
    assert fake.stopped.wait(PATIENCE)
    fake.released.set()
    assert visit(app_url, lambda client: deblur(client, make_photo(100 + len(how), (80, 64)))).kind == "done"
    assert fake.widths == [72, 80]


def test_one_photo_need_not_wait_for_somebody_elses_album(app_url: str, fake: FakeDeblurrer) -> None:
    async def several(client: AppClient) -> Any:
        photos = [uploaded(await client.upload(make_photo(200 + i, (90 + i, 64)))) for i in range(4)]
        return await client.call("deblur_many", [photos, "default", "auto", 1, 3])

    async def one(client: AppClient) -> Any:
        await asyncio.to_thread(fake.begun.wait, PATIENCE)
        call = asyncio.create_task(deblur(client, make_photo(210, (120, 64))))
        while not turns._network._work_queue.qsize():
            await asyncio.sleep(0.01)
        fake.released.set()
        return await call

    async def both() -> list[Any]:
        async with AppClient(app_url) as first, AppClient(app_url) as second:
            return list(await asyncio.gather(several(first), one(second)))

    assert [answer.kind for answer in asyncio.run(asyncio.wait_for(both(), PATIENCE))] == ["done", "done"]
    assert fake.widths == [90, 120, 91, 92, 93]


def test_a_photo_that_waits_for_its_turn_gives_it_up_when_it_is_not_wanted() -> None:
    hold, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        hold.wait(PATIENCE)

    first = threading.Thread(target=turns.in_turn, args=(lambda: None, work))
    first.start()
    assert began.wait(PATIENCE)

    def unwanted() -> None:
        raise turns.Abandoned

    ran: list[int] = []
    with pytest.raises(turns.Abandoned):
        turns.in_turn(unwanted, ran.append, 1)
    hold.set()
    first.join()
    assert turns.in_turn(lambda: None, lambda: 7) == 7 and ran == []


def test_a_zip_has_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(album, "ARCHIVE_BYTES", -1)
    monkeypatch.setattr(OWN, "new", lambda: tmp_path)
    (tmp_path / "a.png").write_bytes(make_photo(1, (64, 64)))
    keeper = restorer.Restorer(tmp_path / "kept")
    archive, rows = album.restore_all(keeper, [str(tmp_path / "a.png")], Settings(), explain=str)
    assert archive is None and "zip" in rows[0][1]


@pytest.fixture
def own(tmp_path: Path) -> OwnFolder:
    return OwnFolder(tmp_path)


def test_visitors_files_go_when_they_are_old_and_not_while_they_are_used(own: OwnFolder) -> None:
    old, kept = own.new() / "old.png", own.new() / "kept.png"
    for file in (old, kept, own.served / "tmpabc"):
        file.write_bytes(b"photo")
    now = time.time()
    assert own.sweep([kept], now=now + folders.KEEP_FOR - 60) == 0 and old.exists()
    assert own.sweep([kept], now=now + folders.KEEP_FOR + 60) == 2
    assert [path for path in own.served.rglob("*") if path.is_file()] == [kept]
    assert not old.parent.exists()


def test_only_visitors_files_are_kept_whatever_a_visitor_names(own: OwnFolder, tmp_path: Path) -> None:
    served, outside = own.new() / "photo.png", tmp_path / "outside.png"
    for file in (served, outside):
        file.write_bytes(b"photo")
        os.utime(file, (1, 1))
    link = own.served / "link.png"
    link.symlink_to(outside)
    odd = ["nul\0.png", "x" * 5000, own.served / "missing.png"]
    own.keep([*odd, outside, f"{own.served}/../../outside.png", link, served])
    assert outside.stat().st_mtime == 1
    assert served.stat().st_mtime > 1


def test_the_oldest_files_go_when_there_are_too_many_bytes(own: OwnFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [own.new() / f"{i}.png" for i in range(4)]
    for file in files:
        file.write_bytes(bytes(100))
    ages = {path: at for at, path in enumerate(files)}
    monkeypatch.setattr(folders, "_changed_at", lambda path: time.time() + ages[path])
    monkeypatch.setattr(folders, "SERVED_BYTES", 250)
    assert own.sweep() == 2
    assert [file.exists() for file in files] == [False, False, True, True]


def test_names_cannot_be_guessed_and_others_on_the_machine_cannot_look(own: OwnFolder) -> None:
    names = {own.new().name for _ in range(20)}
    assert len(names) == 20 and all(len(name) == 32 and int(name, 16) >= 0 for name in names)
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o700


def test_what_a_killed_process_left_goes_with_the_next_start_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    program = "from demo.folders import OWN; (OWN.new() / 'a').touch(); print(OWN.path, flush=True); input()"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{folders.PREFIX}link").symlink_to(elsewhere)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        folders.remove_abandoned(tmp_path)
        assert list(left.rglob("a"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert left.exists()
    folders.remove_abandoned(tmp_path)
    assert not left.exists() and elsewhere.exists()


def test_housekeeping_keeps_the_examples_and_what_waits_and_forgets_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits, old = OWN.new() / "waits.png", OWN.new() / "old.png"
    for file in (waits, old):
        file.write_bytes(b"photo")
    event = SimpleNamespace(data=SimpleNamespace(data=[uploaded(str(waits)), "default"]))
    queues = {"network": SimpleNamespace(queue=[event])}
    monkeypatch.setattr(app.demo._queue, "event_queue_per_concurrency_id", queues)
    app.demo.upload_file_set.add(str(OWN.served / "gone.png"))
    asked: list[str] = []
    monkeypatch.setattr(OWN, "keep", lambda files: asked.extend(files))
    now = time.time() + folders.KEEP_FOR + 60
    monkeypatch.setattr(folders, "time", SimpleNamespace(time=lambda: now))
    housekeeping.clear_away(app.demo, restorer.Restorer(tmp_path))
    assert asked == [str(waits)] and not old.exists()
    assert {path.name for path in served()} >= {"cat.png", "portrait.png"}
    assert str(OWN.served / "gone.png") not in app.demo.upload_file_set


def test_messages_hold_no_html_no_folder_and_no_end_of_text() -> None:
    assert inputs.as_text("<img src=x onerror=alert(1)>") == "&lt;img src=x onerror=alert(1)>"
    assert len(inputs.as_text("x" * 10_000)) < 400
    said = endpoints.as_sentence(ValueError(f"cannot write {OWN.served}/{'0' * 32}/photo.png"))
    assert said == "Cannot write photo.png."


def test_an_error_lets_go_of_the_pixels_of_its_photo() -> None:
    import weakref

    class Pixels:
        pass

    seen: list[Any] = []

    def work() -> None:
        pixels = Pixels()
        seen.append(weakref.ref(pixels))
        raise ValueError("too small")

    with pytest.raises(gr.Error, match="Too small") as caught, endpoints.errors_on_the_page():
        work()
    assert caught.value is not None and seen[0]() is None


def test_both_apps_take_photos_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    studio = pytest.importorskip("demo.studio", reason="the analysis app needs streamlit")
    assert studio.LARGEST_PHOTO == restorer.LARGEST_PHOTO
    monkeypatch.setattr(studio, "LARGEST_FILE", 10)
    with pytest.raises(ValueError, match=r"a\.png has 0 MB; at most"):
        studio.read_upload("a.png", bytes(20))
