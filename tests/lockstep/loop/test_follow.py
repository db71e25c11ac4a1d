"""follow: one line in a loop by hand, beside a built-in network or any module."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lockstep import GradientMismatch, Mismatch, follow
from lockstep.errors import Unusable
from lockstep.loop.network import Loop, as_keywords
from lockstep.network.conventions import PLAIN
from lockstep.sides.built_in import BuiltIn

NET = dict(sizes="6-5-3", activations="relu,linear", loss="cross_entropy", lr=0.1)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def train(judge, wrong="", steps=4, sizes=(6, 5, 3), kind=float, biases=True, more=()):
    """A loop by hand with weights (inputs, outputs), which trains by gradient descent."""
    random = np.random.default_rng(0)
    n_in, n_h, n_out = sizes
    shapes = (n_in, n_h), (n_h,), (n_h, n_out), (n_out,)
    W1, b1, W2, b2 = (random.normal(size=shape).astype(kind) for shape in shapes)
    b1, b2 = (b1, b2) if biases else (0 * b1, 0 * b2)
    for _ in range(steps):
        X, y = random.normal(size=(8, n_in)).astype(kind), random.integers(0, n_out, 8)
        z1 = X @ W1 + b1
        a1 = np.maximum(z1, 0)
        delta2 = softmax(a1 @ W2 + b2)
        delta2[np.arange(8), y] -= 1
        dW2, db2 = a1.T @ delta2 / 8, delta2.sum(axis=0) / 8
        delta1 = delta2 @ W2.T * (z1 > 0 if wrong != "slope" else 1)
        dW1, db1 = X.T @ delta1 / 8, delta1.sum(axis=0) / 8
        given = dict(x=X, y=y, W1=W1, W2=W2) | (dict(b1=b1, b2=b2) if biases else {})
        others = dict(delta2=delta2, delta1=delta1)
        judge(**given, dW1=dW1, dW2=dW2, **{name: others[name] for name in more})
        up = 0.1 if wrong != "sign" else -0.1
        W1, W2 = W1 - kind(0.1) * dW1, W2 - kind(up) * dW2
        b1, b2 = (b1 - kind(0.1) * db1, b2 - kind(0.1) * db2) if biases else (b1, b2)


def test_a_right_loop_matches_and_its_layout_is_found():
    judge = follow(**NET)
    train(judge)
    result = judge.result
    assert (result.verdict, result.steps_run) == ("match", 4)
    assert result.values == 4 * (30 + 15) + 3 * (30 + 5 + 15 + 3)  # no call comes after the last
    assert "your convention: weights are (inputs, outputs)" in result.remarks
    assert "yours next to PyTorch: 6-5-3 network, 8 samples, float64" in str(result)
    assert judge.result.remarks == result.remarks


def test_square_weights_are_told_apart_by_what_is_computed():
    judge = follow(**NET | dict(sizes="4-4-4"))
    train(judge, sizes=(4, 4, 4))
    assert judge.result.verdict == "match"


def test_float32_parameters_are_judged_as_such_and_missing_biases_are_none():
    judge = follow(**NET)
    train(judge, kind=np.float32, biases=False)
    assert (judge.result.verdict, judge.result.dtype) == ("match", "float32")
    assert "no biases were given: it was judged as a network without them" in judge.result.remarks
    judge = follow(**NET, dtype="float32", no_biases=True)
    train(judge, kind=np.float32, biases=False)
    assert judge.result.verdict == "match"


@pytest.mark.parametrize(
    ("wrong", "quantity", "mistake"),
    [("slope", "grad_W_h", "missing-activation-derivative"), ("sign", "new_W_o", "update-sign")],
)
def test_the_first_mistake_is_raised_where_it_shows(wrong, quantity, mistake):
    judge = follow(**NET)
    with pytest.raises(Mismatch, match=mistake) as raised:
        train(judge, wrong)
    found = raised.value
    assert isinstance(found, AssertionError)
    assert (found.first_mismatch["quantity"], found.first_mismatch["step"]) == (quantity, 1)
    assert found.diagnoses[0]["mistake"] == mistake
    assert judge.result.verdict == "mismatch"


def test_mismatches_are_collected_where_that_is_asked_for():
    judge = follow(**NET, keep_going=True)
    train(judge, "sign")
    result = judge.result
    assert (result.verdict, result.steps_run, result.steps_differing) == ("mismatch", 4, 3)
    assert result.diagnoses[0]["mistake"] == "update-sign"


def test_a_judge_that_is_switched_off_does_nothing(monkeypatch):
    judge = follow(**NET)
    judge.enabled = False
    train(judge, "slope")
    assert (judge.result.verdict, judge.result.steps_run) == ("undecided", 0)
    code = (
        "import sys, lockstep\njudge = lockstep.follow(sizes='2-1')\njudge(x=1)\n"
        "judge.enabled = True\njudge(x=1)\nprint(judge.result, 'torch' in sys.modules)"
    )
    monkeypatch.setenv("LOCKSTEP", "off")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "undecided: nothing was judged: LOCKSTEP is off in the environment False\n"
    assert done.stdout == said


def test_memory_learning_rate_and_step_may_be_given():
    judge = follow(sizes="2-1", loss="half_sum", lr=0.3, optimizer="sgd", momentum=0.9)
    random = np.random.default_rng(0)
    W1, b1, vW1, vb1 = np.ones((1, 2)), np.zeros(1), np.zeros((1, 2)), np.zeros(1)
    for step in range(1, 5):
        lr = 0.1 / step
        x, y = random.normal(size=(3, 2)), random.normal(size=3)
        delta = x @ W1.T + b1 - y[:, None]
        dW1, db1 = delta.T @ x, delta.sum(axis=0)
        judge(x=x, y=y, W1=W1, b1=b1[None], vW1=vW1, vb1=vb1, lr=lr, step=step, dW1=dW1, mine=3)
        vW1, vb1 = 0.9 * vW1 + dW1, 0.9 * vb1 + db1
        W1, b1 = W1 - lr * vW1, b1 - lr * vb1
    assert judge.result.verdict == "match", str(judge.result)
    assert "not judged, as no quantity: mine" in judge.result.remarks


def test_names_that_no_call_gives_are_told():
    judge = follow(**NET, layout="in_out", names={"delta2": "N*delta2", "d2": "N*delta2"})
    train(judge, more=("delta2",))
    assert "names: no call gave d2" in judge.result.remarks


def test_names_of_ones_own_serve_a_loop():
    judge = follow(**NET, layout="in_out", names={"delta2": "N*delta2", "delta1": "N*delta1"})
    train(judge, more=("delta2", "delta1"))
    assert judge.result.verdict == "match", str(judge.result)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "follow: expected sizes, such as"),
        ({"sizes": "2-1", "x": [[1.0, 2.0]]}, "follow: x: the loop gives this"),
        ({"sizes": "2-1", "colour": "red"}, "follow: colour: unknown key"),
    ],
)
def test_settings_that_cannot_be_used_are_told(settings, words):
    with pytest.raises(Unusable) as told:
        follow(**settings)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": [[1.0, 2.0]], "y": [[1.0]]}, "expected W1, b1 as well, in the call"),
        ({"x": [[1.0, 2.0, 3.0]], "y": [[1.0]], "W1": [[1, 2]], "b1": [1]}, "x has shape (1, 3);"),
        ({"x": "no", "y": [[1.0]]}, "follow: x as str; expected an array"),
    ],
)
def test_calls_that_cannot_be_used_are_told(arrays, words):
    judge = follow(sizes="2-1", biases=True)
    with pytest.raises(Unusable) as told:
        judge(**arrays)
    assert words in str(told.value)


def test_a_loss_that_is_no_number_is_told():
    judge = follow(nn.Linear(2, 2), nn.MSELoss(reduction="none"))
    with pytest.raises(Unusable, match="follow: reference gives a tensor of shape"):
        judge(
            x=[[1.0, 2.0]],
            y=[[1.0, 2.0]],
            weight=np.eye(2),
            bias=[0.0, 0.0],
            **{"grad bias": [1.0, 1.0]},
        )


def test_the_sides_of_others_have_no_open_conventions():
    for side in (Loop(), BuiltIn()):
        assert not side.is_open
        for asked in (side.under, side.adopt):
            with pytest.raises(NotImplementedError):
                asked(PLAIN)
    with pytest.raises(NotImplementedError):
        Loop().answer(None, None, {})


def test_a_later_call_with_less_is_told():
    judge = follow(sizes="2-1", no_biases=True)
    whole = dict(x=np.ones((1, 2)), y=np.ones((1, 1)), W1=np.ones((1, 2)))
    judge(**whole)
    with pytest.raises(Unusable, match="expected W1 as well, in the call"):
        judge(x=whole["x"], y=whole["y"])


# any module


NAMES = {
    "W1": "0.weight.T",
    "b1": "0.bias",
    "W2": "2.weight.T",
    "b2": "2.bias",
    "dW1": "grad 0.weight.T",
    "dW2": "grad 2.weight.T",
    "delta": "2*grad 2.bias/N",
}


def module(optimizer=None, **settings):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    own = optimizer(model.parameters(), **settings) if optimizer else None
    return model, nn.CrossEntropyLoss(), own


def test_a_loop_beside_a_module_matches():
    model, loss, optimizer = module(torch.optim.SGD, lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    judge = follow(model, loss, optimizer, names=NAMES)
    train(judge)
    assert (judge.result.verdict, judge.result.steps_run) == ("match", 4)
    assert judge.result.values == 4 * 45 + 3 * 53
    assert str(judge.result) == "match: 4 steps, 339 values"
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_the_first_mistake_beside_a_module_is_raised_with_the_models_names():
    judge = follow(*module(), names=NAMES)
    with pytest.raises(Mismatch, match="step 1, grad 0.weight: mismatch") as raised:
        train(judge, "slope")
    assert not isinstance(raised.value, GradientMismatch)
    assert raised.value.first_mismatch["quantity"] == "grad 0.weight"
    assert raised.value.diagnoses[0]["mistake"] == "missing-activation-derivative"
    assert str(judge.result).startswith("mismatch: 1 step, 0 values\nstep 1, grad 0.weight")


def test_mismatches_beside_a_module_are_collected():
    judge = follow(*module(torch.optim.SGD, lr=0.1), names=NAMES, keep_going=True)
    train(judge, "sign")
    assert (judge.result.verdict, judge.result.steps_run) == ("mismatch", 4)
    assert judge.result.diagnoses[0]["mistake"] == "update-sign"


def adam(judge, wrong="", steps=5, rate=lambda step: 0.05, before=lambda step: None):
    random = np.random.default_rng(1)
    W, m, s = random.normal(size=(2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    for t in range(1, steps + 1):
        before(t)
        x, y = random.normal(size=(4, 3)), random.normal(size=(4, 2))
        error = x @ W.T - y
        g = 2 * error.T @ x / error.size
        judge(**{"x": x, "y": y, "weight": W, "grad weight": g, "error": error})
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        mean = m / (1 - 0.9**t) if wrong != "mean" else m
        square = s / (1 - 0.999**t) if wrong != "square" else s
        taken = rate(t) * mean / (np.sqrt(square) + 1e-8)
        factors = {"lost": 0, "twice": 2, "other": np.where(W > 0, 1, 3)}
        W = W - taken * factors.get(wrong, 1)


def beside(optimizer, **settings):
    model = nn.Linear(3, 2, bias=False).double()
    return model, nn.MSELoss(), optimizer(model.parameters(), **settings)


def test_an_optimiser_with_memory_runs_along_and_its_settings_may_change():
    parts = beside(torch.optim.Adam, lr=0.05)

    def decay(step):
        parts[2].param_groups[0]["lr"] = 0.05 / step

    judge = follow(*parts)
    adam(judge, rate=lambda step: 0.05 / step, before=decay)
    assert judge.result.verdict == "match", str(judge.result)
    assert judge.result.remarks[0].startswith("not judged, as no name of the model's: error")


@pytest.mark.parametrize(
    ("optimizer", "wrong", "mistake"),
    [
        (torch.optim.Adam, "mean", "bias-correction"),
        (torch.optim.Adam, "square", "bias-correction"),
        (torch.optim.Adam, "lost", "not-updated"),
        (torch.optim.Adam, "twice", "unknown"),
        (torch.optim.Adam, "other", "unknown"),
        (torch.optim.SGD, "lost", "not-updated"),
    ],
)
def test_mistakes_of_an_update_have_names(optimizer, wrong, mistake):
    judge = follow(*beside(optimizer, lr=0.05))
    with pytest.raises(Mismatch, match=mistake) as raised:
        adam(judge, wrong)
    assert raised.value.first_mismatch["quantity"] == "new weight"


def test_a_wrong_learning_rate_has_its_name():
    model, loss, optimizer = module(torch.optim.SGD, lr=0.2)
    with pytest.raises(Mismatch, match=r"learning-rate: the update is 0\.5 times PyTorch's"):
        train(follow(model, loss, optimizer, names=NAMES))


def test_an_optimiser_that_calls_the_loss_itself_is_left_out():
    judge = follow(*beside(torch.optim.LBFGS))
    adam(judge)
    assert judge.result.remarks[0] == "LBFGS calls the loss itself, so updates are not judged"
    assert judge.result.verdict == "match"


def test_signs_and_factors_of_a_module_are_read():
    names = {"W": "weight.T", "gW": "-N*grad weight.T", "lb": "lr*bias"}
    model = nn.Linear(2, 1).double()
    judge = follow(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.5), names=names)
    x, y, W = np.ones((4, 2)), np.zeros((4, 1)), np.array([[0.5], [0.25]])
    judge(x=x, y=y, W=W, gW=x.T @ (2 * (y - x @ W)), lb=np.zeros(1))
    assert judge.result.verdict == "match"
    judge = follow(model, nn.MSELoss(), names={"W": "weight.T", "gW": "-grad weight.T"})
    judge(x=x, y=y, W=W, bias=[0.0], gW=x.T @ (2 * (y - x @ W)) / 4)
    assert judge.result.verdict == "match"
    judge(x=x, y=y, W=W, bias=[0.0])
    assert (judge.result.verdict, judge.result.steps_run) == ("match", 2)


@pytest.mark.parametrize(
    ("parts", "settings", "words"),
    [
        ((None, nn.MSELoss()), {}, "a loss function and an optimiser need a model"),
        ((nn.Linear(2, 1),), {}, "expected a loss function after the model"),
        ((nn.Linear(2, 1), nn.MSELoss()), {"lr": 1}, "lr: settings of a built-in network"),
        ((3, nn.MSELoss()), {}, "expected an nn.Module, got int"),
        ((nn.Linear(2, 1), nn.MSELoss(), 3), {}, "expected an optimiser of torch.optim, got int"),
        ((nn.Linear(2, 1), "mse"), {}, "expected a loss function such as nn.MSELoss(), got str"),
        (
            (nn.Linear(2, 1), nn.MSELoss(), torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=1)),
            {},
            "the optimiser has parameters of another model",
        ),
        ((nn.Linear(2, 1), nn.MSELoss()), {"names": {"W": "weights.T"}}, "names: W: expected such"),
        ((nn.Linear(2, 1), nn.MSELoss()), {"names": {"W": "weight+"}}, "names: W: expected such"),
    ],
)
def test_a_module_that_cannot_be_followed_is_told(parts, settings, words):
    with pytest.raises(Unusable) as told:
        follow(*parts, **settings)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"weight": [[1.0, 2.0]]}, "expected bias as well, in the call"),
        ({"weight": [[1.0], [2.0]], "bias": [1.0]}, 'names={"W": "weight.T"} says that it is'),
    ],
)
def test_a_call_beside_a_module_that_cannot_be_used_is_told(arrays, words):
    judge = follow(nn.Linear(2, 1), nn.MSELoss())
    with pytest.raises(Unusable) as told:
        judge(x=[[1.0, 2.0]], y=[[1.0]], **arrays)
    assert words in str(told.value)


def test_numbers_that_are_not_finite_beside_a_module_are_undecided():
    judge = follow(nn.Linear(2, 1), nn.MSELoss())
    judge(x=[[1.0, 2.0]], y=[[1.0]], weight=[[1.0, np.nan]], bias=[[1.0]])
    assert judge.result.verdict == "undecided"
    assert "step 1: weight is not finite; nothing is known then" in str(judge.result)


def switched(judge):
    """A judge that is off for the third call."""
    calls = []

    def call(**arrays):
        calls.append(1)
        judge.enabled = len(calls) != 3
        judge(**arrays)

    return call


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_calls_that_were_left_out_blame_nobody(momentum):
    def loop(judge):
        W, v = np.array([[0.5, -1.0]]), np.zeros((1, 2))
        for step in range(6):
            x, y = np.array([[1.0, 0.5 * step]]), np.array([[0.25]])
            g = 2 * (x @ W.T - y) * x
            judge(x=x, y=y, **{name: W for name in ("weight", "W1") if name in known})
            v = momentum * v + g
            W = W - 0.1 * v

    model = nn.Linear(2, 1, bias=False).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    judge, known = follow(model, nn.MSELoss(), optimizer), {"weight"}
    loop(switched(judge))
    assert (judge.result.verdict, judge.result.steps_run) == ("match", 5)
    assert bool(judge.result.remarks) == bool(momentum)
    built_in, known = follow(sizes="2-1", lr=0.1, momentum=momentum, no_biases=True), {"W1"}
    loop(switched(built_in))
    assert (built_in.result.verdict, built_in.result.steps_run) == ("match", 5)


def test_looking_at_the_result_changes_nothing():
    judge = follow(**NET)

    def call(**arrays):
        judge(**arrays)
        assert judge.result.verdict == "match"

    with pytest.raises(Mismatch, match="update-sign"):
        train(call, "sign")


def test_the_modes_of_the_model_are_followed():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x):
            return self.used(x)

    model = Two().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    judge, loss = follow(model, nn.MSELoss(), optimizer), nn.MSELoss()
    for step in range(4):  # PyTorch beside itself
        model.used.bias.requires_grad_(step > 1)
        x, y = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        arrays = {name: p for name, p in model.named_parameters() if p.requires_grad}
        grads = {f"grad {name}": p.grad for name, p in arrays.items() if p.grad is not None}
        judge(x=x, y=y, **arrays, **grads)
        optimizer.step()
    assert judge.result.verdict == "match", str(judge.result)


def test_dropout_that_draws_its_own_masks_is_told():
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))
    judge, given = follow(model, nn.MSELoss()), {"0.weight": [[1.0, 2.0]], "0.bias": [0.0]}
    with pytest.raises(Unusable, match="draws dropout's masks at random"):
        judge(x=[[1.0, 2.0]], y=[[1.0]], **given)
    model.eval()
    judge(x=[[1.0, 2.0]], y=[[1.0]], **given)


def test_labels_and_rows_that_are_not_there_are_told():
    judge, W1 = follow(sizes="2-3", loss="cross_entropy", no_biases=True), np.ones((3, 2))
    for label in (5, -1):
        with pytest.raises(Unusable, match=f"y: expected labels from 0 to 2, got {label}$"):
            judge(x=np.ones((2, 2)), y=np.array([1, label]), W1=W1)
    with pytest.raises(Unusable, match="x is empty; expected a row a sample"):
        judge(x=np.ones((0, 2)), y=np.zeros(0, int), W1=W1)


def line(judge, late=False):
    """A loop of one linear layer, whose judge may be called after the update."""
    random = np.random.default_rng(1)
    x, y, W = random.normal(size=(7, 3)), random.normal(size=(7, 2)), random.normal(size=(2, 3))
    for _ in range(3):
        dW = 2 * (x @ W.T - y).T @ x / y.size
        before, W = W, W - 0.1 * dW
        judge(x=x, y=y, W1=W if late else before, dW1=dW)


@pytest.mark.slow
def test_a_call_after_the_update_is_told():
    with pytest.raises(Mismatch, match="call the judge before the update"):
        line(follow(sizes="3-2", lr=0.1), late=True)
    judge = follow(sizes="3-2", lr=0.1, keep_going=True)
    line(judge, late=True)
    (told,) = judge.result.diagnoses
    assert told["says"] == "the gradients are those of the parameters before the update"
    with pytest.raises(Mismatch) as caught:
        line(follow(sizes="3-2", lr=0.2), late=True)
    assert "before the update" not in str(caught.value)
    with pytest.raises(Mismatch) as caught:  # a step of momentum cannot be taken back
        line(follow(sizes="3-2", lr=0.1, momentum=0.9), late=True)
    assert "before the update" not in str(caught.value)


def test_without_a_learning_rate_no_update_is_judged():
    judge = follow(sizes="3-2")
    line(judge)
    assert judge.result.verdict == "match"
    assert "lr was not given, so no update was judged; expected follow(…, lr=0.1)" in (
        judge.result.remarks
    )
    assert "new_W1" not in judge.result.returned


def test_a_setting_that_would_make_it_right_is_said_as_an_argument():
    judge = follow(sizes="6-5-3", loss="cross_entropy", lr=0.1)
    with pytest.raises(Mismatch, match=r"is right with\shidden_activation='relu'"):
        train(judge)
    assert as_keywords("try --lr 0.1 or --loss mse") == "try lr=0.1 or loss='mse'"


def test_targets_that_the_loss_of_a_module_would_broadcast_are_refused():
    judge = follow(torch.nn.Linear(2, 1).double(), torch.nn.MSELoss())
    given = {"weight": np.ones((1, 2)), "bias": np.zeros(1), "grad bias": np.zeros(1)}
    with pytest.raises(Unusable, match=r"y has shape \(3,\), and the model's output another one"):
        judge(x=np.ones((3, 2)), y=np.zeros(3), **given)
