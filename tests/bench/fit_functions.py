#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the coefficients of src/kernels/vector_math.h and prints them as its C tables.

usage: tests/bench/fit_functions.py       (needs mpmath; takes a minute; prints the same figures on every machine)

Rationals p(u)/q(u) near the best in the maximum norm: least squares on Chebyshev points, linear in p and q, where each turn divides by
the last q (Sanathanan & Koerner 1963) and gives points with a large error more weight (Lawson 1961). Errors printed are those of
the fit, first with exact coefficients, then with coefficients rounded to floats. The roundings of an evaluation come on top;
tests/unit/test_kernels.c measures the sum of both.
"""

import struct
from dataclasses import dataclass
from typing import Callable

import mpmath as mp

mp.mp.dps = 40
POINTS = 400
TURNS = 60


@dataclass(frozen=True)
class Fit:
    """factor(x) p(u(x)) / q(u(x)), q[0] = 1, as f on [low, high]; errors are relative to weight(x)."""

    name: str
    f: Callable
    low: mp.mpf
    high: mp.mpf
    p_degree: int
    q_degree: int
    factor: Callable = lambda x: x
    u: Callable = lambda x: x * x
    weight: Callable = lambda x: mp.mpf(1)


def half_erf(x):
    """The normal distribution less 1/2."""
    return mp.erf(x / mp.sqrt(2)) / 2


def slope(x):
    """gelu'(x) - 1/2, where gelu(x) = x (half_erf(x) + 1/2)."""
    return half_erf(x) + x * mp.npdf(x)


def exp_rest(x):
    """e^x = 1 + x + x^2 exp_rest(x)"""
    return (mp.expm1(x) - x) / x**2


HALF_LN2 = mp.log(2) / 2
FITS = (
    Fit("half_erf", half_erf, mp.mpf(0), mp.mpf("5.5"), 5, 5),
    Fit("slope", slope, mp.mpf(0), mp.mpf("6.2"), 7, 6),
    Fit("exp_rest", exp_rest, -HALF_LN2, HALF_LN2, 4, 0, factor=lambda x: 1, u=lambda x: x, weight=lambda x: mp.exp(x) / x**2),
)


class Point:
    """A place and what the fit needs to know there."""

    def __init__(self, fit, x):
        self.f, self.u, self.factor, self.weight = fit.f(x), fit.u(x), fit.factor(x), fit.weight(x)

    def error(self, p, q):
        return abs(self.factor * mp.polyval(p[::-1], self.u) / mp.polyval(q[::-1], self.u) - self.f) / self.weight


def least_squares(rows, right, weights):
    """The c that minimises sum of weights (rows c - right)^2, by the normal equations; 40 digits make up for their condition."""
    n = len(rows[0])
    matrix, moments = mp.matrix(n, n), mp.matrix(n, 1)
    for row, y, weight in zip(rows, right, weights):
        for i in range(n):
            moments[i] += weight * row[i] * y
            for j in range(n):
                matrix[i, j] += weight * row[i] * row[j]
    return list(mp.lu_solve(matrix, moments))


def fitted(fit):
    """p, q, and the largest errors with these and with floats in their place."""
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    points = [Point(fit, middle - half * mp.cos(mp.pi * (i + mp.mpf("0.5")) / POINTS)) for i in range(POINTS)]
    rows = [[at.factor * at.u**j for j in range(fit.p_degree + 1)] + [-at.f * at.u**j for j in range(1, fit.q_degree + 1)]
            for at in points]
    right = [at.f for at in points]
    lawson, last_q = [mp.mpf(1)] * POINTS, [mp.mpf(1)]
    best = None
    for _ in range(TURNS):
        weights = [w / (mp.polyval(last_q[::-1], at.u) * at.weight) ** 2 for w, at in zip(lawson, points)]
        found = least_squares(rows, right, weights)
        p, q = found[: fit.p_degree + 1], [mp.mpf(1)] + found[fit.p_degree + 1 :]
        errors = [at.error(p, q) for at in points]
        largest = max(errors)
        if best is None or largest < best[2]:
            best = p, q, largest
        last_q = q
        lawson = [w * (e / largest + mp.mpf("1e-3")) for w, e in zip(lawson, errors)]
        heaviest = max(lawson)
        lawson = [w / heaviest for w in lawson]
    p, q, largest = best
    return p, q, largest, max(at.error(as_floats(p), as_floats(q)) for at in points)


def as_floats(coefficients):
    return [mp.mpf(struct.unpack("f", struct.pack("f", float(c)))[0]) for c in coefficients]


def c_literal(coefficient):
    text = f"{float(coefficient):.9g}"
    return (text if "." in text or "e" in text else text + ".0") + "f"


def main():
    for fit in FITS:
        p, q, exact, rounded = fitted(fit)
        print(f"/* {fit.name} on [{float(fit.low):.4g}, {float(fit.high):.4g}]: {float(exact):.1e}, {float(rounded):.1e} */")
        for suffix, table in (("p", p), ("q", q)):
            if len(table) > 1:
                print(f"static const float {fit.name}_{suffix}[] = {{{', '.join(map(c_literal, table))}}};")


if __name__ == "__main__":
    main()
