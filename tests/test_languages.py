"""The examples in other languages: they build, run and match; a slip in one line gets its name."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lockstep import compare

LANGUAGES = Path(__file__).parents[1] / "scripts" / "examples" / "languages"
SOURCE = (LANGUAGES / "two_layer.c").read_text()
CLASSIFIER = (LANGUAGES / "classifier.c").read_text()
needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: `apt install gcc`")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="no node: `apt install nodejs`")


def recorded(tmp_path, command):
    path = tmp_path / "run.jsonl"
    path.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return compare(problem={"numbers": str(path)})


def built(folder, source, *flags):
    """The program of a C source, built."""
    program = folder / "net"
    command = [
        "cc",
        "-Wall",
        "-Werror",
        *(flags or ["-O2"]),
        "-x",
        "c",
        "-",
        "-o",
        str(program),
        "-lm",
    ]
    subprocess.run(command, input=source, text=True, check=True)
    return str(program)


@pytest.mark.slow
@needs_cc
@pytest.mark.parametrize(
    ("flags", "dtype", "resolution"),
    [
        (["-O0"], "float64", 1e-13),
        (["-O2"], "float64", 1e-13),
        (["-O3", "-ffast-math", "-march=native"], "float64", 1e-13),
        (["-O2", "-DREAL=float"], "float32", 1e-4),
        (["-O3", "-ffast-math", "-DREAL=float"], "float32", 1e-4),
    ],
)
def test_the_c_program_matches_whatever_the_compiler_makes_of_its_sums(
    flags, dtype, resolution, tmp_path
):
    program = built(tmp_path, CLASSIFIER, *flags)
    result = recorded(tmp_path, [program])
    assert (result.verdict, result.dtype, result.steps_run) == ("match", dtype, 20)
    assert result.resolution["typical"] < 2 * resolution
    assert result.problem.sizes == (4, 5, 4, 3)
    program = built(tmp_path, SOURCE, *flags)
    for arguments, sizes in (([], (2, 2, 2)), (["batch"], (3, 4, 2))):
        result = recorded(tmp_path, [program, *arguments])
        assert (result.verdict, result.dtype, result.steps_run) == ("match", dtype, 20)
        assert result.resolution["typical"] < resolution
        assert result.problem.sizes == sizes


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize(
    "words", [["two_layer.mjs"], ["two_layer.mjs", "batch"], ["classifier.mjs"]]
)
def test_the_javascript_program_matches(words, tmp_path):
    name, *arguments = words
    result = recorded(tmp_path, ["node", str(LANGUAGES / name), *arguments])
    assert (result.verdict, result.steps_run) == ("match", 20)
    assert result.resolution["typical"] < 2e-13
    assert not any("not recorded" in remark for remark in result.remarks)


SLIPS = [
    ("delta_o[n][k] = o[n][k] - y[n][k]", "delta_o[n][k] = y[n][k] - o[n][k]", "sign-flipped"),
    ("sent_back * h[n][j] * (1 - h[n][j])", "sent_back", "missing-activation-derivative"),
    ("EACH(k, n_out) sent_back += delta_o", "EACH(k, 1) sent_back += delta_o", "term-missing"),
    ("W_o[k][j] -= lr * grad_W_o[k][j]", "W_o[k][j] += lr * grad_W_o[k][j]", "update-sign"),
    (
        "grad_b_o[0][k] += delta_o[n][k]",
        "grad_b_o[0][k] += delta_o[n][k] / N",
        "bias-gradient-averaged",
    ),
    ("grad_W_h[j][i] += delta_h", "grad_W_h[j][i] = delta_h", "one-sample-only"),
    ("memset(grad_W_o, 0, sizeof grad_W_o), ", "", "gradients-accumulated"),
    (
        "EACH(i, n_in) W_h[j][i] -= lr * grad_W_h[j][i]",
        "EACH(i, 0) W_h[j][i] -= lr * grad_W_h[j][i]",
        "not-updated",
    ),
    ('%s%.17g%s", j ?', '%s%f%s", j ?', "too-few-digits"),
]


CLASSIFIERS_SLIPS = [
    (
        "velocity[l][j][i] + gradient",
        "velocity[l][j][i] + (1 - momentum) * gradient",
        "momentum-form",
    ),
    ("(labels[n] == k)", "((labels[n] + 1) % 3 == k)", "targets-shifted"),
    ("sent_back * sigma_prime(l, ", "sent_back * sigma_prime(3 - l, ", "wrong-layer-derivative"),
    (
        "sent_back * sigma_prime(l, z[l][n][j])",
        "sent_back + 0 * sigma_prime(l, 0)",
        "missing-activation-derivative",
    ),
    ("largest - log(total))", "largest - log(total + 1e-8))", "log-epsilon"),
    ("p[l][j][i] -= lr", "p[l][j][i] += lr", "update-sign"),
    ("memset(grad_W, 0, sizeof grad_W), ", "", "gradients-accumulated"),
]


EVERY = [(SOURCE, *slip) for slip in SLIPS] + [(CLASSIFIER, *slip) for slip in CLASSIFIERS_SLIPS]


@pytest.mark.slow
@needs_cc
@pytest.mark.parametrize(
    ("source", "right", "wrong", "name"), EVERY, ids=[f"{slip[3]}-{len(slip[0])}" for slip in EVERY]
)
def test_a_slip_in_one_line_of_c_is_called_by_its_name(source, right, wrong, name, tmp_path):
    assert source.count(right) == 1
    program = built(tmp_path, source.replace(right, wrong))
    result = recorded(tmp_path, [program, "batch"])  # which the classifier does not look at
    assert result.verdict == "mismatch"
    assert result.diagnoses[0]["mistake"] == name


@pytest.mark.parametrize(
    ("name", "most"),
    [("two_layer.c", 80), ("two_layer.mjs", 80), ("classifier.c", 100), ("classifier.mjs", 80)],
)
def test_an_example_is_one_short_file(name, most):
    assert len((LANGUAGES / name).read_text().splitlines()) < most
