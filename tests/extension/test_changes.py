"""Changes between documents: applied to the old one, they give the new one."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rayjup_lab.services.live.documents import Documents

from rayjup.observe import changes

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]) | st.just(1.0)
KEYS = st.sampled_from(["x", "y", "z", "name"])


def documents() -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(KEYS, inner, max_size=3)
            | st.lists(
                st.fixed_dictionaries({"id": st.integers(0, 5)}, optional={"v": inner}),
                max_size=4,
                unique_by=lambda row: row["id"],
            )
        ),
        max_leaves=12,
    )
    return st.dictionaries(KEYS, values, max_size=4)


@given(documents(), documents())
def test_old_and_change_make_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    change = changes.between(old, new)
    if change is None:
        assert old == new
        return
    sent = json.loads(json.dumps(change))
    made = changes.applied(old, sent)
    assert json.dumps(made, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert old == before


def actors(number: int) -> list[dict[str, Any]]:
    return [
        {
            "actor_id": f"{i:032x}",
            "class_name": "Worker",
            "name": None,
            "state": "ALIVE",
            "node_id": "n",
            "pid": i,
        }
        for i in range(number)
    ]


def test_one_row_of_a_thousand_is_a_small_message() -> None:
    store = Documents()
    key = ("snapshot", "c")
    store.put(key, {"time": 1, "actors": actors(1000)})
    text, first = store.message(key, None) or ("", 0)
    assert len(text) > 100_000
    now = actors(1000)
    now[500]["state"] = "DEAD"
    store.put(key, {"time": 2, "actors": now})
    text, second = store.message(key, first) or ("", 0)
    assert len(text) < 400, text
    message = json.loads(text)
    assert (message["type"], message["from"], message["version"]) == ("change", first, second)
    made = changes.applied({"time": 1, "actors": actors(1000)}, message["change"])
    assert made == {"time": 2, "actors": now}


def test_who_missed_a_version_gets_the_whole_and_who_has_the_newest_gets_nothing() -> None:
    store = Documents()
    key = ("jobs", "c")
    versions = []
    for number in range(3):
        store.put(key, {"jobs": [{"id": "a", "n": number}]})
        versions.append((store.message(key, None) or ("", 0))[1])
    assert store.message(key, versions[2]) is None
    assert json.loads((store.message(key, versions[1]) or ("", 0))[0])["type"] == "change"
    assert json.loads((store.message(key, versions[0]) or ("", 0))[0])["type"] == "whole"
    store.put(key, {"jobs": [{"id": "a", "n": 2}]})
    assert store.message(key, versions[2]) is None, "read again, nothing new"


def test_what_was_forgotten_is_never_taken_for_an_older_version() -> None:
    store = Documents()
    key = ("jobs", "c")
    store.put(key, {"jobs": []})
    _, version = store.message(key, None) or ("", 0)
    store.keep_only(set())
    assert store.message(key, version) is None
    store.put(key, {"jobs": [1]})
    text, again = store.message(key, version) or ("", 0)
    assert json.loads(text)["type"] == "whole" and again > version
