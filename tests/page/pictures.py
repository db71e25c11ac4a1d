"""The guide's pictures: `python -m tests.page.pictures`, or `make pictures`."""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from lockstep.cli import compare, descend

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
WRONG = ROOT / "scripts" / "examples" / "updated_too_early.py"
RUNS = {  # of each picture of the page: the run, and how many computations to go on
    "page_match.png": ([], 11),
    "page_mismatch.png": (["--derivation", str(WRONG), "--sizes", "3-4-2", "--samples", "5"], 0),
}
PLOTS = {  # of each plot: the command and its run
    "plot.png": (
        compare.main,
        ["--sizes", "3-4-2", "--samples", "5", "--hidden-activation", "sigmoid"]
        + ["--lr", "0.5", "--steps", "200", "--quiet"],
    ),
    "descent.png": (descend.main, []),
}
WIDTH = 1280


def save(picture: Image.Image, name: str) -> None:
    """Save a picture, small."""
    colours = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    colours.save(PICTURES / name, optimize=True)


def take_plots(folder: Path) -> None:
    for name, (command, arguments) in PLOTS.items():
        file = folder / name
        command([*arguments, "--plot", str(file)])
        plot = Image.open(file)
        size = WIDTH, round(plot.height * WIDTH / plot.width)
        save(plot.convert("RGB").resize(size, Image.Resampling.LANCZOS), name)


def take_pages(folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (arguments, computations) in RUNS.items():
            html = folder / "run.html"
            compare.main([*arguments, "--html", str(html), "--quiet"])
            page = browser.new_page(viewport={"width": WIDTH, "height": 1080})
            page.goto(html.as_uri())
            for _ in range(computations):
                page.keyboard.press("ArrowRight")
            save(Image.open(io.BytesIO(page.screenshot())), name)
            page.close()
        browser.close()


def take() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        take_plots(Path(folder))
        take_pages(Path(folder))


if __name__ == "__main__":
    take()
