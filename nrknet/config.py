"""Model configuration: frozen, validated at construction, JSON-able; presets and ablation variants are values."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

_Value = TypeVar("_Value")

RESIDUAL_STEP = 0.1
"""Coordinates are of order 0.1 and every one counts: smaller steps keep Adam from shaking the image."""
CORRECTION_STEP = 0.1
"""The image head corrects Z_0 by a few hundredths of the range: its last convolution works at that scale."""
RESPONSE_GAIN = 4.0
"""What the series adds to the photo is a few times smaller than the photo: brought to its size for the image head."""
EVIDENCE_BANDS = 4
EVIDENCE_REACH = 24
"""The evidence at a pixel depends on no pixel that is more than this many away (15 + 3 stem; even)."""

ATOM_KINDS = ("recursive", "nonrecursive", "nonseparable", "gaussian")
MAX_ATOMS = 64
MAX_WIDTH = 512
MAX_RADIUS = 1000
MAX_PARAMETERS = 500_000_000
"""2 GB as 32-bit floats; the `default` preset has 6 million. Each value above may be at its largest, but not all."""


@dataclass(frozen=True)
class NRKNetConfig:
    """Everything that decides an NRKNet's structure; the defaults are the paper's network.

    Args:
        atoms: atom bank of Table 3: "recursive" (Eq. 2), "nonrecursive", "nonseparable" or "gaussian" (fixed).
        num_atoms: J, learned atoms beside the delta; K = J + 1 coefficients per pixel; 1 to 64.
        taps: "free" (3 numbers per 1-D atom) or "symmetric" ([a, b, a] from 2).
        shared_atoms: one atom set for all colours (paper) or one per colour channel (released code).
        fusion: how Eq. 11 sums over j: "sum", or "learned" (a 1x1 convolution from 3K to 3 channels with bias).
        coefficients: "free", or "unit_sum" (the delta's is 1 minus the sum of the others, so D keeps constants).
        num_scales: pyramid levels of Eq. 10, 1 to 4; scale t applies (I - D_t)^t.
        expansion: "cross_scale" (Eq. 10), or "full" (every scale sums terms 1..num_scales of Eq. 9).
        pyramid: downsampling between scales: "nearest" (released code) or "antialias" (bilinear, antialiased).
        scale_images_from: first power in the per-scale images Z_t of the loss: 1 (paper) or 0 (released code).
        widths: U-Net channels, fine to coarse.
        num_blocks: residual blocks in each encoder and decoder level, fine to coarse.
        stem: 1, or 2 to run the U-Net on 2x2 pixel blocks (space-to-depth) at half resolution.
        padding: border handling of the U-Net's convolutions: "reflect" or "zeros".
        memory: state across scales: "convlstm", or "none" (the no-LSTM twin of Table 4).
        memory_kernel: odd kernel size of the memory cell.
        memory_channels: hidden channels; None means K.
        memory_pool: average pooling before the memory cell, 1 or 2.
        head: "gated" (released: ReLU(BN(conv)) * h + h) or "radius" (a posterior over blur radii looks up
            coefficients in a learned table, plus a learned per-pixel residual).
        radii: blur radii of the table in pixels of the scale, increasing from 0; for the "radius" head.
        num_coordinates: numbers per pixel that the "radius" head makes the J coefficients from, through the fixed
            basis of `nrknet.basis`; None: the coefficients themselves.
        evidence: feed the U-Net the log local energy of differences between blurred versions of its input.
        image_blocks: residual blocks of the image head, which adds to Z_0 what the series cannot give; 0: no head.
        channel_order: colour order the weights expect: "rgb" or "bgr".

    Raises:
        ValueError: a value is outside what is listed above, or all of them together make a network of over 2 GB.
    """

    atoms: str = "recursive"
    num_atoms: int = 20
    taps: str = "free"
    shared_atoms: bool = True
    fusion: str = "sum"
    coefficients: str = "free"
    num_scales: int = 3
    expansion: str = "cross_scale"
    pyramid: str = "antialias"
    scale_images_from: int = 1
    widths: tuple[int, ...] = (64, 128, 256)
    num_blocks: tuple[int, ...] = (1, 1, 1)
    stem: int = 1
    padding: str = "reflect"
    memory: str = "convlstm"
    memory_kernel: int = 5
    memory_channels: int | None = None
    memory_pool: int = 2
    head: str = "gated"
    radii: tuple[float, ...] = ()
    num_coordinates: int | None = None
    evidence: bool = False
    image_blocks: int = 0
    channel_order: str = "rgb"

    def __post_init__(self) -> None:
        for name in ("widths", "num_blocks", "radii"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        _one_of(self, "atoms", ATOM_KINDS)
        _one_of(self, "taps", ("free", "symmetric"))
        _one_of(self, "fusion", ("sum", "learned"))
        _one_of(self, "coefficients", ("free", "unit_sum"))
        _one_of(self, "expansion", ("cross_scale", "full"))
        _one_of(self, "pyramid", ("nearest", "antialias"))
        _one_of(self, "padding", ("reflect", "zeros"))
        _one_of(self, "memory", ("convlstm", "none"))
        _one_of(self, "head", ("gated", "radius"))
        _one_of(self, "channel_order", ("rgb", "bgr"))
        _one_of(self, "scale_images_from", (0, 1))
        _one_of(self, "stem", (1, 2))
        _one_of(self, "memory_pool", (1, 2))
        _one_of(self, "shared_atoms", (True, False))
        _one_of(self, "evidence", (True, False))
        _whole(self, "num_atoms", self.num_atoms, 1, MAX_ATOMS)
        _whole(self, "num_scales", self.num_scales, 1, 4)
        _whole(self, "memory_kernel", self.memory_kernel, 1, 15)
        _whole(self, "image_blocks", self.image_blocks, 0, 32)
        if self.memory_kernel % 2 == 0:
            raise ValueError(f"memory_kernel must be odd, got {self.memory_kernel}")
        if self.num_coordinates is not None:
            _whole(self, "num_coordinates", self.num_coordinates, 1, self.num_atoms)
        if self.memory_channels is not None:
            _whole(self, "memory_channels", self.memory_channels, 1, MAX_WIDTH)
        self._check_unet()
        self._check_radii()
        if self.num_parameters > MAX_PARAMETERS:
            raise ValueError(
                f"such a network has {self.num_parameters} parameters, expected at most {MAX_PARAMETERS}: lower "
                "widths, num_blocks, memory_kernel or memory_channels"
            )

    def _check_unet(self) -> None:
        if not isinstance(self.widths, tuple) or not 1 <= len(self.widths) <= 4:
            raise ValueError(f"widths must hold 1 to 4 channel counts, got {_shown(self.widths)}")
        for width in self.widths:
            _whole(self, "widths", width, 1, MAX_WIDTH)
        if not isinstance(self.num_blocks, tuple) or len(self.num_blocks) != len(self.widths):
            got = f"{_shown(self.num_blocks)} for {self.widths!r}"
            raise ValueError(f"num_blocks must hold one number per width, got {got}")
        for blocks in self.num_blocks:
            _whole(self, "num_blocks", blocks, 0, 32)

    def _check_radii(self) -> None:
        if not isinstance(self.radii, tuple) or not all(type(r) in (int, float) for r in self.radii):
            raise ValueError(f"radii must be a list of numbers, got {_shown(self.radii)}")
        if self.head != "radius":
            if self.radii:
                raise ValueError("radii belong to head='radius'; leave them empty for head='gated'")
            gates = self.memory_channels or self.num_coefficients
            if gates != self.num_coefficients:
                raise ValueError(f"head='gated' needs memory_channels = {self.num_coefficients}, got {gates}")
            return
        increasing = all(a < b for a, b in zip(self.radii, self.radii[1:], strict=False))
        if not 2 <= len(self.radii) <= 256 or self.radii[0] != 0 or not increasing or self.radii[-1] > MAX_RADIUS:
            raise ValueError(
                f"radii must be 2 to 256 increasing numbers from 0 to {MAX_RADIUS}, got {_shown(self.radii)}"
            )

    @property
    def num_coefficients(self) -> int:
        """K = J + 1: the delta and J atoms."""
        return self.num_atoms + 1

    @property
    def hidden_channels(self) -> int:
        """Hidden channels of the memory cell."""
        return self.memory_channels or self.num_coefficients

    @property
    def num_parameters(self) -> int:
        """Of U-Net, memory cell and image head, which have nearly all of them; known before the network is made."""
        widths, hidden, first = self.widths, self.hidden_channels, self.widths[0]
        pixels = 3 * self.stem**2
        inputs = (pixels + (4 if self.evidence else 0), *widths[:-1])
        unet = sum(9 * a * b + 36 * n * b * b for a, b, n in zip(inputs, widths, self.num_blocks, strict=True))
        unet += 9 * widths[-1] ** 2 * (1 + 2 * self.num_blocks[-1])
        unet += sum(16 * a * b for a, b in zip(widths, widths[1:], strict=False))
        area = self.memory_kernel**2
        recurrent = 4 * hidden * ((first + hidden) * area + 1)
        memory = recurrent if self.memory == "convlstm" else hidden * (first * area + 2)
        head = 9 * first * (first + hidden + 2 * pixels) + 18 * self.image_blocks * first**2 + pixels * (9 * first + 1)
        return unet + memory + (head if self.image_blocks else 0)

    @property
    def size_multiple(self) -> int:
        """Height and width are padded to a multiple of this inside the network."""
        deepest = max(2 ** (len(self.widths) - 1), self.memory_pool)
        return 2 ** (self.num_scales - 1) * self.stem * deepest

    def powers(self, scale: int) -> int:
        """Highest power of (I - D) at pyramid level `scale` (1 = full size): `scale` in Eq. 10, all in Eq. 9."""
        return scale if self.expansion == "cross_scale" else self.num_scales

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_dict` turns back into an equal configuration."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NRKNetConfig":
        """Build from `to_dict`'s output.

        Raises:
            ValueError: an unknown key, or a value out of range.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a configuration must be a dictionary, got {type(values).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            shown = [key[:80] for key in unknown[:8]]
            raise ValueError(f"unknown configuration keys {shown}{more}; known: {sorted(known)}")
        return cls(**values)


def _one_of(config: NRKNetConfig, name: str, allowed: tuple[Any, ...]) -> None:
    value = getattr(config, name)
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got {_shown(value)}")


def _whole(config: NRKNetConfig, name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value as an error names it: what comes from elsewhere may be as long as it likes."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def look_up(table: dict[str, _Value], name: str, *, kind: str) -> _Value:
    """The value of a name; an unknown one is a ValueError that lists the known ones."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]


RADII = (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9, 10, 11.5, 13, 15, 17, 19.5, 22, 26)

_PAPER = NRKNetConfig()
_OURS = replace(
    _PAPER,
    coefficients="unit_sum",
    scale_images_from=0,
    padding="zeros",
    head="radius",
    radii=RADII,
    num_coordinates=8,
    evidence=True,
    image_blocks=2,
)

def powers_taken(power: int, *, expansion: str, highest: int | None = None) -> list[int]:
    """The powers of I - D_t that a scale adds to Y_1 (Eq. 10, or Eq. 9 at every scale).

    Args:
        power: the scale's highest.
        expansion: "cross_scale" takes that alone, "full" all from 1.
        highest: leave out powers above this one.
    """
    powers = [power] if expansion == "cross_scale" else list(range(1, power + 1))
    return [k for k in powers if highest is None or k <= highest]


PRESETS: dict[str, NRKNetConfig] = {
    "paper": _PAPER,
    "released": replace(
        _PAPER,
        num_atoms=21,
        taps="symmetric",
        shared_atoms=False,
        fusion="learned",
        pyramid="nearest",
        scale_images_from=0,
        channel_order="bgr",
    ),
    "default": _OURS,
    "lite": replace(
        _OURS, num_atoms=14, widths=(32, 48, 48), stem=2, memory_kernel=3, memory_channels=16, image_blocks=1
    ),
}
"""The named networks: the paper's, the authors' released code's, and our own two (full width, and small)."""

_CHANGES: dict[str, dict[str, Any]] = {
    "NonAdaptive": {"atoms": "gaussian"},
    "NonRecursive": {"atoms": "nonrecursive"},
    "NonSeparable": {"atoms": "nonseparable"},
    "FullRKR": {},
    "FullExp": {"expansion": "full"},
    "2Scales": {"num_scales": 2},
    "4Scales": {"num_scales": 4},
    "w/o ConvLSTM": {"memory": "none", "num_blocks": (2, 1, 1)},
    "Original": {},
    "w/o reblur": {},
    "w/o FDR": {},
    "SingleScaleLoss": {},
    "FullLoss": {},
    **{f"J{count}": {"num_atoms": count} for count in (15, 18, 20, 22, 25)},
}


def vary(base: NRKNetConfig, variant: str) -> NRKNetConfig:
    """A network with one part changed as an ablation of the paper changes it.

    Args:
        base: the network; the paper's is its `paper` preset.
        variant: a name of VARIANTS. Those of Table 5 change the loss and leave the network: `nrknet.recipes`.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    return replace(base, **look_up(_CHANGES, variant, kind="variant"))


VARIANTS: dict[str, NRKNetConfig] = {name: vary(_PAPER, name) for name in _CHANGES}
"""The ablations of Tables 3, 4 and 5 and of the number of atoms, as changes to the `paper` preset."""


def default_preset(variant: str | None) -> str:
    """What is trained when nobody says what: `lite`, and for a variant `paper`, which the paper's ablations change."""
    return "lite" if variant is None else "paper"


def named_config(preset: str, *, variant: str | None = None) -> NRKNetConfig:
    """Look up a preset, or a variant of one.

    Args:
        preset: a name of PRESETS.
        variant: a name of VARIANTS.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    config = look_up(PRESETS, preset, kind="preset")
    return config if variant is None else vary(config, variant)
