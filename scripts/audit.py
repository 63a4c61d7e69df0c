"""Licences of everything that an installation brings with it: ``python scripts/audit.py [--extras stacks dicom ...]``.

The packages that focvs needs, and what those need, are looked up in the environment that this runs in. One whose
licence is not among those that let it be used and passed on with a program under Apache-2.0 ends the audit with 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

# by how licences are named in metadata and classifiers
ALLOWED = re.compile(
    r"\b(MIT(-0|-CMU)?|BSD|0BSD|Apache|ISC|ISCL|PSF|Python Software Foundation|Mozilla Public License 2\.0|MPL-2\.0|"
    r"Zlib|CC0|Unlicense|HPND|Public Domain)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)  # not the LGPL
LONGEST = 60
# whose metadata do not say it in a word
KNOWN = {"dcm2niix": "BSD-2-Clause AND BSD-3-Clause AND MIT (its licence file; a program that is called, not linked)"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", nargs="*", default=["dicom", "formats", "launchers", "stacks"])
    options = parser.parse_args()
    refused = []
    for name, package in sorted(closure("focvs", set(options.extras)).items()):
        licence = licence_of(package)
        verdict = "" if is_allowed(licence) else "  <- look at it"
        print(f"{name:32s} {package.version:16s} {licence}{verdict}")
        if verdict:
            refused.append(name)
    print(f"{'all may be passed on' if not refused else 'to be looked at: ' + ', '.join(refused)}")
    return 1 if refused else 0


def closure(root: str, extras: set[str]) -> dict[str, Distribution]:
    """Packages that ``root`` with its extras needs, by name, without itself and what is not installed."""
    found: dict[str, Distribution] = {}
    waiting = [(root, frozenset(extras))]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = package
        for text in package.requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                waiting.append((re.sub(r"[-_.]+", "-", need.name).lower(), frozenset(need.extras)))
    found.pop(root, None)
    return found


def licence_of(package: Distribution) -> str:
    """What its metadata say: an SPDX expression, classifiers, or the first line of a text."""
    metadata = package.metadata
    if known := KNOWN.get(metadata["Name"].lower()):
        return known
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classified = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [words for words in classified if words != "OSI Approved"]
    if named:
        return "; ".join(named)
    text = str(metadata.get("License") or "unknown").strip()
    return text.splitlines()[0][:LONGEST]


def is_allowed(licence: str) -> bool:
    """Whether one of the alternatives of a licence is permissive, and none that has to be kept with it is copyleft."""
    alternatives = re.split(r"\bOR\b|;", licence)
    return any(ALLOWED.search(part) and not COPYLEFT.search(part) for part in alternatives)


if __name__ == "__main__":
    sys.exit(main())
