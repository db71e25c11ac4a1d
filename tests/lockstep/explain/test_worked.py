"""Numbers on paper as people work them: rounded, or cut off, before they are used."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from math import exp

import pytest

from lockstep import compare
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.sides import _few

PROBLEM = dict(
    sizes="2-2-2",
    hidden_activation="sigmoid",
    output_activation="sigmoid",
    loss="half_sum",
    lr=0.5,
    x=[[0.05, 0.1]],
    y=[[0.01, 0.99]],
    W_h=[[0.15, 0.2], [0.25, 0.3]],
    b_h=[0.35, 0.35],
    W_o=[[0.4, 0.45], [0.5, 0.55]],
    b_o=[0.6, 0.6],
    show="none",
)
SLIP = "h2"  # in the place of h2·(1 − h2)


def sigma(z):
    return 1 / (1 + exp(-z))


class Sheet:
    """Numbers with some decimals; the next ones are worked from them as they are written."""

    def __init__(self, decimals, how, is_chained=True):
        self.unit, self.how, self.is_chained = Decimal(1).scaleb(-decimals), how, is_chained
        self.steps = {}

    def step(self, number, w, slip=""):
        """A step by hand from w, the weights by name; the new ones."""
        found = self.steps.setdefault(number, {})

        def write(**named):
            for name, value in named.items():
                found[name] = str(Decimal(repr(value)).quantize(self.unit, self.how))
                yield float(found[name]) if self.is_chained else value

        h1, h2 = write(
            h1=sigma(w["w11"] * 0.05 + w["w21"] * 0.1 + w["b1"]),
            h2=sigma(w["w12"] * 0.05 + w["w22"] * 0.1 + w["b2"]),
        )
        o1, o2 = write(
            o1=sigma(w["w31"] * h1 + w["w41"] * h2 + w["b3"]),
            o2=sigma(w["w32"] * h1 + w["w42"] * h2 + w["b4"]),
        )
        d1, d2 = write(delta_o1=(o1 - 0.01) * o1 * (1 - o1), delta_o2=(o2 - 0.99) * o2 * (1 - o2))
        e1, e2 = write(
            delta_h1=(d1 * w["w31"] + d2 * w["w32"]) * h1 * (1 - h1),
            delta_h2=(d1 * w["w41"] + d2 * w["w42"]) * (h2 if slip else h2 * (1 - h2)),
        )
        gradients = {
            "w31": d1 * h1, "w41": d1 * h2, "b3": d1, "w32": d2 * h1, "w42": d2 * h2, "b4": d2,
            "w11": e1 * 0.05, "w21": e1 * 0.1, "b1": e1,
            "w12": e2 * 0.05, "w22": e2 * 0.1, "b2": e2,
        }  # fmt: skip
        new = {f"new_{name}": w[name] - 0.5 * it for name, it in gradients.items()}
        return dict(zip(gradients, write(**new), strict=True))

    def judged(self, tmp_path):
        path = tmp_path / "paper.toml"
        lines = []
        for number, numbers in self.steps.items():
            lines += [f"[step.{number}]", *(f'{name} = "{it}"' for name, it in numbers.items())]
        path.write_text("\n".join(lines))
        return compare(problem=PROBLEM, numbers=str(path), steps=len(self.steps))


START = dict(
    w11=0.15, w21=0.2, b1=0.35, w12=0.25, w22=0.3, b2=0.35,
    w31=0.4, w41=0.45, b3=0.6, w32=0.5, w42=0.55, b4=0.6,
)  # fmt: skip


@pytest.mark.parametrize("decimals", [2, 3, 4, 6])
def test_numbers_that_are_rounded_before_they_are_used_are_right(decimals, tmp_path):
    sheet = Sheet(decimals, ROUND_HALF_EVEN)
    w = START
    for number in (1, 2, 3):
        w = sheet.step(number, w)
    result = sheet.judged(tmp_path)
    assert result.verdict == "match", str(result)


@pytest.mark.parametrize("decimals", [3, 4, 6])
def test_a_slip_among_them_is_one_slip(decimals, tmp_path):
    sheet = Sheet(decimals, ROUND_HALF_EVEN)
    sheet.step(1, START, SLIP)
    result = sheet.judged(tmp_path)
    assert result.first_mismatch["label"] == "delta_h2"
    assert {it["quantity"] for it in result.diagnoses} == {"delta_h"}
    assert "to their digits" in str(result)


@pytest.mark.parametrize("is_chained", [True, False])
@pytest.mark.parametrize("decimals", [3, 4, 6])
def test_digits_that_are_cut_off_are_told_first(decimals, is_chained, tmp_path):
    sheet = Sheet(decimals, ROUND_DOWN, is_chained)
    sheet.step(1, START)
    (found,) = sheet.judged(tmp_path).diagnoses
    assert found["mistake"] == "too-few-digits"
    assert found["says"].startswith("digits are cut off, not rounded: h")


def test_a_slip_beside_digits_that_are_cut_off_is_told_too(tmp_path):
    sheet = Sheet(5, ROUND_DOWN)
    sheet.step(1, START, SLIP)
    first, *others = sheet.judged(tmp_path).diagnoses
    assert first["mistake"] == "too-few-digits"
    assert "delta_h" in {it["quantity"] for it in others}


def test_few_digits_name_no_mistake_of_many(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('new_b1 = "0.3"\n')
    result = compare(problem=PROBLEM, numbers=str(path))
    names = [it["mistake"] for it in result.diagnoses]
    assert result.verdict == "match" or len(names) <= 2
    path.write_text('delta_h2 = "0.02"\n')
    result = compare(problem=PROBLEM, numbers=str(path))
    assert result.verdict == "mismatch"
    assert 1 <= len(result.diagnoses) <= 2
    assert all(it["says"] for it in result.diagnoses)


def test_of_three_mistakes_that_few_digits_fit_none_is_told():
    names = "sign-flipped", "wrong-weights", "layer-skipped"
    found = [Diagnosis("new_b_h", name, name) for name in names]

    class Few:
        printed = {"new_b_h": 0.05}

    (told,) = _few(found, Few)
    assert (told.mistake, told.explains) == ("unknown", ["new_b_h"])
    assert told.says == f"its few digits are those of several mistakes: {', '.join(names)}"
    assert list(_few(found[:2], Few)) == found[:2]
