"""Steps of training that are left out because their loss or gradient is not finite."""

import math
from collections.abc import Mapping

LONGEST = 10
"""So many in a row end the run: it does not recover by itself any more."""


class Skips:
    """Which steps were left out: counted over all sessions of a run.

    Attributes:
        total: so many in all.
        in_a_row: so many up to the last step, which was sound where this is 0.
        problem: of the last step, or None.
    """

    def __init__(self) -> None:
        self.total, self.in_a_row = 0, 0
        self.problem: str | None = None

    def judge(self, seen: Mapping[str, float]) -> bool:
        """Whether a step is to be left out; it is counted then.

        Args:
            seen: the step's loss and the norm of its gradient, of all processes together.
        """
        unsound = [name for name in ("loss", "gradient") if not math.isfinite(seen[name])]
        self.problem = f"the {unsound[0]} is {seen[unsound[0]]}" if unsound else None
        self.total += bool(unsound)
        self.in_a_row = self.in_a_row + 1 if unsound else 0
        return bool(unsound)

    def check(self, step: int) -> None:
        """End a run that does not recover.

        Args:
            step: how many are done, those that were left out included.

        Raises:
            FloatingPointError: the last LONGEST steps were all left out.
        """
        if self.in_a_row >= LONGEST:
            raise FloatingPointError(
                f"{self.in_a_row} steps in a row were left out, at step {step} because {self.problem}; the weights are "
                "those before them, the last checkpoint is kept, and another --seed, --recipe or --data may do better"
            )

    def state(self) -> dict[str, int]:
        """What `load` takes."""
        return {"skipped": self.total, "skipped_in_a_row": self.in_a_row}

    def load(self, state: Mapping[str, int]) -> None:
        """Go on counting; earlier versions did not count."""
        self.total, self.in_a_row = state.get("skipped", 0), state.get("skipped_in_a_row", 0)
