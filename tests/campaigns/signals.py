"""Signals at random moments, and two runs that write one file: statuses and files as promised.

`python -m tests.campaigns.signals [CASES]` starts that many runs, each with a derivation, a battery
and every output. A signal comes at a random moment of each, imports and drawing included. Then it
starts a tenth as many pairs of runs that write the same files.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
DERIVATION = """
def step(W_h, b_h, W_o, b_o, x, y, lr):
    z_h = x @ W_h.T + b_h
    o = z_h @ W_o.T + b_o
    return dict(z_h=z_h, o=o, delta_o=2 * (o - y) / o.size)
"""
OUTPUTS = "--json a.json --html a.html --plot a.svg"
COMMAND = [sys.executable, str(ROOT / "scripts" / "compare.py"), "--show", "none", *OUTPUTS.split()]
LONGEST = 5.0  # seconds, about what an undisturbed run takes
# 0: it had ended. Python itself dies of a signal that comes before or after the command proper.
STATUSES = {
    signal.SIGINT: {0, 130, -signal.SIGINT},
    signal.SIGTERM: {0, 143, -signal.SIGTERM},
}


def started(folder: str, *more: str) -> "subprocess.Popen[str]":
    """A run in a folder."""
    Path(folder, "net.py").write_text(DERIVATION)
    return subprocess.Popen(
        [*COMMAND, "--derivation", "net.py", *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(seed: int) -> str:
    """What is wrong with a run that gets a signal, or ""."""
    chance = random.Random(seed)
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    with tempfile.TemporaryDirectory() as folder:
        run = started(folder, "--trace", "a.jsonl", "--steps", "300")
        time.sleep(chance.uniform(0, LONGEST))
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
        wrong = [] if run.returncode in STATUSES[number] else [f"status {run.returncode}"]
        if run.returncode in (130, 143) and "Traceback" in out + err:
            wrong.append(err)
        wrong += half_written(folder)
        return f"seed {seed}, {number.name}: {'; '.join(wrong)}" if wrong else ""


def half_written(folder: str) -> list[str]:
    """What is not whole among the files of a run."""
    wrong = []
    for name in sorted(set(os.listdir(folder)) - {"net.py"}):
        text = Path(folder, name).read_text().rstrip() + "\n"
        end = {"a.json": "}\n", "a.html": "</html>\n", "a.svg": "</svg>\n", "a.jsonl": ""}.get(name)
        if end is None:
            wrong.append(f"{name} is left")
        elif not text.endswith(end):
            wrong.append(f"{name} ends with {text[-20:]!r}")
        if name == "a.jsonl":
            for line in text.split("\n")[:-1]:
                json.loads(line)
    return wrong


def two_at_once(seed: int) -> str:
    """What is wrong with the files of two runs that write the same ones, or ""."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        first = started(folder, "--steps", "20")
        time.sleep(chance.uniform(0, 0.3))
        second = started(folder, "--steps", "30")
        statuses = [first.wait(60), second.wait(60)]
        wrong = [f"statuses {statuses}"] if statuses != [0, 0] else []
        wrong += half_written(folder)
        steps = json.loads(Path(folder, "a.json").read_text())["steps_run"]
        wrong += [f"{steps} steps"] if steps not in (20, 30) else []
        return f"seed {seed}, two runs: {'; '.join(wrong)}" if wrong else ""


def main(cases: int) -> int:
    """Try them all; returns how many were wrong."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [*pool.map(interrupted, range(cases))]
        found += pool.map(two_at_once, range(max(cases // 10, 1)))
    wrong = [words for words in found if words]
    print(*wrong, sep="\n")
    print(f"{cases} signals, {max(cases // 10, 1)} pairs of runs: {len(wrong)} wrong")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)))
