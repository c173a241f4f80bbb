"""NRKNet: estimates D_t at every scale and fuses the truncated Neumann series across scales (Eq. 10, Fig. 1)."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from nrknet.atoms import ATOM_BANKS
from nrknet.basis import coefficient_basis
from nrknet.config import NRKNetConfig
from nrknet.folder import check_state, read_description, read_weights, write_folder
from nrknet.layers import (
    EVIDENCE_BANDS,
    HEADS,
    MEMORY_CELLS,
    ConvLSTM,
    ImageHead,
    MemorylessCell,
    RadiusHead,
    State,
    UNet,
    blur_evidence,
    upsample,
)
from nrknet.neumann import BlurOperator, LearnedFusion, fuse_scales, neumann_terms, pyramid
from nrknet.repository import download_folder

MIN_SIZE = 16


@dataclass(frozen=True)
class ScaleOutput:
    """One pyramid level t of the network; sizes (h,w) are those of the padded input over 2^(t-1).

    Attributes:
        scale: t, 1 = full size.
        terms: (I - D_t)^k Y_t for k = 0..power, each (B,3,h,w); the first is Y_t.
        coefficients: (B,K,h,w) Gamma_{j,t}, the delta's first.
        operator: D_t, callable on (B,3,h,w).
        image: (B,3,h,w) Z_t, the sum of terms that the multi-scale loss compares with the sharp image.
        radius: (B,1,h,w) blur radius in pixels of this level, or None without a radius head.
        radius_logits: (B,R,h',w') logits over the table's radii at the features' resolution, or None.
    """

    scale: int
    terms: tuple[Tensor, ...]
    coefficients: Tensor
    operator: BlurOperator
    image: Tensor
    radius: Tensor | None
    radius_logits: Tensor | None


@dataclass(frozen=True)
class NRKNetOutput:
    """What NRKNet returns.

    Attributes:
        image: (B,3,H,W) the restored image, not clipped: `series`, corrected by the image head where there is one.
        series: (B,3,H,W) Z_0 of Eq. 10, the fused Neumann series alone.
        scales: the pyramid levels, coarse -> fine.
    """

    image: Tensor
    series: Tensor
    scales: tuple[ScaleOutput, ...]


class NRKNet(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="nrknet",
    tags=["image-to-image", "deblurring", "defocus-deblurring"],
    license="mit",
):
    """Neumann network with recursive kernels for single-image defocus deblurring.

    Args:
        config: the structure; see NRKNetConfig and PRESETS.
    """

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__()
        self.config = config
        self.atoms = ATOM_BANKS[config.atoms](config)
        self.unet = _make_unet(config)
        self.memory = _make_memory(config)
        self.head = HEADS[config.head](config)
        self.image_head = ImageHead(config) if config.image_blocks else None
        self.fusion = LearnedFusion(config.num_coefficients) if config.fusion == "learned" else None
        if isinstance(self.head, RadiusHead) and config.num_coordinates:
            self.head.basis.copy_(coefficient_basis(self.atoms.kernels(), config.num_coordinates))
        self._initialise()

    def _initialise(self) -> None:
        """Xavier initialisation of the U-Net (Sec. 4.1); heads keep their own start."""
        for module in self.unet.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight)

    @classmethod
    def from_folder(cls, folder: Path) -> "NRKNet":
        """Build from config.json and model.safetensors, strictly: on the CPU, in float32, in evaluation mode.

        Raises:
            ValueError: a file is missing or broken, or the weights do not fit the configuration.
        """
        config, described = read_description(folder)
        _check_large_parts(config, described, source=str(folder))
        model = cls(config)
        check_state(described, model.state_dict(), source=str(folder))
        model.load_state_dict(read_weights(folder))
        return model.eval()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        map_location: str | torch.device = "cpu",
        config: NRKNetConfig | None = None,
    ) -> "NRKNet":
        """Load a network from a folder or from the Hugging Face Hub, as strictly as `load_model` does.

        The mixin's own loading would ask for config.json before the name is checked, drop the keys of it that it does
        not know, and accept missing parameters.

        Args:
            pretrained_model_name_or_path: a folder, "owner/repo" or "owner/repo@revision".
            revision: a branch, a tag or a commit; None: the branch main.
            token: of the Hub; None: the one that is logged in, False: none.
            cache_dir: where downloads are kept; None: the Hub's own cache.
            force_download: fetch again what is in the cache.
            local_files_only: ask nobody, take what is in the cache.
            map_location: the device.
            config: what the network's own configuration must be; None: whatever it is.

        Returns:
            The network in evaluation mode.

        Raises:
            ValueError: nothing of that name, or what is there cannot be loaded; one sentence.
        """
        source = str(pretrained_model_name_or_path)
        if Path(source).is_dir():
            folder = Path(source)
        else:
            options = {"token": token, "cache_dir": cache_dir, "force_download": force_download}
            folder = download_folder(source, revision=revision, local_files_only=local_files_only, **options)
        model = cls.from_folder(folder)
        if config is not None and config != model.config:
            raise ValueError(f"{source}: the configuration is read from its config.json and cannot be replaced")
        return model.to(map_location)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Let the mixin's `save_pretrained` and `push_to_hub` write what `load_model` reads."""
        write_folder(save_directory, self.config, self.state_dict())

    def forward(self, blurred: Tensor) -> NRKNetOutput:
        """Deblur.

        Args:
            blurred: (B,3,H,W) float in [0,1], any H, W >= 16, in the configuration's channel order.

        Returns:
            NRKNetOutput; `.image` has the input's size.

        Raises:
            ValueError: not a float (B,3,H,W) tensor, or smaller than 16 pixels.
        """
        if blurred.ndim != 4 or blurred.shape[1] != 3 or not blurred.is_floating_point():
            raise ValueError(f"blurred must be a float (B,3,H,W) tensor, got {blurred.dtype} {tuple(blurred.shape)}")
        height, width = blurred.shape[-2:]
        if min(height, width) < MIN_SIZE:
            raise ValueError(f"the image must be at least {MIN_SIZE}x{MIN_SIZE} pixels, got {height}x{width}")
        padded = self._pad(blurred)
        scales: list[ScaleOutput] = []
        state: State | None = None
        levels = pyramid(padded, self.config.num_scales, mode=self.config.pyramid)
        for scale, level in zip(range(len(levels), 0, -1), levels, strict=True):
            features, hidden, state = self._features(level, state)
            scales.append(self._series(level, scale, features, hidden))
        series = fuse_scales([s.terms for s in scales], expansion=self.config.expansion)
        image = shown = series[..., :height, :width]
        if self.image_head is not None:
            # detached: the series is trained to be the best it can be alone, so that its kernels stay readable
            start = series.detach()
            image = (start + self.image_head(features, hidden, padded, start).float())[..., :height, :width]
        return NRKNetOutput(image, shown, tuple(scales))

    def _pad(self, x: Tensor) -> Tensor:
        """Replicate-pad right and bottom to a multiple of `size_multiple`, at least two of them."""
        m = self.config.size_multiple
        bottom, right = (max(-(-n // m) * m, 2 * m) - n for n in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x

    def _features(self, level: Tensor, state: State | None) -> tuple[Tensor, Tensor, State | None]:
        """Features (B,C,h,w) of Y_t, hidden (B,H,h,w), and the state for the next scale; 1/stem of the level's size."""
        pool = self.config.memory_pool
        features = self.unet(self._unet_input(level))
        pooled = F.avg_pool2d(features, pool) if pool > 1 else features
        if state is not None:
            state = (upsample(state[0], 2), upsample(state[1], 2))
        hidden, state = self.memory(pooled, state)
        if pool > 1:
            hidden = F.interpolate(hidden, scale_factor=pool, mode="nearest")
        return features, hidden, state

    def _series(self, level: Tensor, scale: int, features: Tensor, hidden: Tensor) -> ScaleOutput:
        """D_t from the features of Y_t, and the terms of its Neumann series."""
        config = self.config
        with torch.autocast(level.device.type, enabled=False):  # coefficients and pixels stay float32
            coefficients, logits = self.head(features.float(), hidden.float(), scale)
            operator = self._operator(coefficients)
            terms = neumann_terms(operator, level.float(), config.powers(scale))
            image = torch.stack(terms[config.scale_images_from :]).sum(0)
        radius = self.head.expected_radius(logits) if isinstance(self.head, RadiusHead) and logits is not None else None
        return ScaleOutput(scale, tuple(terms), coefficients, operator, image, radius, logits)

    def _unet_input(self, level: Tensor) -> Tensor:
        x = F.pixel_unshuffle(level, self.config.stem) if self.config.stem > 1 else level
        if self.config.evidence:
            with torch.no_grad():
                evidence = self._evidence(level)
            x = torch.cat([x - 0.5, evidence.to(x.dtype)], dim=1)
        return x.contiguous(memory_format=torch.channels_last)

    def _operator(self, coefficients: Tensor) -> BlurOperator:
        """D_t; an export has its own."""
        return BlurOperator(self.atoms, coefficients, self.fusion)

    def _evidence(self, level: Tensor) -> Tensor:
        """How much detail there is in Y_t; an export has its own."""
        return blur_evidence(level, self.config.stem)


def _make_unet(config: NRKNetConfig) -> UNet:
    channels = 3 * config.stem**2 + (EVIDENCE_BANDS if config.evidence else 0)
    return UNet(channels, config.widths, config.num_blocks, padding=config.padding)


def _make_memory(config: NRKNetConfig) -> ConvLSTM | MemorylessCell:
    return MEMORY_CELLS[config.memory](config.widths[0], config.hidden_channels, config.memory_kernel)


def _check_large_parts(config: NRKNetConfig, tensors: dict[str, Tensor], *, source: str) -> None:
    """Compare what grows with the square of the widths before memory is taken for it.

    A configuration from elsewhere may describe gigabytes, and come with weights of a few bytes.

    Raises:
        ValueError: the weights do not fit the configuration.
    """
    with torch.device("meta"):  # shapes alone
        parts: dict[str, nn.Module] = {"unet": _make_unet(config), "memory": _make_memory(config)}
        if config.image_blocks:
            parts["image_head"] = ImageHead(config)
    expected = {f"{part}.{name}": value for part in parts for name, value in parts[part].state_dict().items()}
    found = {name: value for name, value in tensors.items() if name.partition(".")[0] in parts}
    check_state(found, expected, source=source)
