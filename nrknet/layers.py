"""Building blocks of the coefficient network: residual blocks, U-Net, ConvLSTM and its no-memory twin, heads."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrknet.atoms import reflect_pad
from nrknet.config import CORRECTION_STEP, EVIDENCE_BANDS, RESIDUAL_STEP, RESPONSE_GAIN, NRKNetConfig

State = tuple[Tensor, Tensor]


def conv(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, padding: str) -> nn.Conv2d:
    """A bias-free convolution that keeps the size (or halves it with stride 2)."""
    return nn.Conv2d(
        channels_in,
        channels_out,
        kernel,
        stride,
        padding=kernel // 2,
        padding_mode=padding,  # type: ignore[arg-type]  # newer PyTorch lists the modes; the configuration has checked
        bias=False,
    )


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x)))."""

    def __init__(self, channels: int, *, padding: str) -> None:
        super().__init__()
        self.first = conv(channels, channels, padding=padding)
        self.second = conv(channels, channels, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x), inplace=True)).add_(x)


class UNet(nn.Module):
    """Features of one scale: encoder levels, a bottleneck, decoder levels with additive skips (Sec. 3.3).

    Args:
        channels_in: input channels.
        widths: channels per level, fine to coarse; each level halves the resolution.
        num_blocks: residual blocks per encoder and decoder level.
        padding: "reflect" or "zeros".
    """

    def __init__(self, channels_in: int, widths: Sequence[int], num_blocks: Sequence[int], *, padding: str) -> None:
        super().__init__()

        def blocks(level: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(widths[level], padding=padding) for _ in range(num_blocks[level])))

        levels = range(len(widths))
        inputs = [channels_in, *widths[:-1]]
        self.entries = nn.ModuleList(
            conv(inputs[i], widths[i], stride=1 if i == 0 else 2, padding=padding) for i in levels
        )
        self.encoders = nn.ModuleList(blocks(i) for i in levels)
        self.bottleneck_entry = conv(widths[-1], widths[-1], padding=padding)
        self.bottleneck = blocks(levels[-1])
        self.decoders = nn.ModuleList(blocks(i) for i in levels)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(widths[i + 1], widths[i], 4, stride=2, padding=1, bias=False) for i in levels[:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B,channels_in,h,w) -> (B,widths[0],h,w); h and w divide by 2^(levels-1)."""
        skips = []
        for entry, encoder in zip(self.entries, self.encoders, strict=True):
            x = encoder(F.relu(entry(x), inplace=True))
            skips.append(x)
        x = self.bottleneck(F.relu(self.bottleneck_entry(x), inplace=True))
        for level in reversed(range(len(skips))):
            x = self.decoders[level](x + skips[level])
            if level:
                x = F.relu(self.ups[level - 1](x), inplace=True)
        return x


class ConvLSTM(nn.Module):
    """Convolutional LSTM cell; its state runs from the coarse scale to the fine one (Sec. 3.3).

    Args:
        channels_in: feature channels.
        hidden: hidden and cell state channels.
        kernel: odd kernel size.
    """

    def __init__(self, channels_in: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels_in + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B,C,h,w) and the previous scale's state at this size (None: zeros) -> hidden (B,hidden,h,w), new state."""
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.hidden, *x.shape[-2:])
            state = (zeros, zeros)
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, (h, c)


class MemorylessCell(nn.Module):
    """The no-LSTM twin of Table 4: convolution, batch norm, ReLU of the same kernel size, no state."""

    def __init__(self, channels_in: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv = conv(channels_in, hidden, kernel=kernel, padding="zeros")
        self.norm = nn.BatchNorm2d(hidden)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, None]:
        """(B,C,h,w) -> hidden (B,hidden,h,w), no state."""
        return F.relu(self.norm(self.conv(x))), None


MEMORY_CELLS: dict[str, type[ConvLSTM] | type[MemorylessCell]] = {"convlstm": ConvLSTM, "none": MemorylessCell}


class GatedHead(nn.Module):
    """Coefficients as the released code forms them: h * ReLU(BN(conv(features))) + h, h the upsampled hidden state."""

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__()
        self.conv = conv(config.widths[0], config.num_coefficients, padding=config.padding)
        self.norm = nn.BatchNorm2d(config.num_coefficients)
        self.stem, self.unit_sum = config.stem, config.coefficients == "unit_sum"

    def forward(self, features: Tensor, hidden: Tensor, scale: int) -> tuple[Tensor, None]:
        """Features (B,C,h,w), hidden (B,K,h,w) -> coefficients (B,K,stem h,stem w), no radius posterior."""
        coefficients = hidden * F.relu(self.norm(self.conv(features))) + hidden
        coefficients = upsample(coefficients, self.stem)
        return unit_sum(coefficients) if self.unit_sum else coefficients, None


def unit_sum(coefficients: Tensor) -> Tensor:
    """(B,K,h,w) with the delta's coefficient replaced by 1 minus the sum of the others."""
    others = coefficients[:, 1:]
    return torch.cat([1 - others.sum(dim=1, keepdim=True), others], dim=1)


class RadiusHead(nn.Module):
    """Coefficients from a posterior over blur radii: sum_r p(r) table_t[r], plus a learned per-pixel residual.

    Term 1 of the series is linear in the coefficients, so the posterior-weighted table gives the posterior mean of
    the per-radius restorations. Table and residual hold coordinates in a well-conditioned basis of the coefficients
    (`nrknet.basis`) and start at zero: D is the identity until trained.

    Args:
        config: uses radii, num_scales, num_coordinates, stem, widths, hidden_channels.
    """

    radii: Tensor
    basis: Tensor

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__()
        channels = config.widths[0] + config.hidden_channels
        count = config.num_coordinates or config.num_atoms
        self.stem, self.unit_sum = config.stem, config.coefficients == "unit_sum"
        self.register_buffer("radii", torch.tensor(config.radii, dtype=torch.float32), persistent=False)
        self.register_buffer("basis", torch.eye(config.num_atoms)[:count].contiguous())
        # radius 0 always looks up the identity, so the table starts at the second radius
        self.table = nn.Parameter(torch.zeros(config.num_scales, len(config.radii) - 1, count))
        self.posterior = nn.Conv2d(channels, len(config.radii), 1)
        self.residual = nn.Conv2d(channels, count * config.stem**2, 3, padding=1)
        for parameter in (*self.posterior.parameters(), *self.residual.parameters()):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.posterior.get_parameter("bias")[:1], 3.0)

    def forward(self, features: Tensor, hidden: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Features (B,C,h,w), hidden (B,H,h,w) at scale t -> coefficients (B,K,stem h,stem w), logits (B,R,h,w)."""
        joint = torch.cat([features, hidden], dim=1)
        logits = self.posterior(joint).float()
        looked_up = upsample(self._look_up(logits.softmax(dim=1), scale), self.stem)
        residual = RESIDUAL_STEP * F.pixel_shuffle(self.residual(joint).float(), self.stem)
        return self.coefficients(looked_up + residual), logits

    def _look_up(self, weights: Tensor, scale: int) -> Tensor:
        """Table entries weighted over the radii: (B,R,h,w) weights -> (B,P,h,w) coordinates; radius 0 is zero."""
        return _mix(self.table[scale - 1].t(), weights[:, 1:])

    def coefficients(self, coordinates: Tensor) -> Tensor:
        """Coordinates (B,P,h,w) -> coefficients (B,K,h,w); the delta's is 1, less the others for unit sum."""
        delta = self.basis.sum(dim=1, keepdim=True) if self.unit_sum else self.basis.new_zeros(len(self.basis), 1)
        coefficients = _mix(torch.cat([-delta, self.basis], dim=1).t(), coordinates)
        coefficients[:, 0].add_(1)
        return coefficients

    def expected_radius(self, logits: Tensor) -> Tensor:
        """(B,R,h,w) logits -> (B,1,stem h,stem w) posterior mean radius in pixels of the scale."""
        mean = torch.einsum("brhw,r->bhw", logits.float().softmax(dim=1), self.radii)[:, None]
        return upsample(mean, self.stem)

    def lookup(self, radius: Tensor, scale: int) -> Tensor:
        """Coefficients for known radii by linear interpolation in the table: (B,1,h,w) px -> (B,K,h,w)."""
        return self.coefficients(self._look_up(radius_weights(radius, self.radii), scale))


def _mix(matrix: Tensor, maps: Tensor) -> Tensor:
    """Every pixel's vector times a matrix (M,N): (B,N,h,w) -> (B,M,h,w).

    A product of matrices and not a 1x1 convolution: convolutions may run in TF32, and basis values reach 1000.
    """
    return (matrix @ maps.flatten(2)).unflatten(2, maps.shape[-2:])


HEADS: dict[str, type[GatedHead] | type[RadiusHead]] = {"gated": GatedHead, "radius": RadiusHead}


class ImageHead(nn.Module):
    """A correction of Z_0 from the features that made it: what no sum of blurred copies gives, edges and noise.

    Entry convolution, residual blocks and an exit convolution that starts at zero, at the features' resolution.

    Args:
        config: uses widths, hidden_channels, stem, padding and image_blocks.
    """

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__()
        width, self.stem = config.widths[0], config.stem
        pixels = 3 * config.stem**2
        self.entry = conv(width + config.hidden_channels + 2 * pixels, width, padding=config.padding)
        self.blocks = nn.Sequential(*(ResidualBlock(width, padding=config.padding) for _ in range(config.image_blocks)))
        self.exit = nn.Conv2d(width, pixels, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.get_parameter("bias"))

    def forward(self, features: Tensor, hidden: Tensor, blurred: Tensor, series: Tensor) -> Tensor:
        """Features (B,C,h,w), hidden (B,H,h,w), Y and Z_0 (B,3,stem h,stem w) -> correction (B,3,stem h,stem w)."""
        pixels = [F.pixel_unshuffle(x, self.stem) for x in (blurred - 0.5, RESPONSE_GAIN * (series - blurred))]
        joint = torch.cat([features, hidden, *pixels], dim=1).contiguous(memory_format=torch.channels_last)
        x = self.blocks(F.relu(self.entry(joint), inplace=True))
        return F.pixel_shuffle(CORRECTION_STEP * self.exit(x), self.stem)


def radius_weights(radius: Tensor, radii: Tensor) -> Tensor:
    """Linear-interpolation weights of radii on the grid `radii` (R,): (B,1,h,w) -> (B,R,h,w), each pixel sums to 1."""
    radius = radius.clamp(0, float(radii[-1]))
    upper = torch.bucketize(radius, radii).clamp(1, len(radii) - 1)
    share = (radius - radii[upper - 1]) / (radii[upper] - radii[upper - 1])
    weights = radius.new_zeros(radius.shape[0], len(radii), *radius.shape[-2:])
    return weights.scatter_(1, upper, share).scatter_(1, upper - 1, 1 - share)


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement by a whole factor; 1 returns x."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


ENERGY_FLOOR = 1e-6
"""About the variance of 8-bit rounding."""


def _binomial(x: Tensor, step: int) -> Tensor:
    """Smooth by [1, 2, 1] / 4 with taps `step` pixels apart, both ways, reflecting ends."""
    p = reflect_pad(x, step)
    h, w = p.shape[-2:]
    rows = (p[..., : h - 2 * step, :] + p[..., 2 * step :, :]).mul_(0.25).add_(p[..., step : h - step, :], alpha=0.5)
    return (rows[..., : w - 2 * step] + rows[..., 2 * step :]).mul_(0.25).add_(rows[..., step : w - step], alpha=0.5)


def blur_evidence(image: Tensor, stem: int) -> Tensor:
    """How much fine, middle and coarse detail there is around each pixel: what tells blurred from sharp.

    Log local energy of differences of successively smoothed versions of the grey image (an a-trous pyramid).

    Args:
        image: (B,3,H,W) in [0,1].
        stem: output is at 1/stem of the resolution.

    Returns:
        (B,4,H/stem,W/stem), roughly in [-1.5, 3].
    """
    smooth = image.float().mean(dim=1, keepdim=True)
    energies = []
    for band in range(EVIDENCE_BANDS):
        step = 2**band
        smoother = _binomial(smooth, step)
        energy = F.avg_pool2d((smooth - smoother).square_(), stem) if stem > 1 else (smooth - smoother).square_()
        energies.append(_binomial(_binomial(energy, 1), 2))
        smooth = smoother
    return (torch.cat(energies, dim=1) + ENERGY_FLOOR).log_().add_(10).div_(3)
