"""Leave-one-out residuals of every row at every λ, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dwindle.ridge.factor import Factor

__all__ = ["blocks", "kept", "residuals"]

Array = npt.NDArray[np.float64]

_ROWS, _LAMS = 512, 256  # a block of residuals and one of leverages: 2 MB


def kept(factor: Factor, lams: Array) -> Array:
    """Return g [r, L], what stays in the residual of each direction: λ/(d² + λ), λ in units of the factor.

    Where r = room, so that a fit at λ = 0 leaves nothing, it is (d_min² + λ)/(d² + λ): the common factor cancels in every
    ratio, and what would be 0/0 is its limit.
    """
    squares = factor.squares[:, None]
    top = lams + (squares[-1] if factor.is_full and len(squares) else 0.0)
    return top / (squares + lams)


def residuals(factor: Factor, lam: float) -> Array:
    """Return the residual of each row from the fit without it, [n, k], at one λ in units of the factor."""
    g = kept(factor, np.array([lam]))[:, 0]
    above = factor.rest + factor.left @ (g[:, None] * factor.z)
    below = factor.free + np.einsum("ij,ij,j->i", factor.left, factor.left, g)
    if lam == 0.0 and not factor.is_full and (sole := factor.free == 0.0).any():
        # a row that the columns reproduce whatever the others say: the limit of λ -> 0, where λ cancels
        part, inverse = factor.left[sole], 1.0 / factor.squares
        inverse /= inverse.max(initial=1.0)
        above[sole] = part @ (inverse[:, None] * factor.z)
        below[sole] = (part * part) @ inverse
    found: Array = above / below[:, None]
    return found if factor.root is None else found / factor.root[:, None]


def blocks(factor: Factor, lams: Array) -> Iterator[tuple[slice, slice, list[Array]]]:
    """Yield (rows, positions of λ, [√s·residual [rows, λ] for each target]), λ > 0 in units of the factor.

    residual/(1 - h), h_i = s_i/Σs + Σ_j U_ij²·d_j²/(d_j² + λ), as two matrix products: above = rest + U·(g∘z), below =
    free + U²·g, in which nothing cancels. The arrays are used again by the next block.
    """
    ones = np.ones((1, len(lams)))
    g = kept(factor, lams)
    below_of = np.concatenate((g, ones))
    above_of = [np.concatenate((g * z[:, None], ones)) for z in factor.z.T]
    for first in range(0, factor.rows, _ROWS):
        rows = slice(first, min(first + _ROWS, factor.rows))
        left, free, rest = factor.left[rows], factor.free[rows, None], factor.rest[rows]
        squared = np.concatenate((left * left, free), axis=1)
        plain = [np.concatenate((left, each[:, None]), axis=1) for each in rest.T]
        for start in range(0, len(lams), _LAMS):
            at = slice(start, min(start + _LAMS, len(lams)))
            below = squared @ below_of[:, at]
            found = []
            for one, of in zip(plain, above_of, strict=True):
                above = one @ of[:, at]
                found.append(np.divide(above, below, out=above))
            yield rows, at, found
