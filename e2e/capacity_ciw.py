#!/usr/bin/env python3
"""The queue simulator beside Ciw and simpy: the same systems, their mean waits and their speeds.

    pip install ciw simpy && cargo build --release -p capacity --example batch --example speed
    python3 e2e/capacity_ciw.py target/release/examples [CUSTOMERS]

Ciw's waits have no interval of their own here: 20 batches give one. Differences beyond both intervals are marked.
"""
import json
import math
import random
import subprocess
import sys
import time

import ciw
import simpy

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "target/release/examples"
CUSTOMERS = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
BATCHES = 20


def h2(mean, scv):
    p = 0.5 * (1 + math.sqrt((scv - 1) / (scv + 1)))
    return ciw.dists.HyperExponential(rates=[2 * p / mean, 2 * (1 - p) / mean], probs=[p, 1 - p])


def dist(d, mean):
    scv = d.get("scv")
    if d["dist"] == "exp":
        return ciw.dists.Exponential(rate=1 / mean)
    if d["dist"] == "det":
        return ciw.dists.Deterministic(value=mean)
    if d["dist"] == "gamma":
        return ciw.dists.Gamma(shape=1 / scv, scale=mean * scv)
    if d["dist"] == "lognormal":
        v = math.log(1 + scv)
        return ciw.dists.Lognormal(mean=math.log(mean) - v / 2, sd=math.sqrt(v))
    return h2(mean, scv)


ROWS = [
    {"model": "mmc", "c": 3, "lambda": 2.4, "service": {"dist": "exp", "mean": 1}},
    {"model": "mgc", "c": 1, "lambda": 0.7, "service": {"dist": "gamma", "mean": 1, "scv": 0.5}},
    {"model": "mgc", "c": 2, "lambda": 1.6, "service": {"dist": "det", "mean": 1}},
    {"model": "mgc", "c": 5, "lambda": 4, "service": {"dist": "lognormal", "mean": 1, "scv": 2}},
    {"model": "mgc", "c": 10, "lambda": 8.5, "service": {"dist": "h2", "mean": 1, "scv": 3}},
    {"model": "ggc", "c": 4, "lambda": 3.2, "service": {"dist": "exp", "mean": 1}, "arrival": {"dist": "gamma", "scv": 0.4}},
    {"model": "ggc", "c": 5, "lambda": 4, "service": {"dist": "gamma", "mean": 1, "scv": 0.5}, "arrival": {"dist": "h2", "scv": 2}},
]


def interval(values):
    size = len(values) // BATCHES
    means = [sum(values[i * size:(i + 1) * size]) / size for i in range(BATCHES)]
    mean = sum(means) / BATCHES
    return mean, 1.729 * math.sqrt(sum((x - mean) ** 2 for x in means) / (BATCHES - 1) / BATCHES)


def by_ciw(row):
    ciw.seed(1)
    arrival = row.get("arrival", {"dist": "exp"})
    network = ciw.create_network(arrival_distributions=[dist(arrival, 1 / row["lambda"])],
                                 service_distributions=[dist(row["service"], row["service"]["mean"])],
                                 number_of_servers=[row["c"]])
    simulation = ciw.Simulation(network)
    begin = time.process_time()
    simulation.simulate_until_max_customers(CUSTOMERS)
    seconds = time.process_time() - begin
    records = sorted(simulation.get_all_records(), key=lambda r: r.arrival_date)
    waits = [r.waiting_time for r in records][CUSTOMERS // 20:]
    return (*interval(waits), 2 * CUSTOMERS / seconds)


def by_simpy(c, rate, customers):
    env = simpy.Environment()
    servers = simpy.Resource(env, capacity=c)
    rng = random.Random(1)
    waits = []

    def customer():
        came = env.now
        with servers.request() as request:
            yield request
            waits.append(env.now - came)
            yield env.timeout(rng.expovariate(1))

    def source():
        for _ in range(customers):
            yield env.timeout(rng.expovariate(rate))
            env.process(customer())

    env.process(source())
    begin = time.process_time()
    env.run()
    return sum(waits) / len(waits), 2 * customers / (time.process_time() - begin)


def main():
    lines = "".join(json.dumps({**row, "method": "simulate"}) + "\n" for row in ROWS)
    answers = subprocess.run([f"{FOLDER}/batch"], input=lines, capture_output=True, text=True, check=True).stdout
    differences = []
    for row, answer in zip(ROWS, map(json.loads, answers.splitlines())):
        ours = answer["wait_mean"]
        mean, half, speed = by_ciw(row)
        difference = ours["value"] / mean - 1
        differences.append(abs(difference))
        apart = ours["low"] > mean + half or ours["high"] < mean - half
        print(f"{row['model']} c {row['c']} lambda {row['lambda']} {row['service']} {row.get('arrival', '')}: "
              f"ours {ours['value']:.4f} ({ours['low']:.4f} to {ours['high']:.4f}), Ciw {mean:.4f} +- {half:.4f}, "
              f"{100 * difference:+.1f} %{' APART' if apart else ''}; Ciw {speed / 1e6:.3f} million events a second", flush=True)
    mean, speed = by_simpy(10, 8, CUSTOMERS)
    print(f"simpy M/M/10 at 0.8: mean wait {mean:.4f}, {speed / 1e6:.3f} million events a second")
    print(f"differences from Ciw: median {100 * sorted(differences)[len(differences) // 2]:.2f} %, largest {100 * max(differences):.2f} %")
    print(subprocess.run([f"{FOLDER}/speed"], capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
