"""The child's program, in this process: each message has its answer, whatever the file does."""

import contextlib
import io
import os
import signal
import sys

import numpy as np
import pytest

from lockstep.errors import Unusable
from lockstep.sides import serve
from lockstep.sides.code import Code, Here, load
from lockstep.sides.limits import Limits
from lockstep.sides.serve import Channel, Worker

SOURCE = b"""
import os, signal
def step(x, lr):
    if lr == 1:
        os._exit(3)
    if lr == 2:
        raise KeyboardInterrupt
    if lr == 3:
        os.kill(os.getpid(), signal.SIGUSR1)
    return dict(h=x, o=[None], z_h=lr)
"""


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def asked(monkeypatch):
    """What the worker answers to messages, each with what it is given."""

    def ends(status):
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", os._exit)
    monkeypatch.setattr(serve, "_exit", ends)
    number = signal.SIGUSR1
    before = signal.getsignal(number)

    def answers(*messages, kind=Worker):
        said, heard = io.BytesIO(), io.BytesIO()
        channel = Channel(io.BufferedReader(said), heard)
        for message, given in messages:
            Channel(said, said).send(message, given)
        said.seek(0)
        with contextlib.suppress(Ended):
            kind(channel).work()
        heard.seek(0)
        read, found = Channel(io.BufferedReader(heard), heard), []
        with contextlib.suppress(EOFError):
            while True:
                found.append(read.receive())
        return found[1:]

    yield answers
    signal.signal(number, before)
    sys.modules.pop("mine", None)


def loading(source=SOURCE, function="step", memory=0):
    words = {"what": "load", "path": "mine.py", "function": function, "helpers": True}
    words |= {"limits": Limits(memory=memory).message}
    return words, {"source": np.frombuffer(source, np.uint8)}


def calling(lr):
    return {"what": "call"}, {"x": np.ones((1, 2)), "lr": lr}


def test_a_file_is_loaded_and_called(asked):
    (loaded, _), (answer, values), (_, again) = asked(loading(), calling(0.5), calling(0.25))
    assert loaded["arguments"] == [["x", False], ["lr", False]]
    assert (loaded["name"], loaded["first"], len(loaded["lines"])) == ("step", 3, 8)
    assert answer["order"] == ["h", "o", "z_h"]
    assert answer["helpers"] == []
    assert answer["wrong"] == [
        ["o", "mine.py: step returned o as list; expected an array of real numbers"]
    ]
    np.testing.assert_array_equal(values["h"], np.ones((1, 2)))
    assert (float(values["z_h"]), float(again["z_h"])) == (0.5, 0.25)


def test_what_ends_the_process_is_told_first(asked):
    assert asked(loading(), calling(1.0))[1][0]["error"] == (
        "mine.py, line 5: ends the process (os._exit(3))"
    )
    assert asked(loading(), calling(2.0))[1][0]["error"] == "mine.py, line 7: KeyboardInterrupt: "
    assert asked(loading(), calling(3.0))[1][0]["error"] == "mine.py, line 9: is still running"


def test_a_place_in_a_library_is_told_by_the_users_line(asked):
    source = (
        b"import contextlib, os\ndef step(x, lr):\n    with contextlib.ExitStack() as stack:\n"
        b"        stack.callback(os._exit, 0)\n"
    )
    _, (answer, _), *_ = asked(loading(source), calling(0.5))
    assert answer["error"].startswith("mine.py, line 3: ends the process")


def test_a_file_that_cannot_be_used_is_told(asked):
    ((answer, _),) = asked(loading(b"def step(:\n"))
    assert answer["error"] == "mine.py, line 1: expected Python: invalid syntax"
    ((answer, _),) = asked(loading(b"raise SystemExit\n"))
    assert answer["error"] == "mine.py, line 1: SystemExit: "


def test_statements_share_their_names_and_say_what_they_raise(asked):
    run = {"what": "run", "wanted": ("a", "b")}
    (_, (first, values), (second, none)) = asked(
        loading(b"", None),
        (run | {"text": "a = x + 1"}, {"x": 2.0}),
        (run | {"text": "b = a / nothing", "wanted": ("b",)}, {}),
    )
    assert (first["raised"], float(values["a"])) == ("", 3.0)
    assert second["raised"].endswith("NameError: name 'nothing' is not defined")
    assert none == {}


def test_a_copy_of_the_process_does_not_answer(asked, monkeypatch):
    class Forked(Worker):
        def _answer(self, *message):
            answer = super()._answer(*message)
            monkeypatch.setattr(os, "getpid", lambda: -1)
            return answer

    assert asked(loading(), calling(0.5), kind=Forked) == []


def test_a_process_that_the_users_code_forked_ends_as_it_asks(asked, monkeypatch):
    monkeypatch.setattr(os, "getpid", os.getpid)
    source = b"import os\ndef step(x, lr):\n    os.getpid = lambda: -1\n    os._exit(3)\n"
    ((loaded, _),) = asked(loading(source), calling(0.5))
    assert "error" not in loaded


def test_memory_is_limited_before_the_file_is_read(asked, monkeypatch):
    resource = pytest.importorskip("resource")
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append(both))
    asked(loading(memory=100))
    assert limits == [(100 * 2**20, 100 * 2**20)]


@pytest.mark.parametrize("numbers", [3, 100_000])
def test_arrays_of_any_size_and_order_pass_whole(numbers):
    stream = io.BytesIO()
    given = {"a": np.arange(numbers * 2.0).reshape(2, numbers).T, "b": np.float32(1), "c": 0.1}
    Channel(stream, stream).send({"what": "call"}, given | {"d": np.zeros((0, 2))})
    stream.seek(0)
    message, found = Channel(io.BufferedReader(stream), stream).receive()
    assert message == {"what": "call"}
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
    assert (type(found["c"]), found["b"].dtype, found["d"].shape) == (float, np.float32, (0, 2))
    found["a"][0] = 7.0  # the user's own


def test_a_function_without_a_signature_is_refused():
    with pytest.raises(Unusable, match="expected a function with named arguments"):
        Here(max)
    with pytest.raises(NotImplementedError):
        Code().call({})
    code = Code()
    assert code.again() is code
    assert code.close() is None


def test_a_file_named_like_a_module_does_not_take_its_place():
    import json

    load(b"def step(x): return {}\n", "json.py", "step")
    import json as again

    assert again is json


def test_a_system_without_signals_and_groups_of_processes_is_served_too(asked, monkeypatch):
    monkeypatch.delattr(signal, "SIGUSR1")
    monkeypatch.delattr(os, "getpgid")
    assert len(asked(loading(), calling(0.5))) == 2


def test_where_the_users_code_is_nowhere_there_is_no_line(asked):
    class Elsewhere(Worker):
        def work(self):
            self._ends("is still running", None)

    with pytest.raises(IndexError):
        asked(kind=Elsewhere)[0]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"def step(x): pass\n", "returned nothing; expected a dict"),
        (b"def step(x): return {}\n", "returned an empty dict"),
        (b"def step(x): return dict(h=...)\n", "the formula is not filled in yet"),
        (b"other = 1\n", "It defines no function"),
        (b"x = 1" + b"+1" * 100_000 + b"\n", "nested too deeply"),
        (
            b"import numpy as np\ndef step(x): return dict(h=np.ma.masked_array(x))\n",
            "as a masked array",
        ),
        (
            b"class A:\n    def __array__(self, *_, **__): raise OSError\n"
            b"def step(x): return dict(h=A())\n",
            "returned h as A, which raises OSError when it is read",
        ),
        (
            b"class E(Exception):\n    def __str__(self): raise E\ndef step(x): raise E\n",
            "line 3: E: (its message cannot be shown)",
        ),
    ],
)
def test_what_cannot_be_used_is_told(asked, source, words):
    told = asked(loading(source), ({"what": "call"}, {"x": np.ones(1)}))
    assert words in str([message for message, _ in told])


def test_where_a_system_cannot_tell_an_answer_is_waited_for(monkeypatch):
    def cannot(*_):
        raise OSError

    monkeypatch.setattr("select.select", cannot)
    assert Channel(io.BytesIO(), io.BytesIO()).comes(1.0)


def test_a_message_that_claims_to_be_endless_is_none():
    with pytest.raises(ValueError, match="too long"):
        Channel(io.BytesIO(b"\xff" * 16), io.BytesIO()).receive()
