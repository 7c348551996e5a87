# SPDX-License-Identifier: Apache-2.0
# Writes rl.json, the golden vectors of rl_test.cpp: make_rl_golden.py [PATH]. Plain Python that knows
# nothing of the engine. The papers' formulas in 80 decimal digits, so that no rounding of this
# program shows, on any machine; derivatives are central differences at 1e-30. Results are rounded
# to f64 once. Numbers are written as strings, several to a string, because not every JSON parser
# returns the nearest double.
import itertools
import json
import os
import random
import struct
import sys
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 80
STEP = Decimal("1e-30")
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803")
rng = random.Random(20170720)


def inputs(count, low, high):
    """Short decimals as f64: what is written is exactly what was used."""
    return [round(low + (high - low) * rng.random(), 6) for _ in range(count)]


def exact(values):
    return [Decimal(v) for v in values]


def text(values):
    return " ".join(repr(float(v)) for v in values)


def slope(function, at):
    return (function(at + STEP) - function(at - STEP)) / (2 * STEP)


def mean(values):
    return sum(values) / Decimal(len(values))


def variance(values):
    centre = mean(values)
    return mean([(v - centre) ** 2 for v in values])


def cosine(angle):
    total, term, n = Decimal(0), Decimal(1), 0
    while abs(term) > Decimal("1e-78"):
        total += term
        n += 2
        term *= -angle * angle / (n * (n - 1))
    return total


# Schulman et al. 2016, eq. 16: advantage_t = sum over l of (gamma lambda)^l delta_{t + l}.
def advantage_cases():
    cases = []
    for length, (gamma, lam) in itertools.product(
        [1, 2, 3, 7, 17, 33, 64], [(1.0, 0.95), (0.99, 0.9), (0.9, 1.0), (1.0, 1.0), (0.97, 0.0)]
    ):
        rewards, values = inputs(length, -1, 1), inputs(length, -2, 2)
        r, v = exact(rewards), exact(values) + [Decimal(0)]
        g, l = Decimal(gamma), Decimal(lam)
        delta = [r[t] + g * v[t + 1] - v[t] for t in range(length)]
        advantages = [
            sum((g * l) ** k * delta[t + k] if k else delta[t] for k in range(length - t))
            for t in range(length)
        ]
        returns = [a + b for a, b in zip(advantages, v)]
        cases.append({
            "gamma": repr(gamma), "lambda": repr(lam), "rewards": text(rewards), "values": text(values),
            "advantages": text(advantages), "returns": text(returns),
        })
    return cases


# Ziegler et al. 2019, eq. 2, token by token; the score belongs to the last one.
def reward_cases():
    cases = []
    for length, beta in [(1, 0.15), (5, 0.02), (24, 0.05), (24, 0.0)]:
        logprobs, reference = inputs(length, -6, 0), inputs(length, -6, 0)
        score = inputs(1, -3, 3)[0]
        rewards = [-Decimal(beta) * (a - b) for a, b in zip(exact(logprobs), exact(reference))]
        rewards[-1] += Decimal(score)
        cases.append({
            "beta": repr(beta), "score": repr(score), "logprobs": text(logprobs),
            "reference": text(reference), "rewards": text(rewards),
        })
    return cases


# lm-human-preferences: (x - mean) / sqrt(var + 1e-8), the mean added again unless it is to shift.
def whiten_cases():
    cases = []
    for length, low, high in [(1, -1, 1), (2, -1, 1), (16, -5, 5), (64, 99, 101), (40, 0, 0.001)]:
        x = inputs(length, low, high)
        e = exact(x)
        centre, deviation = mean(e), (variance(e) + Decimal(1e-8)).sqrt()
        shifted = [(v - centre) / deviation for v in e] if length > 1 else e
        kept = [s + centre for s in shifted] if length > 1 else e
        cases.append({"x": text(x), "shifted": text(shifted), "kept": text(kept)})
    return cases


def explained_cases():
    cases = []
    for length, noise in [(2, 1.0), (9, 0.1), (64, 3.0)]:
        returns = inputs(length, -2, 2)
        values = [round(r + noise * n, 6) for r, n in zip(returns, inputs(length, -1, 1))]
        r, v = exact(returns), exact(values)
        share = 1 - variance([a - b for a, b in zip(r, v)]) / variance(r)
        cases.append({"values": text(values), "returns": text(returns), "expected": text([share])})
    return cases


# Schulman et al. 2017, eq. 7, as a loss: -min(r A, clip(r, 1 - c, 1 + c) A).
def policy_cases():
    cases = []
    for advantage, clip, _ in itertools.product([-1.7, 0.8, 3.25], [0.2, 0.1], range(12)):
        new, old = inputs(2, -4, -3)
        a, c, o = Decimal(advantage), Decimal(clip), Decimal(old)

        def ratio(logprob):
            return (logprob - o).exp()

        def loss(logprob):
            r = ratio(logprob)
            return -min(r * a, min(max(r, 1 - c), 1 + c) * a)

        x = Decimal(new)
        cut = min(max(ratio(x), 1 - c), 1 + c)
        cases.append({
            "logprob": repr(new), "old": repr(old), "advantage": repr(advantage), "clip": repr(clip),
            "loss": text([loss(x)]), "derivative": text([slope(loss, x)]), "ratio": text([ratio(x)]),
            "clipped": bool(cut * a < ratio(x) * a), "approximate_kl": text([(x - o) ** 2 / 2]),
        })
    return cases


# train_policy.py of lm-human-preferences: 0.5 max((v - R)^2, (old + clip(v - old) - R)^2).
def value_cases():
    cases = []
    for clip, _ in itertools.product([0.2, 1.0], range(24)):
        value, old, target = inputs(3, -1, 1)
        c, o, t = Decimal(clip), Decimal(old), Decimal(target)

        def errors(v):
            return (v - t) ** 2, (o + min(max(v - o, -c), c) - t) ** 2

        def loss(v):
            return max(errors(v)) / 2

        x = Decimal(value)
        plain, cut = errors(x)
        cases.append({
            "value": repr(value), "old": repr(old), "target": repr(target), "clip": repr(clip),
            "loss": text([loss(x)]), "derivative": text([slope(loss, x)]), "clipped": bool(cut > plain),
        })
    return cases


# Ziegler et al. 2019, section 2.2.
def controller_cases():
    cases = []
    for adaptive, beta, target, horizon, episodes in [
        (True, 0.15, 6.0, 10000.0, 512), (True, 0.1, 0.5, 2000.0, 64), (False, 0.02, 6.0, 10000.0, 512)
    ]:
        kls = inputs(40, 0, 2 * target)
        b, betas = Decimal(beta), []
        for kl in exact(kls):
            if adaptive:
                proportional = kl / Decimal(target) - 1
                error = min(max(proportional, -Decimal(0.2)), Decimal(0.2))
                b *= 1 + error * episodes / Decimal(horizon)
            betas.append(b)
        cases.append({
            "adaptive": adaptive, "beta": repr(beta), "target": repr(target), "horizon": repr(horizon),
            "episodes": episodes, "kl": text(kls), "betas": text(betas),
        })
    return cases


# Ouyang et al. 2022, eq. 1: the mean over pairs of log(1 + exp(worse - better)).
def pairwise_cases():
    cases = []
    shapes = [(k, "free") for k in range(2, 10)] + [(k, "ties") for k in range(3, 10)]
    for answers, kind in shapes + [(4, "tied"), (9, "tied"), (1, "free"), (4, "far")]:
        rewards = inputs(answers, -3, 3) if kind != "far" else [-800.0, 0.5, 40.0, 700.0]
        ranks = list(range(answers))
        rng.shuffle(ranks)
        if kind == "ties":
            ranks = [rank // 2 for rank in ranks]
        if kind == "tied":
            ranks = [3] * answers
        pairs = [(b, w) for b in range(answers) for w in range(answers) if ranks[b] < ranks[w]]

        def loss(r):
            if not pairs:
                return Decimal(0)
            return mean([(1 + (r[w] - r[b]).exp()).ln() for b, w in pairs])

        r = exact(rewards)
        slopes = [
            slope(lambda x: loss(r[:k] + [x] + r[k + 1:]), r[k]) for k in range(answers)  # noqa: B023
        ]
        margins = [r[b] - r[w] for b, w in pairs]
        cases.append({
            "rewards": text(rewards), "ranks": ranks, "loss": text([loss(r)]), "derivatives": text(slopes),
            "pairs": len(pairs), "correct": sum(m > 0 for m in margins),
            "margin": text([mean(margins) if pairs else Decimal(0)]),
        })
    return cases


def schedule_cases():
    cases = []
    for decay, peak, minimum, warmup, end in [
        ("cosine", 9.65e-6, 9.65e-7, 0, 50), ("cosine", 6e-4, 6e-5, 7, 60), ("linear", 1.5e-5, 0.0, 0, 40),
        ("linear", 7e-6, 7e-7, 5, 30), ("constant", 9e-6, 0.0, 10, 40), ("constant", 1e-5, 0.0, 0, 20),
    ]:
        p, m, rates = Decimal(peak), Decimal(minimum), []
        for step in range(end + 5):
            if step < warmup:
                rates.append(p * (step + 1) / warmup)
                continue
            done = min(Decimal(1), Decimal(step - warmup) / (end - warmup))
            share = {"cosine": (1 + cosine(PI * done)) / 2, "linear": 1 - done, "constant": Decimal(1)}
            rates.append(m + (p - m) * share[decay] if decay != "constant" else p)
        cases.append({
            "decay": decay, "peak": repr(peak), "minimum": repr(minimum), "warmup": warmup, "end": end,
            "rates": text(rates),
        })
    return cases


def nearest_f32(value):
    """The f32 nearest to a Fraction (ties to even), in the normal range."""
    if value == 0:
        return Fraction(0)
    exponent = 0
    while abs(value) >= 2 ** (24 + exponent):
        exponent += 1
    while abs(value) < Fraction(2) ** (23 + exponent):
        exponent -= 1
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


# The paper's average beside the f32 one: each operation rounded once, the last fused.
def average_cases():
    def f32(v):
        return struct.unpack("<f", struct.pack("<f", v))[0]

    cases = []
    for decay in [0.992, 0.9999, 0.5]:
        averages = [f32(v) for v in inputs(17, -1, 1)]
        rows = [[f32(v) for v in inputs(17, -1, 1)] for _ in range(12)]
        share = nearest_f32(Fraction(1.0 - decay))
        rounded = [Fraction(v) for v in averages]
        ideal = exact(averages)
        for row in rows:
            steps = [nearest_f32(Fraction(w) - a) for w, a in zip(row, rounded)]
            rounded = [nearest_f32(share * s + a) for s, a in zip(steps, rounded)]
            ideal = [Decimal(decay) * a + (1 - Decimal(decay)) * w for a, w in zip(ideal, exact(row))]
        cases.append({
            "decay": repr(decay), "start": text(averages), "weights": [text(row) for row in rows],
            "f32": text(rounded), "ideal": text(ideal),
        })
    return cases


def main():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rl.json")
    golden = {
        "advantages": advantage_cases(), "rewards": reward_cases(), "whiten": whiten_cases(),
        "explained_variance": explained_cases(), "policy": policy_cases(), "value": value_cases(),
        "kl_controller": controller_cases(), "pairwise": pairwise_cases(),
        "learning_rate": schedule_cases(), "average": average_cases(),
    }
    with open(sys.argv[1] if len(sys.argv) > 1 else beside, "w", newline="\n") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")


main()
