"""Pairs are checked to the last byte before training, and crops of partners show the same place."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import one_line
from PIL import Image
from torch import Tensor

from nrknet import pairs as pairs_module
from nrknet.datasets import Pair
from nrknet.imageio import Photo, write_photo
from nrknet.pairs import PairedCrops, check_pairs, hold_out
from nrknet.stream import Crops, StreamOptions

CPU = torch.device("cpu")


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_pairs(folder: Path, count: int = 3, sizes: tuple[tuple[int, int], ...] = ((40, 50),)) -> list[Pair]:
    """Pairs whose blurred photo is the sharp one in negative: crops can be told to be of one place."""
    made = []
    for i in range(count):
        sharp = np.random.default_rng(i).integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8)
        blurred, truth = (folder / part / f"{i}.png" for part in ("source", "target"))
        made.append(Pair(str(i), write(blurred, 255 - sharp), write(truth, sharp)))
    return made


def crops(pairs: list[Pair], **options: Any) -> PairedCrops:
    settings: dict[str, Any] = {"size": 16, "batch": 2, "pool": 8, "reuse": 2, "seed": 0, "device": CPU}
    return PairedCrops(pairs, StreamOptions(**(settings | options)))


def same(one: Crops, other: Crops) -> bool:
    return torch.equal(one.blurred, other.blurred) and torch.equal(one.sharp, other.sharp)


def test_crops_of_partners_are_cut_and_turned_alike_and_the_radius_is_not_known(tmp_path: Path) -> None:
    stream = crops(make_pairs(tmp_path, sizes=((40, 50), (30, 20), (16, 16))))
    for step in range(stream.steps_per_pool):
        for batch in (stream.at(step), stream.at(step, side=8)):
            assert batch.radius is None and batch.blurred.dtype == torch.float32
            torch.testing.assert_close(batch.blurred, 1 - batch.sharp)
    assert stream.make_pool(0).sharp.dtype == torch.uint8


def test_crops_are_found_in_the_photos_and_all_photos_give_some(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path)
    photos = [torch.from_numpy(np.array(Image.open(pair.sharp))).permute(2, 0, 1) for pair in pairs]
    places = set()
    for crop in crops(pairs, pool=32).make_pool(0).sharp:
        for index, photo in enumerate(photos):
            hits = (photo.unfold(1, 16, 1).unfold(2, 16, 1) == crop[:, None, None]).all(-1).all(-1).all(0).nonzero()
            places |= {(index, *hit) for hit in hits.tolist()}
    assert {index for index, *_ in places} == {0, 1, 2} and len(places) > 20
    assert max(top for _, top, _ in places) > 18 and max(left for *_, left in places) > 26, "to the far edges"


def test_a_step_has_its_batch_whatever_was_asked_for_before_and_however_little_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(tmp_path)
    in_order = crops(pairs)
    expected = {step: in_order.at(step) for step in range(20)}
    assert len(in_order._decoded) == 3
    monkeypatch.setattr(pairs_module, "CACHE_BYTES", 2 * 40 * 50 * 3)
    jumping = crops(pairs)
    for step in (17, 0, 9, 8, 8, 3):
        assert same(jumping.at(step), expected[step])
        assert len(jumping._decoded) == 1
    assert not same(crops(pairs, seed=1).at(0), expected[0])


def test_a_pair_that_is_dropped_while_it_is_looked_up_is_read_anew(tmp_path: Path) -> None:
    class Dropping(OrderedDict[int, Tensor]):
        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            self.pop(key, None)  # type: ignore[call-overload]
            return found

    pairs = make_pairs(tmp_path)
    stream = crops(pairs)
    stream.make_pool(0)
    stream._decoded = Dropping(stream._decoded)
    assert same(stream.make_pool(1), crops(pairs).make_pool(1))


def test_a_pool_that_is_given_up_reads_no_more_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = make_pairs(tmp_path, count=40)
    source, begun, read = crops(pairs, pool=64), threading.Event(), []

    def read_when_given_up(index: int, really: Callable[[int], Tensor] = source._read) -> Tensor:
        begun.set()
        assert source._given_up.wait(60)
        read.append(index)
        return really(index)

    with monkeypatch.context() as patched:
        patched.setattr(source, "_read", read_when_given_up)
        source._ahead = 1, source._thread.submit(source.make_pool, 1)
        assert begun.wait(60)
        source.close()
    assert len(read) == 16 and same(source.make_pool(1), crops(pairs, pool=64).make_pool(1))


def test_16_bit_pairs_are_read_as_8(tmp_path: Path) -> None:
    (pair,) = make_pairs(tmp_path, count=1)
    before = crops([pair]).make_pool(0)
    for path in (pair.blurred, pair.sharp):
        with Image.open(path) as photo:
            pixels = np.array(photo).astype(np.uint16) * 257
        write_photo(path, Photo(pixels))
    assert same(crops([pair]).make_pool(0), before)


# ---------------------------------------------------------------------------------------------------------------- split


@pytest.mark.parametrize("count", [2, 9, 10, 11, 25])
def test_pairs_of_one_scene_are_never_on_both_sides(count: int) -> None:
    pairs = [Pair(f"{i}_{shot}", Path(f"{i}_{shot}"), Path(f"{i:02}")) for i in range(count) for shot in range(3)]
    training, held_out = hold_out(pairs)
    assert sorted(p.name for p in training + held_out) == sorted(p.name for p in pairs)
    assert {p.sharp for p in held_out} == {Path(f"{i:02}") for i in range(0, count, 10)}
    assert training and not {p.sharp for p in training} & {p.sharp for p in held_out}


def test_one_scene_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="two or more sharp photos, got 1"):
        hold_out([Pair(f"{i}", Path(f"{i}"), Path("one")) for i in range(5)])


# ---------------------------------------------------------------------------------------------------------------- check


def test_sound_pairs_pass_the_check(tmp_path: Path) -> None:
    check_pairs(make_pairs(tmp_path), least_side=40)


def test_a_file_cut_short_by_a_few_bytes_is_named(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path, sizes=((400, 400),))
    whole = pairs[1].sharp.read_bytes()
    pairs[1].sharp.write_bytes(whole[:-40])
    with pytest.raises(ValueError) as caught:
        check_pairs(pairs, least_side=16)
    assert str(pairs[1].sharp) in one_line(caught.value)


def test_partners_of_unequal_size_are_named_with_their_sizes(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path)
    write(pairs[2].sharp, np.zeros((50, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="is 50x40 and its partner .* 40x50; expected equal sizes") as caught:
        check_pairs(pairs, least_side=16)
    assert str(pairs[2].blurred) in one_line(caught.value) and str(pairs[2].sharp) in str(caught.value)


def test_photos_smaller_than_a_crop_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0\.png is 50x40; expected 41 pixels a side") as caught:
        check_pairs(make_pairs(tmp_path), least_side=41)
    one_line(caught.value)
