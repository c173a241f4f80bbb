"""Crops for training depend on the seed and the step alone, and validation photos stay out of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nrknet import data as data_module
from nrknet.data import VALIDATION_EVERY, RenderedCrops, SharpPhotos
from nrknet.defocus import DefocusConfig
from nrknet.processes import Processes
from nrknet.stream import Batch, Crops, StreamOptions

SHARP = DefocusConfig(
    sharp_fraction=1.0, clean_chance=1.0, dark_chance=0.0, highlight_chance=0.0, gamma=(1.0, 1.0),
    plane=1.0, tilted=0.0, field=0.0, layers=0.0,
)  # fmt: skip


def write_photo(path: Path, height: int = 70, width: int = 80, *, colour: int | None = None) -> Path:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if colour is not None:
        pixels[:] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photos(count: int = 3, side: int = 60) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, 256, (3, side, side + 20 * i), generator=generator).byte() for i in range(count)]


def crops(sources: list[Tensor] | None = None, **options: Any) -> RenderedCrops:
    settings: dict[str, Any] = {"size": 32, "batch": 2, "pool": 4, "reuse": 2, "seed": 0, "device": torch.device("cpu")}
    rendering: dict[str, Any] = {"margin": 4, "defocus": DefocusConfig()}
    of_rendering = ("margin", "defocus", "jpeg_chance", "flat_chance")
    rendering |= {name: options.pop(name) for name in of_rendering if name in options}
    return RenderedCrops(photos() if sources is None else sources, StreamOptions(**(settings | options)), **rendering)


def same(one: Crops, other: Crops) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("blurred", "sharp", "radius"))


# --------------------------------------------------------------------------------------------------------------- photos


def test_photos_are_found_in_subfolders_in_sorted_order_and_small_ones_are_left_out(tmp_path: Path) -> None:
    expected = [write_photo(tmp_path / name) for name in ("a.png", "b/c.JPG", "d.tif")]
    write_photo(tmp_path / "small.png", height=63)
    (tmp_path / "notes.txt").write_text("no photo")
    found = SharpPhotos(tmp_path, least_side=64)
    assert found.paths == expected
    assert [p.shape for p in found.photos] == [(3, 70, 80)] * 3 and found.photos[0].dtype == torch.uint8
    assert np.array_equal(found.photos[0].permute(1, 2, 0), np.array(Image.open(expected[0])))


def test_grey_photos_become_rgb_and_transparency_is_dropped(tmp_path: Path) -> None:
    for name, mode in (("grey.png", "L"), ("alpha.png", "RGBA")):
        Image.new(mode, (70, 70), 128 if mode == "L" else (1, 2, 3, 4)).save(tmp_path / name)
    assert [p.shape for p in SharpPhotos(tmp_path, least_side=64).photos] == [(3, 70, 70)] * 2


@pytest.mark.parametrize("count", [2, 9, 10, 11, 25])
def test_photos_held_out_for_validation_are_never_in_training(tmp_path: Path, count: int) -> None:
    for i in range(count):
        write_photo(tmp_path / f"{i:02d}.png", 16, 16, colour=10 * i)
    parts = SharpPhotos(tmp_path, least_side=16).split()
    training, held_out = ({int(p.float().mean()) for p in part} for part in parts)
    assert held_out == {10 * i for i in range(0, count, VALIDATION_EVERY)}
    assert training == {10 * i for i in range(count)} - held_out and training


def test_crops_show_the_photos_they_are_given_and_no_others() -> None:
    flat = [torch.full((3, 48, 48), level, dtype=torch.uint8) for level in (40, 120, 200)]
    source = crops(flat[1:], defocus=SHARP, pool=16)
    levels = source.make_pool(0).sharp.unique().tolist()
    assert levels == [120, 200]


def test_a_folder_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    for wrong in (tmp_path / "nowhere", write_photo(tmp_path / "a.png")):
        with pytest.raises(ValueError, match="is not a folder; expected a folder of sharp photos") as caught:
            SharpPhotos(wrong, least_side=64)
        assert str(wrong) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    good = write_photo(tmp_path / "a.png").read_bytes()
    bad = tmp_path / "b.png"
    bitmap = write_photo(tmp_path / "c.bmp").read_bytes()
    huge = bitmap[:18] + (60000).to_bytes(4, "little") * 2 + bitmap[26:]
    for name, content in (("b.png", b"no photo"), ("b.png", good[: len(good) // 2]), ("b.png", b""), ("b.bmp", huge)):
        bad = tmp_path / name
        bad.write_bytes(content)
        with pytest.raises(ValueError, match="Cannot read") as caught:
            SharpPhotos(tmp_path, least_side=16)
        assert str(bad) in str(caught.value) and "\n" not in str(caught.value)
        bad.unlink()


def test_too_few_photos_are_refused_with_what_was_found(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    write_photo(tmp_path / "small.png", height=20)
    with pytest.raises(ValueError, match=r"holds 1 photos of at least 64 pixels a side \(2 files") as caught:
        SharpPhotos(tmp_path, least_side=64)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- crops


def test_a_batch_has_the_promised_shapes_and_ranges() -> None:
    batch = crops().at(0)
    assert batch.blurred.shape == batch.sharp.shape == (2, 3, 32, 32) and batch.radius.shape == (2, 1, 32, 32)
    for image in (batch.blurred, batch.sharp):
        assert image.dtype == torch.float32 and 0 <= image.min() and image.max() <= 1
    assert batch.radius.dtype == torch.float32 and 0 <= batch.radius.min() and batch.radius.max() <= 25.1


def test_one_seed_gives_one_batch_and_another_seed_another() -> None:
    assert same(crops().at(1), crops().at(1))
    assert not same(crops().at(1), crops(seed=1).at(1))


def test_a_step_has_its_batch_whatever_was_asked_for_before() -> None:
    steps = list(range(9))
    in_order = crops()
    expected = {step: in_order.at(step) for step in steps}
    jumping = crops()
    for step in (7, 0, 8, 3, 3, 5, 1):
        assert same(jumping.at(step), expected[step])
    assert len({float(batch.blurred.sum()) for batch in expected.values()}) > len(steps) // 2


def test_rendering_leaves_the_global_generators_alone() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1]
    crops().at(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[arg-type]


def test_every_pass_over_a_pool_shows_each_crop_once() -> None:
    source = crops(pool=6, batch=2, reuse=2)
    assert source.steps_per_pool == 6
    pool = sorted(round(float(c.float().mean()) / 255, 4) for c in source.make_pool(0).sharp)
    for lap in (range(0, 3), range(3, 6)):
        seen = sorted(round(float(c.mean()), 4) for step in lap for c in source.at(step).sharp)
        assert seen == pytest.approx(pool, abs=2e-4)


def test_blurred_sharp_and_radius_are_turned_alike() -> None:
    # where the radius is zero the input is the truth: that only holds pixel by pixel if all three turn together
    slopes = DefocusConfig(
        sharp_fraction=0.0, clean_chance=1.0, plane=0.0, tilted=1.0, field=0.0, layers=0.0, colour_chance=0.0,
        lateral_chance=0.0, sharpen_chance=0.0,
    )  # fmt: skip
    source = crops(defocus=slopes, pool=8, reuse=3)
    seen = 0
    for step in range(12):
        batch = source.at(step)
        near = torch.nn.functional.max_pool2d(batch.radius, 9, stride=1, padding=4) < 0.05
        change = (batch.blurred - batch.sharp).abs().amax(1, keepdim=True)
        assert not near.any() or change[near].max() < 0.02
        seen += int(near.sum())
    assert seen > 100


def test_photos_smaller_than_a_crop_are_enlarged() -> None:
    assert crops([torch.full((3, 20, 30), 7, dtype=torch.uint8)] * 2).at(0).blurred.shape == (2, 3, 32, 32)


def test_a_pool_that_is_no_multiple_of_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the batch size 2, got 5"):
        crops(pool=5)


def test_colours_are_swapped_for_networks_that_expect_bgr() -> None:
    batch = crops().at(0)
    swapped = batch.to("cpu", flip_colours=True)
    assert torch.equal(swapped.blurred, batch.blurred.flip(1)) and torch.equal(swapped.sharp, batch.sharp.flip(1))
    assert torch.equal(swapped.radius, batch.radius)
    assert same(batch.to("cpu"), batch)


def test_a_window_is_part_of_the_step_s_crop_and_the_step_alone_decides_where() -> None:
    # turned after it is cut, a window of an untouched crop is found in one of the crop's eight turns
    source = crops(pool=4, reuse=2)
    corners = set()
    for step in range(source.steps_per_pool):
        whole, part = source.at(step), source.at(step, side=12)
        assert part.blurred.shape == (2, 3, 12, 12) and part.radius.shape == (2, 1, 12, 12)
        assert same(part, crops(pool=4, reuse=2).at(step, side=12))
        for crop in range(2):
            windows = whole.sharp[crop].unfold(1, 12, 1).unfold(2, 12, 1)
            hits = (windows == part.sharp[crop][:, None, None]).all(-1).all(-1).all(0).nonzero().tolist()
            assert len(hits) == 1
            top, left = hits[0]
            assert torch.equal(whole.blurred[crop, :, top : top + 12, left : left + 12], part.blurred[crop])
            assert torch.equal(whole.radius[crop, :, top : top + 12, left : left + 12], part.radius[crop])
            corners.add((top, left))
    assert len(corners) > 4
    assert same(source.at(1, side=32), source.at(1))


class Together(Processes):
    """One of several processes, played by threads of this one, which meet to hand things over."""

    def __init__(self, index: int, count: int, meeting: threading.Barrier, table: dict[int, Any]) -> None:
        super().__init__(torch.device("cpu"))
        self.index, self.count, self._meeting, self._table = index, count, meeting, table

    def share(self, value: Any, *, source: int = 0) -> Any:
        if self.index == source:
            self._table[source] = value
        self._meeting.wait(60)
        found = self._table[source]
        self._meeting.wait(60)
        return found

    def spread(self, values: Tensor, *, source: int = 0) -> Tensor:
        return values.copy_(self.share(values.clone(), source=source))


SHARED: dict[str, Any] = {"batch": 6, "pool": 6, "reuse": 2}


def side_at(step: int) -> int | None:
    return 12 if step % 2 else None


def all_of(count: int, steps: list[int], *, ahead: bool = False) -> tuple[list[Crops], list[list[int]]]:
    """The batches that so many processes see, their parts put together; and the pools that each has made."""
    meeting, table = threading.Barrier(count), dict[int, Any]()
    made: list[list[int]] = [[] for _ in range(count)]

    def see(index: int) -> list[Crops]:
        source = crops(**SHARED, processes=Together(index, count, meeting, table))
        source.ahead, make = ahead, source.make_pool

        def make_and_note(number: int) -> Batch:
            made[index].append(number)
            return make(number)

        source.make_pool = make_and_note  # type: ignore[method-assign]
        try:
            return [source.at(step, side=side_at(step)) for step in steps]
        finally:
            source.close()

    with ThreadPoolExecutor(count) as threads:
        seen = list(threads.map(see, range(count)))
    assert {len(batch.sharp) for batches in seen for batch in batches} == {6 // count}
    names = ("blurred", "sharp", "radius")
    steps_seen = zip(*seen, strict=True)
    return [Crops(*(torch.cat([getattr(p, name) for p in step]) for name in names)) for step in steps_seen], made


@pytest.mark.parametrize(("count", "ahead"), [(2, False), (3, True)])
def test_the_crops_of_a_step_are_the_same_however_many_processes_share_them(count: int, ahead: bool) -> None:
    steps = [0, 1, 2, 5, 0, 7]  # in order, and back, and far ahead, as after pre-fitting or when resumed
    seen, _ = all_of(count, steps, ahead=ahead)
    alone = crops(**SHARED)
    assert all(same(batch, alone.at(step, side=side_at(step))) for batch, step in zip(seen, steps, strict=True))


def test_processes_make_each_pool_once_and_all_make_theirs_at_the_same_time() -> None:
    _, made = all_of(3, list(range(12)))  # two steps a pool, three pools a turn
    assert made == [[0, 3], [1, 4], [2, 5]]
    _, made = all_of(3, [4, 5, 6])  # resumed within a turn: what lies behind is not made
    assert made == [[3], [4], [2, 5]]


def test_crops_that_cannot_be_shared_evenly_are_refused_with_the_numbers_that_can() -> None:
    with pytest.raises(ValueError, match="6 crops a step cannot .* 4 processes; expected 1, 2, 3, 6 processes"):
        crops(**SHARED, processes=Together(0, 4, threading.Barrier(4), {}))


def test_a_pool_made_ahead_in_a_thread_is_the_pool_that_would_have_been_made(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [crops().at(step) for step in range(12)]
    source, made = crops(), []
    monkeypatch.setattr(source, "make_pool", lambda n, make=source.make_pool: made.append(n) or make(n))
    source.ahead = True
    assert all(same(source.at(step), expected[step]) for step in range(12))
    source._thread.shutdown()
    assert made == [0, 1, 2, 3]


def test_a_pool_that_is_made_ahead_is_given_up_when_the_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [crops(pool=40).at(step) for step in (0, 40, 41)]
    source, begun, rendered = crops(pool=40), threading.Event(), []

    def render(*scene: Any, really: Any = data_module.render_scene) -> Any:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert source._given_up.wait(60)
            rendered.append(1)
        return really(*scene)

    with monkeypatch.context() as patched:
        patched.setattr(data_module, "render_scene", render)
        source.ahead = True
        assert same(source.at(0), expected[0]) and begun.wait(60)
        source.close()
    assert len(rendered) == 1, "of ten fours"
    assert same(source.at(40), expected[1]) and same(source.at(41), expected[2]), "a closed stream can go on"
    source.close()


def test_what_goes_wrong_in_a_pool_made_ahead_is_raised_where_the_pool_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    source = crops()
    source.ahead = True

    def fail_in_the_second(number: int, make: Any = source.make_pool) -> Any:
        if number == 1:
            raise OSError("the disk is gone")
        return make(number)

    monkeypatch.setattr(source, "make_pool", fail_in_the_second)
    for step in range(source.steps_per_pool):
        source.at(step)
    with pytest.raises(OSError, match="the disk is gone"):
        source.at(source.steps_per_pool)
    source.close()


def test_flat_crops_are_of_one_colour_and_come_in_their_share() -> None:
    stream = crops(pool=64, flat_chance=0.5)
    pool = stream.make_pool(0)
    flat = [crop for crop in pool.sharp if is_flat(crop)]
    assert 20 <= len(flat) <= 44
    assert len({tuple(crop.float().mean((1, 2)).round().int().tolist()) for crop in flat}) > 10
    without = crops(pool=64).make_pool(0)
    assert not any(map(is_flat, without.sharp))
    assert not same(pool, without) and same(pool, crops(pool=64, flat_chance=0.5).make_pool(0))


def is_flat(crop: Tensor) -> bool:
    return bool((crop.float().std((1, 2)) < 1).all())
