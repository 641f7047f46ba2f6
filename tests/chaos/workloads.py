"""Programs whose answers are known, whatever dies meanwhile.

Each is a function ``(ray, random, tally)`` that runs one round; ``tally`` counts calls and compares
answers. All tasks may be retried without end, so that only a wrong engine makes a wrong answer.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import numpy as np

TIMEOUT_S = 100.0
"""An answer that takes longer is a hang."""


class Tally:
    """What has come of all calls, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hangs: list[str] = []

    def made(self, workload: str, calls: int) -> None:
        """So many calls were made and answered."""
        with self._lock:
            self.calls[workload] += calls

    def check(self, workload: str, got: Any, expected: Any) -> None:
        """Compare an answer."""
        if got != expected:
            self.wrong.append(f"{workload}: {str(got)[:200]} instead of {str(expected)[:200]}")


def sums(ray: Any, rng: random.Random, tally: Tally) -> None:
    """Many small tasks, and a tree of large blocks that are added in pairs."""

    @ray.remote(max_retries=-1)
    def square(x):
        return x * x

    @ray.remote(max_retries=-1)
    def block(value):
        return np.full(20_000, value, np.int64)

    @ray.remote(max_retries=-1)
    def add(a, b):
        return a + b

    count = rng.randrange(100, 400)
    small = [square.remote(i) for i in range(count)]
    blocks = [block.remote(i) for i in range(16)]
    while len(blocks) > 1:
        blocks = [add.remote(*blocks[i : i + 2]) for i in range(0, len(blocks), 2)]
    tally.check("sums", sum(ray.get(small, timeout=TIMEOUT_S)), sum(i * i for i in range(count)))
    tally.check("sums", ray.get(blocks[0], timeout=TIMEOUT_S).sum(), 20_000 * 120)
    tally.made("sums", count + 31)


def shuffle(ray: Any, rng: random.Random, tally: Tally) -> None:
    """Every mapper makes a large piece for every reducer."""
    width = 4

    @ray.remote(max_retries=-1, num_returns=width)
    def split(seed):
        values = np.random.default_rng(seed).integers(0, 1000, 120_000)
        return [values[values % width == r] for r in range(width)]

    @ray.remote(max_retries=-1)
    def merge(*parts):
        whole = np.sort(np.concatenate(parts))
        return len(whole), int(whole.sum())

    seeds = [rng.randrange(1 << 30) for _ in range(4)]
    parts = [split.remote(seed) for seed in seeds]
    got = ray.get([merge.remote(*[p[r] for p in parts]) for r in range(width)], timeout=TIMEOUT_S)
    values = np.concatenate([np.random.default_rng(seed).integers(0, 1000, 120_000) for seed in seeds])
    expected = [
        (int((values % width == r).sum()), int(values[values % width == r].sum())) for r in range(width)
    ]
    tally.check("shuffle", [tuple(g) for g in got], expected)
    tally.made("shuffle", 2 * width)


class Bank:
    """Accounts that die with their actors; calls are not retried, so the books always say what is there.

    A payment that fails has not happened, since it failed with the account's end: a new account is
    opened with what the books say.
    """

    def __init__(self, ray: Any) -> None:
        @ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
        class Account:
            def __init__(self, balance):
                self.balance = balance

            def pay(self, amount):
                self.balance += amount
                return self.balance

        self.kind = Account
        self.books = [1000] * 6
        self.accounts = [Account.remote(balance) for balance in self.books]

    def round(self, ray: Any, rng: random.Random, tally: Tally) -> None:
        """Payments between random accounts, and the balance of all."""
        for _ in range(50):
            source, target = rng.sample(range(len(self.books)), 2)
            amount = rng.randrange(1, 50)
            self._pay(ray, source, -amount, tally)
            self._pay(ray, target, amount, tally)
        for index in range(len(self.books)):
            self._pay(ray, index, 0, tally)
        tally.check("bank", sum(self.books), 1000 * len(self.books))

    def _pay(self, ray: Any, index: int, amount: int, tally: Tally) -> None:
        while True:
            try:
                got = ray.get(self.accounts[index].pay.remote(amount), timeout=TIMEOUT_S)
            except ray.exceptions.RayActorError:
                self.accounts[index] = self.kind.remote(self.books[index])
                continue
            finally:
                tally.made("bank", 1)
            self.books[index] += amount
            tally.check("bank", got, self.books[index])
            return


class Hands:
    """Objects that go through several hands: nested in arguments, kept by actors, handed on by tasks."""

    def __init__(self, ray: Any) -> None:
        @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        class Keeper:
            def __init__(self):
                self.kept = []

            def keep(self, refs):
                self.kept = (self.kept + refs)[-5:]
                return [refs[0]]

            def read(self, refs):
                return int(ray.get(refs[0])[0])

        self.keepers = [Keeper.remote() for _ in range(2)]

    def round(self, ray: Any, rng: random.Random, tally: Tally) -> None:
        """Some objects from the driver, and some from tasks, through a keeper and two tasks."""

        @ray.remote(max_retries=-1)
        def make(value):
            return np.full(30_000, value, np.int64)

        @ray.remote(max_retries=-1)
        def hand_on(refs):
            return [refs[0]]

        @ray.remote(max_retries=-1)
        def put(value):
            return [ray.put(np.full(30_000, value, np.int64))]

        for _ in range(5):
            value = rng.randrange(1000)
            keeper = rng.choice(self.keepers)
            ref = make.remote(value) if rng.random() < 0.5 else ray.put(np.full(30_000, value, np.int64))
            handed = hand_on.remote(ray.get(keeper.keep.remote([ref]), timeout=TIMEOUT_S))
            del ref
            (again,) = ray.get(handed, timeout=TIMEOUT_S)
            del handed
            tally.check("hands", ray.get(keeper.read.remote([again]), timeout=TIMEOUT_S), value)
            tally.check("hands", int(ray.get(again, timeout=TIMEOUT_S)[-1]), value)
            try:
                (owned,) = ray.get(put.remote(value), timeout=TIMEOUT_S)
                tally.check("hands", int(ray.get(owned, timeout=TIMEOUT_S)[0]), value)
            except ray.exceptions.ObjectLostError:
                pass  # the task's process, which owns it, may die
            tally.made("hands", 5)
