"""Compares the lists that the three runners wrote: python3 compare.py [FOLDER WITH THE LISTS].

Exits 1, and names every case, where a language did not run a case that another did, or it went otherwise there; and
where nobody ran a case that is written down.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LANGUAGES = ("cargo", "python", "node")


def written() -> list[str]:
    """Every case that there is."""
    files = [*sorted((FOLDER / "operations").glob("*.json")), FOLDER / "config" / "environment.json"]
    return [f"{file.parent.name}/{file.name}::{case['name']}" for file in files for case in json.loads(file.read_text("utf-8"))]


def ran(file: Path) -> dict[str, str]:
    """The cases that a runner ran, and what became of each."""
    if not file.exists():
        sys.exit(f"error: {file} is missing\nhint: run the suite of that language first")
    return dict(line.rsplit(" -> ", 1) for line in file.read_text("utf-8").splitlines())


def main(folder: Path) -> int:
    lists = {language: ran(folder / f"{language}.txt") for language in LANGUAGES}
    names = list(dict.fromkeys([*written(), *(name for statuses in lists.values() for name in statuses)]))
    wrong = 0
    for name in names:
        statuses = [lists[language].get(name, "not run") for language in LANGUAGES]
        if len(set(statuses)) > 1 or statuses[0] in ("failed", "not run"):
            wrong += 1
            print(name, *(f"    {language}: {status}" for language, status in zip(LANGUAGES, statuses, strict=True)), sep="\n")
    print(f"{len(names)} cases, {wrong} differ or failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    default = FOLDER.parent.parent / "target" / "conformance"
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
