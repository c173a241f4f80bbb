"""Visitors of the app, each with photos of its own: what they do, and whether they got their own photo back."""

from __future__ import annotations

import asyncio
import io
import random
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from PIL import Image

from benchmarks.reliability.app_attacks import HOSTILE_NAMES, forbidden_addresses, is_leak, wrong_inputs
from benchmarks.reliability.app_client import API, Answer, AppClient, uploaded
from benchmarks.reliability.app_photos import is_identical, is_same_photo, make_photo

USUAL: list[Any] = ["default", "auto", 1, 3]
OVER_LIMIT = 101 << 20
FLOOD = 120


class Tally:
    """What came of all requests.

    Attributes:
        outcomes: kind of request -> outcome -> how often.
        seconds: that each photo took from request to result.
        problems: what must not happen, in words.
        wrong_photos: photos that came back to somebody else.
    """

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: list[float] = []
        self.problems: list[str] = []
        self.wrong_photos = 0

    def note(self, kind: str, outcome: str, problem: str = "") -> None:
        """Count an outcome; with a problem it is one that must not happen."""
        self.outcomes[kind][outcome] += 1
        if problem:
            self.problems.append(f"{kind}: {problem}")

    def count(self, outcome: str) -> int:
        """How often something came of any kind of request."""
        return sum(outcomes[outcome] for outcomes in self.outcomes.values())


class Visitor:
    """Does one thing after the other, chosen by chance.

    Args:
        client: its connection.
        number: another one for every visitor.
        tally: where it notes what came of it.
    """

    def __init__(self, client: AppClient, number: int, tally: Tally) -> None:
        self._client, self._tally = client, tally
        self._random = random.Random(number)
        self._seed = number * 1_000_000
        self.actions: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "small photo": (50, self.small_photo),
            "large photo": (1, self.large_photo),
            "several photos": (3, self.several_photos),
            "kernel": (5, self.kernel),
            "broken file": (10, self.broken_file),
            "too many pixels": (4, self.too_many_pixels),
            "too large a file": (0.5, self.too_large_a_file),
            "wrong inputs": (8, self.wrong_inputs),
            "hostile name": (4, self.hostile_name),
            "other files": (6, self.other_files),
            "left midway": (3, self.leave),
            "cancelled midway": (3, self.cancel),
        }

    async def visit(self, until: float) -> None:
        """Do things until a time of the monotonic clock."""
        names, weights = list(self.actions), [weight for weight, _ in self.actions.values()]
        while time.monotonic() < until:
            await self.do(self._random.choices(names, weights)[0])

    async def do(self, name: str) -> None:
        """Do one thing, and note it where it goes wrong in a way that none should."""
        try:
            await self.actions[name][1]()
        except Exception as error:  # whatever it is, it is to be counted
            self._tally.note(name, "failed", repr(error)[:300])

    async def small_photo(self) -> None:
        """A photo of the size of a thumbnail; one in three with strength 0, which must give back its very pixels."""
        size = (self._random.randint(64, 300), self._random.randint(64, 300))
        await self._deblur("small photo", self._photo(size), strength=self._random.choice((0, 0.7, 1)))

    async def large_photo(self) -> None:
        """2 to 6 megapixels."""
        width = self._random.randint(1700, 3000)
        await self._deblur("large photo", self._photo((width, width * 2 // 3), "JPEG"), strength=1)

    async def _deblur(self, kind: str, photo: bytes, *, strength: float) -> None:
        start = time.monotonic()
        own = await self._client.upload(photo)
        answer = await self._client.call("deblur", [uploaded(own), "default", "auto", strength, 3])
        if not await self._is_done(kind, answer):
            return
        self._tally.seconds.append(time.monotonic() - start)
        paths = [answer.data[2]["path"], answer.data[0]["before"]["path"], answer.data[0]["after"]["path"]]
        result, before, after = [await self._client.file(path) for path in paths]
        is_own = all(is_same_photo(photo, file) for file in (result, before, after)) and is_identical(photo, before)
        if strength == 0 and kind == "small photo":
            is_own = is_own and is_identical(photo, result)
        self._note_photo(kind, is_own)

    async def several_photos(self) -> None:
        """Three in one zip, a broken one among them."""
        photos = [self._photo((80, 64)), b"no photo", self._photo((64, 90))]
        files = [uploaded(await self._client.upload(photo, f"{i}.png")) for i, photo in enumerate(photos)]
        answer = await self._client.call("deblur_many", [files, *USUAL])
        if not await self._is_done("several photos", answer):
            return
        archive = await self._client.file(answer.data[0]["path"])
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            names = zipped.namelist()
            is_own = names == ["0.png", "2.png"] and all(
                is_same_photo(photos[int(name[0])], zipped.read(name)) for name in names
            )
        self._note_photo("several photos", is_own)

    async def kernel(self) -> None:
        """The kernel at a pixel."""
        own = await self._client.upload(self._photo((90, 70)))
        if await self._is_done("kernel", await self._client.call("kernel", [uploaded(own), 3, 5, *USUAL[:2]])):
            self._tally.note("kernel", "done")

    async def broken_file(self) -> None:
        """A photo that is cut short, or none at all."""
        whole = self._photo((100, 80), self._random.choice(("PNG", "JPEG")))
        broken = self._random.choice((whole[: len(whole) // 2], b"\xff\xd8\xff\xe0 no photo", b"", whole[5:]))
        own = await self._client.upload(broken)
        self._must_be_refused("broken file", await self._client.call("deblur", [uploaded(own), *USUAL]))

    async def too_many_pixels(self) -> None:
        """60 megapixels in a few kilobytes."""
        file = io.BytesIO()
        Image.new("1", (10_000, 6_001)).save(file, "PNG")
        own = await self._client.upload(file.getvalue())
        self._must_be_refused("too many pixels", await self._client.call("deblur", [uploaded(own), *USUAL]))

    async def too_large_a_file(self) -> None:
        """More bytes than may be uploaded."""
        answer = await self._client.http.post(f"{API}/upload", files=[("files", ("a.png", bytes(OVER_LIMIT)))])
        is_refused = answer.status_code == 413
        self._tally.note("too large a file", "refused" if is_refused else "failed", "" if is_refused else answer.text)

    async def wrong_inputs(self) -> None:
        """A few of the inputs that make no sense."""
        own = await self._client.upload(self._photo((64, 64)))
        for endpoint, data in self._random.sample(wrong_inputs(own), 4):
            self._must_be_refused("wrong inputs", await self._client.call(endpoint, data), f"{endpoint} {data}"[-200:])

    async def hostile_name(self) -> None:
        """A name of a file that would do harm if it were taken as it is."""
        photo = self._photo((64, 64))
        name = self._random.choice(HOSTILE_NAMES)
        sent = await self._client.http.post(f"{API}/upload", files=[("files", (name, photo, "image/png"))])
        if sent.status_code == 400:
            self._tally.note("hostile name", "refused")
            return
        answer = await self._client.call("deblur", [uploaded(sent.json()[0]), *USUAL])
        if answer.kind == "done":
            self._note_photo("hostile name", is_same_photo(photo, await self._client.file(answer.data[2]["path"])))
        else:
            self._must_be_refused("hostile name", answer)

    async def other_files(self) -> None:
        """Some of the addresses under which files of the server or of other visitors might be found."""
        own = await self._client.upload(self._photo((64, 64)))
        for address in self._random.sample(forbidden_addresses(own), 8):
            answer = await self._client.http.get(address)
            leaks = is_leak(answer.status_code, answer.content)
            self._tally.note("other files", "leaked" if leaks else "refused", address if leaks else "")

    async def leave(self) -> None:
        """Go away while the photo is being restored."""
        own = await self._client.upload(self._photo((700, 500)))
        is_taken = await self._client.leave_midway("deblur", [uploaded(own), *USUAL])
        self._tally.note("left midway", "done" if is_taken else "full")

    async def cancel(self) -> None:
        """Press Stop while the photo is being restored."""
        own = await self._client.upload(self._photo((700, 500)))
        is_taken = await self._client.cancel_midway("deblur", [uploaded(own), *USUAL])
        self._tally.note("cancelled midway", "done" if is_taken else "full")

    async def flood(self) -> None:
        """Ask for more at once than may wait, and go away."""
        own = await self._client.upload(self._photo((64, 64)))
        answers = await self._client.flood("deblur", [uploaded(own), *USUAL], FLOOD)
        for status, said in answers:
            problem = "" if status == 200 or (status == 503 and said.endswith(".")) else f"{status} {said}"
            self._tally.note("flood", {200: "queued", 503: "full"}.get(status, "failed"), problem)

    def _photo(self, size: tuple[int, int], image_format: str = "PNG") -> bytes:
        self._seed += 1
        return make_photo(self._seed, size, image_format)

    async def _is_done(self, kind: str, answer: Answer) -> bool:
        """Whether there is a result to look at; where the queue was full the visitor waits a little."""
        if answer.kind == "full":
            self._tally.note(kind, "full")
            await asyncio.sleep(self._random.uniform(1, 3))
        elif answer.kind != "done":
            self._tally.note(kind, "failed", answer.said)
        return answer.kind == "done"

    def _must_be_refused(self, kind: str, answer: Answer, about: str = "") -> None:
        is_fine = answer.kind in ("refused", "full") and answer.is_sentence
        self._tally.note(kind, answer.kind if is_fine else "failed", "" if is_fine else f"{about} {answer}"[:400])

    def _note_photo(self, kind: str, is_own: bool) -> None:
        self._tally.wrong_photos += not is_own
        self._tally.note(kind, "done" if is_own else "wrong photo", "" if is_own else "another photo came back")
