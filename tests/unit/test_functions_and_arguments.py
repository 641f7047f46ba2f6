"""How deep calls are pipelined, and which arguments a method takes."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayjup.core.arguments import accepted
from rayjup.engine.runtime.functions import _MAX_DEPTH, Function, describe


def test_one_at_a_time_until_the_length_is_known():
    assert Function("f", b"").depth == 1


@pytest.mark.parametrize(("micros", "depth"), [(0, _MAX_DEPTH), (10, 363), (1000, 3), (2500, 1), (10**7, 1)])
def test_depth_fills_a_few_milliseconds(micros, depth):
    function = Function("f", b"")
    function.observe(micros)
    assert function.depth == depth


def test_longer_calls_are_noticed_at_once_and_shorter_ones_slowly():
    function = Function("f", b"")
    for _ in range(100):
        function.observe(5)
    deep = function.depth
    function.observe(20_000)
    assert function.depth == 1
    function.observe(5)
    assert function.depth == 1, "one short call among long ones must not fill the queue"
    for _ in range(200):
        function.observe(5)
    assert function.depth > deep * 0.8


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_depth_is_always_in_range(lengths):
    function = Function("f", b"")
    for micros in lengths:
        function.observe(micros)
        assert 1 <= function.depth <= _MAX_DEPTH
        assert min(lengths) <= function._mean_us + 1e-6 and function._mean_us <= max(lengths) + 1e-6


def test_the_same_blob_is_the_same_function():
    assert Function("f", b"x").id == Function("g", b"x").id != Function("f", b"y").id


def test_describe():
    def inner():
        pass

    assert describe(inner).endswith("inner")
    assert describe(functools.partial(int, base=2)).startswith("functools.partial")


class Methods:
    def none(self):
        pass

    def two(self, a, b=1):
        pass

    def only(self, a, /, b):
        pass

    def keyword(self, a, *, b):
        pass

    def optional_keyword(self, a, *, b=1):
        pass

    def anything(self, *args, **kwargs):
        pass

    def rest(self, a, *args, b=1, **kwargs):
        pass

    @staticmethod
    def static(a):
        pass

    @classmethod
    def class_method(cls, a):
        pass

    def no_self(*args):
        pass


CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((), {"a": 1}),
    ((1,), {"a": 1}),
    ((1,), {"b": 1}),
    ((), {"a": 1, "b": 2}),
    ((), {"b": 2}),
    ((1,), {"c": 1}),
    ((1, 2), {"b": 1}),
    ((1, 2, 3, 4), {"c": 1}),
]


@pytest.mark.parametrize("args_kwargs", CALLS, ids=str)
@pytest.mark.parametrize("name", [n for n in vars(Methods) if not n.startswith("__")])
def test_accepted_agrees_with_python(name, args_kwargs):
    """What the check says of a call is what Python does with it."""
    args, kwargs = args_kwargs
    try:
        getattr(Methods(), name)(*args, **kwargs)
        python = True
    except TypeError:
        python = False
    known = accepted(getattr(Methods, name), isinstance(vars(Methods)[name], staticmethod))
    if known is None:
        return  # not known: the call is checked where it runs
    short_cut = not kwargs and known.least <= len(args) <= known.most
    try:
        if not short_cut:
            known.check("f", args, kwargs)
        ours = True
    except TypeError:
        ours = False
    assert ours == python


def test_the_error_names_method_and_argument():
    known = accepted(Methods.two)
    with pytest.raises(TypeError, match=r"M\.two\(\) takes 2 positional arguments but 3 were given"):
        known.check("M.two", (1, 2, 3), {})
    with pytest.raises(TypeError, match=r"M\.two\(\) got an unexpected keyword argument 'z'"):
        known.check("M.two", (1,), {"z": 1})
    with pytest.raises(TypeError, match=r"M\.two\(\) missing required argument.*: a"):
        known.check("M.two", (), {})
    with pytest.raises(TypeError, match=r"M\.two\(\) got multiple values for argument 'a'"):
        known.check("M.two", (1,), {"a": 1})


def test_builtins_without_a_signature_are_not_checked():
    assert accepted(dict.update) is None


def test_wrapped_methods_are_seen_through():
    def decorate(function):
        @functools.wraps(function)
        def wrapper(self, *args, **kwargs):
            return function(self, *args, **kwargs)

        return wrapper

    class Wrapped:
        @decorate
        def f(self, a):
            pass

    assert accepted(Wrapped.f).most == 1
