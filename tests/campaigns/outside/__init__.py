"""Right gradients that are not in the gallery, by field: `CASES` holds them by name."""

import importlib
import pkgutil

from tests.campaigns.outside.case import CASES, KINDS, Case

for module in pkgutil.iter_modules(__path__, __name__ + "."):
    importlib.import_module(module.name)

__all__ = ["CASES", "KINDS", "Case"]
