"""Photos are read as 8 bits, in order, to their last byte; a long reading says how it gets on."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nrknet import reading
from nrknet.imageio import Photo, write_photo
from nrknet.reading import in_threads, read_pixels


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_photos_are_rounded_to_8(suffix: str, tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_photo(tmp_path / f"a{suffix}", Photo(np.stack([levels, levels[::-1], levels.T], axis=2)))
    found = read_pixels(tmp_path / f"a{suffix}")
    assert found.dtype == np.uint8
    assert np.array_equal(found[..., 0], np.round(levels / 257).astype(np.uint8))
    assert np.array_equal(found[..., 2], np.round(levels.T / 257).astype(np.uint8))


def test_8_bit_photos_stay_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_pixels(tmp_path / "a.png"), pixels)


def test_a_photo_cut_short_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(ValueError, match=r"a\.png"):
        read_pixels(tmp_path / "a.png")


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda x: x * x, range(100), doing="squaring")) == [x * x for x in range(100)]


def test_the_first_error_ends_the_work() -> None:
    done = []

    def work(x: int) -> None:
        if x == 3:
            raise ValueError("three")
        done.append(x)

    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, range(3000), doing="working"))
    assert set(done) >= {0, 1, 2} and len(done) < 3000


def test_a_long_reading_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(in_threads(str, range(4), doing="quick"))
        assert not caplog.messages
        monkeypatch.setattr(reading, "REPORT_EVERY", -1.0)
        list(in_threads(str, range(4), doing="slow"))
    assert "slow: 1 of 4, about" in caplog.messages[0] and "slow: 4 took" in caplog.messages[-1]
