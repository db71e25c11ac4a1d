"""Every mistake of the catalogue, planted into networks of 1 to 5 layers, is found and named.

`python -m tests.campaigns.deep_mistakes [N] [--seed S] [--only NAME]` plants each N times and has a
line for each: how often it was planted, found, named (its name is among those given), given no name
(`unknown`), and given another name alone.
"""

import argparse
import inspect
import sys

import numpy as np

from lockstep.api import run
from lockstep.network.network import WITH_ACTIVATION
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem
from manual_backprop import network as by_hand
from manual_backprop.activations import activation
from tests.campaigns.deep_problems import right_step

BENT = ("sigmoid", "tanh", "silu", "gelu", "softplus", "elu")
SQUARES = ("mse", "sum", "half_sum", "sum_over_n", "half_sum_over_n")
CROSS = tuple(WITH_ACTIVATION)
EVERY = SQUARES + CROSS


class Net:
    """What a planted mistake may use: the problem, the arrays of a step so far, and a layer."""

    def __init__(self, problem, layer, random):
        self.problem, self.network, self.l, self.random = problem, problem.network, layer, random
        self.values = {}

    def __getitem__(self, family):
        """The value of a family at this layer, or, with + or − behind it, at the next one."""
        by = {"+": 1, "-": -1}.get(family[-1], 0)
        name, l = family.rstrip("+-"), self.l + by
        return self.values["x" if name == "a" and l == 0 else f"{name}{l}"]

    def slope(self, l=None, z=None, a=None):
        l = l or self.l
        z = self.values[f"z{l}"] if z is None else z
        a = self.values[f"a{l}"] if a is None else a
        which = self.network.activations[l - 1]
        return 1.0 if which == "softmax" else activation(which)[1](z, a) * 1.0

    @property
    def error(self):
        """What comes back to this layer before its σ'."""
        if self.l < self.network.depth:
            return self["delta+"] @ self["W+"]
        return self["delta"] / self.slope()


class Planted:
    """A right step but for one formula.

    Args:
        problem: What is trained.
        quantity: The family whose formula is wrong, such as delta.
        layer: Where.
        wrong: A function of a Net that gives its value.
        random: Of the choices that the mistake makes.
    """

    def __init__(self, problem, quantity, layer, wrong, random):
        self.right = right_step(problem)
        self.net = Net(problem, layer, random)
        self.quantity, self.wrong = quantity, wrong
        self.__signature__ = inspect.signature(self.right)

    def __call__(self, **given):
        net, names = self.net, self.net.network
        net.values = {names[n].numbered: v for n, v in given.items() if n in names} | {
            "lr": given["lr"],
            "step": given["step"],
        }
        right = {name: np.asarray(value) for name, value in self.right(**given).items()}
        net.values |= right
        at = f"{self.quantity}{net.l}" if self.quantity != "loss" else "loss"
        wrong = np.asarray(self.wrong(net))
        return _carried_on(net, right, at, wrong)


def _carried_on(net, right, at, wrong):
    """The step with a wrong value in it: what is computed after it starts from that."""
    found = dict(right)
    found[at] = wrong
    names = net.network
    if at.startswith(("z", "a")) and not at.startswith("grad"):
        return {at: wrong} | {n: right[n] for n in list(right)[: list(right).index(at)]}
    if at.startswith("delta"):
        for l in range(int(at[5:]) - 1, 0, -1):
            back = found[f"delta{l + 1}"] @ net.values[f"W{l + 1}"]
            found[f"delta{l}"] = back * net.slope(l)
        for l in range(int(at[5:]), 0, -1):
            before = net.values["x" if l == 1 else f"a{l - 1}"]
            found[f"grad_W{l}"] = found[f"delta{l}"].T @ before
            found[f"grad_b{l}"] = found[f"delta{l}"].sum(axis=0)
            if names.l2:
                found[f"grad_W{l}"] = found[f"grad_W{l}"] + names.l2 * net.values[f"W{l}"]
    if at.startswith(("delta", "grad")):
        gradients = {n[5:]: g for n, g in found.items() if n.startswith(("grad_W", "grad_b"))}
        parameters = {n: net.values[n] for n in gradients}
        memory = {names[n].numbered: net.values[names[n].numbered] for n in names.memory}
        rule = by_hand.OPTIMIZERS[names.optimizer]
        settings = dict(names.settings)
        if names.optimizer.startswith("adam"):
            settings["step"] = net.values["step"]
        if np.shape(wrong) == np.shape(right[at]):
            lr = net.values["lr"]
            found |= by_hand.update(parameters, gradients, memory, (), rule, lr, **settings)
    if at.startswith("new_") and at[4:5] not in "Wb":
        parameter = at.split("_")[-1]
        ratio = net.values["lr"] * (found[at] - right[at])
        if names.optimizer == "sgd":
            found[f"new_{parameter}"] = found[f"new_{parameter}"] - ratio
        else:
            del found[f"new_{parameter}"]
    return {name: value for name, value in found.items() if not name.startswith("grad_a")}


def shifted(net, by=1):
    n_out = net.network.sizes[-1]
    y = net.values["y"]
    rows = np.eye(n_out)[y] if y.ndim == 1 else y
    return np.roll(rows, by, axis=1)


def _adam(net, corrected=True, inside=False):
    """Adam's step, with its parts changed."""
    v, name = net.values, f"W{net.l}"
    t, s = v["step"], dict(net.network.settings)
    by = (1 - s["beta1"] ** t, 1 - s["beta2"] ** t) if corrected else (1, 1)
    mean, square = v[f"new_mean_{name}"] / by[0], v[f"new_square_{name}"] / by[1]
    below = np.sqrt(square + s["eps"]) if inside else np.sqrt(square) + s["eps"]
    return v[name] - v["lr"] * mean / below


def _sgd(net, kind="W", factor=1.0):
    return net[kind] - factor * net.values["lr"] * net[f"grad_{kind}"]


# By mistake: the family, the settings that a problem needs, and the wrong value. `first`: the first
# layer that it may be in; `last`: how far from the end.
PLANTED = {
    "sign-flipped": ("delta", {}, lambda n: -n["delta"]),
    "scaled-by-constant": ("delta", {}, lambda n: n["delta"] * len(n.values["x"])),
    "missing-activation-derivative": (
        "delta",
        {"loss": SQUARES, "act": ("sigmoid", "tanh", "silu")},
        lambda n: n.error,
    ),
    "derivative-at-wrong-point": (
        "delta",
        {"loss": SQUARES, "act": ("sigmoid", "tanh")},
        lambda n: (
            n.error * n.slope(z=n["a"], a=activation(n.network.activations[n.l - 1])[0](n["a"]))
        ),
    ),
    "wrong-activation-derivative": (
        "delta",
        {"loss": SQUARES, "act": ("sigmoid", "tanh")},
        lambda n: n.error * (1 - n["a"]),
    ),
    "transposed-weights": (
        "delta",
        {"last": 1, "deep": 2},
        lambda n: n["delta+"] @ n["W+"].T * n.slope(),
    ),
    "wrong-weights": ("delta", {"last": 1, "deep": 2}, lambda n: n["delta+"] @ n["W"] * n.slope()),
    "updated-weights-used": (
        "delta",
        {"last": 1, "deep": 2},
        lambda n: n["delta+"] @ n["new_W+"] * n.slope(),
    ),
    "output-derivative-dropped": (
        "delta",
        {"loss": SQUARES, "last": 1, "deep": 2, "only": -2},
        lambda n: (n["delta+"] / n.slope(n.l + 1)) @ n["W+"] * n.slope(),
    ),
    "wrong-layer-derivative": (
        "delta",
        {"last": 1, "deep": 3, "distinct": True},
        lambda n: n["delta+"] @ n["W+"] * n.slope(z=n["z+"], a=n["a+"]),
    ),
    "layer-skipped": (
        "delta",
        {"last": 2, "deep": 3},
        lambda n: n.values[f"delta{n.l + 2}"] @ n.values[f"W{n.l + 2}"] * n.slope(),
    ),
    "extra-activation-derivative": ("delta", {"only": -1}, lambda n: n["delta"] * _extra(n)),
    "targets-shifted": (
        "delta",
        {"loss": CROSS[3:], "only": -1},
        lambda n: n["delta"] + (n["a"] - shifted(n)) / _m(n) - n["delta"],
    ),
    "term-missing": ("grad_W", {}, lambda n: n["delta"][1:].T @ n["a-"][1:]),
    "one-sample-only": ("grad_b", {}, lambda n: n["delta"][0]),
    "wrong-layer-input": ("grad_W", {}, lambda n: n["delta"].T @ n["z"]),
    "transposed-gradient": ("grad_W", {}, lambda n: n["a-"].T @ n["delta"]),
    "bias-gradient-missing": ("grad_b", {}, lambda n: 0 * n["grad_b"]),
    "bias-gradient-averaged": ("grad_b", {}, lambda n: n["delta"].mean(axis=0)),
    "bias-summed-over-neurons": ("grad_b", {}, lambda n: n["delta"].sum()),
    "gradient-clipped": (
        "grad_W",
        {},
        lambda n: np.clip(n["grad_W"], *np.array([-1, 1]) * np.quantile(np.abs(n["grad_W"]), 0.7)),
    ),
    "weight-decay": ("grad_W", {}, lambda n: n["grad_W"] + 0.037 * n["W"]),
    "penalty": ("grad_W", {"l2": 0.13}, lambda n: n["grad_W"] + 0.13 * n["W"]),
    "not-updated": ("new_W", {}, lambda n: n["W"]),
    "update-sign": ("new_W", {}, lambda n: _sgd(n, factor=-1)),
    "learning-rate": ("new_W", {}, lambda n: _sgd(n, factor=1 / len(n.values["x"]))),
    "bias-learning-rate": ("new_b", {}, lambda n: _sgd(n, "b", 2.7)),
    "repeated-update": ("new_W", {}, lambda n: _sgd(n, factor=2)),
    "momentum-form": (
        "new_velocity_W",
        {"momentum": 0.9, "steps": 2},
        lambda n: 0.9 * n["velocity_W"] + 0.1 * n["grad_W"],
    ),
    "bias-correction": (
        "new_W",
        {"optimizer": "adam"},
        lambda n: _adam(n, corrected=False),
    ),
    "epsilon-placement": ("new_W", {"optimizer": "adam"}, lambda n: _adam(n, inside=True)),
    "weight-decay-form": (
        "new_mean_W",
        {"optimizer": "adamw", "weight_decay": 0.1},
        lambda n: 0.9 * n["mean_W"] + (1 - 0.9) * (n["grad_W"] + 0.1 * n["W"]),
    ),
    "log-epsilon": (
        "loss",
        {"loss": CROSS[3:]},
        lambda n: -(shifted(n, 0) * np.log(n.values[f"a{n.network.depth}"] + 1e-6)).sum() / _m(n),
    ),
    "activation-forgotten": ("a", {"loss": SQUARES}, lambda n: n["z"]),
    "bias-forgotten": ("z", {}, lambda n: n["z"] - n["b"]),
    "dropout-mask": (
        "delta",
        {"masked": True, "deep": 2, "only": 1},
        lambda n: n["delta+"] @ n["W+"] * n.slope(),
    ),
}


def _m(net):
    return len(net.values["x"]) if net.network.loss == "cross_entropy" else 1


def _extra(net):
    a = net["a"]
    return a * (1 - a) if net.network.loss in WITH_ACTIVATION else net.slope()


def drawn(name, random):
    """A problem for a mistake, and the layer that it is in."""
    family, needs, _ = PLANTED[name]
    depth = int(random.integers(needs.get("deep", 1), 6))
    width, samples = int(random.integers(3, 6)), int(random.integers(6, 9))
    loss = str(random.choice(needs.get("loss", EVERY)))
    acts = list(map(str, random.choice(needs.get("act", BENT), depth)))
    if needs.get("distinct"):
        acts = [str(which) for which in random.permutation(BENT)[:depth]]
    acts[-1] = WITH_ACTIVATION.get(loss, acts[-1])
    values = dict(
        sizes=[width] * (depth + 1),
        samples=samples,
        loss=loss,
        activations=acts,
        lr=float(random.choice([0.05, 0.1, 0.3])),
        seed=int(random.integers(10**6)),
        steps=needs.get("steps", 1),
    )
    values |= {
        key: needs[key] for key in ("l2", "momentum", "optimizer", "weight_decay") if key in needs
    }
    if needs.get("masked"):
        mask = (random.random((samples, width)) < 0.6) / 0.6
        values["mask1"] = mask.tolist()
    layers = range(1, depth + 1 - needs.get("last", 0))
    layer = int(random.choice(layers))
    if "only" in needs:
        layer = needs["only"] if needs["only"] > 0 else depth + 1 + needs["only"]
    return make_problem(check(values, str)), layer


def planted(name, seed):
    """The names that a report gives to a planted mistake; None where nothing was found."""
    random = np.random.default_rng([list(PLANTED).index(name), seed])
    problem, layer = drawn(name, random)
    family, _, wrong = PLANTED[name]
    with np.errstate(all="ignore"):
        result = run(problem, {}, step=Planted(problem, family, layer, wrong, random))
    if result.verdict != "mismatch":
        return None
    first = result.diagnoses[0]["quantity"] if result.diagnoses else ""
    return [it["mistake"] for it in result.diagnoses if it["quantity"] == first or True]


def row(name, number, seed):
    """How often a mistake was planted, found, named, left unknown, and given another name alone."""
    given = [planted(name, 1000 * seed + i) for i in range(number)]
    found = [names for names in given if names is not None]
    named = sum(name in names for names in found)
    unknown = sum(name not in names and set(names) == {"unknown"} for names in found)
    return number, len(found), named, unknown, len(found) - named - unknown


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("number", type=int, nargs="?", default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", choices=PLANTED)
    asked = options.parse_args()
    totals = np.zeros(5, int)
    print(f"{'mistake':32}{'planted':>9}{'found':>7}{'named':>7}{'unknown':>9}{'other':>7}")
    for name in [asked.only] if asked.only else PLANTED:
        counts = row(name, asked.number, asked.seed)
        totals += counts
        print(
            f"{name:32}"
            + "".join(f"{n:>{w}}" for n, w in zip(counts, (9, 7, 7, 9, 7), strict=True))
        )
    whole, found, named, unknown, other = totals
    print(f"{whole} planted: {found} found, {named} named, {unknown} unknown, {other} with another")
    return 1 if found < whole or other else 0


if __name__ == "__main__":
    sys.exit(main())
