#!/usr/bin/env python3
"""Exact figures for tests/all/exact.rs, by other means than the crate's: 50 digits for the formulas, Markov chains solved by
block elimination for the simulations. One JSON line each: a request as `predict --batch` reads it, and `exact`.

    pip install mpmath numpy scipy && for part in mmc erlang_a md_c chains; do python3 exact.py $part; done > exact.jsonl
"""
import json
import sys
import mpmath as mp
import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincc
from scipy.stats import poisson

mp.mp.dps = 50


def out(request, exact):
    request["exact"] = {name: float(value) for name, value in exact.items()}
    print(json.dumps(request))


def erlang_c(c, a):
    # Falling factorials, largest terms first: no recursion as in the crate.
    term, total = mp.mpf(1), mp.mpf(1)
    for k in range(c):
        term = term * (c - k) / a
        total += term
    b = 1 / total
    return c * b / (c - a * (1 - b))


def mmc(c, lam, s):
    lam, s = mp.mpf(lam), mp.mpf(s)
    a = lam * s
    cc, d = erlang_c(c, a), (c - a) / s
    mu = 1 / s
    exact = {"p_wait": cc, "wait_mean": cc / d, "sojourn_mean": cc / d + s}
    for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        beyond = 1 - mp.mpf(p)
        exact["wait_" + name] = max(mp.mpf(0), mp.log(cc / beyond) / d)

        def tail(t):
            if d == mu:
                return mp.exp(-mu * t) * (1 + cc * mu * t)
            return (1 - cc) * mp.exp(-mu * t) + cc * (d * mp.exp(-mu * t) - mu * mp.exp(-d * t)) / (d - mu)

        low, high = mp.mpf(0), s
        while tail(high) > beyond:
            high *= 2
        for _ in range(160):
            mid = (low + high) / 2
            low, high = (mid, high) if tail(mid) > beyond else (low, mid)
        exact["sojourn_" + name] = low
    out({"model": "mmc", "c": c, "lambda": float(lam), "service": {"dist": "exp", "mean": float(s)}}, exact)


def erlang_a(c, lam, s, theta_mean):
    """Sums over the states of the birth-death chain; wait by the incomplete gamma function of mpmath."""
    lam_, mu, th = mp.mpf(lam), 1 / mp.mpf(s), 1 / mp.mpf(theta_mean)
    weight, weights = mp.mpf(1), [mp.mpf(1)]
    n = 0
    while n < c or weight > mp.mpf(10) ** -40 * weights[min(n, c)]:
        n += 1
        weight = weight * lam_ / (min(n, c) * mu + max(0, n - c) * th)
        weights.append(weight)
    total = mp.fsum(weights)
    p = [w / total for w in weights]
    queue = mp.fsum((n - c) * q for n, q in enumerate(p) if n > c)
    p_wait = mp.fsum(p[c:])
    exact = {"p_wait": p_wait, "wait_mean": queue / lam_, "p_abandon": th * queue / lam_}
    exact["sojourn_mean"] = mp.fsum(n * q for n, q in enumerate(p)) / lam_
    # P(V > t), V the offered wait: density proportional to exp(lam/th (1 - e^-th x) - c mu x), in closed form
    a, y = c * mu / th, lam_ / th
    norm = mp.gammainc(a, 0, y)
    far = 60 / (c * mu) + 30 / th
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        beyond = 1 - mp.mpf(q)
        if p_wait <= beyond:
            exact["wait_" + name] = 0
            continue
        tail = lambda t: p_wait * mp.exp(-th * t) * mp.gammainc(a, 0, y * mp.exp(-th * t)) / norm
        low, high = mp.mpf(0), far
        for _ in range(60):
            mid = (low + high) / 2
            low, high = (mid, high) if tail(mid) > beyond else (low, mid)
        exact["wait_" + name] = low
    out({"model": "erlang_a", "c": c, "lambda": lam, "service": {"dist": "exp", "mean": s},
         "patience": {"dist": "exp", "mean": theta_mean}}, exact)


def solve_levels(up, local, down, levels):
    """Stationary vectors of a chain whose levels change by one. up(n), local(n), down(n): matrices of rates from level n;
    `local` without its diagonal. Backward elimination from the last level."""
    def generator(n):
        a = np.array(local(n), dtype=float)
        leave = a.sum(1) + (up(n).sum(1) if n < levels else 0) + (down(n).sum(1) if n > 0 else 0)
        return a - np.diag(leave)
    rates, s = {}, generator(levels)
    for n in range(levels, 0, -1):
        rates[n] = up(n - 1) @ np.linalg.inv(-s)
        s = generator(n - 1) + rates[n] @ down(n)
    size = s.shape[0]
    m = np.vstack([s.T[:-1], np.ones(size)])
    pi = [np.linalg.solve(m, np.r_[np.zeros(size - 1), 1.0])]
    for n in range(1, levels + 1):
        pi.append(pi[-1] @ rates[n])
    total = sum(x.sum() for x in pi)
    return [x / total for x in pi]


def waits_of(seen, c, mu):
    """Figures from the probabilities `seen` with which arrivals find n others before them, exponential service."""
    seen = np.array(seen)
    n = np.arange(len(seen))
    steps = np.maximum(0, n - c + 1)
    exact = {"p_wait": seen[c:].sum(), "wait_mean": (seen * steps).sum() / (c * mu)}
    exact["sojourn_mean"] = exact["wait_mean"] + 1 / mu
    k = steps[c:]
    def tail(t):
        return (seen[c:] * gammaincc(k, c * mu * t)).sum()
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        beyond = 1 - q
        exact["wait_" + name] = 0 if exact["p_wait"] <= beyond else brentq(lambda t: tail(t) - beyond, 1e-12, 1e6, xtol=1e-13)
    return exact


def mmpp(c, s, high, low, hl, lh):
    mu = 1 / s
    rate = np.diag([high, low])
    change = np.array([[0, hl], [lh, 0]])
    levels = c + 3000
    pi = solve_levels(lambda n: rate, lambda n: change, lambda n: np.eye(2) * min(n, c) * mu, levels)
    lam = sum((x @ rate).sum() for x in pi)
    seen = [(x @ rate).sum() / lam for x in pi]
    out({"model": "mmpp", "c": c, "service": {"dist": "exp", "mean": s}, "arrival": {
        "dist": "mmpp", "rate_high": high, "rate_low": low, "high_to_low": hl, "low_to_high": lh}}, waits_of(seen, c, mu))


def batch(c, lam, s, kind, mean):
    """M^X/M/c: probabilities by iteration from the cuts between n and n + 1."""
    mu, levels = 1 / s, 6000
    size = np.zeros(levels)
    if kind == "batch_fixed":
        size[int(mean)] = 1
    else:
        q = 1 - 1 / mean
        size[1:] = (1 / mean) * q ** np.arange(levels - 1)
    beyond = 1 - np.cumsum(size)  # P(X > k)
    rate = lam / mean
    p = np.zeros(levels)
    p[0] = 1e-250 if c > 20 else 1
    for n in range(levels - 1):
        # rate out of {0..n} upwards = rate down from n + 1
        p[n + 1] = rate * (p[: n + 1] * beyond[n::-1][: n + 1]).sum() / (min(n + 1, c) * mu)
    p /= p.sum()
    # A member sees n + those before it in its batch: P(j before) = P(X > j) / E[X].
    seen = np.convolve(p, beyond / mean)[:levels]
    out({"model": "batch", "c": c, "lambda": lam, "service": {"dist": "exp", "mean": s},
         "arrival": {"dist": kind, "batch_mean": mean}}, waits_of(seen, c, mu))


def h2_m_c(c, lam, s, scv):
    """H2/M/c: arrivals by phases of a hyperexponential distribution with balanced means."""
    mu = 1 / s
    p = 0.5 * (1 + ((scv - 1) / (scv + 1)) ** 0.5)
    r = [2 * p * lam, 2 * (1 - p) * lam]
    up = np.array([[r[0] * p, r[0] * (1 - p)], [r[1] * p, r[1] * (1 - p)]])
    pi = solve_levels(lambda n: up, lambda n: np.zeros((2, 2)), lambda n: np.eye(2) * min(n, c) * mu, c + 3000)
    seen = [(x @ up).sum() / lam for x in pi]
    out({"model": "ggc", "c": c, "lambda": lam, "service": {"dist": "exp", "mean": s}, "arrival": {"dist": "h2", "scv": scv}},
        waits_of(seen, c, mu))


def setup(c, lam, s, boot):
    """M/M/c/Setup with exponential set-ups: level = jobs, phase = servers that are on and busy (0..min(jobs, c))."""
    mu, al, levels = 1 / s, 1 / boot, 2000
    size = lambda n: min(n, c) + 1
    def up(n):
        m = np.zeros((size(n), size(n + 1)))
        m[np.arange(size(n)), np.arange(size(n))] = lam
        return m
    def local(n):
        m = np.zeros((size(n), size(n)))
        for i in range(size(n) - 1):
            m[i, i + 1] = min(n - i, c - i) * al
        return m
    def down(n):
        m = np.zeros((size(n), size(n - 1)))
        for i in range(1, size(n)):
            # The server that ends takes the next job, or is switched off where none waits.
            m[i, i if n > i else i - 1] = i * mu
        return m
    pi = solve_levels(up, local, down, levels)
    jobs = sum(n * x.sum() for n, x in enumerate(pi))
    out({"model": "setup", "c": c, "lambda": lam, "service": {"dist": "exp", "mean": s}, "setup": {"dist": "exp", "mean": boot}},
        {"p_wait": 1.0, "sojourn_mean": jobs / lam, "wait_mean": jobs / lam - s})


def preemptive(c, l1, s1, l2, s2):
    """Two exponential classes: level = planned jobs, phase = incidents (they see nothing else)."""
    most = c + int(60 / max(0.05, 1 - l1 * s1 / c))
    size = most + 1
    i = np.arange(size)
    local = np.zeros((size, size))
    local[i[:-1], i[1:]] = l1
    local[i[1:], i[:-1]] = np.minimum(i[1:], c) / s1
    up = np.eye(size) * l2
    down = lambda n: np.diag(np.minimum(n, np.maximum(0, c - i)) / s2)
    pi = solve_levels(lambda n: up, lambda n: local, down, 1200)
    planned = sum(n * x.sum() for n, x in enumerate(pi)) / l2
    incidents = sum((x * i).sum() for x in pi) / l1
    out({"model": "preemptive", "c": c, "incident": {"lambda": l1, "dist": "exp", "mean": s1},
         "planned": {"lambda": l2, "dist": "exp", "mean": s2}}, {"incident_lead_mean": incidents, "planned_lead_mean": planned})


def md_c(c, rho):
    """M/D/c of service 1 by Crommelin's sum of E[(N - wc)+] / E[N] over Poisson N of mean w rho c, in Poisson tails."""
    a, total, w = c * rho, 0.0, 0
    while True:
        w += 1
        m, k = a * w, c * w
        j = np.arange(1, 40 + int(40 * (m + 10) ** 0.5))
        term = (j * poisson.pmf(k + j, m)).sum() / m
        total += term
        if term < total * 1e-14:
            break
    out({"model": "mgc", "c": c, "lambda": a, "service": {"dist": "det", "mean": 1.0}}, {"wait_mean": total})


if __name__ == "__main__":
    part = sys.argv[1]
    for c in (1, 2, 3, 5, 10, 20, 50, 100, 240, 500, 1000, 3000, 10000) if part == "mmc" else ():
        for rho in (0.01, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.999999, 1 - 1e-9):
            s = 0.1 if c % 3 == 0 else 1.0
            mmc(c, rho * c / s, s)
        # a spare capacity of about one server: the two rates of the sojourn are nearly equal
        for spare in (1.0, 1.0 + 1e-9, 1 - 1e-6):
            if c > 1:
                mmc(c, c - spare, 1.0)
    for c in (1, 3, 10, 100, 500) if part == "erlang_a" else ():
        for rho in (0.5, 0.9, 1.0, 1.2, 2.0):
            for patience in (0.2, 1.0, 5.0):
                erlang_a(c, rho * c, 1.0, patience)
    for c in (1, 2, 4, 10, 30, 100) if part == "md_c" else ():
        for rho in (0.3, 0.6, 0.8, 0.9, 0.95):
            md_c(c, rho)
    if part != "chains":
        sys.exit()
    mmpp(1, 1.0, 1.2, 0.2, 0.05, 0.05)
    mmpp(5, 1.0, 6.0, 2.0, 0.1, 0.1)
    mmpp(10, 0.5, 18.0, 6.0, 0.2, 0.05)
    batch(1, 0.7, 1.0, "batch_fixed", 4)
    batch(5, 4.0, 1.0, "batch_geometric", 3.0)
    batch(10, 6.0, 1.0, "batch_fixed", 8)
    batch(4, 3.4, 1.0, "batch_geometric", 6.5)
    h2_m_c(1, 0.8, 1.0, 4.0)
    h2_m_c(5, 4.0, 1.0, 2.0)
    h2_m_c(10, 9.0, 1.0, 4.0)
    setup(1, 0.5, 1.0, 4.0)
    setup(5, 2.5, 1.0, 10.0)
    setup(10, 8.0, 1.0, 20.0)
    for c, l1, s1, l2, s2 in ((1, 0.3, 1.0, 0.4, 1.0), (2, 0.5, 1.0, 0.2, 5.0), (3, 1.0, 0.5, 0.5, 3.0), (4, 0.4, 2.0, 0.25, 8.0),
                              (4, 2.0, 0.25, 0.3, 10.0), (6, 1.5, 1.0, 0.5, 6.0), (4, 0.2, 4.0, 1.0, 2.0), (10, 4.0, 1.0, 1.0, 4.5)):
        preemptive(c, l1, s1, l2, s2)
