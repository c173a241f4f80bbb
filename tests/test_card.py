"""The page of a network says what its folder and its stored scores record, and nothing else."""

import json
from pathlib import Path

import pytest
from front_matter import front_matter_problems, read_front_matter
from huggingface_hub import ModelCard
from networks import one_line, random_network
from score_files import write_scores

from nrknet.card import METRICS, model_card
from nrknet.config import PRESETS
from nrknet.protocols import PROTOCOLS
from nrknet.stored import find_scores
from nrknet.weights import bundled_models, save_model

PACKAGE = Path(__file__).parents[1] / "nrknet"
STORED = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("*_lite.json"))
SECTIONS = ["Use it", "Training", "Scores", "Limits", "Licence", "Cite"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    training = {
        "step": 20, "data": {"dataset": "pairs", "pairs": 350}, "parts": [{"steps": 3, "what": "all"}, {"steps": 4}],
        "validation": {"psnr": 31.5, "gain_db": 0.25}, "limits": ["It was trained on cats."],
    }  # fmt: skip
    save_model(random_network(PRESETS["lite"]), tmp_path / "net", training=training)
    return tmp_path / "net"


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_page_says_what_the_folder_records(folder: Path) -> None:
    card = model_card(folder, "me/net")
    assert front_matter_problems(card, kind="model") == []
    metadata = read_front_matter(card)
    assert metadata["license"] == "mit" and metadata["library_name"] == "nrknet"
    assert metadata["pipeline_tag"] == "image-to-image" and "defocus-deblurring" in metadata["tags"]
    assert "model-index" not in metadata and "datasets" not in metadata
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == SECTIONS
    count = sum(p.numel() for p in random_network(PRESETS["lite"]).parameters())
    assert f"{count:,} parameters" in card
    assert "--model me/net" in section(card, "Use it") and 'Deblurrer("me/net")' in section(card, "Use it")
    training = section(card, "Training")
    assert "- step: 20" in training and "- data: dataset: pairs; pairs: 350" in training
    assert "- parts:\n  1. steps: 3; what: all\n  2. steps: 4\n" in training
    assert "| gain over the input in dB, crops whose input is under 35 dB | 0.25 |" in training
    assert "limits" not in training and "- It was trained on cats." in section(card, "Limits")
    assert section(card, "Scores").strip() == "Not recorded."


def test_the_scores_are_those_of_the_files_with_their_protocol(folder: Path) -> None:
    files = [write_scores(folder.parent / f"{name}_net.json", protocol=p) for name, p in
             (("dpdd", "papers"), ("kodak", "papers"), ("cuhk", "cuhk"))]  # fmt: skip
    card = model_card(folder, "me/net", scores=find_scores(folder, "me/net", files))
    scores = section(card, "Scores")
    assert "| dpdd | 2 | 20.00 → 21.00 | 20.000 → 21.000 | – → – |" in scores
    assert scores.count("| kodak | 2 |") == 1 and "| cuhk | 2 | 21.00 |" in scores
    for name in ("papers", "cuhk"):
        assert f"Protocol `{name}`, {PROTOCOLS[name].whose}: {PROTOCOLS[name].about}." in scores
    assert front_matter_problems(card, kind="model") == []
    results = ModelCard(card).data.eval_results
    assert results is not None and {r.dataset_type for r in results} == {"dpdd", "kodak"}
    assert {(r.metric_type, r.metric_value) for r in results} == {("psnr", 21.0), ("ssim", 21.0)}
    assert all(r.metric_name.endswith("protocol papers") for r in results if r.metric_name)


@pytest.mark.parametrize("name", bundled_models())
def test_the_bundled_networks_have_a_page_with_their_stored_scores(name: str) -> None:
    folder = PACKAGE / "pretrained" / name
    files = [path for path in STORED if json.loads(path.read_text())["model"] == name]
    card = model_card(folder, f"me/{name}", scores=find_scores(folder, f"me/{name}", files))
    assert front_matter_problems(card, kind="model") == []
    assert card.count("Not recorded.") == (0 if files else 1)
    metadata = read_front_matter(card)
    means = [json.loads(path.read_text())["mean"] for path in files]
    measured = {value for mean in means for value in mean.values()}
    for result in metadata.get("model-index", [{"results": []}])[0]["results"]:
        assert {metric["value"] for metric in result["metrics"]} <= measured
        assert "sharp" not in result["dataset"]["type"], "harm to sharp photos would read as restoration"
    training = json.loads((folder / "training.json").read_text())
    assert all(limit in section(card, "Limits") for limit in training.get("limits", []))


def test_every_metric_of_every_protocol_has_a_name_on_the_page() -> None:
    for rules in PROTOCOLS.values():
        assert set(rules.metrics) <= set(METRICS)


def test_the_page_of_a_folder_without_records_says_so(folder: Path) -> None:
    (folder / "training.json").unlink()
    card = model_card(folder, "me/net")
    assert section(card, "Training").count("ot recorded.") == 2 and "Motion blur" in section(card, "Limits")


@pytest.mark.parametrize("content", ["{", "[]", '{"limits": "none"}', '{"limits": [3]}', '{"validation": 3}'])
def test_records_that_cannot_be_read_are_one_line(folder: Path, content: str) -> None:
    (folder / "training.json").write_text(content)
    with pytest.raises(ValueError, match=r"training\.json") as caught:
        model_card(folder, "me/net")
    one_line(caught.value)
