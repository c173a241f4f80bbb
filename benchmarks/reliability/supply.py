"""What the project depends on: known vulnerabilities, licences, upper bounds.

    python -m benchmarks.reliability.supply                         audit what is installed, and record counts
    python -m benchmarks.reliability.supply --licences              write docs/licences.md from what is installed

The audit asks the advisory service of the Python Package Index, by pip-audit (in the extra `dev`). A package that the
service does not know is counted as not audited, and never as free of vulnerabilities.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.reliability import figures

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LICENCES = ROOT / "docs" / "licences.md"
GROUPS = ("app", "train", "analysis", "notebooks", "ray", "onnx")
"""Extras whose distributions are listed, after the core's."""
COPYLEFT = re.compile(r"\b[AL]?GPL|MPL|Mozilla|EPL|CDDL|EUPL|General Public", re.IGNORECASE)
_CLASSIFIER = "License :: OSI Approved :: "


def requirements() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by extra; "" is the core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(text) for text in listed] for extra, listed in groups.items()}


def _needs(requirement: Requirement) -> list[Requirement]:
    """What a distribution that is installed needs here, with the extras that were asked for."""
    needed = []
    for text in metadata.requires(requirement.name) or []:
        found = Requirement(text)
        extras = [{"extra": extra} for extra in ("", *requirement.extras)]
        if found.marker is None or any(found.marker.evaluate(extra) for extra in extras):
            needed.append(found)
    return needed


def tree(extra: str) -> set[str]:
    """Canonical names of all distributions that the core ("") or an extra brings on this machine."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements()[extra])
    while waiting:
        requirement = waiting.pop()
        name, key = canonicalize_name(requirement.name), (requirement.name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if name == "nrknet":
            waiting += [part for each in requirement.extras for part in requirements()[each]]
            continue
        try:
            waiting += _needs(requirement)
        except metadata.PackageNotFoundError:
            continue  # an option of another platform, or of a build of PyTorch that is not this one
        found.add(name)
    return found


def licence(name: str) -> str:
    """A distribution's licence as its metadata has it: SPDX where that is there, else a classifier or a short text."""
    about = metadata.metadata(name)
    for expression in about.get_all("License-Expression") or []:
        return str(expression)
    classifiers = [c.removeprefix(_CLASSIFIER) for c in about.get_all("Classifier", []) if c.startswith(_CLASSIFIER)]
    if classifiers:
        return "; ".join(classifiers)
    texts = [text.strip() for text in about.get_all("License") or [] if text.strip()]
    return texts[0].splitlines()[0][:80] if texts else "not stated in its metadata"


def licence_page() -> str:
    """docs/licences.md."""
    parts = [_HEAD]
    listed: set[str] = set()
    bounds = {str(canonicalize_name(r.name)): str(r.specifier) for group in requirements().values() for r in group}
    attention = []
    for extra in ("", *GROUPS):
        names = sorted(tree(extra) - listed)
        listed |= set(names)
        parts.append(f"## {'The core' if not extra else f'`nrknet[{extra}]`, beyond the above'}\n")
        rows = ["| distribution | range | installed | licence |", "|---|---|---|---|"]
        for name in names:
            said = licence(name)
            if COPYLEFT.search(said):
                attention.append(f"- {name}: {said}")
            cells = (name, bounds.get(name) or "", metadata.version(name), said)
            rows.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(rows) + "\n" if names else "Nothing more.\n")
    count = f"{len(listed)} distributions. Of these, {len(attention)} are under a licence with copyleft (GPL, LGPL, "
    parts.insert(1, count + "MPL and the like), in whole or in part:\n\n" + "\n".join(attention) + "\n")
    return "\n".join(parts)


_HEAD = """\
# Licences of what the project depends on

NRKNet itself is under the MIT licence; the heads of LPIPS that it brings are under BSD-2-Clause. It contains no code
of the distributions below: pip installs them. The page is made from the metadata of what is installed, by
`python -m benchmarks.reliability.supply --licences`; on another platform, and with a build of PyTorch that has CUDA in
it, there are others (those of NVIDIA are proprietary).
"""


def audit() -> dict[str, Any]:
    """Counts of what pip-audit says of everything that is installed."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        return {"audited": 0, "not_audited": None, "vulnerable": None, "failed": lines[-1][:300]}
    reasons = Counter(re.sub(r": .*", "", part["skip_reason"]) for part in found if "skip_reason" in part)
    audited = [part for part in found if "skip_reason" not in part]
    vulnerable = {part["name"]: [v["id"] for v in part["vulns"]] for part in audited if part["vulns"]}
    return {
        "audited": len(audited), "not_audited": dict(reasons), "vulnerable": vulnerable,
        "clean": bool(audited) and not vulnerable and not reasons,
    }  # fmt: skip


def main() -> None:
    """Audit and record, or write the page of licences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = LICENCES.relative_to(ROOT)
    parser.add_argument("--licences", action="store_true", help=f"write {name} and do nothing else")
    parser.add_argument("--json", type=Path, default=figures.DEFAULT, help="file of figures (default: %(default)s)")
    args = parser.parse_args()
    if args.licences:
        LICENCES.write_text(licence_page(), encoding="utf-8")
        return
    groups = requirements()
    bounded = [str(r) for group in groups.values() for r in group if r.name != "nrknet" and "<" in str(r.specifier)]
    found = {
        "audit": audit(),
        "requirements": sum(r.name != "nrknet" for group in groups.values() for r in group),
        "with_upper_bound": len(bounded),
        "distributions": {extra or "core": len(tree(extra)) for extra in ("", *GROUPS)},
    }
    print(json.dumps(found, indent=1))
    figures.record("supply", found, args.json)


if __name__ == "__main__":
    main()
