"""Names that exist for old programs: what they do, and what they say where they can't."""

from __future__ import annotations

import pytest


def test_values_dropped_by_hand(ray, freed):
    from rayjup._private.internal_api import free
    from rayjup.internal import free as also

    assert also is free
    ref, small, kept = ray.put(b"x" * 10_000_000), ray.put([1]), ray.put(2)
    free([ref, small])
    freed()
    for gone in (ref, small):
        with pytest.raises(ray.exceptions.ObjectFreedError, match=gone.hex()):
            ray.get(gone, timeout=20)
    assert ray.get(kept) == 2
    with pytest.raises(TypeError, match=r"free\(\) takes an ObjectRef or a list"):
        free(3)
    with pytest.raises(TypeError, match="also holds <class 'int'>"):
        free([kept, 3])

    @ray.remote
    def use(x):
        return x

    with pytest.raises(ray.exceptions.ObjectFreedError):
        ray.get(use.remote(ref), timeout=20)


def test_refs_made_from_ids(ray):
    stranger = ray.ObjectRef.from_random()
    with pytest.raises(ray.exceptions.ObjectLostError, match="Pass refs as arguments"):
        ray.get(stranger, timeout=20)
    assert ray.ObjectRef.from_hex(stranger.hex()) == stranger

    @ray.remote
    def echo(refs):
        return refs

    ref = ray.put([1, 2])
    (same,) = ray.get(echo.remote([ref]), timeout=20)
    assert same is ref
    assert ray.ObjectRef.from_binary(ref.binary()) is ref


def test_other_languages_are_refused(ray):
    from rayjup import cross_language

    for refused, what in (
        (lambda: ray.java_function("com.x.Y", "z"), r"the function com\.x\.Y\.z is Java code"),
        (lambda: ray.java_actor_class("com.x.Y"), r"the actor class com\.x\.Y is Java code"),
        (lambda: ray.cpp_function("Plus"), r"the function Plus is C\+\+ code"),
        (
            lambda: cross_language.cpp_actor_class("make", "C"),
            r"the actor class C \(made by make\) is C\+\+ code",
        ),
    ):
        with pytest.raises(RuntimeError, match=f"{what}, and rayjup runs Python only"):
            refused()


def test_templates(ray):
    from rayjup.widgets import Template, make_table_html_repr
    from rayjup.widgets.util import in_notebook, repr_with_fallback

    with pytest.raises(FileNotFoundError, match=r"no template 'nothing'; there are: table\.html\.j2"):
        Template("nothing")
    assert "<script>" not in make_table_html_repr({"<script>": "<script>"}, title="<script>")
    assert not in_notebook()

    class Shown:
        @repr_with_fallback(("ipywidgets", "8"))
        def _repr_mimebundle_(self, **kwargs):
            return {"text/html": "rich"}

        def __repr__(self):
            return "plain"

    assert Shown()._repr_mimebundle_() == {"text/plain": "plain"}
