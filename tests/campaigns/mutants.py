"""Mutation testing: change the code in every small way that mutmut knows, and see that a test fails each time.

`python -m tests.campaigns.mutants` runs mutmut on the formulas by hand and on the referee's verdict path, and then lists every
mutant that survived with the reason why it changes nothing, from `surviving_mutants.toml`. Status 1 where one has none.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
MUTMUT = str(Path(sys.executable).parent / "mutmut")


def results():
    """{name: status} of every mutant that no test failed for."""
    told = subprocess.run([MUTMUT, "results"], capture_output=True, text=True, check=True).stdout
    pairs = (line.strip().split(": ") for line in told.splitlines() if ": " in line)
    return {
        name: status for name, status in pairs if status in ("survived", "no tests", "suspicious")
    }


def change(name):
    """The lines that a mutant takes away and puts in their place, as one text."""
    told = subprocess.run([MUTMUT, "show", name], capture_output=True, text=True, check=True).stdout
    lines = [
        line
        for line in told.splitlines()
        if line[:1] in "-+" and not line.startswith(("---", "+++"))
    ]
    return " -> ".join(" ".join(line[1:].split()) for line in lines)


def main():
    subprocess.run([MUTMUT, "run"], check=True)
    return judged(results())


def judged(survivors):
    """Print the reason of every survivor; returns 1 where one has none, else 0."""
    reasons = tomllib.loads((HERE / "surviving_mutants.toml").read_text())
    unexplained = 0
    for name in survivors:
        changed = change(name)
        known = [entry["why"] for entry in reasons["mutant"] if entry["change"] in changed]
        unexplained += not known
        print(f"{name}: {changed}\n    {known[0] if known else 'NOT EXPLAINED'}")
    print(f"{len(survivors)} survivors, {unexplained} unexplained")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
