"""What the kernels do on processors with AVX-512, on one without: the compiler splits each of their vectors in two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import needs_kernels

from nrknet.fast import compiler

HERE = Path(__file__).parent
CHECK = """
from nrknet.fast.compiler import library
kernels = library()
print(kernels.nrknet_lanes(), kernels.nrknet_halves(), kernels.nrknet_integers())
"""


@needs_kernels
@pytest.mark.slow
def test_kernels_of_vectors_of_16_numbers(tmp_path: Path) -> None:
    can_do = compiler._processor().split()
    if not {"avx2", "f16c", "fma"} <= set(can_do) or "avx512f" in can_do:
        pytest.skip("for processors with AVX2 and without AVX-512; where that is, all tests run on it")
    wrapper = tmp_path / "c++"
    wrapper.write_text(f'#!/bin/sh\nexec "{compiler._compiler()}" -include "{HERE / "wide_vectors.h"}" "$@"\n')
    wrapper.chmod(0o755)
    environment = {**os.environ, "CXX": str(wrapper), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(HERE.parent)}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, cwd=HERE.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    assert run("-c", CHECK).split() == ["16", "1", "64"]
    tests = [str(HERE / f"test_fast_{part}.py") for part in ("operations", "elements")]
    assert " passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
