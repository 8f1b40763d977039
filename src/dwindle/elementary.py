"""Powers and half cosines out of additions and multiplications alone, so that every backend gives the same bits.

A library's ``cos`` and ``pow`` differ by an ulp between libm, SIMD and GPU code, which would make step n alone differ from
the nth step of a vector. IEEE 754 fixes the result of + - * / sqrt; on these the two functions below are built.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from dwindle.namespace import Namespace

__all__ = ["PowerParts", "power", "power_less_one", "power_parts", "sin_squared"]

_SPLIT = 67108864.0  # 2**26: a product of a 27-bit and a 26-bit number is exact in float64
_DIGITS = Context(prec=60)


def sin_squared(part: Any, whole: float) -> Any:
    """Return sin²(π/2 · part/whole) for 0 <= part <= whole/2; within about 1.5 ulp, and exactly 0 at 0.

    >>> sin_squared(0.0, 10.0), sin_squared(5.0, 10.0)
    (0.0, 0.5)
    """
    # sin²(πu/2) = u² P(u²) for u <= 1/2: Chebyshev fit of degree 8, relative error 3e-20 (mpmath.chebyfit, 50 digits);
    # the second number is what rounding the first to float64 lost
    t = (part * part) / (whole * whole)
    p = -0.0009647871200835576 + t * (5.2318817170362996e-05 + t * (-2.150601860425807e-06 + t * 6.739527418179059e-08))
    p = 0.6676313844272912 + t * (-0.11766531517930116 + t * (0.012903445692013642 + t * p))
    return t * (2.4674011002723395 + (1.5658117797683403e-16 + t * (-2.0293560632083842 + t * p)))


class PowerParts(NamedTuple):
    """log2(base)/divisor in three pieces: two of 26 bits, whose products with a step are exact, and the rest."""

    high: float
    middle: float
    low: float
    largest: float
    """The exponent from which the power is 0 (base < 1) or would overflow (base > 1): counting stops there."""


@lru_cache(maxsize=4096)
def power_parts(base: float, divisor: float = 1.0) -> PowerParts:
    """Return the pieces of log2(base)/divisor, worked out once to 60 digits; ``base`` and ``divisor`` are positive."""
    exact = _DIGITS.divide(_DIGITS.divide(_DIGITS.ln(Decimal(base)), _DIGITS.ln(Decimal(2))), Decimal(divisor))
    high = _leading_bits(float(exact))
    rest = _DIGITS.subtract(exact, Decimal(high))
    middle = _leading_bits(float(rest))
    low = float(_DIGITS.subtract(rest, Decimal(middle)))
    edge = 1100.0 if exact < 0 else 1023.0
    return PowerParts(high, middle, low, edge / abs(float(exact)) if exact else math.inf)


def power(parts: PowerParts, exponent: Any, xp: Namespace) -> Any:
    """Return base**(exponent/divisor) for exponent >= 0, to about 1 ulp; exponent is a float (or array of floats).

    Method: y = exponent·log2(base)/divisor is split into its nearest whole number k and a remainder r, |r| <= 1/2,
    without losing a bit (Cody & Waite 1980, Software Manual for the Elementary Functions, ch. 6); then 2**k·(1 + r·Q(r)).

    >>> from dwindle.namespace import namespace
    >>> power(power_parts(0.5), 3.0, namespace(3.0))
    0.125
    """
    less, k = _less_one(parts, exponent, xp)
    return xp.ldexp(1.0 + less, k)


def power_less_one(parts: PowerParts, exponent: Any, xp: Namespace) -> Any:
    """Return base**(exponent/divisor) - 1 without the cancellation near 0, where the power is near 1.

    >>> from dwindle.namespace import namespace
    >>> power_less_one(power_parts(2.0), 1e-300, namespace(1e-300)) == 1e-300 * math.log(2.0)
    True
    """
    less, k = _less_one(parts, exponent, xp)
    return xp.ldexp(less, k) + (xp.ldexp(1.0 + 0.0 * less, k) - 1.0)


def _less_one(parts: PowerParts, exponent: Any, xp: Namespace) -> tuple[Any, Any]:
    """Return (2**r - 1, k) where 2**(r + k) is the power, |r| <= 1/2."""
    high, middle, low, largest = parts
    n = xp.clip(exponent, 0.0, largest)
    fine = n % _SPLIT
    coarse = n - fine
    k = xp.rint(n * (high + middle))
    r = ((coarse * high - k) + fine * high) + (coarse * middle + fine * middle) + n * low
    # 2**r = 1 + r Q(r) for |r| <= 1/2: Chebyshev fit of degree 10, error 1.3e-17
    q = 1.321544258792169e-06 + r * (1.0178062445845774e-07 + r * (7.072585949269223e-09 + r * 4.4549605981865186e-10))
    q = 0.0013333558146416936 + r * (0.0001540353044173605 + r * (1.525273382983612e-05 + r * q))
    q = 0.6931471805599453 + r * (0.24022650695910097 + r * (0.0555041086648216 + r * (0.009618129107606888 + r * q)))
    return r * q, k


def _leading_bits(value: float, bits: int = 26) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.trunc(math.ldexp(mantissa, bits)), exponent - bits)
