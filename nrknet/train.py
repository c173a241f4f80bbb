"""Training, as one function: what is asked for is checked, and a run is begun or goes on, in one process or in many."""

import logging
from pathlib import Path

import torch

from nrknet._version import __version__
from nrknet.config import NRKNetConfig, default_preset, named_config
from nrknet.inference import Deblurrer
from nrknet.model import NRKNet
from nrknet.processes import AgreedError, Processes, join_processes
from nrknet.prune import is_larger, prune
from nrknet.recipes import Recipe, named_recipe
from nrknet.sources import AUTO, Source, open_source
from nrknet.stopping import SAVE_STEPS, TrainingStopped
from nrknet.stream import check_shares
from nrknet.trainer import OnStep, Trainer
from nrknet.validation import psnr, validate
from nrknet.weights import load_model

log = logging.getLogger(__name__)

LEAST_CROPS = 24
"""Training crops by which a larger network to start from is pruned, rounded up to whole batches."""

__all__ = ["SAVE_STEPS", "Trainer", "TrainingStopped", "psnr", "train", "validate"]


def train(
    data: Path,
    out: Path,
    *,
    preset: str | None = None,
    recipe: str = "default",
    variant: str | None = None,
    dataset: str = AUTO,
    init: str | Path | None = None,
    curator: str | Path | None = None,
    batch: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    seed: int = 0,
    save_steps: int = SAVE_STEPS,
    on_step: OnStep | None = None,
    processes: Processes | None = None,
) -> Path:
    """Train a network on sharp photos defocused on the fly, or on pairs; resumes when `out` holds a checkpoint.

    Under torchrun the processes share the crops of each step evenly, and the gradients are averaged: a run of several
    processes has the losses and weights of a run of one, but for the order of sums, and may go on in another number of
    them. Only the main process reads or writes in `out`. A run that goes on with a larger budget keeps the pools and
    the pre-fitting that its first budget led to; rate, loss and windows follow the new one.

    Ctrl-C and SIGTERM save a checkpoint after the current step. What ends a run without a word, SIGKILL or a power cut,
    takes back the steps since the last checkpoint: at most `save_steps`, or those of the recipe's `save_every` seconds
    where these are fewer; at most `save_steps` more where the last one turns out damaged, and the one before is
    taken. Pre-fitting is saved when it is done. On a CPU with a budget of steps, the run then ends with the weights
    that it would have had.

    A step whose loss or gradient is not finite is left out: weights, averages, Adam and statistics stay, and the next
    step has the next crops. It is logged, and recorded as "skipped".

    Args:
        data: folder of sharp photos or of pairs; on each machine, the same.
        out: run folder: run.json, log.jsonl, checkpoint.pt and the one before, and model/ which `load_model` takes.
        preset, variant: which network, see PRESETS and VARIANTS: by default `lite`, or the variant of `paper`. Variants
            of Table 5 change the recipe's loss instead.
        recipe: which of RECIPES.
        dataset: how `data` is laid out, one of TRAINING_DATA; "auto" looks.
        init: start from the weights of this network, which `load_model` takes; the new one may be larger or smaller.
        curator: leave out crops of sharp photos of which this network finds a part out of focus.
        batch: crops per step, of all processes together; the recipe's by default.
        steps: stop after so many steps in all, earlier sessions included; or
        minutes: stop after so many minutes of training in all.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of weights, crops and rendering; 0 or more.
        save_steps: save a checkpoint after so many steps at the latest.
        on_step: called with step, loss, gain, speed and progress after each step.
        processes: on whose device to train, where they are joined already; by default they are joined here.

    Returns:
        The exported model's folder, out/model: averaged weights of the best validation.

    Raises:
        ValueError: unknown names, no budget, numbers out of range, unusable data, crops that the processes cannot
            share, or a checkpoint of another run; AgreedError in all processes where one or more found it.
        FloatingPointError: `nrknet.skips.LONGEST` steps in a row were left out; the last checkpoint is kept.
        RunFolderError: `out` takes nothing more, as on a full disk; the last checkpoint is kept.
        RuntimeError: several processes have ended with different weights.
        TrainingStopped: Ctrl-C or SIGTERM; the checkpoint is saved.
    """
    processes = processes or join_processes(device)
    given = {"preset": preset, "recipe": recipe, "variant": variant, "layout": dataset, "start": init,
             "curator": curator, "batch": batch, "steps": steps, "minutes": minutes, "seed": seed,
             "save_steps": save_steps}  # fmt: skip

    def begin() -> Trainer:
        _check_numbers(steps, minutes, seed, save_steps)
        network = default_preset(variant) if preset is None else preset
        how = named_recipe(recipe, variant=variant)
        how = how if batch is None else how.with_batch(batch)
        config = named_config(network, variant=variant)
        how.check_sides(config.size_multiple)
        check_shares(how.batch, processes.count)
        start = None if init is None else load_model(init, device="cpu")
        looker = None if curator is None else Deblurrer(curator, device=processes.device)
        source = open_source(Path(data), dataset, how, curator=looker, processes=processes)
        if start is not None:
            start = _pruned(start, config, how, source, processes.device)
        names: dict[str, str | None] = {"preset": network, "variant": variant, "recipe": recipe}
        names |= {name: str(value) for name, value in (("init", init), ("curator", curator)) if value is not None}
        return Trainer(
            config, how, source, Path(out), processes, seed, names=names, start=start, save_steps=save_steps
        )

    try:
        processes.check_same({**given, "version of nrknet": __version__})
        trainer = processes.together(begin)
        processes.check_same({"set of training photos": trainer.source.fingerprint()})
        log.info("training on %s, number of processes: %d", processes.device, processes.count)
        trainer.resume()
        trainer.run(steps=steps, minutes=minutes, on_step=on_step)
    except (TrainingStopped, AgreedError):  # all stop together; after any other error the rest are not there
        processes.close()
        raise
    processes.close()
    return trainer.folder.model


def _pruned(start: NRKNet, config: NRKNetConfig, recipe: Recipe, source: Source, device: torch.device) -> NRKNet:
    """The network to start from, without what the new one has no place for: chosen by training crops."""
    if not is_larger(start.config, config):
        return start
    log.info("the start is larger than the new network: what does most in it is kept")
    alone = Processes(device)  # each process for itself; they go on from the main one's weights
    crops = source.stream(alone, pool=-(-LEAST_CROPS // recipe.batch) * recipe.batch, seed=0).make_pool(0)
    sample = crops.to(device, flip_colours=start.config.channel_order == "bgr").floats().blurred
    return prune(start.to(device), config, sample)


def _check_numbers(steps: int | None, minutes: float | None, seed: int, save_steps: int) -> None:
    budget = minutes if steps is None else steps
    if budget is None or (steps is not None and minutes is not None):
        raise ValueError("give a budget: either steps or minutes")
    if not budget > 0:
        raise ValueError(f"the budget of steps or minutes must be above 0, got {budget}")
    if seed < 0:
        raise ValueError(f"the seed must be 0 or more, got {seed}")
    if save_steps < 1:
        raise ValueError(f"the steps between two checkpoints must be 1 or more, got {save_steps}")
