"""The README's pictures of the page: `python -m tests.page.pictures`, or `make pictures`."""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from lockstep.cli.compare import main

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "scripts" / "pictures"
WRONG = ROOT / "scripts" / "examples" / "updated_too_early.py"
RUNS = {  # of each picture: the run, and how many computations to go on
    "page_match.png": ([], 11),
    "page_mismatch.png": (["--derivation", str(WRONG), "--sizes", "3-4-2", "--samples", "5"], 0),
}


def take():
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (arguments, computations) in RUNS.items():
            html = Path(folder) / "run.html"
            main([*arguments, "--html", str(html), "--quiet"])
            page = browser.new_page(viewport={"width": 1280, "height": 1080})
            page.goto(html.as_uri())
            for _ in range(computations):
                page.keyboard.press("ArrowRight")
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(64)
            picture.save(PICTURES / name, optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    take()
