"""Reading, checking and drawing a problem; bad input is one line that names the culprit."""

import numpy as np
import pytest

from lockstep.errors import Unusable
from lockstep.network.network import Network
from lockstep.setup.options import check
from lockstep.setup.problem import _fits_into_memory, make_problem, read_file


def made(**values):
    return make_problem(check(values, str))


def test_the_lectures_numbers_stand_when_nothing_says_which_network():
    assert made().parameters["W_h"].tolist() == [[0.4, -0.3], [0.2, 0.7]]
    assert made(hidden_activation="tanh", lr=0.1).x.tolist() == [[0.5, 0.8]]
    assert made(seed=0).x.tolist() != [[0.5, 0.8]]


def test_defaults():
    problem = made()
    assert (problem.sizes, problem.samples, problem.lr, problem.steps) == ((2, 2, 2), 1, 0.05, 100)
    assert (problem.loss, problem.network.activations) == ("mse", ("linear", "linear"))
    assert (problem.dtype, problem.frozen, problem.batch_size) == ("float64", (), None)


def test_the_same_seed_draws_the_same_and_another_seed_another():
    one, same, other = made(seed=1, samples=4), made(seed=1, samples=4), made(seed=2, samples=4)
    assert np.array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)
    assert all((np.abs(array) < 1).all() for array in made(sizes="9-9-9").parameters.values())


def test_sizes_follow_from_what_is_given():
    assert made(
        x=[[1, 2, 3]],
        y=[
            [1],
        ],
    ).sizes == (3, 3, 1)
    assert made(x=[[1, 2, 3]], W_h=[[1, 2, 3]]).sizes == (3, 1, 2)
    assert made(x=[[1, 2, 3]], sizes="3-5-2").sizes == (3, 5, 2)
    assert made(W_o=[[1, 2, 3, 4]]).sizes == (2, 4, 1)
    assert made(y=[[1], [2], [3]]).samples == 3


def test_batches_go_through_the_file_in_order_the_last_one_shorter():
    problem = made(x=[[0], [1], [2], [3], [4]], batch_size=2)
    assert [problem.batch(n)[0].ravel().tolist() for n in range(1, 6)] == [
        [0, 1],
        [2, 3],
        [4],
        [0, 1],
        [2, 3],
    ]
    assert len(made(samples=3, batch_size=7).batch(2)[0]) == 3


def test_standardize_gives_every_column_mean_0_and_variance_1():
    problem = made(x=[[1, 10], [2, 30], [6, 20]], y=[[3], [4], [9]], standardize=True)
    for array in (problem.x, problem.y):
        np.testing.assert_allclose(array.mean(axis=0), 0, atol=1e-15)
        np.testing.assert_allclose(array.var(axis=0), 1)


def test_float32_is_rounded_once():
    assert made(x=[[0.1, 0.2]], dtype="float32").x.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sizes": "2"}, "sizes: expected two or more positive whole numbers"),
        ({"sizes": "2-0-2"}, "sizes: expected two or more positive whole numbers"),
        ({"sizes": [2, 2.5, 2]}, "sizes: expected two or more positive whole numbers"),
        (
            {"sizes": "3-2-2", "x": [[1, 2]]},
            "sizes 3-2-2: has n_in = 3, but x (shape 1×2) has n_in = 2",
        ),
        (
            {"W_h": [[1, 2]], "W_o": [[1, 2]]},
            "W_o (shape 1×2): has n_hidden = 2, but W_h (shape 1×2) has n_hidden = 1",
        ),
        ({"x": [[1, 2]], "y": [[1], [2]]}, "y (shape 2×1): has N = 2, but x (shape 1×2) has N = 1"),
        ({"samples": 3, "x": [[1, 2]]}, "samples: has N = 3, but x (shape 1×2) has N = 1"),
        (
            {"x": [[1, 2], [3]]},
            "x: expected rows of one length, but row 1 has 2 numbers and row 2 has 1",
        ),
        ({"x": [[1, "a"]]}, "x: expected finite numbers, got 'a' in row 1, column 2"),
        ({"x": [[1, float("nan")]]}, "x: expected finite numbers, got nan in row 1, column 2"),
        ({"b_h": [1, float("inf")]}, "b_h: expected finite numbers, got inf in element 2"),
        ({"x": [1, 2]}, "x: expected a list of rows"),
        ({"x": []}, "x: expected a list of rows"),
        ({"x": [[]]}, "x: expected numbers, but row 1 is empty"),
        ({"b_o": [[1]]}, "b_o: expected finite numbers, got [1] in element 1"),
        ({"x": [[1e39, 0]], "dtype": "float32"}, "x: has a value beyond the largest float32"),
        ({"lr": 1e39, "dtype": "float32"}, "lr: 1e+39 is beyond the largest float32"),
        ({"lr": float("inf")}, "lr: expected a finite number, got inf"),
        ({"lr": float("nan")}, "lr: expected a finite number, got nan"),
        ({"lr": "0.1"}, "lr: expected a finite number, got '0.1'"),
        ({"lr": 10**400}, "lr: expected a finite number"),
        ({"lr": True}, "lr: expected a finite number, got True"),
        ({"steps": -1}, "steps: expected a whole number of steps, 0 or more, got -1"),
        ({"steps": 1.5}, "steps: expected a whole number"),
        ({"samples": 0}, "samples: expected a positive whole number, got 0"),
        ({"batch_size": 0}, "batch_size: expected a positive whole number, got 0"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more, got -1"),
        ({"loss": "mae"}, "loss: expected one of mse, sum, half_sum, sum_over_n"),
        (
            {"hidden_activation": "swish"},
            "hidden_activation: expected one of linear, sigmoid, tanh, relu",
        ),
        ({"dtype": "float16"}, "dtype: expected one of float64, float32"),
        ({"frozen": ["b"]}, "frozen: expected a list of parameters out of W_h, b_h, W_o, b_o"),
        ({"standardize": 1}, "standardize: expected true or false, got 1"),
        ({"standardize": True}, "standardize: column 1 of x has no finite variance above 0"),
        ({"rtol": -1}, "rtol: expected a finite number, 0 or more, got -1"),
        ({"show": "1,x"}, "show: expected step numbers"),
        ({"show": 0}, "show: expected step numbers"),
        ({"learning_rate": 1}, "learning_rate: unknown key; expected one of sizes"),
        ({"inputs": "a"}, "inputs: names columns of a CSV file; expected data"),
        ({"data": "a.csv"}, "data: expected inputs as well"),
        (
            {"data": "a.csv", "inputs": "a", "targets": "b", "x": [[1]]},
            "x: given together with data",
        ),
        ({"data": "nowhere.csv", "inputs": "a", "targets": "b"}, "nowhere.csv: cannot be read"),
        ({"data": "", "inputs": "a", "targets": "b"}, "data: expected the name of a file"),
        ({"inputs": " , "}, "inputs: expected column names"),
    ],
)
def test_bad_values_name_the_key_and_what_is_expected(values, words):
    with pytest.raises(Unusable) as error:
        made(**values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("lr = ", "expected a TOML file"),
        ("lr = 0.1\nlr = 0.2", "expected a TOML file"),
        ("lr = 0.1\n[table]\na = 1", "table: unknown key"),
        ("x = [[1, 2], [3]]", "x: expected rows of one length"),
        ("lr = nan", "lr: expected a finite number"),
        ("a" * 3 + "= " + "[" * 5000 + "]" * 5000, "expected a TOML file"),
    ],
)
def test_bad_files_are_told_with_their_name(tmp_path, text, words):
    path = tmp_path / "problem.toml"
    path.write_text(text)
    with pytest.raises(Unusable) as error:
        read_file(str(path))
    assert words in str(error.value)
    assert "problem.toml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_bytes_are_told(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, words in (
        ("missing.toml", "cannot be read"),
        (".", "cannot be read"),
        ("bytes.toml", "in UTF-8"),
    ):
        with pytest.raises(Unusable, match=words):
            read_file(str(tmp_path / name))


def test_the_data_file_is_looked_for_beside_the_problem_file(tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    (tmp_path / "p.toml").write_text('data = "d.csv"\ninputs = "a"\ntargets = "b"\n')
    assert make_problem(read_file(str(tmp_path / "p.toml"))).x.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("a,b\n", "has no row of numbers"),
        ("a,c\n1,2\n", "column 'b' is not there; it has 2 columns"),
        ("a,b,b\n1,2,3\n", "column 'b' occurs twice"),
        ("a,b\n1,2\n3\n", "line 3: has 1 fields; expected 2"),
        ("a,b\n1,2\n3,x\n", "line 3, column 'b': expected a number, got 'x'"),
        ("a,b\n1,\n", "line 2, column 'b': expected a number, got ''"),
        ("a,b\n1,inf\n", "line 2, column 'b': expected a finite number, got 'inf'"),
        ("a,b\n1,nan\n", "line 2, column 'b': expected a finite number, got 'nan'"),
        ("a,b\n1,1_0\n", "line 2, column 'b': expected a finite number, got '1_0'"),
        ('a,b\n1,"2\n', "expected a CSV file"),
    ],
)
def test_bad_tables_are_told_with_row_and_column(tmp_path, text, words):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(Unusable) as error:
        made(data=str(path), inputs="a", targets="b")
    assert words in str(error.value)
    assert "table.csv: " in str(error.value)


def test_a_table_of_bytes_is_told(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(Unusable, match="in UTF-8"):
        made(data=str(tmp_path / "t.csv"), inputs="a", targets="b")


def test_a_table_may_have_spaces_a_byte_order_mark_blank_lines_and_other_columns(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffa, name ,b\n 1 ,x,2\n\n3,y,-4e1\n")
    problem = made(data=str(tmp_path / "t.csv"), inputs="b,a", targets="b")
    assert problem.x.tolist() == [[2.0, 1.0], [-40.0, 3.0]]
    assert problem.y.tolist() == [[2.0], [-40.0]]


@pytest.mark.parametrize(
    "sysconf",
    [
        None,
        lambda name: -1,
        lambda name: (_ for _ in ()).throw(ValueError("unrecognized configuration name")),
        lambda name: (_ for _ in ()).throw(OSError(22, "Invalid argument")),
    ],
)
def test_where_the_system_does_not_say_how_much_memory_there_is_any_network_may_be_tried(
    monkeypatch, sysconf
):
    if sysconf is None:
        monkeypatch.delattr("os.sysconf")
    else:
        monkeypatch.setattr("os.sysconf", sysconf)
    assert make_problem({"sizes": (3, 4, 2)}).sizes == (3, 4, 2)
    _fits_into_memory(Network((10**6, 10**6, 1), ("linear", "linear")), 1)


def test_a_network_beyond_memory_is_told():
    with pytest.raises(Unusable, match="do not fit into memory"):
        made(sizes="900000000-900000000-2")


def test_what_float32_cannot_tell_from_zero_is_refused():
    with pytest.raises(
        Unusable, match="W_h: 1e-60 is 0 as a float32; expected values that it can tell from 0"
    ):
        made(W_h=[[1e-60]], dtype="float32")
    assert made(W_h=[[1e-60]]).parameters["W_h"][0, 0] == 1e-60


@pytest.mark.parametrize("text", ["1e-400", "-0.00001E-9999"])
def test_what_float64_cannot_tell_from_zero_is_refused_wherever_it_is_read(tmp_path, text):
    toml, table = tmp_path / "a.toml", tmp_path / "a.csv"
    toml.write_text(f"lr = {text}")
    table.write_text(f"a,b\n1,{text}\n")
    for read in (
        lambda: read_file(str(toml)),
        lambda: made(data=str(table), inputs="a", targets="b"),
    ):
        with pytest.raises(Unusable, match="expected 0 or a number that a float64 can tell from 0"):
            read()
    toml.write_text("lr = 0.00e-999")
    assert read_file(str(toml))["lr"] == 0


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbflr = 0.5")
    assert read_file(str(path)) == {"lr": 0.5}


def test_what_does_not_fit_into_memory_is_refused_before_it_is_drawn():
    with pytest.raises(Unusable, match="999999-999999-1 with 1 samples do not fit into memory"):
        made(sizes="999999-999999-1")


def test_values_of_thousands_of_characters_are_cut_in_messages():
    for values in (
        {"lr": "x" * 5000},
        {"samples": -(10**5000)},
        {"x" * 5000: 1},
        {"W_h": [[10**5000]]},
    ):
        with pytest.raises(Unusable) as error:
            made(**values)
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", 3])
def test_what_cannot_be_a_files_name_is_refused(name):
    with pytest.raises(Unusable, match="data: expected the name of a file"):
        made(data=name)


def test_a_file_nested_without_end_is_told(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("x = " + "[" * 5000)
    with pytest.raises(Unusable, match="expected a TOML file, but this one is nested too deeply"):
        read_file(str(path))


def test_steps_to_show_may_be_one_number_or_several():
    assert check({"show": 3}, str)["show"] == frozenset({3})
    assert check({"show": [1, 2]}, str)["show"] == frozenset({1, 2})
    with pytest.raises(Unusable, match="show: expected step numbers such as 1,10"):
        check({"show": 1.5}, str)
