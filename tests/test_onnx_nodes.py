"""The operations that stand for parts of the network in an export do in PyTorch what those parts do."""

from dataclasses import replace

import pytest
import torch
from networks import noise, random_network

from nrknet.config import ATOM_KINDS, PRESETS
from nrknet.layers import blur_evidence
from nrknet.neumann import BlurOperator
from nrknet.onnx_graph import _Traced
from nrknet.onnx_nodes import evidence


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("atoms", ATOM_KINDS)
def test_an_exported_operator_is_d_t(atoms: str, preset: str) -> None:
    model = random_network(replace(PRESETS[preset], atoms=atoms, num_atoms=9))
    traced = _Traced.of(model)
    image, coefficients = noise(2, 3, 8, 13), noise(2, 10, 8, 13, seed=1)  # smaller than the largest atom
    with torch.no_grad():
        expected = BlurOperator(model.atoms, coefficients, model.fusion)(image)
        found = traced._operator(coefficients)(image)
    assert len(traced.mixers) == (0 if model.fusion is None else 11)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, image, atol=1e-2)


def test_exported_evidence_is_that_of_the_network() -> None:
    image = noise(2, 3, 24, 20)
    assert torch.equal(evidence(image, 2, 16), blur_evidence(image, 2))
