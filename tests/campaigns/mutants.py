"""Mutation testing: change the code in every small way that mutmut knows, and see a test fail.

`python -m tests.campaigns.mutants [PACKAGE]` runs mutmut on the formulas by hand
(`manual_backprop`), on what gives the referee's verdict (`lockstep`), or on both. It then lists
every mutant that survived, with the reason in `surviving_mutants.toml` why it changes nothing.
Status 1 where a survivor has no reason, or a reason has no survivor any more.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXCUSES = Path(__file__).parent / "surviving_mutants.toml"
MUTMUT = str(Path(sys.executable).parent / "mutmut")
PACKAGES = ("manual_backprop", "lockstep")


@dataclass(frozen=True)
class Excuse:
    """Why the mutants of a module that make a change can't fail a test."""

    module: str
    change: str  # a part of "old line -> new line"
    why: str

    def fits(self, mutant: str, changed: str) -> bool:
        return mutant.startswith(f"{self.module}.") and self.change in changed


def excuses(package: str = "") -> list[Excuse]:
    """Those that are written down for a package."""
    written = tomllib.loads(EXCUSES.read_text())["mutant"]
    return [Excuse(**entry) for entry in written if entry["module"].startswith(package)]


def survivors(package: str = "") -> list[str]:
    """The names of the mutants of a package that no test failed for."""
    pairs = (line.strip().split(": ") for line in _mutmut("results").splitlines() if ": " in line)
    return [
        name
        for name, status in pairs
        if status in ("survived", "no tests", "suspicious") and name.startswith(package)
    ]


def change(mutant: str) -> str:
    """The lines that a mutant takes away and puts in their place, as one text."""
    lines = [
        line
        for line in _mutmut("show", mutant).splitlines()
        if line[:1] in "-+" and not line.startswith(("---", "+++"))
    ]
    return " -> ".join(" ".join(line[1:].split()) for line in lines)


def _mutmut(*arguments: str) -> str:
    """What mutmut prints."""
    return subprocess.run([MUTMUT, *arguments], capture_output=True, text=True, check=True).stdout


def judged(mutants: Iterable[str], known: list[Excuse]) -> int:
    """Print why each survivor changes nothing; returns 1 where one of the two is left alone."""
    mutants, unexplained, dead = list(mutants), 0, set(known)
    for mutant in mutants:
        changed = change(mutant)
        fitting = [excuse for excuse in known if excuse.fits(mutant, changed)]
        unexplained += not fitting
        dead -= set(fitting)
        print(f"{mutant}: {changed}\n    {fitting[0].why if fitting else 'NOT EXPLAINED'}")
    for excuse in known:
        if excuse in dead:
            print(f"NO SUCH SURVIVOR: {excuse.module}: {excuse.change}")
    print(f"{len(mutants)} survivors, {unexplained} unexplained; {len(dead)} dead reasons")
    return int(bool(unexplained or dead))


def main(arguments: list[str]) -> int:
    """Run the campaign on the packages that are named, or on both."""
    package = arguments[0] if arguments else ""
    if package not in ("", *PACKAGES):
        print(f"expected {' or '.join(PACKAGES)}, got {package}", file=sys.stderr)
        return 2
    subprocess.run([MUTMUT, "run", *([f"{package}.*"] if package else [])], check=True)
    return judged(survivors(package), excuses(package))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
