"""The four atom banks of Table 3: each turns an image into its K = J + 1 blurred versions (the delta first)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrknet.config import NRKNetConfig

MATRIX_SIZE_LIMIT = 288
"""Images up to this many pixels a side are blurred by matrix products (fast in training), larger ones by stencils."""


def reflect_index(size: int, pad: int, device: torch.device | None = None) -> Tensor:
    """Indices that extend [0, size) by `pad` on both sides by reflection without repeating the edge, any pad."""
    if size == 1:
        return torch.zeros(2 * pad + 1, dtype=torch.long, device=device)
    position = torch.arange(-pad, size + pad, device=device) % (2 * size - 2)
    return torch.where(position < size, position, 2 * size - 2 - position)


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """Reflect-pad the last two axes; unlike F.pad the padding may be larger than the image."""
    h, w = x.shape[-2:]
    if pad < min(h, w):
        flat = x.reshape(-1, 1, h, w)
        return F.pad(flat, (pad,) * 4, mode="reflect").reshape(*x.shape[:-2], h + 2 * pad, w + 2 * pad)
    return x[..., reflect_index(h, pad, x.device), :][..., reflect_index(w, pad, x.device)]


def toeplitz(kernels: Tensor, size: int) -> Tensor:
    """Matrices of 1-D convolutions with reflecting ends.

    Args:
        kernels: (..., S) odd number of taps.
        size: signal length n.

    Returns:
        (..., n, n) matrices M with M @ x = the filtered signal.
    """
    taps = kernels.shape[-1]
    source = reflect_index(size, taps // 2, kernels.device).unfold(0, taps, 1)  # (n, S): where each tap reads
    onehot = F.one_hot(source, size).to(kernels.dtype)  # (n, S, n)
    return torch.einsum("...s,nsm->...nm", kernels, onehot)


def _initial_logits(*shape: int) -> Tensor:
    """Near-uniform softmax inputs with a little variety, so that atoms do not start equal."""
    return 0.1 * torch.randn(*shape)


class AtomBank(nn.Module):
    """Common part of the banks.

    Args:
        config: uses num_atoms, taps and shared_atoms.
    """

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__()
        self.num_atoms = config.num_atoms
        self.symmetric = config.taps == "symmetric"
        self.num_sets = 1 if config.shared_atoms else 3

    @property
    def support(self) -> int:
        """Side of the largest atom, 2J + 1 pixels."""
        return 2 * self.num_atoms + 1

    def forward(self, x: Tensor) -> Tensor:
        """Blur by every atom: [x, x * A_1, ..., x * A_J].

        Args:
            x: (B,3,H,W).

        Returns:
            (B,K,3,H,W), the delta's response (x itself) first.
        """
        raise NotImplementedError

    def chain(self, x: Tensor) -> Iterator[Tensor]:
        """Yield x, x * A_1, ..., x * A_J one after another, so that only one of them need be kept."""
        yield from self(x).unbind(1)

    def kernels(self) -> Tensor:
        """The K atoms as (K, 1 or 3, S, S) kernels zero-padded to one size S = 2J + 1; each sums to 1.

        They are correlation kernels, as F.conv2d takes them.
        """
        raise NotImplementedError


class SeparableAtoms(AtomBank):
    """Atoms A_j = u_j u_j^T given by 1-D kernels u_j; subclasses say how u_j arises."""

    def profiles(self) -> Tensor:
        """(K, sets, S) one-dimensional kernels u_j, zero-padded to S taps, the delta first; each sums to 1."""
        raise NotImplementedError

    def kernels(self) -> Tensor:
        u = self.profiles()
        return u[..., :, None] * u[..., None, :]

    def forward(self, x: Tensor) -> Tensor:
        if max(x.shape[-2:]) <= MATRIX_SIZE_LIMIT:
            return self._by_matrices(x)
        u = self.profiles()[1:]  # (J, sets, S)
        h, w = x.shape[-2:]
        pad = self.support // 2
        flat = reflect_pad(x, pad).reshape(-1, 3, h + 2 * pad, w + 2 * pad)
        responses = [x]
        for row in u.expand(-1, 3, -1):
            across = F.conv2d(flat, row[:, None, None, :], groups=3)
            responses.append(F.conv2d(across, row[:, None, :, None], groups=3))
        return torch.stack(responses, dim=1)

    def _by_matrices(self, x: Tensor) -> Tensor:
        """x * A_j = M_j x M_j^T for all j as two batched products; backward costs the same again."""
        h, w = x.shape[-2:]
        rows = self.matrices(h)
        columns = rows if h == w else self.matrices(w)
        if self.num_sets == 1:  # one large product for all atoms: (B3H, W) @ (W, JW), then (J, H, H) @ (B3, J, H, W)
            across = x.reshape(-1, w) @ columns[:, 0].permute(2, 0, 1).reshape(w, -1)
            across = across.reshape(-1, h, self.num_atoms, w).transpose(1, 2)
            blurred = (rows[:, 0] @ across).reshape(-1, 3, self.num_atoms, h, w).transpose(1, 2)
        else:
            blurred = rows @ x[:, None] @ columns.transpose(-1, -2)
        return torch.cat([x[:, None], blurred], dim=1)

    def matrices(self, size: int) -> Tensor:
        """(J, sets, n, n) matrices of the 1-D kernels u_j on n pixels, reflecting ends included."""
        return toeplitz(self.profiles()[1:], size)


class RecursiveAtoms(SeparableAtoms):
    """Recursive atoms A_j = A_{j-1} * (a_j a_j^T), each a_j three positive taps of sum 1 (Eq. 2, 3).

    3J parameters when free and shared; supports grow by 2 pixels from atom to atom up to 2J + 1.
    """

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__(config)
        self.logits = nn.Parameter(_initial_logits(self.num_atoms, self.num_sets, 2 if self.symmetric else 3))

    def taps(self) -> Tensor:
        """(J, sets, 3) the taps a_j: softmax over the three, so positive with unit sum."""
        logits: Tensor = self.logits
        if self.symmetric:
            logits = torch.cat([logits, logits[..., :1]], dim=-1)
        return logits.softmax(dim=-1)

    def profiles(self) -> Tensor:
        a = self.taps()
        u = a.new_zeros(self.num_sets, self.support)
        u[:, self.num_atoms] = 1
        chain = [u]
        for j in range(self.num_atoms):
            left, middle, right = a[j].unsqueeze(-1).unbind(1)
            p = F.pad(chain[-1], (1, 1))
            chain.append(left * p[:, 2:] + middle * p[:, 1:-1] + right * p[:, :-2])
        return torch.stack(chain)

    def matrices(self, size: int) -> Tensor:
        steps = toeplitz(self.taps(), size)  # (J, sets, n, n); their running products are exactly Eq. 5 with borders
        products = [steps[0]]
        for step in steps[1:]:
            products.append(step @ products[-1])
        return torch.stack(products)

    def forward(self, x: Tensor) -> Tensor:
        if max(x.shape[-2:]) <= MATRIX_SIZE_LIMIT:
            return self._by_matrices(x)
        return torch.stack(list(self.chain(x)), dim=1)

    def chain(self, x: Tensor) -> Iterator[Tensor]:
        """Yield x, x * A_1, ..., x * A_J one after another (Eq. 5): each from the last by one 3x3 separable atom."""
        a = self.taps().expand(-1, 3, -1)
        yield x
        for taps in a:
            kernel = taps[:, None, :, None] * taps[:, None, None, :]
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)
            yield x


class NonRecursiveAtoms(SeparableAtoms):
    """Independent separable atoms A_j = u_j u_j^T with u_j of 2j + 1 positive taps of sum 1 (Table 3)."""

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__(config)
        free = [j + 2 if self.symmetric else 2 * j + 3 for j in range(self.num_atoms)]
        self.logits = nn.ParameterList([nn.Parameter(_initial_logits(self.num_sets, n)) for n in free])

    def profiles(self) -> Tensor:
        first = next(iter(self.logits))
        rows = [F.pad(first.new_ones(self.num_sets, 1), (self.num_atoms,) * 2)]
        for j, logits in enumerate(self.logits):
            full = torch.cat([logits, logits[:, :-1].flip(-1)], dim=-1) if self.symmetric else logits
            rows.append(F.pad(full.softmax(dim=-1), (self.num_atoms - j - 1,) * 2))
        return torch.stack(rows)


class GaussianAtoms(SeparableAtoms):
    """Fixed Gaussian atoms of the same number and supports, sigma_j = (2j + 1) / 6 (Table 3, NonAdaptive)."""

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__(config)
        taps = torch.arange(-self.num_atoms, self.num_atoms + 1, dtype=torch.float32)
        sizes = 2 * torch.arange(1, self.num_atoms + 1, dtype=torch.float32) + 1
        u = torch.exp(-0.5 * (taps / (sizes[:, None] / 6)) ** 2)
        u = torch.where(taps.abs() <= sizes[:, None] // 2, u, torch.zeros(()))
        u = torch.cat([(taps == 0).float()[None], u / u.sum(-1, keepdim=True)])
        self.register_buffer("fixed", u[:, None].repeat(1, self.num_sets, 1), persistent=False)

    def profiles(self) -> Tensor:
        return self.get_buffer("fixed")


class NonSeparableAtoms(AtomBank):
    """Independent two-dimensional atoms of (2j + 1)^2 positive numbers of sum 1 (Table 3)."""

    def __init__(self, config: NRKNetConfig) -> None:
        super().__init__(config)
        free = [j + 2 if self.symmetric else 2 * j + 3 for j in range(self.num_atoms)]
        self.logits = nn.ParameterList([nn.Parameter(_initial_logits(self.num_sets, n, n)) for n in free])

    def atoms(self) -> list[Tensor]:
        """J tensors (sets, 2j+1, 2j+1)."""
        found = []
        for logits in self.logits:
            if self.symmetric:
                logits = torch.cat([logits, logits[..., :-1].flip(-1)], dim=-1)
                logits = torch.cat([logits, logits[:, :-1].flip(-2)], dim=-2)
            found.append(logits.flatten(1).softmax(dim=-1).view_as(logits))
        return found

    def kernels(self) -> Tensor:
        atoms = self.atoms()
        delta = atoms[0].new_ones(self.num_sets, 1, 1)
        return torch.stack([F.pad(a, ((self.support - a.shape[-1]) // 2,) * 4) for a in [delta, *atoms]])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(list(self.chain(x)), dim=1)

    def chain(self, x: Tensor) -> Iterator[Tensor]:
        """Yield x, x * A_1, ..., x * A_J one after another, each through one product of Fourier transforms.

        Twenty convolutions with up to 41x41 taps one by one take ten to twenty times as long.
        """
        h, w = x.shape[-2:]
        pad = self.support // 2
        size = (h + 2 * pad, w + 2 * pad)
        spectrum = torch.fft.rfft2(reflect_pad(x, pad))
        yield x
        for kernel in self.kernels()[1:].to(x.dtype):
            # conjugate: F.conv2d's convention, correlation; what wraps round lands outside the window
            product = spectrum * torch.fft.rfft2(kernel, s=size).conj()
            yield torch.fft.irfft2(product, s=size)[..., :h, :w]


ATOM_BANKS: dict[str, type[AtomBank]] = {
    "recursive": RecursiveAtoms,
    "nonrecursive": NonRecursiveAtoms,
    "nonseparable": NonSeparableAtoms,
    "gaussian": GaussianAtoms,
}
"""Table 3's FullRKR, NonRecursive, NonSeparable and NonAdaptive."""
