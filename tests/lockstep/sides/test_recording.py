"""Recordings: what is read, what is refused, where each step starts, how slips are named."""

import io
import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lockstep import compare
from lockstep.cli.compare import main
from lockstep.errors import Unusable
from lockstep.setup.files import read_lines
from lockstep.setup.problem import make_problem
from manual_backprop import two_layer
from tests.campaigns.other_end import forked, interrupt, piped_input, wait_until, with_other_end

ROOT = Path(__file__).parents[3]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.jsonl"))


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """The lines of a trace of twenty steps of the lecture's network, as dicts."""
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    main(["--steps", "20", "--quiet", "--trace", str(path)])
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(tmp_path, lines, name="run.jsonl"):
    path = tmp_path / name
    path.write_text(
        "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    )
    return str(path)


def changed(lines, number, **values):
    return [line | values if line.get("step") == number else line for line in lines]


def judged(tmp_path, lines, **settings):
    return compare(problem={"numbers": written(tmp_path, lines)} | settings)


def test_the_interfaces_example_matches_line_by_line(tmp_path):
    problem = {
        "sizes": "2-2-2",
        "x": [[0.05, 0.1]],
        "y": [[0.01, 0.99]],
        "W_h": [[0.15, 0.2], [0.25, 0.3]],
        "b_h": [0.35, 0.35],
        "W_o": [[0.4, 0.45], [0.5, 0.55]],
        "b_o": [0.6, 0.6],
        "lr": 0.5,
        "loss": "half_sum",
        "hidden_activation": "sigmoid",
        "output_activation": "sigmoid",
    }
    first = {
        "step": 1,
        "h": [[0.5932699921071872, 0.596884378259767]],
        "delta_o1": 0.13849856162855695,
        "new_W_o": [
            [0.35891647971788465, 0.4086661860762334],
            [0.5113012702387375, 0.5613701211079891],
        ],
        "new_b_o": [0.5307507191857215, 0.6190491182582781],
        "new_W_h": [
            [0.1497807161327628, 0.19956143226552567],
            [0.24975114363236958, 0.29950228726473915],
        ],
        "new_b_h": [0.3456143226552565, 0.3450228726473914],
    }
    second = {
        "step": 2,
        "lr": 0.25,
        "delta_o1": 0.14211809830419223,
        "new_w31": 0.33787596438591855,
    }
    result = judged(tmp_path, [{"problem": problem}, first, second])
    assert (result.verdict, result.steps_run, result.steps_asked, result.values) == (
        "match",
        2,
        2,
        17,
    )
    assert result.last.start.lr == 0.25
    wrong = judged(tmp_path, [{"problem": problem}, first, second | {"lr": 0.5}])
    assert (wrong.first_mismatch["label"], wrong.first_mismatch["step"]) == ("new_w31", 2)


@pytest.mark.slow
def test_a_learning_rate_may_stand_in_each_line(tmp_path):
    problem = make_problem({"sizes": (20, 25, 10), "samples": 12})
    parameters, given = problem.parameters, {"x": problem.x.tolist(), "y": problem.y.tolist()}
    lines = [{"problem": given | {name: array.tolist() for name, array in parameters.items()}}]
    for number in range(1, 131):
        got = two_layer.step(**parameters, x=problem.x, y=problem.y, lr=1e-3 / number)
        parameters = {name: got[f"new_{name}"] for name in parameters}
        lines.append(
            {"step": number, "lr": 1e-3 / number}
            | {name: array.tolist() for name, array in got.items()}
        )
    result = judged(tmp_path, lines)
    assert (result.verdict, result.steps_run) == ("match", 130)


@pytest.mark.slow
def test_lines_with_data_of_their_own_are_not_judged_by_others(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 20)), random.normal(size=(12, 10))
    problem = make_problem({"sizes": (20, 25, 10), "x": x, "y": y, "lr": 1e-14, "dtype": "float64"})
    parameters = problem.parameters
    start = {name: array.tolist() for name, array in parameters.items()}
    lines = [{"problem": start | {"x": x.tolist(), "y": y.tolist(), "lr": 1e-14}}]
    for number in range(1, 108):
        scaled = x * (1e-14 if number == 105 else 1.0)
        got = two_layer.step(**parameters, x=scaled, y=y, lr=1e-14)
        parameters = {name: got[f"new_{name}"] for name in parameters}
        grad_W_h = got["grad_W_h"] * (1.001 if number == 105 else 1.0)
        new = {f"new_{name}": array.tolist() for name, array in parameters.items()}
        lines.append(
            {
                "step": number,
                "x": scaled.tolist(),
                "grad_W_h": grad_W_h.tolist(),
                "z_h": got["z_h"].tolist(),
            }
            | new
        )
    result = judged(tmp_path, lines)
    assert result.verdict == "mismatch"
    assert (result.first_mismatch["step"], result.first_mismatch["quantity"]) == (105, "grad_W_h")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "settings",
    [
        ["--steps", "5"],
        ["--sizes", "3-4-2", "--samples", "7", "--batch-size", "3", "--steps", "6"],
        ["scripts/examples/mazur.toml", "--steps", "4"],
        ["--sizes", "4-1-3", "--hidden-activation", "relu", "--steps", "4"],
    ],
)
def test_a_trace_reads_back_and_matches(settings, dtype, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    trace = str(tmp_path / "trace.jsonl")
    assert main([*settings, "--dtype", dtype, "--quiet", "--trace", trace]) == 0
    result = compare(problem={"numbers": trace})
    assert (result.verdict, result.dtype) == ("match", dtype)
    assert result.steps_run == int(settings[settings.index("--steps") + 1])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_traces_still_match_pytorch_and_are_what_is_computed_now(
    path, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    result = compare(problem={"numbers": str(path)})
    assert result.verdict == "match"
    again = tmp_path / "again.jsonl"
    main(
        [
            f"scripts/examples/{path.stem}.toml",
            "--steps",
            str(result.steps_run),
            "--quiet",
            "--trace",
            str(again),
        ]
    )
    for old, new in zip(
        path.read_text().splitlines()[1:], again.read_text().splitlines()[1:], strict=True
    ):
        old, new = json.loads(old), json.loads(new)
        for name in result.problem.network.computed:
            value = result.last.allowed[name]
            size = np.abs(np.array(new[name])).max() + 1e-300
            assert np.allclose(old[name], new[name], rtol=0, atol=1e-9 * size + value.max()), name


def test_there_are_golden_traces_of_the_five_example_problems():
    assert [path.stem for path in GOLDEN] == ["batch", "iris", "lecture", "mazur", "square"]


def test_each_line_is_judged_from_its_own_parameters(tmp_path, traced):
    delta = (np.array(traced[5]["delta_h"]) * 2).tolist()
    result = judged(tmp_path, changed(traced, 5, delta_h=delta), keep_going=True)
    assert result.first_mismatch["step"] == 5
    assert result.steps_differing == 1
    assert result.diagnoses[0]["mistake"] == "scaled-by-constant"


def test_new_parameters_of_the_line_before_are_where_a_step_starts(tmp_path, traced):
    bare = [
        {
            name: value
            for name, value in line.items()
            if name not in ("W_h", "b_h", "W_o", "b_o", "torch")
        }
        for line in traced
    ]
    result = judged(tmp_path, bare)
    assert result.verdict == "match"
    assert not any("own run" in remark for remark in result.remarks)
    assert result.last.start.parameters["W_h"].tolist() == bare[-2]["new_W_h"]


def test_where_no_line_says_it_pytorchs_own_run_goes_on_and_the_report_says_so(tmp_path, traced):
    lines = [
        traced[0],
        *(
            {"step": line["step"], "z_h": line["z_h"], "new_w31": line["new_W_o"][0][0]}
            for line in traced[1:]
        ),
    ]
    result = judged(tmp_path, lines)
    assert result.verdict == "match"
    assert (
        "from step 2 on W_h starts from PyTorch's own run, where no line gives all of it"
        in result.remarks
    )
    assert any(
        remark.startswith("not recorded, so not judged: h, z_o") for remark in result.remarks
    )


def test_the_problem_may_be_told_by_the_first_step(tmp_path, traced):
    problem = traced[0]["problem"]
    told = {name: problem[name] for name in ("x", "y", "W_h", "b_h", "W_o", "b_o")}
    rest = {"problem": {name: value for name, value in problem.items() if name not in told}}
    assert judged(tmp_path, [rest, traced[1] | told, *traced[2:4]]).verdict == "match"


def test_a_lines_own_batch_is_used(tmp_path, traced):
    x = [[0.1, 0.2], [0.3, -0.4]]
    z_h = np.array(x) @ np.array([[0.4, -0.3], [0.2, 0.7]]).T + [0.1, -0.2]
    line = {"step": 1, "x": x, "y": [[1.0, 0.0], [0.0, 1.0]], "z_h": z_h.tolist()}
    result = judged(tmp_path, [traced[0], line])
    assert result.verdict == "match"
    assert result.last.start.x.tolist() == x


def test_parameters_that_change_between_two_lines_are_told(tmp_path, traced):
    W_o = [list(row) for row in traced[7]["W_o"]]
    W_o[1][0] += 1e-3
    result = judged(tmp_path, changed(traced, 7, W_o=W_o))
    assert "mismatch: step 7 does not start where step 6 ended: w32" in str(result)
    assert result.first_mismatch["quantity"] == "W_o"
    assert result.first_mismatch["index"] == [1, 0]
    assert (
        result.diagnoses[0]["says"] == "W_o changed between two steps, and nothing gives the reason"
    )
    json.dumps(result.document())


def test_an_update_that_is_not_kept_is_told_as_that(tmp_path, traced):
    old = {name: traced[6][name] for name in ("W_h", "b_h", "W_o", "b_o")}
    result = judged(tmp_path, changed(traced, 7, **old))
    assert result.diagnoses[0]["mistake"] == "not-updated"
    assert "is what step 6 started from" in result.diagnoses[0]["says"]


def test_the_drift_is_from_pytorchs_own_run(tmp_path, traced):
    result = judged(tmp_path, traced)
    assert result.rows[-1].drift is not None
    assert result.rows[-1].drift <= 10
    assert "drift: distance between the parameters of the recording and of PyTorch's" in str(result)


def with_format(lines, form):
    """The lines with every number of a step printed by a C format."""
    for line in lines:
        plain = {name: value for name, value in line.items() if name != "torch"}
        yield (
            re.sub(
                r"-?\d+\.\d+(e-?\d+)?", lambda number: form % float(number[0]), json.dumps(plain)
            )
            + "\n"
        )


@pytest.mark.parametrize(
    ("form", "words"),
    [("%f", "6 printed"), ("%.12f", "12 printed"), ("%.9g", "9 printed"), ("%g", "6 printed")],
)
def test_numbers_printed_with_too_few_digits_are_told_as_such(form, words, tmp_path, traced):
    result = judged(tmp_path, list(with_format(traced, form)))
    assert [found["mistake"] for found in result.diagnoses] == ["too-few-digits"]
    assert f"digits, as far as {words}" in result.diagnoses[0]["says"]
    assert "17 significant digits" in result.diagnoses[0]["remedy"]


def test_enough_digits_match(tmp_path, traced):
    assert judged(tmp_path, list(with_format(traced, "%.17g"))).verdict == "match"


@pytest.mark.slow
def test_a_wrong_formula_in_few_digits_is_not_called_a_lack_of_digits(tmp_path, traced):
    wrong = changed(traced, 4, delta_h=(np.array(traced[4]["delta_h"]) * 1.01).tolist())
    result = judged(tmp_path, list(with_format(wrong, "%.9f")), keep_going=True)
    later = judged(tmp_path, [wrong[0], *with_format(wrong[4:5], "%.9f")])
    assert result.diagnoses[0]["mistake"] == "too-few-digits"  # of an earlier step
    assert later.diagnoses[0]["mistake"] != "too-few-digits"


@pytest.mark.slow
def test_short_numbers_that_are_wrong_are_not_called_a_lack_of_digits(tmp_path, traced):
    result = judged(tmp_path, [traced[0], {"step": 1, "delta_o": [[-0.25, -0.41]]}])
    assert result.diagnoses[0]["mistake"] != "too-few-digits"


def test_single_precision_is_told_apart_from_few_digits(tmp_path, traced):
    single = {
        name: np.float32(traced[1][name]).astype(float).tolist()
        for name in ("z_h", "h", "z_o", "o", "delta_h")
    }
    result = judged(tmp_path, [traced[0], {"step": 1} | single])
    assert result.diagnoses[0]["mistake"] == "single-precision"


@pytest.mark.slow
def test_an_exponent_beyond_measure_is_a_mismatch_like_any_other(tmp_path, traced):
    result = judged(
        tmp_path, [traced[0], '{"step": 1, "delta_o1": -0.24399e9999999999999999999}\n']
    )
    assert result.first_mismatch["label"] == "delta_o1"


def test_numbers_in_quotes_are_judged_by_their_printed_digits(tmp_path, traced):
    line = {"step": 1, "delta_h": [["0.0160", "-0.2028"]], "loss": "0.112186"}
    assert judged(tmp_path, [traced[0], line]).verdict == "match"
    line["delta_h"][0][1] = "-0.2029"
    assert judged(tmp_path, [traced[0], line]).first_mismatch["label"] == "delta_h2"


def test_numbers_in_quotes_and_plain_ones_may_stand_side_by_side(tmp_path, traced):
    result = judged(tmp_path, [traced[0], {"step": 1, "h": [["0.06", traced[1]["h"][0][1]]]}])
    assert (result.verdict, result.values) == ("match", 2)


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "-nan", "Infinity"])
def test_words_for_what_is_not_finite_are_read_as_such(word, tmp_path, traced):
    text = json.dumps({"step": 1, "h1": "WORD"}).replace(
        '"WORD"', word if word == "Infinity" else f'"{word}"'
    )
    result = judged(tmp_path, [traced[0], text + "\n"])
    assert result.first_mismatch["label"] == "h1"
    assert "not finite on one side" in str(result)


def test_a_flat_list_and_a_matrix_by_columns_are_told_with_the_shape_that_fits(tmp_path, traced):
    flat = np.ravel(traced[1]["grad_W_o"]).tolist()
    result = judged(tmp_path, [traced[0], {"step": 1, "grad_W_o": flat}])
    assert result.diagnoses[0]["mistake"] == "wrong-shape"
    assert "its 4 numbers would fit" in result.diagnoses[0]["says"]
    columns = np.transpose(traced[1]["new_W_h"]).tolist()
    result = judged(tmp_path, [traced[0], {"step": 1, "new_W_h": columns}])
    assert result.diagnoses[0]["mistake"] == "transposed-gradient"
    assert "stored by columns" in result.diagnoses[0]["says"]


@pytest.mark.parametrize("name", ["grad_W_h", "new_W_h"])
def test_a_matrix_by_columns_that_is_not_square_is_told_as_well(name):
    def step(delta_h, x, W_h, lr):
        gradient = delta_h.T @ x
        return {name: (gradient if name == "grad_W_h" else W_h - lr * gradient).T}

    found = compare(step, sizes="3-4-2", samples=5).diagnoses
    assert [diagnosis["mistake"] for diagnosis in found] == ["transposed-gradient"]


def test_a_line_may_give_some_weights_by_the_lectures_names_and_empty_lines_are_passed_over(
    tmp_path, traced
):
    W_o = [[0.6, -0.5], [-0.4, 0.75]]
    z_o = (np.array(traced[1]["h"]) @ np.array(W_o).T + [0.25, 0.15]).tolist()
    result = judged(tmp_path, [traced[0], "\n", {"step": 1, "w42": 0.75, "z_o": z_o}, "  \n"])
    assert result.verdict == "match"
    assert result.last.start.parameters["W_o"].tolist() == W_o


BAD = [
    (
        '{"step": 2, "h": [[0.5, 0.5]}\n',
        "line 3: expected JSON; column 29: expecting ',' delimiter",
    ),
    ('{"step": 2, "h": [[0.5', "line 3: is cut off; expected a whole line of JSON"),
    (
        '{"step": 2, "delta_h3": 1}\n',
        "line 3: 'delta_h3': expected names of computed quantities; did you mean delta_h",
    ),
    ('{"step": 2, "h1": "abc"}\n', "line 3: h1: expected a number, got 'abc'"),
    ('{"step": 2, "h": [["0.5", null]]}\n', "line 3: h: expected a number, got None"),
    ('{"step": 2, "h1": true}\n', "line 3: h1: expected a number, got True"),
    ('{"step": 2, "h1": {"a": 1}}\n', "line 3: h1: expected a number, got {'a': 1}"),
    ('{"step": 2, "h": [[1], [1, 2]]}\n', "line 3: h: expected"),
    ('{"step": 1, "h1": 0.5}\n', "line 3: step 1 comes after step 1; expected a larger number"),
    (
        '{"step": "2", "h1": 0.5}\n',
        "line 3: expected the number of its step, 1 or more, as in \"step\": 1; got '2'",
    ),
    (
        '{"h1": 0.5}\n',
        'line 3: expected the number of its step, 1 or more, as in "step": 1; got none',
    ),
    ('{"problem": {}}\n', "line 3: a second problem; expected one, in the first line"),
    (
        '{"step": 4, "h1": 0.5}\n',
        "line 3: step 4 comes after step 1; expected W_h, b_h, W_o, b_o as well",
    ),
    ('{"step": 2, "h1": 1, "h1": 2}\n', "line 3: 'h1' stands there twice; expected each name once"),
    ('{"step": 2, "h1": nan}\n', 'line 3: nan is no number of JSON; expected it in quotes: "nan"'),
    (
        '{"step": 2, "h": [[-inf, 1]]}\n',
        'line 3: -inf is no number of JSON; expected it in quotes: "-inf"',
    ),
    ("[1, 2]\n", "line 3: expected an object"),
    ('[{"step": 2},\n', "line 3: expected an object a line"),
    ("[" * 100_000 + "\n", "line 3: is nested too deeply"),
    ('{"step": 2, "W_h": [1, 2]}\n', "line 3: W_h: expected shape (2, 2), got (2,)"),
    (
        '{"step": 2, "x": [[1, 2, 3]]}\n',
        "line 3: x: expected rows of 2 numbers, got an array of shape (1, 3)",
    ),
    ('{"step": 2, "x": [[1, 2], [3, 4]]}\n', "line 3: x has 2 rows, y has 1; expected as many"),
    ('{"step": 2, "lr": [1]}\n', "line 3: lr: expected a number, got a list"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "words"), BAD, ids=lambda value: value[:30])
def test_a_bad_line_is_told_after_the_verdict_on_those_before(
    line, words, tmp_path, traced, capsys
):
    path = written(tmp_path, [traced[0], traced[1], line])
    assert main(["--numbers", path, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert "only 1 step of the recording could be read. So far:" in out
    assert "match: 15 of 15 quantities, 1 step, 37 values" in out
    assert words in err
    assert err.count("\n") == 1
    with pytest.raises(Unusable):
        compare(problem={"numbers": path})


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "has no step; expected a line of JSON a step"),
        (['{"problem": {}}\n'], "has no step"),
        (
            ['{"problem": {"sizes": "2-2-2"}}\n', '{"step": 1, "h1": 1}\n'],
            "line 1: problem: expected W_h, b_h, W_o, b_o",
        ),
        (
            ['{"problem": {"sizes": "2-x"}}\n', '{"step": 1, "h1": 1}\n'],
            "line 1: sizes: expected two or more positive",
        ),
        (['{"problem": {"wat": 1}}\n', '{"step": 1, "h1": 1}\n'], "line 1: wat: unknown key"),
        (['{"sizes": "2-2-2"}\n'], 'as in "step": 1, or first {"problem": {...}}; got none'),
        (['{"problem": 3}\n'], 'line 1: expected {"problem": {...}} alone'),
        (['{"problem": {"numbers": "a"}}\n'], "line 1: numbers: a recording cannot set this"),
        (["\xff\n"], "expected"),
    ],
)
def test_a_recording_that_cannot_begin_is_one_line(lines, words, tmp_path, capsys):
    assert main(["--numbers", written(tmp_path, lines)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_files_that_are_not_there_or_not_text_are_told(tmp_path, capsys):
    assert main(["--numbers", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00\n")
    assert main(["--numbers", str(tmp_path / "bytes.jsonl")]) == 2
    assert "expected lines of JSON in UTF-8" in capsys.readouterr().err


def test_a_matrix_stored_by_columns_in_rows_of_the_right_length_is_told(tmp_path):
    trace = str(tmp_path / "trace.jsonl")
    main(["--sizes", "3-2-1", "--samples", "3", "--steps", "1", "--quiet", "--trace", trace])
    problem, line = (json.loads(text) for text in Path(trace).read_text().splitlines())
    grad_W_h = np.array(line["grad_W_h"])
    stored = grad_W_h.ravel(order="F").reshape(grad_W_h.shape).tolist()
    result = judged(tmp_path, [problem, {"step": 1, "grad_W_h": stored}])
    assert result.diagnoses[0]["mistake"] == "transposed-gradient"
    assert "read column by column, are right" in result.diagnoses[0]["says"]


@pytest.mark.slow
def test_another_learning_rate_is_named_with_its_factor(tmp_path, traced):
    half = {
        f"new_{name}": (
            np.array(traced[3][name]) - 0.025 * np.array(traced[3][f"grad_{name}"])
        ).tolist()
        for name in ("W_h", "b_h", "W_o", "b_o")
    }
    result = judged(tmp_path, changed(traced, 3, **half))
    assert {found["mistake"] for found in result.diagnoses} == {"learning-rate"}
    assert "0.5 times the learning rate" in result.diagnoses[0]["says"]


def test_a_start_that_no_line_gives_is_suspected_where_a_right_formula_differs(tmp_path, traced):
    bare = [
        {
            name: value
            for name, value in line.items()
            if name not in ("W_h", "b_h", "W_o", "b_o", "torch")
        }
        for line in traced
    ]
    off = (np.array(traced[5]["z_h"]) + [[1e-3, 2e-3]]).tolist()
    for lines, suspected in ((bare, True), (traced, False)):
        found = judged(tmp_path, changed(lines, 5, z_h=off)).diagnoses[0]
        assert found["mistake"] == "unknown"
        assert found["remedy"].startswith("give W_h, b_h, W_o, b_o in each line") == suspected


@pytest.mark.slow
def test_what_the_problem_leaves_open_is_said(tmp_path, traced):
    problem = {
        name: value for name, value in traced[0]["problem"].items() if name not in ("lr", "loss")
    }
    result = judged(tmp_path, [{"problem": problem}, *traced[1:3]])
    assert (
        "not given by the recording, so the defaults were used: lr 0.05, loss mse" in result.remarks
    )
    result = judged(tmp_path, [{"problem": problem}, traced[1] | {"lr": 0.05}])
    assert "not given by the recording, so the defaults were used: loss mse" in result.remarks
    result = judged(tmp_path, traced[1:3])
    assert any("has no problem line" in remark for remark in result.remarks)


def test_fewer_steps_than_asked_for_and_a_battery_are_remarked(tmp_path, traced):
    result = judged(tmp_path, traced[:4], steps=9, battery=3)
    assert (result.verdict, result.steps_run, result.steps_asked) == ("match", 3, 9)
    assert "the recording has 3 of the 9 steps that were asked for" in result.remarks
    assert any(remark.startswith("no battery") for remark in result.remarks)
    assert judged(tmp_path, traced, steps=2).steps_run == 2


def test_a_line_beyond_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lockstep.setup.files.MOST", 100)
    path = written(tmp_path, ['{"step": 1, "h": [[' + "1, " * 100 + "1]]}\n"])
    with pytest.raises(Unusable, match="line 1: is longer than 100 characters"):
        list(read_lines(path))


def test_a_number_of_thousands_of_digits_is_refused(tmp_path):
    with pytest.raises(Unusable, match="line 1: a number of too many digits"):
        list(read_lines(written(tmp_path, ['{"step": 1, "h1": ' + "9" * 5000 + "}\n"])))


def test_the_guides_lines_are_a_recording_that_matches(tmp_path):
    page = (ROOT / "docs" / "how-to" / "other-languages.md").read_text()
    block = re.search(r"```json\n(.*?)```", page, re.DOTALL)[1]
    result = judged(tmp_path, [block])
    assert (result.verdict, result.steps_run, result.values) == ("match", 1, 7)


def test_standard_input_is_read_as_it_comes(monkeypatch, traced, capsys):
    text = "".join(json.dumps(line) + "\n" for line in traced)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["--numbers", "-", "--quiet"]) == 0
    assert "match: 15 of 15 quantities, 20 steps, 740 values. " in capsys.readouterr().out


def test_at_the_first_mismatch_it_ends_and_the_program_finds_a_closed_pipe(traced, tmp_path):
    inside, outside = os.pipe()
    document = tmp_path / "verdict.json"

    def command():
        sys.stdin = os.fdopen(inside)
        return main(["--numbers", "-", "--quiet", "--json", str(document)])

    process = forked(command)
    os.close(inside)
    with os.fdopen(outside, "wb", buffering=0) as written:
        for line in changed(traced, 2, loss=1.0)[:4]:
            written.write(json.dumps(line).encode() + b"\n")
        process.join(60)
        assert process.exitcode == 1  # though standard input is open still
        with pytest.raises(BrokenPipeError):
            written.write(b"more\n")
    first = json.loads(document.read_text())["first_mismatch"]
    assert (first["step"], first["quantity"]) == (2, "loss")


def test_ctrl_c_leaves_a_verdict_on_what_was_read(monkeypatch, traced, capsys, tmp_path):
    trace = tmp_path / "run.jsonl"
    with piped_input(monkeypatch) as written:

        def program():
            written.writelines(json.dumps(line) + "\n" for line in traced[:4])
            wait_until(lambda: trace.exists() and '"step": 3' in trace.read_text())
            time.sleep(0.1)  # it waits for the next line
            interrupt()

        assert (
            with_other_end(lambda: main(["--numbers", "-", "--trace", str(trace)]), program) == 130
        )
    assert "interrupted after 3 steps. So far:" in capsys.readouterr().out


def test_a_program_that_is_killed_leaves_a_verdict_on_what_was_read(monkeypatch, traced, capsys):
    text = "".join(json.dumps(line) + "\n" for line in traced[:5]) + json.dumps(traced[5])[:100]
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["--numbers", "-", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert "match: 15 of 15 quantities, 4 steps, " in out
    assert "standard input: line 6: is cut off" in err


def test_a_wrong_number_beside_weights_that_are_short_by_themselves_is_not_too_few_digits(
    tmp_path, traced
):
    delta_h = [list(row) for row in traced[2]["delta_h"]]
    delta_h[0][0] *= 1.01
    result = judged(tmp_path, changed(traced, 2, delta_h=delta_h))
    assert result.first_mismatch["label"] == "delta_h1"
    assert result.diagnoses[0]["mistake"] == "unknown"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ('"x": [0.5, 0.8]', "line 1: x: expected a list of rows, each a list of numbers, got an"),
        (
            '"W_h": 0.5',
            "line 1: W_h: expected a list of rows, each a list of numbers, got a number",
        ),
        ('"b_h": [[0.1], [0.2]]', "line 1: b_h: expected a list of numbers, got an array of shape"),
        ('"lr": 1e-400', "line 1: expected 0 or a number that a float64 can tell from 0"),
        ('"h1": "\\ud800"', "line 1: has half of a surrogate pair; expected Unicode text"),
    ],
)
def test_the_first_line_is_looked_at_like_any_other(tmp_path, capsys, given, words):
    path = written(tmp_path, ['{"step": 1, "h2": 0.5, ' + given + "}\n"])
    assert main(["--numbers", path, "--quiet"]) == 2
    assert words in capsys.readouterr().err
