"""Files of scores, as `nrknet evaluate --json` writes them."""

from pathlib import Path

from nrknet.protocols import PROTOCOLS
from nrknet.scores import ImageScores, Scores


def write_scores(path: Path, *, model: str = "net", protocol: str = "papers", gain: float = 1.0) -> Path:
    """Write the scores of two photos that got better by `gain`, and return the path."""
    metrics = PROTOCOLS[protocol].metrics
    before = {name: 20.0 for name in metrics if name != "lpips"}
    after = {name: value + gain for name, value in before.items()}
    images = tuple(ImageScores(name, before, after, 0.5) for name in ("a", "b"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Scores(protocol, model, images, environment={"device": "cpu"}).to_json())
    return path
