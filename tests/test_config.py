"""Configurations are checked when made, frozen, and survive JSON."""

import json
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ALL_CONFIGS, noise, one_line

from nrknet.config import (
    MAX_ATOMS,
    MAX_PARAMETERS,
    MAX_RADIUS,
    MAX_WIDTH,
    PRESETS,
    RADII,
    VARIANTS,
    NRKNetConfig,
    default_preset,
    named_config,
    vary,
)
from nrknet.model import NRKNet

NAMES = sorted(f.name for f in fields(NRKNetConfig))


@st.composite
def valid_configs(draw: st.DrawFn) -> NRKNetConfig:
    """Any configuration of a network small enough to run."""
    levels = draw(st.integers(1, 3))
    head = draw(st.sampled_from(["gated", "radius"]))
    num_atoms = draw(st.integers(1, 4))
    grid = draw(st.lists(st.floats(0.1, 40), min_size=1, max_size=5, unique=True).map(sorted))
    return NRKNetConfig(
        atoms=draw(st.sampled_from(["recursive", "nonrecursive", "nonseparable", "gaussian"])),
        num_atoms=num_atoms,
        taps=draw(st.sampled_from(["free", "symmetric"])),
        shared_atoms=draw(st.booleans()),
        fusion=draw(st.sampled_from(["sum", "learned"])),
        coefficients=draw(st.sampled_from(["free", "unit_sum"])),
        num_scales=draw(st.integers(1, 3)),
        expansion=draw(st.sampled_from(["cross_scale", "full"])),
        pyramid=draw(st.sampled_from(["nearest", "antialias"])),
        scale_images_from=draw(st.sampled_from([0, 1])),
        widths=tuple(draw(st.lists(st.integers(1, 6), min_size=levels, max_size=levels))),
        num_blocks=tuple(draw(st.lists(st.integers(0, 2), min_size=levels, max_size=levels))),
        stem=draw(st.sampled_from([1, 2])),
        padding=draw(st.sampled_from(["reflect", "zeros"])),
        memory=draw(st.sampled_from(["convlstm", "none"])),
        memory_kernel=draw(st.sampled_from([1, 3, 5])),
        memory_channels=draw(st.sampled_from([None, num_atoms + 1] if head == "gated" else [None, 1, 7])),
        memory_pool=draw(st.sampled_from([1, 2])),
        head=head,
        radii=(0, *grid) if head == "radius" else (),
        num_coordinates=draw(st.none() | st.integers(1, num_atoms)),
        evidence=draw(st.booleans()),
        channel_order=draw(st.sampled_from(["rgb", "bgr"])),
    )


WHOLE = ("num_atoms", "num_scales", "stem", "memory_pool", "memory_kernel")
BAD_VALUES: list[tuple[str, Any]] = [
    *((name, bad) for name in NAMES for bad in ("nonsense", -1, [[]], 0.5)),
    *((name, None) for name in NAMES if name not in ("memory_channels", "num_coordinates")),
    *((name, 1.0) for name in (*WHOLE, "scale_images_from", "num_coordinates", "memory_channels")),
    *((name, True) for name in (*WHOLE, "num_coordinates", "memory_channels")),
    ("num_atoms", 0),
    ("num_atoms", MAX_ATOMS + 1),
    ("num_coordinates", 0),
    ("num_coordinates", NRKNetConfig().num_atoms + 1),
    ("num_scales", 0),
    ("num_scales", 5),
    ("shared_atoms", 1),
    ("evidence", 0),
    ("stem", 3),
    ("memory_pool", 4),
    ("memory_kernel", 4),
    ("memory_kernel", 17),
    ("memory_channels", 0),
    ("memory_channels", 16),
    ("memory_channels", "many"),
    ("widths", ()),
    ("widths", (8,) * 5),
    ("widths", (8, 8, MAX_WIDTH + 1)),
    ("widths", (8, 8, 0)),
    *((name, 10**9) for name in (*WHOLE, "num_coordinates", "memory_channels", "image_blocks")),
    *((name, (10**9,) * 3) for name in ("widths", "num_blocks")),
    ("widths", (8,) * 10**5),
    ("num_blocks", (33, 33, 33)),
    ("image_blocks", 33),
    ("num_blocks", (1, 1)),
    ("num_blocks", (1, 1, -1)),
    ("radii", (0, 1)),
]


# ------------------------------------------------------------------------------------------------------------ valid


@pytest.mark.parametrize("name", ALL_CONFIGS)
def test_every_preset_and_variant_survives_json(name: str) -> None:
    config = ALL_CONFIGS[name]
    assert NRKNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=30, deadline=None)
@given(valid_configs())
def test_any_valid_configuration_survives_json(config: NRKNetConfig) -> None:
    assert NRKNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(NRKNetConfig.from_dict(config.to_dict())) == hash(config)


@settings(max_examples=15, deadline=None)
@given(valid_configs(), st.integers(16, 40), st.integers(16, 40))
def test_any_valid_configuration_makes_a_network_that_keeps_the_size(
    config: NRKNetConfig, height: int, width: int
) -> None:
    image = NRKNet(config).eval()(noise(1, 3, height, width)).image
    assert image.shape == (1, 3, height, width) and bool(image.isfinite().all())


@settings(max_examples=15, deadline=None)
@given(valid_configs())
def test_the_number_of_parameters_is_known_before_the_network_is_made(config: NRKNetConfig) -> None:
    model = NRKNet(config)
    large = [model.unet, model.memory, *([model.image_head] if model.image_head else [])]
    assert config.num_parameters == sum(p.numel() for part in large for p in part.parameters())


def test_the_largest_values_together_are_too_large_a_network() -> None:
    changes = {"widths": (MAX_WIDTH,) * 4, "num_blocks": (8,) * 4, "image_blocks": 8}
    allowed = replace(PRESETS["lite"], **changes)
    assert 0.5 * MAX_PARAMETERS < allowed.num_parameters <= MAX_PARAMETERS
    with pytest.raises(ValueError, match=f"at most {MAX_PARAMETERS}"):
        replace(allowed, num_blocks=(32,) * 4)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PRESETS["paper"].num_atoms = 3  # type: ignore[misc]


def test_lists_become_tuples_so_that_a_configuration_can_be_hashed() -> None:
    config = NRKNetConfig(widths=[8, 8], num_blocks=[1, 1])  # type: ignore[arg-type]
    assert config.widths == (8, 8) and isinstance(hash(config), int)


def test_the_paper_preset_is_the_default_configuration() -> None:
    assert PRESETS["paper"] == NRKNetConfig()


def test_variants_differ_from_the_paper_only_in_what_they_ablate() -> None:
    paper = PRESETS["paper"]
    changed = {
        name: {f.name for f in fields(config) if getattr(config, f.name) != getattr(paper, f.name)}
        for name, config in VARIANTS.items()
    }
    assert changed == {
        "NonAdaptive": {"atoms"},
        "NonRecursive": {"atoms"},
        "NonSeparable": {"atoms"},
        "FullRKR": set(),
        "FullExp": {"expansion"},
        "2Scales": {"num_scales"},
        "4Scales": {"num_scales"},
        "w/o ConvLSTM": {"memory", "num_blocks"},
        "Original": set(),
        "w/o reblur": set(),
        "w/o FDR": set(),
        "SingleScaleLoss": set(),
        "FullLoss": set(),
        "J15": {"num_atoms"},
        "J18": {"num_atoms"},
        "J20": set(),
        "J22": {"num_atoms"},
        "J25": {"num_atoms"},
    }


def test_a_variant_changes_any_network_in_the_same_way() -> None:
    lite = PRESETS["lite"]
    assert vary(lite, "2Scales") == replace(lite, num_scales=2) and vary(lite, "J15") == replace(lite, num_atoms=15)
    assert vary(lite, "FullRKR") == vary(lite, "w/o FDR") == lite
    with pytest.raises(ValueError, match="unknown variant 'huge'; known: NonAdaptive, "):
        vary(lite, "huge")


def test_the_cross_scale_expansion_gives_scale_t_the_power_t_and_the_full_one_all_powers() -> None:
    assert [PRESETS["paper"].powers(t) for t in (3, 2, 1)] == [3, 2, 1]
    assert [VARIANTS["FullExp"].powers(t) for t in (3, 2, 1)] == [3, 3, 3]


@settings(max_examples=30, deadline=None)
@given(valid_configs())
def test_the_size_multiple_lets_every_halving_come_out_whole(config: NRKNetConfig) -> None:
    coarsest = config.size_multiple // 2 ** (config.num_scales - 1) // config.stem
    assert coarsest % 2 ** (len(config.widths) - 1) == 0 and coarsest % config.memory_pool == 0
    assert config.size_multiple == coarsest * config.stem * 2 ** (config.num_scales - 1)


# -------------------------------------------------------------------------------------------------------------- bad


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=lambda v: str(v)[:40])
def test_a_bad_value_is_one_sentence_that_names_the_option(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        NRKNetConfig(**{name: value})
    assert name in one_line(caught.value)


@pytest.mark.parametrize(
    "radii", [(), (0,), (0.5, 1), (0, 1, 1), (0, 2, 1), (0, float("nan")), (0, float("inf")), (0, MAX_RADIUS + 1), 3]
)
def test_radii_that_are_no_increasing_grid_from_zero_are_refused(radii: Any) -> None:
    with pytest.raises(ValueError, match="radii") as caught:
        replace(PRESETS["default"], radii=radii)
    one_line(caught.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "sum", "none"])
JSON_VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.just({"a": 1})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["paper", "default"]), st.sampled_from(NAMES), JSON_VALUES)
def test_any_json_value_is_either_taken_and_kept_or_refused_in_one_sentence(preset: str, name: str, value: Any) -> None:
    try:
        config = NRKNetConfig.from_dict({**PRESETS[preset].to_dict(), name: value})
    except ValueError as error:
        one_line(error)
    else:
        assert NRKNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert config.size_multiple >= 1 and config.hidden_channels >= 1


def test_unknown_keys_are_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(ValueError, match="num_kernels") as caught:
        NRKNetConfig.from_dict({"num_kernels": 3})
    assert all(name in one_line(caught.value) for name in NAMES)


def test_many_unknown_keys_are_still_a_readable_sentence() -> None:
    with pytest.raises(ValueError, match="and 992 more; known: ") as caught:
        NRKNetConfig.from_dict({f"key{i}": 0 for i in range(1000)})
    assert len(one_line(caught.value)) < 1000


@pytest.mark.parametrize("values", [None, [], ["atoms"], "atoms", 3])
def test_a_configuration_that_is_no_dictionary_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="dictionary"):
        NRKNetConfig.from_dict(values)


@pytest.mark.parametrize(("table", "kind"), [(PRESETS, "preset"), (VARIANTS, "variant")])
def test_an_unknown_name_lists_the_known_ones(table: dict[str, NRKNetConfig], kind: str) -> None:
    for name, config in table.items():
        found = named_config(name) if kind == "preset" else named_config("paper", variant=name)
        assert found == config
    with pytest.raises(ValueError, match=f"unknown {kind} 'huge'") as caught:
        named_config("huge") if kind == "preset" else named_config("paper", variant="huge")
    assert all(name in one_line(caught.value) for name in table)


def test_a_variant_is_of_the_paper_unless_another_preset_is_named() -> None:
    assert default_preset(None) == "lite"
    for name in VARIANTS:
        assert default_preset(name) == "paper"
        assert named_config("lite", variant=name) == vary(PRESETS["lite"], name)


def test_the_radii_of_our_presets_reach_the_blur_of_real_photos() -> None:
    assert PRESETS["default"].radii == RADII and RADII[-1] >= 25
