"""What a parameter may be: domains, how they are drawn from, and the functions that make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

RandomState = Any  # numpy's Generator or RandomState, a seed, or None


def generator_of(random_state: RandomState) -> Any:
    """What to draw from: numpy's global state for None, a new generator for a seed."""
    if random_state is None:
        return np.random.mtrand._rand
    if isinstance(random_state, (int, np.integer)):
        return np.random.default_rng(int(random_state))
    return random_state


class Sampler:
    """How values are drawn from a domain."""

    def sample(
        self,
        domain: Domain,
        config: Mapping[str, Any] | None = None,
        size: int = 1,
        random_state: RandomState = None,
    ) -> Any:
        """One value (``size=1``) or a list of values."""
        rng = generator_of(random_state)
        drawn = [domain.cast(self._draw(domain, config, rng)) for _ in range(size)]
        return drawn[0] if size == 1 else drawn

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say how it draws")

    def __str__(self) -> str:
        return type(self).__name__


class BaseSampler(Sampler):
    """The way of drawing that a domain has by itself: uniformly."""

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        return domain._uniform(rng, config)


class Uniform(BaseSampler):
    """All values are equally likely."""


class LogUniform(Sampler):
    """Every order of magnitude is equally likely."""

    def __init__(self, base: float = 10) -> None:
        if base <= 0:
            raise ValueError(f"the base of a logarithm must be above 0, not {base!r}")
        self.base = base

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        if domain.lower is None or domain.lower <= 0 or domain.upper == math.inf:
            raise ValueError(
                f"a logarithmic domain needs bounds above 0, not ({domain.lower}, {domain.upper}). "
                "For a space that contains 0 use tune.uniform"
            )
        low, high = math.log(domain.lower), math.log(domain.upper)
        value = math.exp(
            low + (high - low) * rng.random_sample()
            if hasattr(rng, "random_sample")
            else (low + (high - low) * rng.random())
        )
        return min(max(value, domain.lower), domain.upper)


class Normal(Sampler):
    """The bell curve."""

    def __init__(self, mean: float = 0.0, sd: float = 0.0) -> None:
        if sd <= 0:
            raise ValueError(f"sd must be above 0, not {sd!r}")
        self.mean = mean
        self.sd = sd

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        return rng.normal(self.mean, self.sd)


class Grid(Sampler):
    """All values, one after the other; a grid has no samples."""

    def sample(
        self,
        domain: Domain,
        config: Mapping[str, Any] | None = None,
        size: int = 1,
        random_state: RandomState = None,
    ) -> Any:
        """Not possible: raises."""
        raise RuntimeError("a grid can't be sampled: its values are enumerated")


class Quantized(Sampler):
    """Rounds what another sampler draws to multiples of ``q``."""

    def __init__(self, sampler: Sampler, q: float) -> None:
        if not q > 0:
            raise ValueError(f"the quantum q must be above 0, not {q!r}")
        self.sampler = sampler
        self.q = q

    def get_sampler(self) -> Sampler:
        """The sampler whose values are rounded."""
        return self.sampler

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        if self.q == 1:
            return self.sampler._draw(domain, config, rng)
        value = self.sampler._draw(domain, config, rng)
        rounded = round(round(value / self.q) * self.q, 12)
        lower, upper = getattr(domain, "lower", None), getattr(domain, "upper", None)
        if lower is not None and rounded < lower:
            rounded = lower
        if upper is not None and rounded > upper:
            rounded = upper
        return rounded


class Domain:
    """What a parameter may be; `sample` draws from it."""

    sampler: Sampler | None = None

    def cast(self, value: Any) -> Any:
        """The value as the type that this domain has."""
        return value

    def set_sampler(self, sampler: Sampler, allow_override: bool = False) -> None:
        """Give it another way to be drawn from."""
        if self.sampler is not None and not allow_override:
            raise ValueError(f"{self!r} has a sampler already; pass allow_override=True to replace it")
        self.sampler = sampler

    def get_sampler(self) -> Sampler:
        """How it is drawn from."""
        return self.sampler or Uniform()

    def sample(
        self,
        config: Mapping[str, Any] | None = None,
        size: int = 1,
        random_state: RandomState = None,
    ) -> Any:
        """One value, or a list of ``size`` values."""
        return self.get_sampler().sample(self, config=config, size=size, random_state=random_state)

    def is_grid(self) -> bool:
        """Whether its values are enumerated."""
        return isinstance(self.sampler, Grid)

    def is_function(self) -> bool:
        """Whether a function makes its values."""
        return False

    def is_valid(self, value: Any) -> bool:
        """Whether a value lies in it."""
        return True

    @property
    def domain_str(self) -> str:
        """Its bounds, for messages."""
        return "(unknown)"

    def _uniform(self, rng: Any, config: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} can't be drawn from")

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.domain_str}"

    def _copy(self) -> Any:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def _with(self, sampler: Sampler) -> Any:
        made = self._copy()
        made.set_sampler(sampler)
        return made


class _Number(Domain):
    lower: Any
    upper: Any

    def uniform(self) -> Any:
        """All values are equally likely."""
        return self._with(Uniform())

    def loguniform(self, base: float = 10) -> Any:
        """Every order of magnitude is equally likely."""
        if not self.lower > 0:
            raise ValueError(
                f"a logarithmic domain needs a lower bound above 0, not {self.lower!r}. "
                "For a space that contains 0 use tune.uniform"
            )
        if not 0 < self.upper < math.inf:
            raise ValueError(f"a logarithmic domain needs an upper bound, not {self.upper!r}")
        return self._with(LogUniform(base))

    @property
    def domain_str(self) -> str:
        """Its bounds."""
        return f"({self.lower}, {self.upper})"


class Float(_Number):
    """Real numbers between two bounds."""

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower = -math.inf if lower is None else lower
        self.upper = math.inf if upper is None else upper
        if self.lower > self.upper:
            raise ValueError(f"the lower bound {lower} lies above the upper bound {upper}")

    def cast(self, value: Any) -> float:
        """As a float."""
        return float(value)

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> Float:
        """Draw from the bell curve."""
        made: Float = self._with(Normal(mean, sd))
        return made

    def quantized(self, q: float) -> Float:
        """Multiples of ``q`` only; the bounds must be multiples, too."""
        for bound in (self.lower, self.upper):
            if math.isfinite(bound) and abs(round(bound / q) - bound / q) > 1e-9:
                raise ValueError(f"{bound} is no multiple of the quantum {q}")
        made: Float = self._copy()
        made.set_sampler(Quantized(self.get_sampler(), q), allow_override=True)
        return made

    def is_valid(self, value: float) -> bool:
        """Whether it lies between the bounds."""
        return bool(self.lower <= value <= self.upper)

    def _uniform(self, rng: Any, config: Any) -> float:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
            raise ValueError(f"a uniform domain needs two bounds, not {self.domain_str}")
        drawn: float = rng.uniform(self.lower, self.upper)
        return drawn


class Integer(_Number):
    """Whole numbers from ``lower`` up to, without, ``upper``."""

    def __init__(self, lower: int, upper: int) -> None:
        if lower >= upper:
            raise ValueError(f"there are no whole numbers from {lower} up to, without, {upper}")
        self.lower = lower
        self.upper = upper

    def cast(self, value: Any) -> int:
        """As an int."""
        return int(value)

    def quantized(self, q: int) -> Integer:
        """Multiples of ``q`` only; with ``q`` the upper bound belongs to it."""
        made: Integer = self._copy()
        made.set_sampler(Quantized(self.get_sampler(), q), allow_override=True)
        return made

    def is_valid(self, value: int) -> bool:
        """Whether it lies between the bounds."""
        return bool(self.lower <= value <= self.upper)

    def _uniform(self, rng: Any, config: Any) -> int:
        draw = getattr(rng, "integers", None) or rng.randint
        return int(draw(self.lower, self.upper))


class Categorical(Domain):
    """One of several values."""

    def __init__(self, categories: Sequence[Any]) -> None:
        self.categories = list(categories)
        if not self.categories:
            raise ValueError("choice() and grid_search() need at least one value")

    def uniform(self) -> Categorical:
        """All are equally likely."""
        made: Categorical = self._with(Uniform())
        return made

    def grid(self) -> Categorical:
        """All of them, one after the other."""
        made: Categorical = self._with(Grid())
        return made

    def __len__(self) -> int:
        return len(self.categories)

    def __getitem__(self, item: int) -> Any:
        return self.categories[item]

    def is_valid(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.categories

    @property
    def domain_str(self) -> str:
        """The values."""
        return f"({self.categories})"

    def _uniform(self, rng: Any, config: Any) -> Any:
        draw = getattr(rng, "integers", None) or rng.randint
        return self.categories[int(draw(0, len(self.categories)))]


class Function(Domain):
    """What a function of the other parameters returns."""

    def __init__(self, func: Callable[..., Any]) -> None:
        import inspect

        if not callable(func):
            raise TypeError(f"sample_from() needs a function, not {func!r}")
        self.func = func
        try:
            self._takes_config = len(inspect.signature(func).parameters) > 0
        except (TypeError, ValueError):
            self._takes_config = True

    def is_function(self) -> bool:
        """Yes."""
        return True

    @property
    def domain_str(self) -> str:
        """The function's name."""
        return f"({getattr(self.func, '__name__', self.func)})"

    def _uniform(self, rng: Any, config: Any) -> Any:
        return self.func(config) if self._takes_config else self.func()

    def __getstate__(self) -> dict[str, Any]:
        import cloudpickle

        return {**self.__dict__, "func": cloudpickle.dumps(self.func)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import cloudpickle

        self.__dict__.update(state)
        self.func = cloudpickle.loads(state["func"])


_OMITTED = object()


def _base(base: Any) -> float:
    return 10 if base is _OMITTED else base


def sample_from(func: Callable[[dict[str, Any]], Any]) -> Function:
    """A parameter that a function makes of the others (``lambda config: config["a"] * 2``).

    Examples
    --------
    >>> from rayjup import tune
    >>> tune.sample_from(lambda config: config["a"] * 2).sample({"a": 4})
    8
    """
    return Function(func)


def uniform(lower: float, upper: float) -> Float:
    """A real number between two bounds, all equally likely."""
    made: Float = Float(lower, upper).uniform()
    return made


def quniform(lower: float, upper: float, q: float) -> Float:
    """As `uniform`, rounded to multiples of ``q``."""
    return uniform(lower, upper).quantized(q)


def loguniform(lower: float, upper: float, base: Any = _OMITTED) -> Float:
    """A real number between two bounds, every order of magnitude equally likely."""
    made: Float = Float(lower, upper).loguniform(_base(base))
    return made


def qloguniform(lower: float, upper: float, q: float, base: Any = _OMITTED) -> Float:
    """As `loguniform`, rounded to multiples of ``q``."""
    return loguniform(lower, upper, base).quantized(q)


def choice(categories: Sequence[Any]) -> Categorical:
    """One of several values."""
    return Categorical(categories).uniform()


def randint(lower: int, upper: int) -> Integer:
    """A whole number from ``lower`` up to, without, ``upper``."""
    made: Integer = Integer(lower, upper).uniform()
    return made


def lograndint(lower: int, upper: int, base: Any = _OMITTED) -> Integer:
    """As `randint`, every order of magnitude equally likely."""
    made: Integer = Integer(lower, upper).loguniform(_base(base))
    return made


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of ``q`` between two bounds, both of which belong to it."""
    made: Integer = Integer(lower, upper).uniform()
    return _inclusive(made, q)


def qlograndint(lower: int, upper: int, q: int, base: Any = _OMITTED) -> Integer:
    """As `qrandint`, every order of magnitude equally likely."""
    made: Integer = Integer(lower, upper).loguniform(_base(base))
    return _inclusive(made, q)


def _inclusive(domain: Integer, q: int) -> Integer:
    quantized = domain.quantized(q)
    if isinstance(domain.get_sampler(), Uniform):
        quantized.set_sampler(_InclusiveSteps(domain.get_sampler(), q), allow_override=True)
    return quantized


class _InclusiveSteps(Quantized):
    """Multiples of ``q`` between two bounds that both belong to it."""

    def _draw(self, domain: Any, config: Any, rng: Any) -> Any:
        draw = getattr(rng, "integers", None) or rng.randint
        low, high = math.ceil(domain.lower / self.q), math.floor(domain.upper / self.q)
        if low > high:
            return domain.lower
        return int(draw(low, high + 1)) * int(self.q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Float:
    """A real number from the bell curve."""
    return Float(None, None).normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Float:
    """As `randn`, rounded to multiples of ``q``."""
    return Float(None, None).normal(mean, sd).quantized(q)


def walk(space: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All values that still have to be decided, with their paths: domains and ``{"grid_search": […]}``."""
    if isinstance(space, Domain):
        yield path, space
    elif isinstance(space, Mapping):
        if len(space) == 1 and "grid_search" in space:
            yield path, space
            return
        for key, value in space.items():
            yield from walk(value, (*path, key))
    elif isinstance(space, (list, tuple)):
        for index, value in enumerate(space):
            yield from walk(value, (*path, index))
