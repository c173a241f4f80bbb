"""The network: any size in, the same size out, the identity before training, and every parameter of use."""

from dataclasses import replace

import pytest
import torch
from networks import ALL_CONFIGS, narrow, noise, one_line, random_network, randomise
from torch import Tensor

from nrknet.config import PRESETS, VARIANTS
from nrknet.model import NRKNet, NRKNetOutput
from nrknet.weights import load_model, save_model

OURS = ("default", "lite")


def scalar(output: NRKNetOutput) -> Tensor:
    """One number that every part of the output contributes to."""
    total = output.image.square().sum() + output.series.square().sum()
    for scale in output.scales:
        total = total + scale.image.square().sum()
        if scale.radius_logits is not None:
            total = total + scale.radius_logits.log_softmax(1)[:, 0].sum()
    return total


def without_gradient(model: NRKNet) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0}


# ------------------------------------------------------------------------------------------------- structure, counts


@pytest.mark.parametrize(
    ("name", "expected"), [("released", 6_094_107), ("paper", 6_082_558), ("default", 6_283_071), ("lite", 451_542)]
)
def test_networks_have_the_parameters_they_are_known_by(name: str, expected: int) -> None:
    assert sum(p.numel() for p in NRKNet(PRESETS[name]).parameters()) == expected
    assert name != "lite" or expected < 1_000_000


def test_the_variants_of_table_3_differ_in_their_atoms_alone() -> None:
    def rest(name: str) -> int:
        model = NRKNet(narrow(VARIANTS[name]))
        return sum(p.numel() for part, p in model.named_parameters() if not part.startswith("atoms."))

    assert len({rest(name) for name in ("NonRecursive", "NonSeparable", "FullRKR")}) == 1


# ----------------------------------------------------------------------------------------------- every configuration


@pytest.mark.parametrize("size", [(37, 50), (16, 16), (17, 71)])
@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_any_size_keeps_its_shape(name: str, size: tuple[int, int]) -> None:
    config = ALL_CONFIGS[name]
    with torch.no_grad():
        output = random_network(config)(noise(1, 3, *size))
    assert output.image.shape == (1, 3, *size) and bool(output.image.isfinite().all())
    assert [s.scale for s in output.scales] == list(range(config.num_scales, 0, -1))
    for scale in output.scales:
        h, w = scale.terms[0].shape[-2:]
        assert h * 2 ** (scale.scale - 1) >= size[0] and w * 2 ** (scale.scale - 1) >= size[1]
        assert len(scale.terms) == config.powers(scale.scale) + 1
        assert scale.coefficients.shape == (1, config.num_coefficients, h, w)
        assert scale.operator(scale.terms[0]).shape == scale.image.shape == (1, 3, h, w)
        assert (scale.radius is None) == (scale.radius_logits is None) == (config.head == "gated")
        if scale.radius is not None:
            assert scale.radius.shape == (1, 1, h, w)
            assert 0 <= float(scale.radius.min()) <= float(scale.radius.max()) <= config.radii[-1]


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_backward_gives_every_parameter_a_gradient(name: str) -> None:
    model = randomise(NRKNet(narrow(ALL_CONFIGS[name]))).train()
    scalar(model(noise(2, 3, 37, 41))).backward()
    assert without_gradient(model) == set()


@pytest.mark.parametrize("name", [name for name in ALL_CONFIGS if name not in OURS])
def test_the_papers_networks_give_every_parameter_a_gradient_from_the_start(name: str) -> None:
    torch.manual_seed(0)
    model = NRKNet(narrow(ALL_CONFIGS[name]))
    scalar(model(noise(2, 3, 37, 41))).backward()
    assert without_gradient(model) == set()


@pytest.mark.parametrize("name", OURS)
def test_from_the_identity_start_the_heads_alone_have_gradients_and_one_step_wakes_the_rest(name: str) -> None:
    """At the start the table and the heads' last weights are zero, so nothing before them can matter yet: exactly the
    atoms, the U-Net, the memory and the image head's inside have zero gradients at the first step and at no other.
    """
    torch.manual_seed(0)
    model = NRKNet(narrow(PRESETS[name]))
    x = noise(2, 3, 70, 75)
    scalar(model(x)).backward()
    asleep = {part for part, _ in model.named_parameters() if not part.startswith(("head.", "image_head.exit"))}
    assert without_gradient(model) == asleep
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    model.zero_grad()
    scalar(model(x)).backward()
    assert without_gradient(model) == set()


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_saving_and_loading_gives_equal_outputs(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    model = random_network(ALL_CONFIGS[name])
    save_model(model, folder)
    loaded = load_model(folder, device="cpu")
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        assert loaded.config == model.config and not loaded.training
        assert torch.equal(loaded(x).image, model(x).image)


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_the_images_of_a_batch_do_not_influence_one_another(name: str) -> None:
    model = random_network(ALL_CONFIGS[name])
    x = noise(3, 3, 33, 40)
    with torch.no_grad():
        together = model(x)
        for i in range(3):
            alone = model(x[i : i + 1])
            torch.testing.assert_close(together.image[i : i + 1], alone.image, atol=1e-4, rtol=1e-3)
        changed = x.clone()
        changed[1] = 0
        again = model(changed).image
    torch.testing.assert_close(again[::2], together.image[::2], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(again[1], together.image[1], atol=1e-3)


@pytest.mark.parametrize("name", ["paper", "released", "default", "lite", "NonSeparable", "FullExp"])
def test_inference_without_gradients_equals_the_training_path(name: str) -> None:
    model = random_network(ALL_CONFIGS[name])
    x = noise(1, 3, 33, 40)
    with_gradients = model(x).image.detach()
    with torch.inference_mode():
        torch.testing.assert_close(model(x).image, with_gradients, atol=1e-4, rtol=1e-3)


def test_the_network_does_not_change_its_input() -> None:
    for size in ((33, 40), (64, 64)):
        x = noise(1, 3, *size)
        before = x.clone()
        with torch.no_grad():
            random_network(PRESETS["lite"])(x)
        assert torch.equal(x, before)


# -------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (37, 50), (16, 16)])
@pytest.mark.parametrize("name", OURS)
def test_our_untrained_networks_return_their_input_exactly(name: str, size: tuple[int, int], gradients: bool) -> None:
    model = NRKNet(narrow(PRESETS[name]))
    x = noise(2, 3, *size)
    with torch.set_grad_enabled(gradients):
        output = model(x)
    assert torch.equal(output.image, x) and torch.equal(output.series, x)
    for scale in output.scales:
        assert torch.equal(scale.image, scale.terms[0])


@pytest.mark.parametrize("name", ["paper", "released", "4Scales"])
def test_without_an_image_head_the_image_is_the_series(name: str) -> None:
    output = random_network(ALL_CONFIGS[name])(noise(1, 3, 33, 40))
    assert output.image is output.series


@pytest.mark.parametrize("name", OURS)
def test_the_image_head_corrects_the_series_and_cannot_change_it(name: str) -> None:
    model, x = random_network(PRESETS[name]), noise(1, 3, 33, 40)
    output = model(x)
    output.image.square().sum().backward()
    assert float((output.image - output.series).detach().abs().max()) > 1e-3
    kernels_alone = [p for part, p in model.head.named_parameters() if not part.startswith("posterior")]
    assert all(p.grad is None or not p.grad.any() for p in (*kernels_alone, *model.atoms.parameters()))
    assert all(p.grad is not None and p.grad.any() for p in model.unet.parameters())


@pytest.mark.parametrize("name", [n for n, c in ALL_CONFIGS.items() if c.coefficients == "unit_sum"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unit_sum_coefficients_keep_a_flat_image_flat_for_any_weights(name: str, seed: int) -> None:
    model = random_network(ALL_CONFIGS[name], seed=seed)
    flat = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 41, 50).contiguous()
    with torch.no_grad():
        output = model(flat)
    torch.testing.assert_close(output.series, flat, atol=2e-4, rtol=0)
    for scale in output.scales:
        ones = scale.coefficients.sum(1)
        torch.testing.assert_close(ones, torch.ones_like(ones), atol=1e-4, rtol=0)
        assert float((scale.coefficients[:, 1:]).abs().max()) > 0.05  # the weights did say something


@pytest.mark.parametrize("atoms", ["recursive", "nonrecursive", "nonseparable", "gaussian"])
@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("count", [4, None])
def test_unit_sum_holds_with_every_bank_and_stem(atoms: str, stem: int, count: int | None) -> None:
    config = replace(PRESETS["default"], atoms=atoms, stem=stem, num_atoms=5, num_coordinates=count)
    model = random_network(config)
    flat = torch.full((1, 3, 33, 40), 0.6)
    with torch.no_grad():
        torch.testing.assert_close(model(flat).series, flat, atol=2e-4, rtol=0)


def test_free_coefficients_do_not_keep_a_flat_image() -> None:
    flat = torch.full((1, 3, 33, 40), 0.6)
    with torch.no_grad():
        assert not torch.allclose(random_network(PRESETS["paper"])(flat).image, flat, atol=1e-2)


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_the_terms_are_those_of_the_series_and_the_scale_image_sums_them(name: str) -> None:
    config = ALL_CONFIGS[name]
    with torch.no_grad():
        for scale in random_network(config)(noise(1, 3, 33, 40)).scales:
            close = {"atol": 1e-5, "rtol": 1e-4}
            for last, term in zip(scale.terms[:-1], scale.terms[1:], strict=True):
                torch.testing.assert_close(term, last - scale.operator(last), **close)
            reblurred = torch.stack([scale.operator(t) for t in scale.terms[:-1]]).sum(0)
            if config.fusion == "sum":
                torch.testing.assert_close(reblurred, scale.terms[0] - scale.terms[-1], atol=1e-4, rtol=1e-3)
            summed = torch.stack(scale.terms[config.scale_images_from :]).sum(0)
            torch.testing.assert_close(scale.image, summed, **close)


@pytest.mark.parametrize(("memory", "speak"), [("convlstm", True), ("none", False)])
def test_the_coarser_scales_speak_to_the_finer_ones_through_the_memory_alone(memory: str, speak: bool) -> None:
    three = random_network(replace(PRESETS["paper"], memory=memory))
    one = NRKNet(replace(three.config, num_scales=1)).eval()
    one.load_state_dict(three.state_dict())
    x = noise(1, 3, 48, 64)  # needs no padding either way
    with torch.no_grad():
        difference = (one(x).scales[-1].coefficients - three(x).scales[-1].coefficients).abs().max()
    assert (float(difference) > 0.01) == speak and (float(difference) < 1e-5) != speak


@pytest.mark.parametrize("name", ["paper", "default", "lite"])
def test_bfloat16_autocast_keeps_pixels_in_32_bit_and_stays_close(name: str) -> None:
    model = random_network(PRESETS[name])
    x = noise(1, 3, 33, 40)
    with torch.no_grad():
        exact = model(x).image
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(x)
    assert output.image.dtype == output.scales[0].coefficients.dtype == torch.float32
    assert float((output.image - exact).abs().mean()) < 0.05 * float(exact.abs().mean())


# -------------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize("size", [(15, 16), (16, 15), (1, 100), (0, 0)])
def test_an_image_under_16_pixels_is_one_sentence(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="16x16") as caught:
        random_network(PRESETS["lite"])(torch.zeros(1, 3, *size))
    assert f"{size[0]}x{size[1]}" in one_line(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(3, 32, 32),
        torch.zeros(1, 1, 32, 32),
        torch.zeros(1, 4, 32, 32),
        torch.zeros(1, 32, 32, 3),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
    ],
    ids=lambda t: f"{t.dtype} {tuple(t.shape)}",
)
def test_anything_but_a_float_rgb_batch_is_one_sentence(bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\(B,3,H,W\)") as caught:
        random_network(PRESETS["lite"])(bad)
    assert str(tuple(bad.shape)) in one_line(caught.value)
