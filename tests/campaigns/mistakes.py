"""Every mistake of the catalogue, planted into right code on random problems.

`python -m tests.campaigns.mistakes [PROBLEMS]` prints how often each is found and named.
The planted code is written without the catalogue.
"""

import sys

import numpy as np

from lockstep.api import run
from lockstep.network.problem import Problem
from lockstep.setup.problem import make_problem
from tests.lecture import ACTIVATIONS, LOSSES

SIGMA = {
    "linear": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}
SLOPE = {
    "linear": lambda z: np.ones_like(z),
    "sigmoid": lambda z: SIGMA["sigmoid"](z) * (1 - SIGMA["sigmoid"](z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(z.dtype),
}
OUTPUT_OF_SLOPE = {
    "sigmoid": lambda s: s * (1 - s),
    "tanh": lambda s: 1 - s**2,
}  # fed with z by mistake

# mistake -> the places where it can be planted
PLACES = {
    "sign-flipped": ("delta_o", "delta_h", "grad_W_h", "grad_b_o"),
    "scaled-by-constant": ("delta_o 2", "delta_o half", "delta_o N", "loss half", "grad_W_o 1/N"),
    "missing-activation-derivative": ("delta_o", "delta_h"),
    "derivative-at-wrong-point": ("delta_o s", "delta_h s", "delta_o z", "delta_h z"),
    "wrong-activation-derivative": ("delta_o", "delta_h"),
    "transposed-weights": ("delta_h",),
    "wrong-weights": ("delta_h W_h", "delta_h ones", "delta_h gradient"),
    "updated-weights-used": ("delta_h",),
    "output-derivative-dropped": ("delta_h",),
    "term-missing": ("delta_h", "grad_W_o", "grad_b_h"),
    "wrong-layer-input": ("grad_W_o z_h", "grad_W_o x", "grad_W_h h"),
    "transposed-gradient": ("grad_W_o", "grad_W_h"),
    "bias-gradient-missing": ("grad_b_o", "grad_b_h", "new_b_o"),
    "bias-gradient-averaged": ("grad_b_o", "grad_b_h"),
    "one-sample-only": ("grad_W_o first", "grad_W_h last", "grad_b_h first"),
    "gradients-accumulated": ("all",),
    "not-updated": ("new_W_o", "new_W_h", "new_b_h"),
    "update-sign": ("all", "new_W_o"),
    "learning-rate": ("missing", "twice", "over N"),
    "weight-decay": ("all",),
    "momentum": ("all",),
    "broadcast": ("delta_o square", "delta_o mean"),
    "wrong-shape": ("grad_b_o", "grad_W_h"),
    "single-precision": ("all",),
    "finite-differences": ("grad_W_h",),
}


def random_problem(random, **fixed):
    """Sizes 1 to 12, samples 1 to 9, any activations and loss; values of ordinary size."""
    sizes = tuple(int(n) for n in random.integers(1, 13, 3))
    values = dict(
        sizes=sizes,
        samples=int(random.integers(1, 10)),
        loss=str(random.choice(LOSSES)),
        steps=3,
        hidden_activation=str(random.choice(ACTIVATIONS)),
        output_activation=str(random.choice(ACTIVATIONS)),
        seed=int(random.integers(10**9)),
        lr=float(random.choice([0.01, 0.05, 0.3])),
    )
    return make_problem(values | fixed)


class Planted:
    """A step with one mistake in one place. Some mistakes need what it keeps between calls."""

    def __init__(self, problem: Problem, mistake, place, random):
        self.problem, self.mistake, self.place = problem, mistake, place
        self.earlier: dict[str, np.ndarray] = {}
        self.decay = float(random.uniform(0.001, 0.1))
        self.momentum = float(random.choice([0.5, 0.9]))
        self.sample = int(random.integers(problem.samples))
        self.output = int(random.integers(problem.sizes[2]))

    def is_at(self, mistake, place):
        return self.mistake == mistake and self.place.split()[0] == place

    def slope(self, layer, z):
        kind = self.problem.network.activations["ho".index(layer)]
        if self.is_at("missing-activation-derivative", f"delta_{layer}"):
            return 1.0
        if self.is_at("derivative-at-wrong-point", f"delta_{layer}"):
            return (
                SLOPE[kind](SIGMA[kind](z))
                if self.place.endswith("s")
                else OUTPUT_OF_SLOPE[kind](z)
            )
        if self.is_at("wrong-activation-derivative", f"delta_{layer}"):
            return 1 - SIGMA[kind](z)
        return SLOPE[kind](z)

    def __call__(self, W_h, b_h, W_o, b_o, x, y, lr):
        mistake, place, problem = self.mistake, self.place, self.problem
        if mistake == "single-precision":
            W_h, b_h, W_o, b_o, x, y = (
                array.astype(np.float32) for array in (W_h, b_h, W_o, b_o, x, y)
            )
        n, n_out = y.shape
        z_h = x @ W_h.T + b_h
        h = SIGMA[problem.network.activations[0]](z_h)
        z_o = h @ W_o.T + b_o
        o = SIGMA[problem.network.activations[1]](z_o)
        m = {"mse": n * n_out, "sum": 1, "half_sum": 2}[problem.loss]
        loss = ((o - y) ** 2).sum() / m
        error = 2 * (o - y) / m
        if place == "delta_o square":
            error = 2 * (o - y.ravel()) / m
        if place == "delta_o mean":
            error = 2 * (o - y.mean()) / m
        delta_o = error * self.slope("o", z_o)
        if mistake == "scaled-by-constant":
            factor = {"2": 2.0, "half": 0.5, "N": float(n), "1/N": 1 / n}[place.split()[1]]
            loss = loss * (factor if place.startswith("loss") else 1)
            delta_o = delta_o * (factor if place.startswith("delta_o") else 1)
        if self.is_at("sign-flipped", "delta_o"):
            delta_o = -delta_o
        grad_W_o, grad_b_o = delta_o.T @ h, delta_o.sum(axis=0)
        back = {
            "transposed-weights": W_o.T,
            "updated-weights-used": W_o - lr * grad_W_o,
            "delta_h W_h": W_h,
            "delta_h ones": np.ones_like(W_o),
            "delta_h gradient": grad_W_o,
        }.get(mistake if mistake != "wrong-weights" else place, W_o)
        sent = error if mistake == "output-derivative-dropped" else delta_o
        if self.is_at("term-missing", "delta_h"):
            sent, back = np.delete(sent, self.output, axis=1), np.delete(back, self.output, axis=0)
        delta_h = (sent @ back) * self.slope("h", z_h)
        if self.is_at("sign-flipped", "delta_h"):
            delta_h = -delta_h
        grad_W_h, grad_b_h = delta_h.T @ x, delta_h.sum(axis=0)
        gradients = dict(W_o=grad_W_o, b_o=grad_b_o, W_h=grad_W_h, b_h=grad_b_h)
        self.spoil(gradients, x, z_h, h, delta_o, delta_h, W_h, b_h, W_o, b_o)
        parameters = dict(W_o=W_o, b_o=b_o, W_h=W_h, b_h=b_h)
        new = {
            name: self.updated(name, parameters[name], gradients[name], lr, n)
            for name in parameters
        }
        self.earlier = {
            name: self.earlier.get(name, 0) * self.momentum + gradients[name] for name in gradients
        }
        return (
            dict(z_h=z_h, h=h, z_o=z_o, o=o, loss=loss, delta_o=delta_o, delta_h=delta_h)
            | {f"grad_{name}": array for name, array in gradients.items()}
            | {f"new_{name}": array for name, array in new.items()}
        )

    def spoil(self, gradients, x, z_h, h, delta_o, delta_h, W_h, b_h, W_o, b_o):
        """Plant the mistakes that lie in a gradient."""
        mistake, place = self.mistake, self.place
        layers = {
            "W_o": (delta_o, h),
            "W_h": (delta_h, x),
            "b_o": (delta_o, None),
            "b_h": (delta_h, None),
        }
        name = place.split()[0].removeprefix("grad_")
        if not place.startswith("grad_"):
            return
        delta, given = layers[name]

        def of(rows):
            return delta[rows].sum(axis=0) if given is None else delta[rows].T @ given[rows]

        rows = {
            "term-missing": [i for i in range(len(x)) if i != self.sample],
            "one-sample-only": [0] if place.endswith("first") else [-1],
        }
        if mistake in rows:
            gradients[name] = of(rows[mistake])
        elif mistake == "sign-flipped":
            gradients[name] = -gradients[name]
        elif mistake == "scaled-by-constant":
            gradients[name] = gradients[name] / len(x)
        elif mistake == "wrong-layer-input":
            gradients[name] = delta.T @ {"z_h": z_h, "x": x, "h": h}[place.split()[1]]
        elif mistake == "transposed-gradient":
            gradients[name] = gradients[name].T
        elif mistake == "bias-gradient-missing":
            gradients[name] = np.zeros_like(gradients[name])
        elif mistake == "bias-gradient-averaged":
            gradients[name] = delta.mean(axis=0)
        elif mistake == "wrong-shape":
            gradients[name] = np.stack([gradients[name]] * 2)
        elif mistake == "finite-differences":
            gradients[name] = self.quotients(x, W_h, b_h, W_o, b_o)

    def quotients(self, x, W_h, b_h, W_o, b_o, step=1e-6):
        problem, y = self.problem, self.problem.y
        m = {"mse": y.size, "sum": 1, "half_sum": 2}[problem.loss]

        def loss(W):
            o = SIGMA[problem.network.activations[0]](x @ W.T + b_h) @ W_o.T + b_o
            return ((SIGMA[problem.network.activations[1]](o) - y) ** 2).sum() / m

        gradient = np.empty_like(W_h)
        for i in np.ndindex(*W_h.shape):
            moved = W_h.copy()
            moved[i] += step
            gradient[i] = (loss(moved) - loss(W_h)) / step
        return gradient

    def updated(self, name, parameter, gradient, lr, n):
        mistake, place = self.mistake, self.place
        if mistake == "gradients-accumulated":
            gradient = gradient + self.earlier.get(name, 0)
        if mistake == "momentum":
            gradient = gradient + self.momentum * self.earlier.get(name, 0)
        if mistake == "weight-decay":
            gradient = gradient + self.decay * parameter
        if place == f"new_{name}" and mistake in ("not-updated", "bias-gradient-missing"):
            return parameter
        if mistake == "update-sign" and place in ("all", f"new_{name}"):
            return parameter + lr * gradient
        if mistake == "learning-rate":
            lr = {"missing": 1.0, "twice": lr * lr, "over N": lr / n}[place]
        return parameter - lr * (gradient if gradient.shape == parameter.shape else 0)


RETURNED = {
    "everything": lambda name: True,
    "gradients": lambda name: name.startswith("grad_"),
    "gradients and weights": lambda name: name.startswith(("grad_", "new_")),
    "weights": lambda name: name.startswith("new_"),
}


def trial(random, mistake):
    """Plant a mistake somewhere in a random problem.

    Returns:
        Whether it changes anything, the names given, and what it was.
    """
    place = str(random.choice(PLACES[mistake]))
    fixed = {}
    if mistake == "transposed-weights":
        n = int(random.integers(2, 9))
        fixed = {"sizes": (int(random.integers(1, 13)), n, n)}
    if mistake == "broadcast":
        fixed = {"sizes": (3, int(random.integers(1, 9)), 1)}
    if mistake == "term-missing" and place.startswith("grad"):
        fixed = {"samples": int(random.integers(2, 10))}
    problem = random_problem(random, **fixed)
    planted = Planted(problem, mistake, place, random)
    returned = str(random.choice(list(RETURNED)))
    if place.startswith(("grad", "loss")) or mistake in (
        "wrong-shape",
        "broadcast",
        "finite-differences",
    ):
        returned = "everything"
    if mistake in (
        "learning-rate",
        "update-sign",
        "not-updated",
        "momentum",
        "weight-decay",
        "gradients-accumulated",
    ):
        returned = str(random.choice(["everything", "gradients and weights", "weights"]))
    if place.startswith("new"):
        returned = "gradients and weights"

    shows = []

    def step(W_h, b_h, W_o, b_o, x, y, lr):
        got = planted(W_h, b_h, W_o, b_o, x, y, lr)
        right = Planted(problem, None, "nowhere", random)(W_h, b_h, W_o, b_o, x, y, lr)
        got = {name: value for name, value in got.items() if RETURNED[returned](name)}
        shows.append(any(_apart(value, right[name]) for name, value in got.items()))
        return got

    try:
        with np.errstate(all="ignore"):
            result = run(problem, {"show": "none"}, step=step)
    except (KeyError, ValueError):
        return False, [], None  # shapes do not fit, or there is no such formula
    names = [diagnosis["mistake"] for diagnosis in result.diagnoses]
    return any(shows) or result.verdict == "mismatch", names, (problem, place, returned, result)


def _apart(value, right):
    """Whether a planted mistake changed a quantity by more than a part in 10^9."""
    return (
        np.shape(value) != np.shape(right)
        or np.abs(value - right).max() > 1e-9 * np.abs(right).max()
    )


def row(mistake, problems, seed=0):
    """Counts over trials in which a mistake changes something.

    Returns:
        The mistake; how often it was planted, found, named rightly, given another name alone, and
        unknown.
    """
    applied = found = named = misnamed = unknown = attempt = 0
    while applied < problems and attempt < 40 * problems:
        applies, names, told = trial(
            np.random.default_rng([seed, list(PLACES).index(mistake), attempt]), mistake
        )
        attempt += 1
        if not applies:
            continue
        applied += 1
        found += bool(names)
        named += mistake in names
        unknown += mistake not in names and names[:1] == ["unknown"]
        misnamed += mistake not in names and names[:1] not in ([], ["unknown"])
        if mistake not in names and "-v" in sys.argv:
            problem, place, returned, result = told
            print(
                place,
                returned,
                problem,
                [(d["quantity"], d["mistake"], d["says"]) for d in result.diagnoses],
            )
    return mistake, applied, found, named, misnamed, unknown


def main():
    problems = next((int(argument) for argument in sys.argv[1:] if argument.isdecimal()), 100)
    form = "{:32}{:>8}{:>7}{:>7}{:>10}{:>9}"
    print(form.format("mistake", "planted", "found", "named", "misnamed", "unknown"))
    for mistake in PLACES:
        print(form.format(*row(mistake, problems)), flush=True)


if __name__ == "__main__":
    main()
