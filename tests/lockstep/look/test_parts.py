"""The parts of the recogniser, each alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from lockstep.look.chain import matrix, rows, sigma, unfolded
from lockstep.look.forward import _GELUS_APART
from lockstep.look.passes import _Now
from lockstep.look.reading import Reader, Settings, delta_factors, ratio
from lockstep.look.recognised import Recognised
from lockstep.look.roles import Roles
from lockstep.look.seen import Found, Seen, Sighting, forms
from lockstep.look.side import written
from lockstep.look.source import Program, imports_of, names_by_line, stored_by_line
from lockstep.look.updates import Updates, _share


def test_vectors_are_one_sample_and_one_output():
    assert rows(np.ones(3), columns=True).shape == (1, 3)
    assert rows(np.ones((3, 2)), columns=True).shape == (2, 3)
    assert matrix(np.ones(3), is_in_out=True).shape == (3, 1)
    assert matrix(np.ones((3, 2)), is_in_out=False).shape == (2, 3)
    cube = np.ones((2, 2, 2))
    assert rows(cube, columns=False) is None
    assert matrix(cube, is_in_out=False) is None


def test_gelu_is_found_among_what_is_near_its_approximation():
    z = np.concatenate([np.linspace(-6, 6, 100000), np.logspace(-12, 0, 100)])
    apart = np.abs((sigma("gelu")(z) - sigma("gelu_tanh")(z)) / z).max()
    assert 1e-4 < apart < _GELUS_APART


def test_an_array_is_held_until_its_last_variable_gets_another_one():
    seen = Seen()
    arrays = {str(n): np.full((2, 2), float(n)) for n in range(3)}
    sightings = [(1, "f", 1, "a", 0, ""), (2, "f", 2, "b", 0, ""), (5, "f", 3, "b", 1, "")]
    seen.add([*sightings, (7, "f", 4, "a", 2, "")], [], [], arrays)
    assert [seen.held_until(n) for n in range(3)] == [7, np.inf, np.inf]


@pytest.mark.parametrize(
    ("shape", "wanted", "found"),
    [
        ((2, 3), (2, 3), [False]),
        ((3, 2), (2, 3), [True]),
        ((1, 3), (3,), [False]),
        ((4,), (2, 2), []),
    ],
)
def test_an_array_is_read_in_a_shape_if_it_can_be(shape, wanted, found):
    array = np.arange(float(np.prod(shape))).reshape(shape)
    assert [turned for _, turned in forms(array, wanted)] == found


def test_a_symmetric_matrix_is_read_once():
    assert [turned for _, turned in forms(np.eye(2), (2, 2))] == [False]


def test_an_update_along_nothing_has_no_rate():
    p = np.ones(3)
    assert ratio(p, p - 0.1, np.zeros(3)) is None
    assert ratio(p, p, np.ones(3)) is None
    assert ratio(p, p - 0.1 * np.arange(3), np.arange(3.0)) == pytest.approx(0.1)
    assert ratio(p, p - [0.1, 0.2, 0.4], np.ones(3)) is None


def test_a_delta_may_have_a_sign_and_the_factors_of_a_mean():
    assert {1.0, -1.0, 4.0, -4.0, 8.0, 2.0} <= {*delta_factors(4, 2)}
    assert delta_factors(4, 2)[0] == 1.0


def seen_of(*arrays):
    seen = Seen()
    sightings = [(time, "f", 1, f"a{time}", time, "f.py") for time in range(len(arrays))]
    given = {str(n): array for n, array in enumerate(arrays)}
    seen.add(sightings, [], [], given)
    return seen


def test_a_quantity_is_found_turned_and_times_a_factor():
    value = np.arange(6.0).reshape(2, 3)
    seen = seen_of(value.T, -4 * value, np.ones((2, 3)))
    found = seen.find(value, 1e-9, (1.0, -4.0))
    assert [(it.at.name, it.transposed, it.factor) for it in found] == [
        ("a0", True, 1.0),
        ("a1", False, -4.0),
    ]
    np.testing.assert_array_equal(found[1].ours, value)
    assert seen.find(np.zeros((2, 3)), 1e-9) == []
    assert seen.find(np.full((2, 3), np.nan), 1e-9) == []
    assert isinstance(found[0], Found)


def test_numbers_are_arrays_of_one_and_counters_are_not():
    seen = Seen()
    numbers = [("f", 1, "bias", "f.py"), ("f", 2, "i", "f.py"), ("f", 3, "bias", "f.py")]
    times = np.arange(4.0)
    seen.add([], numbers, [], {
        "series 0": np.stack([times, [0.5, 0.5, 0.25, 0.25]], 1),
        "series 1": np.stack([times, times], 1),
        "series 2": np.stack([times + 4, [0.25, 0.25, 0.125, 0.125]], 1),
    })  # fmt: skip
    held = [seen.arrays[it.content].item() for it in seen.history["f", "bias"]]
    assert held == [0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125]
    assert ("f", "i") not in {it.key for it in seen.sightings}
    assert seen.scalars() == {"bias": 0.5, "i": 0.0}


def test_one_array_is_a_multiple_of_another_or_not():
    roles = Roles.__new__(Roles)
    one = np.arange(3.0)
    assert roles._share(2 * one, one) == pytest.approx(2)
    assert roles._share(one, np.ones(3)) is None
    assert roles._share(one, np.zeros(3)) is None
    assert roles._share(one, np.ones(4)) is None


def test_the_stored_names_of_a_line():
    tree = Program("file.py", b"x = y\ndef f():\n    z = x\n    return z\n").tree
    assert stored_by_line(tree)[1] == {"x"}
    assert names_by_line(tree)[4] == {"z"}
    assert 2 not in names_by_line(tree)


def test_a_message_of_a_file_keeps_its_line():
    assert Program("file.py", b"x = 1").located("file.py, line 1: no", ValueError()) == (
        "file.py, line 1: no"
    )


def test_settings_are_those_of_a_step():
    training = Settings(("linear",), "mse", "sgd", {"momentum": 0.9}, 0.1).training
    assert (training["momentum"], training["l2"]) == (0.9, 0.1)


@pytest.mark.parametrize(
    ("factor", "transposed", "text"),
    [
        (1.0, False, "d"),
        (1.0, True, "d.T"),
        (-1.0, True, "-d.T"),
        (5.0, False, "d / 5"),
        (-2.0, True, "d.T / -2"),
        (0.5, False, "d * 2"),
    ],
)
def test_what_a_variable_holds_is_written_as_an_expression(factor, transposed, text):
    at = Sighting(0, "f", 1, "d", 0)
    assert written(Found(np.zeros(2), at, transposed, factor)) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("net.delta = 1", {".delta"}),
        ("net.delta[0] = 1", {".delta"}),
        ("neuron['delta'] = 1", {"['delta']"}),
        ("neuron['delta'][0] = 1", {"['delta']"}),
        ("use(neuron['delta'][0], net.delta, table[0])", set()),
    ],
)
def test_what_an_object_or_a_dict_gets_in_a_line_has_its_name(text, stored):
    assert stored_by_line(Program("a.py", text.encode(), {}).tree)[1] == stored


def test_a_parameter_that_no_variable_holds_yet_is_none():
    seen = seen_of(np.ones((2, 3)))
    keys = {"W1": [("f", "a9")]}
    model = SimpleNamespace(seen=seen, keys=keys, variables={("f", "a9")}, x_keys=[], inputs=set())
    assert _Now(model).parameters() == ()


def test_parts_of_several_kinds_are_no_targets(monkeypatch):
    reader = object.__new__(Reader)
    reader.seen, reader.given = seen_of(np.ones((2, 3))), {}
    chain = SimpleNamespace(x_form=(False, False, False))
    reader.model = SimpleNamespace(
        x_of=lambda content: np.ones((1, 2)), inputs={}, chain=chain, variables=set()
    )
    parts = iter([np.zeros(1), np.zeros((1, 1))] * 2)
    monkeypatch.setattr(reader, "_held", lambda *_: 7)
    monkeypatch.setattr(reader, "_as_targets", lambda *_: next(parts))
    passes = [SimpleNamespace(time=time, x=0, out=1, n=1) for time in (1, 2)]
    assert list(reader.targets(SimpleNamespace(until=3.0), passes, 1)) == []


def test_a_part_of_the_samples_explains_no_unknown_update():
    batch = SimpleNamespace(passes=[1], step=SimpleNamespace(passes=[1, 2]))
    reading = SimpleNamespace(matched={}, error=True, knows_update=False, first=batch)
    found = SimpleNamespace(reading=reading, network=SimpleNamespace(depth=2), said=set())
    found._is_a_part, found._moves = lambda: False, True
    assert Recognised.is_likely.fget(found) is False


def test_biases_are_the_first_or_the_last_row_of_a_matrix_of_both():
    M = np.arange(6.0).reshape(3, 2)
    assert unfolded(M, "first")["b"].tolist() == [0, 1]
    assert unfolded(M, "last")["b"].tolist() == [4, 5]
    assert unfolded(M, "last")["W"].tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("said", "depth", "knows", "matched", "likely"),
    [
        ({"lr"}, 2, False, {}, True),
        (set(), 2, False, {"delta2": False}, False),
        (set(), 1, True, {"delta1": True}, False),
    ],
)
def test_what_must_be_right_for_the_rest_to_be_wrong(said, depth, knows, matched, likely):
    batch = SimpleNamespace(passes=[1], step=SimpleNamespace(passes=[1]))
    reading = SimpleNamespace(
        matched=matched,
        error=True,
        knows_error=False,
        knows_update=knows,
        first=batch,
        witness=None,
    )
    found = SimpleNamespace(reading=reading, network=SimpleNamespace(depth=depth), said=said)
    found.quality, found._is_a_part, found._moves = 0.25, lambda: False, True
    assert Recognised.is_likely.fget(found) is likely


def test_a_part_of_the_samples_tells_no_learning_rate():
    reader = SimpleNamespace(is_a_part=lambda step, passes: True)
    updates = SimpleNamespace(said_lr=0.1, given={}, reader=reader)
    batch, settings = SimpleNamespace(step=None, passes=[]), SimpleNamespace(optimizer="sgd")
    assert Updates._of_its_own(updates, 0.1, batch, settings) is None


def test_nothing_has_no_penalty():
    assert _share(np.zeros((4, 2)), np.ones(4), 1e-11) is None


def test_files_of_the_users_are_read_and_no_others(tmp_path):
    (tmp_path / "beside.py").write_text("import a\ntry:\n    import b\nexcept ImportError: pass\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    program = Program(str(tmp_path / "own.py"), b"x = 1", {})
    tree = program.tree_of(str(tmp_path / "beside.py"))
    assert tree is not None
    assert imports_of(tree) == {"a"}
    assert program.tree_of(program.path) is program.tree
    assert program.tree_of(str(tmp_path / "broken.py")) is None
    assert program.tree_of(np.__file__) is None
