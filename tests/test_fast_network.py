"""The streamed network computes what NRKNet.forward computes, in memory that does not grow with the photo's height."""

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from kernels import needs_kernels, without_kernels
from networks import ALL_CONFIGS, random_network, randomise
from skimage import data
from torch import Tensor

from nrknet.analysis import ScaleDetails, blur_radius
from nrknet.config import PRESETS
from nrknet.fast import compiler, rows, tape
from nrknet.fast.network import StreamedNetwork
from nrknet.fast.steps import Convolve, ImageInput, Joint, MemoryInput
from nrknet.model import NRKNet, NRKNetOutput
from nrknet.neumann import fuse_scales
from nrknet.parameters import Parameters

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(params=["compiled", "torch"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "torch":
        with without_kernels():
            yield
    elif compiler.library() is None:
        pytest.skip("no C++ compiler here")
    else:
        yield


def random_photo(height: int, width: int, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng(0).integers(0, int(np.iinfo(dtype).max) + 1, (height, width, 3)).astype(dtype)


@torch.inference_mode()
def forward(model: NRKNet, photo: Array) -> NRKNetOutput:
    x = torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)[None] / float(np.iinfo(photo.dtype).max)
    return model(x.flip(1) if model.config.channel_order == "bgr" else x)


@torch.inference_mode()
def streamed(network: StreamedNetwork, photo: Array) -> tuple[Tensor, Tensor]:
    """The whole image and blur radius."""
    images, radii, end = [], [], 0
    for band in network(photo, radius=True):
        assert band.start == end and band.radius is not None
        end = band.stop
        images.append(torch.from_numpy(band.image.copy()))
        radii.append(torch.from_numpy(band.radius.copy()))
    assert end == len(photo)
    return torch.cat(images, dim=1), torch.cat(radii, dim=1)


@pytest.mark.parametrize("name", sorted(ALL_CONFIGS))
@pytest.mark.parametrize("size", [(16, 16), (17, 100), (150, 49), (333, 70)], ids=str)
def test_it_computes_what_forward_computes(name: str, size: tuple[int, int], kernels: None) -> None:
    model, photo = random_network(ALL_CONFIGS[name]), random_photo(*size)
    expected = forward(model, photo)
    image, radius = streamed(StreamedNetwork(Parameters(model)), photo)
    assert torch.allclose(image, expected.image[0], atol=1e-5 * float(expected.image.abs().max()))
    with torch.inference_mode():
        seen = blur_radius(expected.scales[-1])[0, :, : size[0], : size[1]]
    if model.config.head == "radius":  # the other is a root that may start at 0, where small errors grow
        assert torch.allclose(radius, seen, atol=1e-3)
    else:
        assert (radius - seen).abs().median() < 1e-3


@pytest.mark.parametrize("name", sorted(ALL_CONFIGS))
@pytest.mark.parametrize(("highest", "radius"), [(1, False), (2, True)])
@torch.inference_mode()
def test_a_series_cut_short_is_the_sum_of_the_terms_up_to_there(name: str, highest: int, radius: bool) -> None:
    model, photo = random_network(ALL_CONFIGS[name]), random_photo(150, 49)
    output, network = forward(model, photo), StreamedNetwork(Parameters(model))
    terms = [scale.terms for scale in output.scales]
    expected = fuse_scales(terms, expansion=model.config.expansion, highest=highest)[0, :, :150, :49]
    bands = network(photo, radius=radius, highest=highest)
    image = np.concatenate([band.image.copy() for band in bands], axis=1)
    assert np.allclose(image, expected, atol=1e-5 * float(expected.abs().max()))
    whole, _ = streamed(network, photo)  # the steps of the short series are not used again for the whole one
    assert torch.allclose(whole, output.image[0], atol=1e-5 * float(output.image.abs().max()))


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_photo_through_the_networks_at_their_full_width(name: str, halves: bool) -> None:
    # wide maps have fewer rows in a band, and products of integers where there are halves
    model = randomise(NRKNet(PRESETS[name])).eval()
    photo = np.ascontiguousarray(data.chelsea()[:200, :300])
    expected = forward(model, photo).image[0]
    image, _ = streamed(StreamedNetwork(Parameters(model), halves=halves), photo)
    error = (image - expected).double().pow(2).mean() / expected.double().pow(2).mean()
    assert 10 * torch.log10(1 / error) > (60 if halves else 110)  # dB; 8-bit numbers have 59


@torch.inference_mode()
def test_details_are_those_of_forward(kernels: None) -> None:
    for name in ("lite", "released", "paper"):
        model, photo = random_network(PRESETS[name]), random_photo(70, 90)
        details: list[ScaleDetails] = []
        for _ in StreamedNetwork(Parameters(model))(photo, details=details):
            assert details == []
        expected = forward(model, photo).scales
        assert len(details) == len(expected)
        for ours, theirs in zip(details, expected, strict=True):
            assert torch.allclose(ours.coefficients, theirs.coefficients, atol=1e-5)
            assert len(ours.terms) == len(theirs.terms)
            for a, b in zip(ours.terms, theirs.terms, strict=True):
                assert torch.allclose(a, b, atol=1e-5)
            assert torch.allclose(ours.operator(ours.terms[0]), theirs.operator(theirs.terms[0]), atol=1e-5)


def test_sixteen_bits_and_views() -> None:
    model = random_network(PRESETS["lite"])
    network, photo = StreamedNetwork(Parameters(model)), random_photo(60, 80, np.uint16)
    assert torch.allclose(streamed(network, photo)[0], forward(model, photo).image[0], atol=1e-5)
    for view in (photo[5:50, 7:60], photo[::-1, ::2]):
        expected = forward(model, np.ascontiguousarray(view)).image[0]
        assert torch.allclose(streamed(network, view)[0], expected, atol=1e-5)


def test_one_network_takes_photos_of_all_sizes_one_after_the_other() -> None:
    model = random_network(PRESETS["lite"])
    network = StreamedNetwork(Parameters(model))
    for size in ((64, 64), (64, 64), (100, 64), (90, 70), (85, 66), (64, 64)):
        photo = np.roll(random_photo(*size), size[0])
        assert torch.allclose(streamed(network, photo)[0], forward(model, photo).image[0], atol=1e-5)


def test_a_photo_that_was_given_up_leaves_nothing_behind() -> None:
    model, photo = random_network(PRESETS["lite"]), random_photo(300, 64)
    network = StreamedNetwork(Parameters(model))
    expected, _ = streamed(network, photo)
    with torch.inference_mode():
        next(iter(network(photo[::-1])))
    assert torch.equal(streamed(network, photo)[0], expected)


def test_weights_that_have_changed_are_seen() -> None:
    model, photo = random_network(PRESETS["lite"]), random_photo(40, 50)
    network = StreamedNetwork(Parameters(model))
    before, _ = streamed(network, photo)
    model.load_state_dict(random_network(PRESETS["lite"], seed=3).state_dict())
    after, _ = streamed(network, photo)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, forward(model, photo).image[0], atol=1e-5)


def test_threads_may_share_it() -> None:
    model = random_network(PRESETS["lite"])
    network = StreamedNetwork(Parameters(model))
    photos = [np.roll(random_photo(64 + 8 * (i % 3), 96), i) for i in range(12)]
    expected = [forward(model, photo).image[0] for photo in photos]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda photo: streamed(network, photo)[0], photos))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["lite", "released"])
def test_memory_does_not_grow_with_the_height(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ENOUGH", 1)  # bands of narrow maps are as high as those of wide ones
    network, held = StreamedNetwork(Parameters(random_network(PRESETS[name]))), []
    for height in (1600, 4800):
        streamed(network, random_photo(height, 64))
        (wiring,) = network._spare
        held.append(wiring.memory.nbytes)
    assert held[0] == held[1]


@pytest.mark.parametrize("name", sorted(ALL_CONFIGS))
def test_maps_in_half_precision_take_less_memory_and_give_the_same_image(name: str) -> None:
    model, photo = random_network(ALL_CONFIGS[name]), random_photo(150, 100)
    exact, halves = StreamedNetwork(Parameters(model)), StreamedNetwork(Parameters(model), halves=True)
    expected, image = streamed(exact, photo)[0], streamed(halves, photo)[0]
    (wiring,), (other,) = halves._spare, exact._spare
    kept = {step for step in wiring._steps if step.rows.dtype == np.float16}
    if not any(step.writes_halves for step in wiring._steps if isinstance(step, Convolve)):
        assert not kept
        pytest.skip("the kernels here keep none")
    assert len(kept) > 10 and wiring.memory.nbytes < 0.9 * other.memory.nbytes
    readers = {type(step) for step in wiring._steps if kept & set(step.inputs)}
    assert readers <= {Convolve, MemoryInput, Joint, ImageInput}
    assert not torch.equal(image, expected)
    assert (image - expected).norm() < 2e-3 * expected.norm()


def test_without_kernels_no_maps_are_in_half_precision() -> None:
    with without_kernels():
        network = StreamedNetwork(Parameters(random_network(PRESETS["lite"])), halves=True)
        streamed(network, random_photo(32, 32))
        assert all(step.rows.dtype == np.float32 for step in network._spare[0]._steps)


@torch.inference_mode()
def test_memory_is_kept_for_the_next_photo_of_the_size_and_let_go_before_another() -> None:
    network, photo = StreamedNetwork(Parameters(random_network(PRESETS["lite"]))), data.coffee()
    list(network(photo[:64, :96].copy()))
    (kept,) = network._spare
    list(network(photo[64:128, 96:192].copy()))
    assert network._spare == [kept]
    gone = weakref.ref(kept)
    del kept
    gc.disable()  # as while a photo passes
    try:
        next(bands := network(photo[:96, :64].copy()))
        assert gone() is None
        bands.close()  # type: ignore[attr-defined]
    finally:
        gc.enable()


@torch.inference_mode()
@pytest.mark.parametrize("name", ["lite", "paper", "released"])
def test_what_another_photo_left_in_memory_changes_no_bit(name: str) -> None:
    parameters = Parameters(random_network(PRESETS[name]))
    small, large = random_photo(64, 96), random_photo(130, 200)
    for before, photo, taken_over in ((large, small, True), (small, large, False)):
        network = StreamedNetwork(parameters)
        streamed(network, before)
        memory = network._spare[0].memory
        memory[:] = np.nan
        image, _ = streamed(network, photo)
        assert (network._spare[0].memory is memory) is taken_over
        assert torch.equal(image, streamed(StreamedNetwork(parameters), photo)[0])


@torch.inference_mode()
def bands(network: StreamedNetwork, photo: Array, *, radius: bool) -> list[Tensor]:
    """All that a photo's bands hold."""
    held: list[Tensor] = []
    for band in network(photo, radius=radius):
        held += [torch.from_numpy(part.copy()) for part in (band.image, band.radius) if part is not None]
    return held


@pytest.mark.parametrize("name", sorted(ALL_CONFIGS))
@pytest.mark.parametrize("radius", [False, True])
def test_photos_of_one_size_after_each_other_are_as_if_each_were_the_first(name: str, radius: bool) -> None:
    parameters = Parameters(random_network(ALL_CONFIGS[name]))
    network = StreamedNetwork(parameters, halves=radius)
    for number in range(3):
        photo = np.roll(random_photo(450, 50), 17 * number)[:, ::-1].copy()  # elsewhere in memory
        other = StreamedNetwork(parameters, halves=radius)
        found, expected = bands(network, photo, radius=radius), bands(other, photo, radius=radius)
        assert len(found) == len(expected) > 2
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


@needs_kernels
def test_what_was_done_for_a_photo_is_repeated_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = Parameters(random_network(PRESETS["lite"]))
    network, photos = StreamedNetwork(parameters), [np.roll(random_photo(150, 100), i) for i in range(3)]
    expected = [streamed(StreamedNetwork(parameters), photo)[0] for photo in photos]
    streamed(network, photos[0])
    with monkeypatch.context() as patch:
        patch.setattr(rows.Step, "pull", None)
        for photo, image in zip(photos, expected, strict=True):
            assert torch.equal(streamed(network, photo)[0], image)
        # with another number of threads the calls have to be made anew
        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)
        try:
            with pytest.raises(TypeError):
                streamed(network, photos[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(streamed(network, photos[1])[0], expected[1])
    # so have those of a photo whose insides are asked for, after which all goes on
    details: list[Any] = []
    with torch.inference_mode():
        list(network(photos[2], radius=True, details=details))
    assert len(details) == 3
    monkeypatch.setattr(rows.Step, "pull", None)
    assert torch.equal(streamed(network, photos[2])[0], expected[2])


@needs_kernels
def test_what_takes_too_many_calls_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, photo = Parameters(random_network(PRESETS["lite"])), random_photo(150, 100)
    network, other = StreamedNetwork(parameters), StreamedNetwork(parameters)
    expected, _ = streamed(other, photo)
    monkeypatch.setattr(tape, "LONGEST", 30)
    for _ in range(2):
        assert torch.equal(streamed(network, photo)[0], expected)
        record = network._spare[0]._record
        assert record is not None and not record._bands
        monkeypatch.setattr(record, "_bands", None)  # nor is it tried again
