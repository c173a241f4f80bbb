"""Fingerprints tell networks and sets of files apart."""

from pathlib import Path

import torch

from nrknet.fingerprint import fingerprint_files, fingerprint_weights


def test_a_changed_weight_or_running_statistic_changes_a_network_s_fingerprint() -> None:
    model = torch.nn.BatchNorm2d(3)
    found = {fingerprint_weights(model)}
    for change in (model.weight.data, model.running_mean):
        assert change is not None
        change += 1e-6
        found.add(fingerprint_weights(model))
    assert len(found) == 3 and fingerprint_weights(model) in found


def test_files_of_other_names_sizes_or_order_have_another_fingerprint_and_another_folder_does_not_count(
    tmp_path: Path,
) -> None:
    def files(folder: str, *names: str, content: str = "pixels") -> str:
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(content)
        return fingerprint_files(tmp_path / folder / name for name in names)

    first = files("first", "a", "b")
    assert files("second", "a", "b") == first
    others = {files("swapped", "b", "a"), files("named", "a", "c"), files("longer", "a", "b", content="pixels!")}
    assert len(others | {first, files("fewer", "a")}) == 5
