"""What learns: the network, its running average and its optimiser, one step at a time."""

import logging
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nrknet.config import NRKNetConfig
from nrknet.data import RenderedCrops
from nrknet.fingerprint import fingerprint_weights
from nrknet.grow import grow
from nrknet.layers import RadiusHead
from nrknet.losses import total_loss
from nrknet.model import NRKNet
from nrknet.prefit import prefit_table
from nrknet.processes import Processes
from nrknet.recipes import Recipe
from nrknet.skips import Skips
from nrknet.stream import Crops, CropStream
from nrknet.validation import SOFT_DB, psnr

log = logging.getLogger(__name__)


class Learner:
    """A network that a recipe trains.

    Args:
        config: the network's structure.
        recipe: how it is trained.
        processes: this process, alone or with others.
        seed: of the first weights.
        has_radius: whether the crops say the true blur radius, which pre-fitting needs.
        start: a trained network to grow from, see `nrknet.grow`; nothing is pre-fitted then.

    Raises:
        ValueError: `start` does not fit into the configuration.
    """

    def __init__(
        self,
        config: NRKNetConfig,
        recipe: Recipe,
        processes: Processes,
        *,
        seed: int,
        has_radius: bool,
        start: NRKNet | None = None,
    ) -> None:
        self.recipe, self.processes, self.device = recipe, processes, processes.device
        torch.manual_seed(seed)
        self.model = NRKNet(config)
        if start is not None:
            fresh = grow(self.model, start)
            log.info("the start gives all but %d of %d parameters", len(fresh), len(self.model.state_dict()))
        self.model.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = self.model  # what a step calls: the model, wrapped where processes share gradients
        has_table = isinstance(self.model.head, RadiusHead) and recipe.prefit_steps > 0
        self.prefits = has_table and has_radius and start is None
        self._has_fitted_atoms = self.prefits or start is not None
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        self.optimiser = torch.optim.Adam(self._parameters(), lr=recipe.rate)
        self.step = 0
        self.skips = Skips()
        self.milestones = 0  # of the recipe, that lie behind

    @property
    def averaged(self) -> NRKNet:
        """The network of averaged weights, which is validated and exported."""
        return cast(NRKNet, self.ema.module)

    def _parameters(self) -> list[nn.Parameter]:
        """What training changes: atoms that are fitted already only where the recipe goes on training them."""
        self.model.atoms.requires_grad_(self.recipe.train_atoms or not self._has_fitted_atoms)
        return [p for p in self.model.parameters() if p.requires_grad]

    def prefit(self, crops: CropStream[Any], steps: int) -> None:
        """Fit the radius table and the atoms before the first step, where there are a table and true radii."""
        if self.prefits:
            prefit_table(self.model, cast(RenderedCrops, crops), steps=steps, weights=self.recipe.loss)
            self._parameters()
            if not all(bool(value.isfinite().all()) for value in self.model.parameters()):
                raise FloatingPointError("pre-fitting has led to weights that are not finite; try another seed")
            self.averaged.load_state_dict(self.model.state_dict())
        elif isinstance(self.model.head, RadiusHead) and self.recipe.prefit_steps and not self._has_fitted_atoms:
            log.info("no pre-fitting of the radius table: these photos do not say how far out of focus they are")

    def join(self) -> None:
        """Go on from the main process's weights, and average gradients with the other processes from here on."""
        self.network = self.processes.wrap(self.model)
        for value in self.averaged.state_dict().values():
            self.processes.spread(value)

    def pass_milestones(self, progress: float, best: Mapping[str, Tensor] | None) -> None:
        """At a milestone of a recipe that restarts, go on from the best weights so far with a new Adam.

        Args:
            progress: share of the run that is done.
            best: the best weights, in the main process; None before the first validation.
        """
        behind = self.recipe.milestone_at(progress)
        if self.recipe.restart and behind > self.milestones:
            state = self.processes.share(best)
            if state is not None:
                self.model.load_state_dict(state)
                self.averaged.load_state_dict(state)
            self.optimiser = torch.optim.Adam(self._parameters(), lr=self.recipe.rate)
        self.milestones = behind

    def train_step(self, batch: Crops, progress: float) -> dict[str, float]:
        """One step of Adam; where the loss or the gradient is not finite, nothing but the number of steps changes.

        Args:
            batch: RGB crops, on any device: this process's part.
            progress: share of the run that is done.

        Returns:
            rate, loss, gain_db over the inputs under 35 dB, norm of the gradient, and each term of the loss; of the
            crops of all processes.
        """
        recipe = self.recipe
        batch = batch.to(self.device, flip_colours=self.model.config.channel_order == "bgr")
        rate = recipe.rate_at(self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        statistics = [(value, value.clone()) for value in self.model.buffers()]  # which going forward changes
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            output = self.network(batch.blurred)
        radii = self.model.head.radii if isinstance(self.model.head, RadiusHead) else None
        loss, terms = total_loss(
            output, batch.sharp, config=self.model.config, weights=recipe.loss_at(progress),
            radius=batch.radius, radii=radii,
        )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], recipe.clip)
        gain, num_soft = _gains(output.image, batch)
        seen = self._of_all({"loss": loss.detach(), "gain_db": gain, "gradient": norm, **terms, "soft": num_soft})
        # what one process has got wrong is in the means of all: they leave the step out together
        if self.skips.judge(seen):
            for value, before in statistics:
                value.copy_(before)
        else:
            self.optimiser.step()
            self.ema.update_parameters(self.model)
        self.step += 1  # left out or not: the next step has other crops
        seen["gain_db"] /= seen.pop("soft") or 1.0
        return {"rate": rate, **{name: round(value, 6) for name, value in seen.items()}}

    def _of_all(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The means of numbers over the processes: one message, and one wait for the device."""
        means = self.processes.mean(torch.stack([value.float() for value in values.values()]))
        return dict(zip(values, means.tolist(), strict=True))

    def check_agreement(self) -> None:
        """Make sure that the processes have trained one network: each goes on from its own copy.

        Raises:
            RuntimeError: their averaged weights differ.
        """
        found = self.processes.gather(fingerprint_weights(self.averaged))
        if len(set(found)) > 1:
            raise RuntimeError(f"the processes end with different weights: {found}")

    def state(self) -> dict[str, Any]:
        """What `load` takes to go on exactly from here."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": {"step": self.step, "milestones": self.milestones, **self.skips.state()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of the same configuration and recipe."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.milestones = state["progress"]["step"], state["progress"]["milestones"]
        self.skips.load(state["progress"])


@torch.no_grad()
def _gains(image: Tensor, batch: Crops) -> tuple[Tensor, Tensor]:
    """Sum of the gains in dB over inputs under 35 dB, and the number of those."""
    start = psnr(batch.blurred, batch.sharp)
    is_soft = start < SOFT_DB
    return (psnr(image, batch.sharp) - start)[is_soft].sum(), is_soft.sum()
