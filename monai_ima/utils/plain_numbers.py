"""Numbers as people write them."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["counted", "plain_number"]


def plain_number(value: float, digits: int = 4) -> str:
    """A number with ``digits`` significant digits and never an exponent; whole digits are all kept.

    Example:
        >>> plain_number(1510.4, 3), plain_number(0.0000234, 3), plain_number(2.0)
        ('1510', '0.0000234', '2')
    """
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    return f"{value:.0f}" if abs(value) >= 1 else f"{Decimal(text):f}"


def counted(count: int, noun: str, thousands: str = "") -> str:
    """A count and its noun, with an s unless it is one.

    Args:
        count: how many.
        noun: of one of them.
        thousands: ``","`` parts the thousands.

    Example:
        >>> counted(1, "restart"), counted(10, "restart"), counted(12000, "sample", ",")
        ('1 restart', '10 restarts', '12,000 samples')
    """
    return f"{count:{thousands}} {noun}" + "s" * (count != 1)
