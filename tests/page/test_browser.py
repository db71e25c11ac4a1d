"""The page as people see it: a headless Chromium steps through it (`make test-page`)."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lockstep.bound.allowed import tolerance
from lockstep.cli.compare import main
from lockstep.report.page.step_data import row_names
from lockstep.run.steps import records
from lockstep.setup.options import ACTIVATION_NAMES, check
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytest.importorskip("playwright", reason="no playwright: `make test-page` installs it")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: `apt install chromium`, then `make test-page`"
)

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

WRONG = Path(__file__).parents[2] / "scripts" / "examples" / "updated_too_early.py"
RUNS = {
    "lecture": [],
    "wrong": ["--derivation", str(WRONG), "--sizes", "3-4-2", "--samples", "5"],
    "late": ["--derivation", "LATE", "--steps", "10"],
    "classifier": ["--sizes", "3-4-4-3", "--activations", "tanh,relu,linear"]
    + ["--loss", "cross_entropy", "--momentum", "0.9", "--samples", "3"],
    "large": ["--sizes", "40-30-10", "--samples", "20", "--steps", "40"],
    "undecided": ["--lr", "1e200", "--steps", "20"],
    "wrong_lecture": ["--derivation", str(WRONG)],
    "sheet": ["--sizes", "3-2-1", "--hidden-activation", "sigmoid"]
    + ["--output-activation", "sigmoid", "--loss", "half_sum"],
    "six": ["--sizes", "6-6-6", "--samples", "3", "--lr", "1e-4"],
    "many": ["--sizes", "2-2-2", "--samples", "100", "--steps", "5"],
    "deep": ["--sizes", "4-4-4-4-4", "--activations", "tanh,tanh,tanh,linear"],
}
TOUCHED = {
    "touched": {
        "sizes": "3-4-3",
        "loss": "cross_entropy",
        "optimizer": "adam",
        "l2": 0.1,
        "samples": 2,
    }
} | {
    name: {"sizes": "2-3-1", "hidden_activation": name, "output_activation": name, "samples": 2}
    for name in ACTIVATION_NAMES
}
# the numbers that are broken across lines in some elements
BROKEN = """(selector) => {
  const broken = [];
  for (const element of document.querySelectorAll(selector)) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      for (const number of node.data.matchAll(/-?\\d[\\d.]*(e[+-]\\d+)?/g)) {
        const range = document.createRange();
        range.setStart(node, number.index);
        range.setEnd(node, number.index + number[0].length);
        const lines = new Set([...range.getClientRects()].map((it) => Math.round(it.top)));
        if (lines.size > 1) broken.push(number[0]);
      }
    }
  }
  return broken;
}"""
# pairs of texts of the drawing that lie on each other
OVERLAPPING = """() => {
  const texts = [...document.querySelectorAll("#network text")];
  const shown = texts.filter((it) => it.checkVisibility());
  const boxes = shown.map((it) => [it.textContent, it.getBoundingClientRect()]);
  const meet = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  return boxes.flatMap(([one, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([other]) => `${one} | ${other}`),
  );
}"""
LATE = """
calls = []
def step(delta_o):
    calls.append(1)
    return dict(grad_b_o=delta_o.sum(axis=0) * (2 if len(calls) > 2 else 1))
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of some runs, by name."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "late.py").write_text(LATE)
    for name, arguments in RUNS.items():
        given = [
            str(folder / "late.py") if argument == "LATE" else argument for argument in arguments
        ]
        main([*given, "--html", str(folder / f"{name}.html"), "--quiet"])
    for name, problem in TOUCHED.items():
        text = "".join(f"{key} = {value!r}\n" for key, value in problem.items())
        (folder / "problem.toml").write_text(f"{text}steps = 3\n")
        main([str(folder / "problem.toml"), "--html", str(folder / f"{name}.html"), "--quiet"])
    return {name: (folder / f"{name}.html").as_uri() for name in (*RUNS, *TOUCHED)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, pages):
    """A function that opens a page; no error may be on its console, no request may leave it."""
    seen, contexts = [], []

    def open_page(name, address="", width=1280, height=900, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: (
                seen.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on(
            "request",
            lambda request: (
                seen.append(request.url) if not request.url.startswith("file:") else None
            ),
        )
        page.goto(pages[name] + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []


def lit(page, selector):
    return page.eval_on_selector_all(
        f"{selector}.lit", "all => all.map(one => one.textContent.trim())"
    )


def panel(page):
    return page.inner_text(".now")


def test_arrows_go_from_computation_to_computation_and_on_into_the_next_step(opened):
    page = opened("lecture")
    assert "computation 1 of 37: z_h1" in panel(page)
    page.keyboard.press("ArrowRight")
    assert "computation 2 of 37: z_h2" in panel(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # there is nothing before the first
    assert "step 1, computation 1 of 37" in panel(page)
    for _ in range(37):
        page.keyboard.press("ArrowRight")
    assert "step 2, computation 1 of 37" in panel(page)
    page.keyboard.press("ArrowLeft")
    assert "step 1, computation 37 of 37: new_b2" in panel(page)


def test_the_slider_and_shift_arrows_go_from_step_to_step(opened):
    page = opened("lecture")
    page.fill("#step", "6")
    assert page.inner_text("#number") == "7"
    assert page.get_attribute("#step", "aria-valuetext") == "training step 7"
    assert page.evaluate("location.hash") == "#step=7&at=z_h1"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Shift+ArrowRight")
    assert page.inner_text("#number") == "8"
    page.keyboard.press("Shift+ArrowLeft")
    assert page.inner_text("#number") == "7"
    page.focus("#step")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#number") == "8"


def test_a_link_opens_at_its_step(opened):
    page = opened("lecture", "#step=7")
    assert page.inner_text("#number") == "7"
    assert page.inner_text("#tablestep") == "7"
    page.evaluate("location.hash = '#step=99'")
    page.wait_for_function("document.querySelector('#number').textContent === '99'")


def test_a_link_opens_at_its_computation_and_the_address_follows(opened):
    page = opened("lecture", "#step=7&at=delta_h1")
    assert "step 7, computation 12 of 37: delta_h1" in panel(page)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#step=7&at=delta_h2"
    page.click("#values tr[data-row=o1]")
    assert page.evaluate("location.hash") == "#step=7&at=o1"
    deep = opened("wrong", "#step=1&at=" + "delta_h")
    assert "delta_h" in panel(deep)


def test_values_that_are_hidden_appear_as_they_are_computed(opened):
    page = opened("lecture", "#hide&at=h1")
    shown = "#values tr[data-row={}] .hand"
    assert "= ?" in panel(page)
    assert page.is_visible(shown.format("z_h2"))
    assert not page.is_visible(shown.format("h1"))
    assert not page.is_visible(shown.format("delta_o1"))
    assert page.text_content("[data-value=h2]") == "?"
    page.keyboard.press("ArrowRight")  # its value, then the next one
    assert "h1" in panel(page)
    assert "PyTorch" in panel(page)
    assert page.is_visible(shown.format("h1"))
    page.keyboard.press("ArrowRight")
    assert "computation 4 of 37: h2" in panel(page)
    assert "= ?" in panel(page)
    page.keyboard.press("ArrowLeft")
    assert "PyTorch" in panel(page)
    page.keyboard.press("h")
    assert page.is_visible(shown.format("delta_o1"))
    assert "hide" not in page.evaluate("location.hash")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize("name", ["lecture", "wrong", "classifier"])
def test_a_computation_is_presented_on_one_screen(opened, name, width, height):
    page = opened(name, "#present", width, height)
    assert "present" in page.get_attribute("html", "class")
    for part in (".network", ".now"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= height, part
    assert page.evaluate("document.documentElement.scrollHeight") <= height
    assert not page.is_visible(".verdict")
    assert not page.is_visible("#values")
    if name == "lecture":
        assert page.is_visible(".entry .line")
    size = page.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('.entry .formula')).fontSize)"
    )
    assert size >= 24 * width / 1280
    page.keyboard.press("p")
    assert page.is_visible(".verdict")


def test_the_computation_shown_is_lit_in_drawing_sources_and_table_with_what_flows_into_it(
    opened,
):
    page = opened("lecture")
    for _ in range(11):
        page.keyboard.press("ArrowRight")
    assert "delta_h1" in panel(page)
    assert lit(page, "#values tr")[0].startswith("δh1")
    assert any("delta_h1 = (delta_o1 * w31" in text for text in lit(page, ".sources td"))
    assert any("delta_h = z_h.grad" in text for text in lit(page, ".sources td"))
    assert page.get_attribute(".node.lit", "aria-label") == "hidden h1"
    needed = page.eval_on_selector_all(
        "#network .needed", "all => all.map(one => one.getAttribute('aria-label'))"
    )
    assert {"weight w31", "weight w32", "output o1", "output o2"} <= set(needed)
    numbers = page.inner_text(".now .numbers")
    assert "(-0.244)" in numbers
    assert "0.6" in numbers


def test_pointing_at_a_line_of_one_source_lights_its_partner(opened):
    page = opened("lecture")
    page.hover(".sources td:has-text('o1 = sigma_o(z_o1)')")
    assert any("o = network.output_activation(z_o)" in text for text in lit(page, ".sources td"))
    page.hover(".sources td:has-text('grad_W_h = network.hidden.weight.grad')")
    assert sum("grad_w" in text for text in lit(page, ".sources td")) >= 4
    page.mouse.move(5, 5)
    assert "computation 1 of 37" in panel(page)


def test_a_weight_that_is_pointed_at_shows_its_formula_and_value_as_steps_go_by(
    opened,
):
    page = opened("lecture")
    page.hover("[data-edge=w31] .reach", force=True)
    first = panel(page)
    assert "w31" in first
    assert "0.6" in first
    assert "how the loss changes with w31" in first
    page.keyboard.press("Shift+ArrowRight")
    page.mouse.move(5, 5)
    page.click("[data-edge=w31] .reach", force=True)
    page.mouse.move(5, 5)
    page.fill("#step", "50")
    later = panel(page)
    assert later != first
    assert "step 51, w31" in later
    assert "0.6" in later
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    assert "step 51, computation" in panel(page)


def test_space_plays_and_pauses_by_computation_or_by_step(opened):
    page = opened("lecture")
    page.clock.install()
    page.keyboard.press("Space")
    assert "pause" in page.inner_text("#play")
    page.clock.run_for(2100)
    assert "computation 3 of 37" in panel(page)
    page.keyboard.press("Space")
    page.clock.run_for(3000)
    assert "computation 3 of 37" in panel(page)
    page.select_option("#pace", "step")
    page.click("#play")
    page.clock.run_for(1600)
    assert page.inner_text("#number") == "4"
    page.clock.run_for(60_000)
    assert page.inner_text("#number") == "100"
    assert "play" in page.inner_text("#play")


def test_the_table_and_the_drawing_show_the_values_of_the_step(opened):
    page = opened("lecture", "#step=100")
    run = page.evaluate("JSON.parse(document.getElementById('run').textContent)")
    last = run["steps"][-1]
    for name, (hand, torch, *_) in last["rows"].items():
        row = page.locator(f"#values tr[data-row={name}]")
        assert row.locator(".hand").inner_text() == hand
        assert row.locator(".torch").inner_text() == (hand if torch is None else torch)
    assert page.text_content(".weight [data-value=w31]") == last["drawn"]["w31"]
    assert float(page.get_attribute("#mark", "cx")) == pytest.approx(560)


def test_the_page_of_a_mismatch_names_the_mistake_and_marks_what_differs(opened):
    page = opened("wrong")
    verdict = page.inner_text(".verdict")
    assert "updated-weights-used" in verdict
    assert "compute delta_h before you assign the new output weights" in verdict
    assert "computation 72 of 143: delta_h[0, 0]" in panel(page)
    assert "✗ differs" in panel(page)
    assert page.inner_text("#values tr[data-row='delta_h[0, 0]'] .mark") == "✗ differs"
    assert page.inner_text("#values tr[data-row='delta_o[4, 1]'] .mark") == "✓ agrees"
    assert page.inner_text("#values tr[data-row='delta_h[0, 0]'] .why").startswith(
        "looks like updated-weights-used"
    )
    assert "updated-weights-used" in panel(page)
    assert page.locator("#values .why:visible").count() == 1
    assert page.eval_on_selector_all(
        ".sources td.unequal", "all => all.map(one => one.textContent)"
    )


def test_a_mismatch_at_a_later_step_is_where_the_page_opens(opened):
    page = opened("late")
    assert page.inner_text("#number") == "3"
    assert "grad_b3" in panel(page)
    assert page.is_visible("#values tr[data-row=grad_b3] .why")
    page.fill("#step", "0")
    assert page.inner_text("#values tr[data-row=grad_b3] .mark") == "✓ agrees"
    assert not page.is_visible("#values tr[data-row=grad_b3] .why")


def test_a_deep_network_has_its_numbers_put_in_and_is_lit_as_it_is_computed(opened):
    page = opened("classifier")
    assert "computation 1 of 253: z1[0, 0]" in panel(page)
    assert "pre-activation of layer 1 neuron 0, sample 0" in panel(page)
    row = page.locator("#values tr[data-row='delta2[0, 3]']")
    row.click()
    assert "delta2[0, 3]" in panel(page)
    numbers = page.inner_text(".now .numbers")
    run = page.evaluate("JSON.parse(document.getElementById('run').textContent)")
    put = run["steps"][0]["put"]
    for name in ("delta3[0, 0]", "W3[0, 3]", "delta3[0, 2]", "W3[2, 3]", "σ'(z2[0, 3])"):
        assert put[name] in numbers.replace("\u200b", "")
    page.mouse.move(5, 5)
    assert page.get_attribute(".node.lit", "aria-label") == "hidden a2[0, 3]"
    needed = page.eval_on_selector_all(
        "#network .needed", "all => all.map(one => one.getAttribute('aria-label'))"
    )
    assert {"weight W3[0, 3]", "weight W3[2, 3]", "output a3[0, 0]"} <= set(needed)
    page.dispatch_event("[data-edge='W1[0, 0]'] .reach", "click")
    page.mouse.move(5, 5)
    assert "how the loss changes with W1[0, 0]" in panel(page)
    assert "W1[0, 0] after a step of gradient descent" in panel(page)


def test_a_large_network_is_shown_as_three_maps_of_each_matrix(opened):
    page = opened("large")
    assert page.locator(".maps svg").count() == 3
    page.click("#values tr[data-row=grad_W_h]")
    assert "grad_W_h" in page.get_attribute(".maps svg >> nth=0", "aria-label")
    assert page.locator(".maps svg >> nth=0").locator("rect").count() == 24 * 24
    assert "30 × 40" in panel(page)


def test_without_a_script_there_is_the_first_step_the_step_that_differs_and_the_verdict(opened):
    page = opened("late", java_script_enabled=False)
    assert page.is_visible("#values")
    assert page.is_visible(".static")
    assert page.is_visible(".verdict")
    assert not page.is_visible(".controls")
    assert "scaled-by-constant" in page.inner_text(".verdict")


@pytest.mark.parametrize("name", ["lecture", "wrong_lecture", "sheet"])
def test_on_paper_a_step_has_two_pages(opened, name):
    page = opened(name, "#step=50")
    step = page.inner_text("#tablestep")
    file = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", file)) <= 2
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.inner_text("#tablestep") == step
    assert not page.is_visible(".controls")
    assert page.is_visible("#network")
    assert page.is_visible("#values tr[data-row] >> nth=-1")
    assert page.evaluate(BROKEN, "#values :is(.hand, .torch, .numbers)") == []
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#values tr.lit").count() == 1


@pytest.mark.parametrize("width", [375, 1280, 1920])
@pytest.mark.parametrize("name", list(RUNS))
def test_nothing_is_wider_than_the_screen(opened, name, width):
    page = opened(name, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("name", ["lecture", "wrong", "sheet", "classifier"])
def test_on_a_phone_and_at_twice_the_size_numbers_stay_whole(opened, name, scale):
    page = opened(name, width=375 if scale == 1 else 640)
    page.add_style_tag(content=f"html {{ font-size: {scale * 16}px }}")
    for _ in range(8):
        assert page.evaluate(BROKEN, ".step :is(.hand, .torch, .numbers), .entry dd") == []
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("width", [375, 1280, 1920])
@pytest.mark.parametrize("name", ["lecture", "wrong", "classifier", "six"])
def test_nothing_below_the_panel_moves_as_one_steps(opened, name, width):
    page = opened(name, width=width)
    seen = []
    for _ in range(45):
        seen.append(page.evaluate("document.querySelector('.code').offsetTop"))
        page.keyboard.press("ArrowRight")
    assert max(seen) - min(seen) <= 1


@pytest.mark.parametrize("address", ["", "#present"])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", ["lecture", "wrong", "classifier", "six", "deep"])
def test_no_label_of_the_drawing_overlaps_another(opened, name, width, address):
    page = opened(name, address, width=width, height=720)
    for _ in range(40):
        assert page.evaluate(OVERLAPPING) == []
        page.keyboard.press("ArrowRight")


def followed(page, problem, changed):
    """Asserts that the page shows what follows from changed numbers, to rounding."""
    given = check(problem | {"lr": changed.pop("lr")}, str)
    start = make_problem(given)
    arrays = {**start.parameters, "x": start.x}
    for name, value in changed.items():
        of, _, index = name.partition("[")
        place = tuple(map(int, index.rstrip("]").split(",")))
        arrays[of][place] = value
    own = replace(start, steps=1)
    record = next(records(own, tolerance(own, {}), BuiltIn()))
    shown = page.evaluate(
        "[...document.querySelectorAll('#values tr[data-row]')].map((row) => "
        "[row.dataset.row, row.querySelector('.hand').textContent])"
    )
    n = own.batch_samples
    assert len(shown) == len(list(row_names(own, n)))
    for (name, text), (row, of, index) in zip(shown, row_names(own, n), strict=True):
        assert name == row
        allowed = float(record.allowed[of][index])
        assert abs(float(text) - float(record.torch[of][index])) <= max(allowed, 1e-300), name


@pytest.mark.parametrize("name", ["touched", *ACTIVATION_NAMES])
def test_a_number_that_is_changed_changes_what_follows_as_in_python(opened, name):
    page = opened(name)
    recorded = page.inner_text("#values")
    page.focus("[data-edge='W_h[0, 1]']")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowDown")
    page.focus(".node.input >> nth=0")
    page.keyboard.press("ArrowUp")
    page.focus("#rate")
    page.keyboard.press("ArrowDown")
    said = page.inner_text("#yours")
    changed = dict(re.findall(r"(\S+(?: \d\])?) = (\S+),", said))
    changed["lr"] = changed.pop("α")
    assert set(changed) == {"W_h[0, 1]", "x[0, 0]", "lr"}
    assert "yours, step 1" in panel(page).lower()
    assert "recorded" in page.inner_text("#values thead")
    followed(page, TOUCHED[name], {name: float(value) for name, value in changed.items()})
    page.keyboard.press("r")
    assert not page.is_visible("#yours")
    assert page.inner_text("#values") == recorded


def test_a_weight_can_be_dragged_and_the_next_step_is_the_runs(opened):
    page = opened("lecture", "#step=2&at=z_o1")
    box = page.locator("text.weight[data-touch=w31]").bounding_box()
    x, y = box["x"] + 8, box["y"] + 8
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 30)
    page.mouse.move(x, y - 60)
    page.mouse.up()
    assert "w31 = 0.8, recorded 0.6007" in page.inner_text("#yours")
    assert page.text_content("[data-value=w31] >> nth=0") == "0.8"
    row = page.locator("#values tr[data-row=z_h1]")
    assert row.locator(".apart").inner_text() == "the same"
    assert "+0.0117" in page.inner_text("#values tr[data-row=z_o1]")
    page.keyboard.press("Shift+ArrowRight")
    assert not page.is_visible("#yours")
    assert page.inner_text("#number") == "3"
    page.focus("#rate")
    page.keyboard.press("ArrowUp")
    assert page.is_visible("#yours")
    page.click("#return")
    assert not page.is_visible("#yours")
    page.focus("[data-edge=w31]")
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert not page.is_visible("#yours")  # it is where it was


def test_what_is_presented_is_printed_in_full(opened):
    page = opened("lecture", "#present")
    page.emulate_media(media="print")
    assert page.is_visible("#values tr[data-row=new_b2]")
    assert page.is_visible("h1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(RUNS))
def test_no_serious_finding_of_axe(opened, name, scheme):
    # axe is put into the page from outside, which the page's own policy would not allow
    page = opened(name, color_scheme=scheme, bypass_csp=True)
    found = Axe().run(page).response["violations"]
    serious = [
        (finding["id"], [node["target"] for node in finding["nodes"]][:5])
        for finding in found
        if finding["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_everything_can_be_reached_by_keyboard(opened):
    page = opened("lecture")
    page.focus("[data-edge=w11]")
    page.keyboard.press("Tab")
    assert "w21" in panel(page)
    page.keyboard.press("Enter")
    page.evaluate("document.activeElement.blur()")
    assert "w21" in panel(page)
    page.focus("#values tr[data-row=grad_w42]")
    page.keyboard.press("Shift+Tab")
    assert "grad_w32" in panel(page)
