"""Worked examples from the literature come out with their printed numbers, on both sides."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from lockstep.api import compare

ROOT = Path(__file__).parents[1]
FILES = {
    "mazur": ROOT / "scripts" / "examples" / "mazur.toml",
    "han_kamber": ROOT / "tests" / "published" / "han_kamber.toml",
    "hmkcode": ROOT / "tests" / "published" / "hmkcode.toml",
    "keras_binary": ROOT / "tests" / "published" / "keras_binary.toml",
    "keras_classes": ROOT / "tests" / "published" / "keras_classes.toml",
}

# Quantities of a step as they are printed there; a number holds to half a unit of its last digit.
PRINTED = {
    ("mazur", 1): {
        "z_h": [["0.3775", "0.3925"]],
        "h": [["0.593269992", "0.596884378"]],
        "o": [["0.75136507", "0.772928465"]],
        "loss": "0.298371109",
        "delta_o": [["0.138498562", None]],
        "grad_W_o": [["0.082167041", None], [None, None]],
        "grad_W_h": [["0.000438568", None], [None, None]],
        "new_W_o": [["0.35891648", "0.408666186"], ["0.511301270", "0.561370121"]],
        "new_W_h": [["0.149780716", "0.19956143"], ["0.24975114", "0.29950229"]],
        "new_b_h": ["0.35", "0.35"],
        "new_b_o": ["0.60", "0.60"],
    },
    ("han_kamber", 1): {
        "z_h": [["-0.7", "0.1"]],
        "h": [["0.332", "0.525"]],
        "z_o": [["-0.105"]],
        "o": [["0.474"]],
        # its Err_6 = 0.1311 is computed from the rounded 0.474 and is left out
        "delta_h": [["0.0087", "0.0065"]],
        "new_W_o": [["-0.261", "-0.138"]],
        "new_b_o": ["0.218"],
        "new_W_h": [["0.192", "0.4", "-0.508"], ["-0.306", "0.1", "0.194"]],
        "new_b_h": ["-0.408", "0.194"],
    },
    ("hmkcode", 1): {
        "h": [["0.85", "0.48"]],
        "o": [["0.191"]],
        "loss": "0.327",
        "delta_o": [["-0.809"]],
        "new_W_o": [["0.17", "0.17"]],
        "new_W_h": [["0.12", "0.23"], ["0.13", "0.10"]],
    },
    ("keras_binary", 1): {"a1": [["0.6", "0.4"]], "loss": "0.916"},
    ("keras_classes", 1): {"a1": [["0.1", "0.8", "0.1"]], "loss": "2.303"},
}


@pytest.mark.parametrize(("example", "number"), PRINTED)
def test_published_numbers_come_out_on_both_sides(example, number):
    records = []
    result = compare(
        None, FILES[example], steps=number, on_step=lambda record, _: records.append(record)
    )
    assert result.verdict == "match"
    record = records[number - 1]
    for name, printed in PRINTED[example, number].items():
        for side in (record.manual, record.torch):
            assert np.shape(printed) == np.shape(side[name])
            for text, value in zip(
                np.ravel(np.array(printed, object)), np.ravel(side[name]), strict=True
            ):
                if text is not None:
                    half_a_unit = Decimal(5).scaleb(Decimal(text).as_tuple().exponent - 1)
                    slack = Decimal(
                        "1e-15"
                    )  # a value on the edge, as in 0.3775, is off by its own rounding
                    assert abs(Decimal(float(value)) - Decimal(text)) <= half_a_unit + slack, (
                        name,
                        text,
                        value,
                    )
