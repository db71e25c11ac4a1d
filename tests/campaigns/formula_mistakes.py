"""Mistakes as people make them, planted into derivations outside the gallery.

`python -m tests.campaigns.formula_mistakes` prints every mistake with the name that it gets, and
how many were found, named and misnamed. A mistake deserves one or several names; where the
catalogue has none, it deserves `unknown`. Misnamed is another name, except for `unknown`.
"""

import inspect
import os
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from tests.campaigns.networks import alone
from tests.campaigns.outside import CASES


@dataclass(frozen=True)
class Mistake:
    """An edit of a hand: what is written there, what instead, the names that it deserves."""

    case: str
    written: str
    instead: str
    names: str


def mistakes(**edits):
    """By case, the edits in threes: written, instead, names."""
    return [
        Mistake(case, *lines[i : i + 3])
        for case, lines in edits.items()
        for i in range(0, len(lines), 3)
    ]


FACTOR = "factor-missing incoming-gradient-ignored"
PLANTED = mistakes(
    determinant=[
        *("np.linalg.det(A) * np.linalg.inv(A).T", "np.linalg.inv(A).T", FACTOR),
        *("np.linalg.inv(A).T", "np.linalg.inv(A)", "transposed-gradient"),
    ],
    inverse=[
        *("-B.T @ W @ B.T", "B.T @ W @ B.T", "sign-flipped"),
        *("-B.T @ W @ B.T", "-B @ W @ B", "transposed-weights"),
        *("-B.T @ W @ B.T", "-B.T @ W", "factor-missing"),
    ],
    solve=[
        *("np.linalg.solve(A.T, w)", "np.linalg.solve(A, w)", "transposed-weights"),
        *("-np.outer(d_b, x)", "-np.outer(x, d_b)", "transposed-gradient"),
        *("-np.outer(d_b, x)", "np.outer(d_b, x)", "sign-flipped"),
    ],
    triangular_solve=[
        *("np.tril(-d_b @ x.T)", "-d_b @ x.T", "mask symmetric-convention"),
    ],
    cholesky=[
        *("(S + S.T) / 2", "S + S.T", "scaled-by-constant symmetric-convention"),
        *("P - np.diag(np.diag(P)) / 2", "P", "mask"),
        *("(S + S.T) / 2", "np.tril(S + S.T)", "symmetric-convention"),
    ],
    gram_log_determinant=[
        *("2 * np.linalg", "np.linalg", "scaled-by-constant symmetric-convention")
    ],
    singular_values=[*("(U * w) @ Vt", "U @ Vt", FACTOR)],
    matrix_power=[
        *("W @ T @ T + T @ W @ T + T @ T @ W", "3 * T @ T @ W", "unknown"),
        *("W @ T @ T + T @ W @ T + T @ T @ W", "W @ T @ T + T @ T @ W", "term-missing"),
    ],
    kronecker=[
        *(
            "W.reshape(m, p, n, q)",
            "W.reshape(p, m, q, n).swapaxes(0, 1).swapaxes(2, 3)",
            "wrong-axis wrong-index",
        )
    ],
    trace_form=[
        *("A.T @ X @ B.T + A @ X @ B", "2 * A @ X @ B", "term-missing scaled-by-constant"),
        *("A.T @ X @ B.T + A @ X @ B", "A @ X @ B", "term-missing"),
    ],
    quadratic_form=[*("(A + A.T) @ x / 2", "A @ x", "symmetric-convention term-missing")],
    rayleigh_quotient=[*("(A + A.T) @ x - 2 * r * x", "(A + A.T) @ x", "term-missing")],
    normal_equations=[*(" - np.outer(X @ z, beta)", "", "term-missing")],
    ridge=[*("-z @ beta", "z @ beta", "sign-flipped")],
    quadratic_programme=[
        *("-np.outer(t, x) - np.outer(nu, s)", "-np.outer(t, x)", "term-missing"),
        *('"c": -s', '"c": s', "sign-flipped"),
    ],
    power_spectrum=[*("2 * len(x) * np", "2 * np", "scaled-by-constant")],
    complex_power_spectrum=[
        *("np.fft.ifft(w * np.fft.fft(z))", "np.fft.ifft(w * np.fft.fft(z)).conj()", "conjugate"),
        *("2 * len(z)", "len(z)", "scaled-by-constant"),
    ],
    complex_square=[*("np.conj(2 * c * z)", "2 * c * z", "conjugate")],
    complex_linear=[
        *("A.conj().T @ r", "A.T @ r", "conjugate"),
        *("x.conj()", "x", "conjugate"),
    ],
    fourier_convolution=[*("W * H.conj()", "W * H", "conjugate")],
    cumulative_sum=[
        *("reverse_cumsum(d_s)", "np.cumsum(d_s)", "wrong-axis wrong-order wrong-index")
    ],
    cumulative_product=[*(" * w)[i:]", " * w)[i + 1 :]", "wrong-index partial-sum term-missing")],
    exponential_smoothing=[
        *("d_s * (x[t] - s[t])", "d_s * x[t]", "term-missing unknown"),
        *("    d_x[0] += d_s\n", "", "term-missing wrong-index partial-sum"),
    ],
    autocorrelation=[*("        d_x[: n - k] += w[k] * x[k:]\n", "", "term-missing")],
    recursive_filter=[*("-lam[1:] @ y[:-1]", "-lam @ y", "wrong-index unknown")],
    recurrent_network=[
        *("d_h * (1 - h[t + 1] ** 2)", "d_h", "missing-activation-derivative"),
        *(
            "d_h * (1 - h[t + 1] ** 2)",
            "d_h * (1 - h[t] ** 2)",
            "wrong-index wrong-layer-derivative",
        ),
        *("np.outer(d_z, h[t])", "np.outer(d_z, h[t + 1])", "wrong-layer-input wrong-index"),
        *("d_b += d_z", "d_b = d_z", "partial-sum one-sample-only term-missing"),
        *("W.T @ d_z", "W @ d_z", "transposed-weights"),
    ],
    gru_over_time=[
        *("np.hstack([d_r, d_z, d_n * r])", "d_i", "factor-missing"),
        *("d_h * z + d_j @ W", "d_j @ W", "term-missing"),
        *("(h - n)", "(n - h)", "sign-flipped"),
    ],
    lstm_over_time=[
        *("(1 - g * g)", "g * (1 - g)", "wrong-activation-derivative"),
        *("d_c = d_c + d_h", "d_c = d_h", "term-missing"),
        *("d_z @ W, d_c * f", "d_z @ W, d_c", "factor-missing"),
    ],
    conditional_random_field=[
        *("    d_e[np.arange(T), path] -= 1\n", "", "term-missing"),
        *(
            "d_t[path[t], path[t + 1]] -= 1",
            "d_t[path[t + 1], path[t]] -= 1",
            "wrong-index transposed-gradient",
        ),
    ],
    connectionist_temporal_recursion=[
        *(
            "d_z[:, extended[k]] -= posterior[:, k]",
            "d_z[:, extended[k]] = p[:, extended[k]] - posterior[:, k]",
            "wrong-index partial-sum",
        ),
    ],
    discounted_returns=[*("+ gamma * forth", "+ forth", "factor-missing scaled-by-constant")],
    causal_attention=[
        *("scale * d_s @ k", "d_s @ k", "scaled-by-constant"),
        *(
            "np.where(np.tri(T, dtype=bool), scale * q @ swap(k), -np.inf)",
            "scale * q @ swap(k)",
            "mask",
        ),
        *(
            "softmax_backward(w @ swap(v), p)",
            "p * (1 - p) * (w @ swap(v))",
            "wrong-activation-derivative partial-sum",
        ),
    ],
    padded_attention=[
        *("np.where(real[:, None], scale * q @ swap(k), -np.inf)", "scale * q @ swap(k)", "mask")
    ],
    grouped_query_attention=[
        *(
            "(swap(p) @ w).sum(axis=1)",
            "(swap(p) @ w)[:, 0]",
            "one-sample-only wrong-index partial-sum",
        ),
        *(
            "(scale * swap(d_s) @ q).sum(axis=1)",
            "(scale * swap(d_s) @ q).mean(axis=1)",
            "scaled-by-constant",
        ),
    ],
    rotary_positions=[
        *(
            "[a * c + b * s, b * c - a * s]",
            "[a * c - b * s, b * c + a * s]",
            "sign-flipped transposed-weights",
        ),
    ],
    linear_attention=[*(" + d_n * swap(z)", "", "term-missing")],
    additive_attention=[*("np.outer(p, w) + d_z @ U", "d_z @ U", "term-missing")],
    projected_attention=[
        *("d_q @ Q.T + d_k @ K.T + d_v @ V.T", "d_q @ Q.T + d_k @ K.T", "term-missing"),
        *(
            '"Q": x.T @ d_q,\n        "K": x.T @ d_k',
            '"Q": x.T @ d_k,\n        "K": x.T @ d_q',
            "swapped-gradients",
        ),
    ],
    low_rank_adapter=[*('"A": s * B', '"A": B', "scaled-by-constant factor-missing")],
    mixture_of_experts=[*("d_s @ G + np", "np", "term-missing")],
    quaternion_product=[
        *("hamilton(w, q * sign)", "hamilton(q * sign, w)", "wrong-order swapped-gradients unknown")
    ],
    global_average_pooling=[*(" / (x.shape[2] * x.shape[3])", "", "scaled-by-constant")],
    logarithm=[*('"x": w / x', '"x": w / (x + 1e-6)', "log-epsilon")],
    soft_sign=[
        *(
            "w / (1 + np.abs(x)) ** 2",
            "np.clip(w / (1 + np.abs(x)) ** 2, -0.05, 0.05)",
            "gradient-clipped",
        )
    ],
    arctangent_of_a_product=[
        *("d_u * w, ", "d_u * x, ", "swapped-gradients wrong-layer-input"),
    ],
    maximum_mean_discrepancy=[
        *(
            "2 * pull(x, x) - 2 * pull(x, y)",
            "pull(x, x) - 2 * pull(x, y)",
            "symmetric-convention term-missing",
        )
    ],
    kalman_update=[*("g - H.T @ d_e", "g", "term-missing")],
    leapfrog=[*("d_p = d_p + dt * d_q\n", "d_p = d_p - dt * d_q\n", "sign-flipped")],
    gated_linear_unit=[
        *("w * a * s * (1 - s)", "w * a * b * (1 - b)", "derivative-at-wrong-point"),
        *("w * a * s * (1 - s)", "w * a * s", "factor-missing wrong-activation-derivative"),
    ],
    log_softmax=[
        *(
            "softmax(z) * w.sum(axis=1, keepdims=True)",
            "softmax(z) * w",
            "wrong-axis term-missing partial-sum",
        )
    ],
    batch_norm_of_images=[
        *("axes = (0, 2, 3)", "axes = (0, 2)", "wrong-axis wrong-shape"),
        *("w.sum(axis=axes)", "w.mean(axis=axes)", "bias-gradient-averaged scaled-by-constant"),
        *(
            "backward(w * channels(weight), x_hat, r, axes)",
            "r * w * channels(weight)",
            "term-missing",
        ),
    ],
    batch_norm_in_evaluation=[
        *("w * weight * r,", "w * weight / (var + EPS),", "unknown factor-twice"),
        *("w * (x - mean) * r", "w * x * r", "term-missing"),
        *("np.sqrt(var + EPS)", "(np.sqrt(var) + EPS)", "epsilon-placement"),
    ],
    group_norm=[*("(w * x_hat.reshape(x.shape))", "(w * x)", "wrong-layer-input")],
    layer_norm_with_residual=[*("w + backward", "backward", "term-missing")],
    standard_deviation=[*("((len(x) - 1) * s)", "(len(x) * s)", "scaled-by-constant")],
    weight_norm=[*("(d_W - d_g[:, None] * u)", "d_W", "term-missing")],
    binary_cross_entropy=[*(" / (p * (1 - p))", "", "factor-missing")],
    binary_cross_entropy_with_logits=[*("pos_weight * y * ", "y * ", "factor-missing")],
    sigmoid_cross_entropy_of_a_layer=[
        *(
            "-sigmoid(-z), sigmoid(z))",
            "-sigmoid(-z), sigmoid(z)) * sigmoid(z) * sigmoid(-z)",
            "extra-activation-derivative",
        ),
        *('"b": d_z.sum()', '"b": d_z.mean()', "bias-gradient-averaged scaled-by-constant"),
    ],
    weighted_cross_entropy=[
        *("one_hot(y, z)", "one_hot(y - 1, z)", "targets-shifted wrong-index"),
        *(" / weight[y].sum()", " / len(y)", "scaled-by-constant"),
    ],
    cross_entropy_with_ignored_labels=[
        *("d_z * real[:, None]", "d_z", "mask"),
        *("float(real.sum())", "float(len(y))", "scaled-by-constant"),
    ],
    label_smoothing=[
        *(
            "target = 0.9 * one_hot(y, z) + 0.1 / z.shape[1]",
            "target = one_hot(y, z)",
            "term-missing",
        )
    ],
    focal_loss=[*(" - (1 - p) ** gamma  #", "  #", "term-missing")],
    distillation=[*("T * (softmax", "(softmax", "scaled-by-constant")],
    gaussian_likelihood=[*("1 / var - r * r / var**2", "r * r / var**2 - 1 / var", "sign-flipped")],
    info_nce=[*("(d_u - u * (d_u * u).sum(axis=1, keepdims=True))", "d_u", "term-missing")],
    soft_dice=[*("d_p * p * sigmoid(-z)", "d_p", "missing-activation-derivative")],
    huber=[*("np.clip(a - b, -0.7, 0.7)", "(a - b)", "gradient-clipped mask")],
    hinge=[*(" + 0.02 * w", " + 0.01 * w", "penalty term-missing")],
    variational_bound=[*("* noise * s / 2", "* noise * s", "scaled-by-constant")],
    average_pooling=[*("2 * w * y / 4", "2 * w * y", "scaled-by-constant")],
    transposed_convolution=[*("d_x += np", "d_x = np", "partial-sum wrong-index")],
    dilated_convolution=[*("slice(2 * i, 2 * i + m)", "slice(i, i + m)", "wrong-index")],
    depthwise_convolution=[
        *("w * v[:, 0, i, j]", "w * v[:, 0, 2 - i, 2 - j]", "wrong-index wrong-axis")
    ],
    pixel_shuffle=[
        *("transpose(0, 1, 3, 5, 2, 4)", "transpose(0, 1, 5, 3, 2, 4)", "wrong-axis wrong-index")
    ],
    sparse_embedding=[
        *("np.add.at(d_W, i, w)", "d_W[i] = w", "one-sample-only wrong-index partial-sum")
    ],
    embedding_bag=[*(" / int(end - start)", "", "scaled-by-constant factor-missing")],
    scattered_sum=[*("np.add.at(s, i, x)", "s[i] += x", "wrong-index partial-sum unknown")],
    message_passing=[*("(d_z @ W.T)[end]", "(d_z @ W.T)[start]", "wrong-index")],
    tied_softmax_embedding=[*("d_W = d_z.T @ h\n", "d_W = np.zeros_like(W)\n", "term-missing")],
    silu=[
        *(
            "(s + x * s * sigmoid(-x))",
            "s * sigmoid(-x)",
            "wrong-activation-derivative term-missing factor-missing",
        ),
        *("s + x * s", "x * s", "term-missing"),
    ],
    exact_gelu=[*("w * (Phi + x * phi)", "(Phi + x * phi)", FACTOR)],
    mish=[
        *(
            "(1 - t * t) * sigmoid(x)",
            "(1 - np.tanh(x) ** 2) * sigmoid(x)",
            "derivative-at-wrong-point",
        )
    ],
    two_relu_layers=[*(" * (z > 0)  # (N, m)", "  # (N, m)", "missing-activation-derivative")],
    leaky_relu=[*("0.1 * w", "0", "mask wrong-activation-derivative")],
    cross_product=[*('"a": np.cross(b, w)', '"a": np.cross(w, b)', "sign-flipped")],
    quaternion_rotation=[*("(d_unit - unit * (unit @ d_unit))", "d_unit", "term-missing")],
    spherical_coordinates=[
        *("x * c * C + y * c * S - z * s", "x * c * C + y * c * S", "term-missing")
    ],
    euler_integration=[
        *("lam + A.T @ d_z", "A.T @ d_z", "term-missing"),
        *("lam + A.T @ d_z", "lam + A @ d_z", "transposed-weights"),
    ],
    runge_kutta_step=[
        *("h / 3 * w + h * d_r", "h / 3 * w + h / 2 * d_r", "scaled-by-constant factor-twice")
    ],
    gravitational_energy=[*("            d_x[j] -= force\n", "", "term-missing partial-sum")],
    lennard_jones_energy=[*("2 * (d_square", "(d_square", "scaled-by-constant")],
    gradient_penalty=[
        *(
            "np.outer(s, d_g) + np.outer(d_z, x)",
            "np.outer(s, d_g)",
            "term-missing second-derivative",
        ),
    ],
    gaussian_process=[
        *("(B - np.outer(a, a)) / 2", "(B - np.outer(a, a))", "scaled-by-constant"),
        *("(B - np.outer(a, a)) / 2", "-np.outer(a, a) / 2", "term-missing"),
    ],
    gaussian_mixture=[*("(z * z - 1)", "z * z", "term-missing")],
    polynomial_by_horner=[*("slope * x + p", "slope * x + p * c_k", "unknown factor-twice")],
    parameters_in_a_dict=[
        *(
            "d_o @ W2 * (1 - h * h)",
            "d_o @ W2 * (1 - np.tanh(h) ** 2)",
            "derivative-at-wrong-point",
        ),
        *(
            '"W2": d_o.T @ h',
            '"W2": d_o.T @ (x @ params["W1"].T + params["b1"])',
            "wrong-layer-input",
        ),
    ],
    parameters_in_a_list=[
        *("np.outer(delta, before)", "np.outer(before, delta)", "transposed-gradient wrong-shape")
    ],
    module_by_functional_call=[
        *("* h * (1 - h)", "* (1 - h)", "wrong-activation-derivative factor-missing")
    ],
    dropout=[
        *("d_z @ W * mask / (1 - p)", "d_z @ W * mask", "dropout-mask scaled-by-constant"),
        *("d_z @ W * mask / (1 - p)", "d_z @ W / (1 - p)", "dropout-mask mask factor-missing"),
        *("d_z.T @ kept", "d_z.T @ x", "dropout-mask wrong-layer-input"),
    ],
    tied_autoencoder=[*("h.T @ d_o + d_z.T @ x", "h.T @ d_o", "term-missing")],
    residual_block=[*("d_x + W.T @ d_z", "W.T @ d_z", "term-missing layer-skipped")],
    broadcast_bias_and_gain=[
        *(
            "d_z.sum(axis=1, keepdims=True)",
            "d_z.sum(axis=(0, 1), keepdims=True) + 0 * bias",
            "wrong-axis",
        ),
        *("(d_z * x).sum", "d_z.sum", "factor-missing"),
    ],
    stopped_gradient=[*("(1 - q * q)", "(1 - q)", "wrong-activation-derivative")],
)


def planted(mistake):
    """The hand of the case with the edit."""
    right = CASES[mistake.case].hand
    source = textwrap.dedent(inspect.getsource(right))
    count = source.count(mistake.written)
    assert count == 1, f"{mistake.case}: {mistake.written!r} stands there {count} times"
    names = dict(right.__globals__)
    exec(source.replace(mistake.written, mistake.instead), names)
    return names["hand"]


def diagnosed(mistake, seed=0):
    """The first diagnosis, or the sentence of a refusal; None where nothing was found."""
    from lockstep import GradientMismatch, check_gradients

    it = CASES[mistake.case]
    try:
        given = it.inputs(np.random.default_rng(seed))
        check_gradients(planted(mistake), it.reference, **given)
    except GradientMismatch as error:
        return error.diagnoses[0]
    except (ValueError, TypeError) as error:
        return dict(mistake="refused", says=str(error))
    return None


def main():
    found = named = misnamed = 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=alone) as pool:
        for mistake, got in zip(PLANTED, pool.map(diagnosed, PLANTED, chunksize=4), strict=True):
            name, deserved = got["mistake"] if got else "NOT FOUND", mistake.names.split()
            found += name not in ("NOT FOUND", "refused")
            named += name in deserved
            misnamed += name not in (*deserved, "unknown", "NOT FOUND", "refused")
            mark = " " if name in deserved else "!"
            edit = " ".join(f"{mistake.written}  →  {mistake.instead}".split())
            says = f", {got['says']}" if got else ""
            print(f"{mark} {mistake.case}: {edit}\n      {' or '.join(deserved)}: {name}{says}")
    print(f"{len(PLANTED)} planted: {found} found, {named} named, {misnamed} misnamed")
    return int(found < len(PLANTED))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process a core
    sys.exit(main())
