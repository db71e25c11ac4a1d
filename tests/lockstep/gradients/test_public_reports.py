"""Wrong backward passes from public bug reports are found and named; the right ones match."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
from torch.autograd import Function

import lockstep
from lockstep import GradientMismatch, check_function, check_gradients
from tests.lockstep.gradients.public_reports import functions, layers, mathematics


@dataclass(frozen=True)
class Mistake:
    """What a wrong version must give.

    Attributes:
        report: A class of `public_reports`.
        names: The names that fit, any of which is right. No names: the verdict alone is expected.
        words: What the sentence must contain, a regular expression; case does not matter.
        version: Which of the report's versions it is.
        options: Of the check.
    """

    report: type
    names: str = ""
    words: str = ""
    version: str = "wrong"
    options: tuple[tuple[str, object], ...] = ()


IGNORED = "incoming-gradient-ignored"
TWICE = "scaled-by-constant term-too-many"
MISTAKES = [
    # layers
    Mistake(layers.RmsNormRowAsColumn, "wrong-axis"),
    Mistake(layers.LayerNormMeanTwice, TWICE, "2 times|twice"),
    Mistake(layers.LayerNormMeanTwiceInTheLibrary, TWICE, "2 times|twice"),
    Mistake(layers.GroupNormOtherGroup),
    Mistake(layers.BatchNormWithoutScale, "factor-missing", "gamma"),
    Mistake(layers.LoraWithoutMask, "factor-missing mask dropout-mask", "mask"),
    Mistake(layers.SwigluRowsIntoTheFirst, "one-sample-only wrong-index", "row"),
    Mistake(layers.ExpertWithoutUp, "term-missing", "Wu"),
    Mistake(layers.EmbeddingLastWins, "one-sample-only wrong-index", "last"),
    Mistake(layers.GroupedKeysNotSummed, "wrong-shape", "axis 1"),
    Mistake(layers.BiasNotSummed, "wrong-shape", "axis 0"),
    Mistake(layers.GeluWithSixDigits, "too-few-digits single-precision", "digits"),
    Mistake(layers.SoftmaxDiagonal),
    Mistake(layers.LogSoftmax),
    Mistake(layers.LogSoftmax, version="added"),
    Mistake(layers.RecurrenceCut, "term-missing"),
    Mistake(layers.TwoLayers, "wrong-layer-input", version="before_activation"),
    Mistake(layers.TwoLayers, "missing-activation-derivative", version="without_slope"),
    Mistake(layers.LstmGates, version="sigmoid_twice"),
    Mistake(layers.LstmGates, "swapped-gradients", "b_f", version="forget_for_all"),
    Mistake(layers.ConvolutionWithoutStride),
    Mistake(layers.IgnoredLabels),
    Mistake(layers.UpdatedWeights),
    # mathematics
    Mistake(mathematics.CrossProductSign, "sign-flipped"),
    Mistake(mathematics.SplattingHalf, TWICE, "2 times|twice"),
    Mistake(
        mathematics.QuaternionNorm, "factor-missing term-missing missing-activation-derivative"
    ),
    Mistake(mathematics.UnitQuaternionNorm, "term-missing", "norm"),
    Mistake(mathematics.SymmetricMatrix, "symmetric-convention", "symmetric"),
    Mistake(mathematics.LogDeterminantLost, "term-missing", "logdet"),
    Mistake(mathematics.MultiplierTwice),
    Mistake(mathematics.CopysignOfX, "factor-missing sign-flipped", "sign|x < 0|negative"),
    Mistake(mathematics.AdjointWithoutFirstTime, "term-missing", "y0"),
    Mistake(mathematics.AdjointWithoutFirstTime, "sign-flipped", "y0", "minus"),
    Mistake(mathematics.TiesInMax, "kink"),
    Mistake(mathematics.RangeWithoutMax, "term-missing", "max"),
    Mistake(mathematics.RsqrtWithoutConjugate, "conjugate", "conj"),
    # functions
    Mistake(functions.IsrluSlopeAlone, IGNORED, "incoming gradient"),
    Mistake(functions.HuberAlone, IGNORED, "incoming gradient"),
    Mistake(functions.LossScaledByTheFirst, f"one-sample-only {IGNORED}", "first|row 0"),
    Mistake(functions.RmsNormWithoutWeight, "gradient-missing", "weight"),
    Mistake(functions.SigmoidSlopeAtInput, "derivative-at-wrong-point wrong-activation-derivative"),
    Mistake(functions.FixedStrides, "strides", "incoming gradient"),
    Mistake(functions.IncomingGradientOverwritten, "input-changed", "incoming gradient"),
    Mistake(functions.SavedInputsOverwritten, "input-changed"),
    Mistake(functions.RotationInPlace, "input-changed", r"\bq\b"),
    Mistake(
        functions.SecondDerivativeLost,
        "second-derivative",
        "second derivative",
        options=(("orders", 2),),
    ),
]
NOT_THE_DERIVATIVE = "PyTorch's gradient is not the derivative"
# what is right besides each report's `right`: the report, its version, and what a remark contains
RIGHT_TOO = [
    (layers.SigmoidTail, "inaccurate", "loses|tail"),
    (mathematics.SymmetricMatrix, "triangular", NOT_THE_DERIVATIVE),
    (mathematics.CopysignOfPositiveX, "wrong", ""),
    (mathematics.TiesInMax, "last", ""),
    (mathematics.TiesInMaximum, "first", ""),
    (functions.SecondDerivativeLost, "wrong", "second derivative"),
]
REPORTS = [
    report
    for module in (layers, mathematics, functions)
    for report in vars(module).values()
    if hasattr(report, "right")
]


def checked(report, version, **options):
    """What the check of a version gives: of a Function, a layer or gradients."""
    hand = getattr(report, version)
    given = report.inputs(np.random.default_rng(0))
    if not isinstance(hand, type):
        return check_gradients(hand, report.reference, **given, **options)
    if issubclass(hand, Function):
        return check_function(hand, report.reference, **given, **options)
    return lockstep.check_layer(hand.forward, hand.backward, report.reference, **given)


def wrong_quantities(report, version):
    """The names whose gradients differ from those of the right version."""
    given = report.inputs(np.random.default_rng(0))
    own, right = (getattr(report, each)(**given) for each in (version, "right"))
    same = [
        own[name].shape == d.shape and np.allclose(own[name], d, 1e-9) for name, d in right.items()
    ]
    return {name for name, agrees in zip(right, same, strict=True) if not agrees}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda it: f"{it.report.__name__}-{it.version}")
def test_a_reported_mistake_is_found_and_named(mistake):
    with pytest.raises(GradientMismatch) as error:
        checked(mistake.report, mistake.version, **dict(mistake.options))
    found = error.value.diagnoses
    names = mistake.names.split()
    fitting = [it for it in found if it["mistake"] in names or not names]
    assert fitting, str(error.value)
    said = " ".join(f"{it['quantity']}: {it['says']}" for it in fitting)
    assert re.search(mistake.words, said, re.IGNORECASE), str(error.value)
    if not isinstance(mistake.report.right, type):
        wrong = wrong_quantities(mistake.report, mistake.version)
        assert {it["quantity"] for it in found} == wrong
        assert error.value.first_mismatch["quantity"] in wrong


@pytest.mark.slow
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.__name__)
def test_the_right_version_of_a_report_is_a_match(report):
    assert checked(report, "right").verdict == "match"


@pytest.mark.parametrize(("report", "version", "remark"), RIGHT_TOO)
def test_what_is_right_too_is_a_match_that_says_why(report, version, remark):
    result = checked(report, version)
    assert result.verdict == "match"
    assert not remark or any(re.search(remark, each) for each in result.remarks), result.remarks


def test_the_other_conic_convention_is_reported_of_the_conic_alone():
    with pytest.raises(GradientMismatch) as error:
        checked(mathematics.SplattingHalf, "with_conic")
    assert [it["quantity"] for it in error.value.diagnoses] == ["conic"]


def test_six_digits_are_a_match_for_float32_or_are_called_too_few():
    report = layers.GeluWithSixDigits
    given = report.inputs(np.random.default_rng(0))
    narrow = {name: array.astype(np.float32) for name, array in given.items()}
    try:
        assert check_gradients(report.wrong, report.reference, **narrow).verdict == "match"
    except GradientMismatch as error:
        assert [it["mistake"] for it in error.diagnoses] == ["too-few-digits"]  # noqa: PT017


def test_a_second_derivative_that_is_right_is_a_match():
    assert checked(functions.SecondDerivativeLost, "right", orders=2).verdict == "match"
