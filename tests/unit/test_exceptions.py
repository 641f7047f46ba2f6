"""The error tree: Ray's names and parents, picklable, and the user's own type at the caller."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import subprocess
import sys
import threading

import cloudpickle
import pytest

from rayjup import exceptions as e

ARGUMENTS = {
    "ActorAlreadyExistsError": ("m",),
    "ActorDiedError": (e.ActorDiedErrorContext("it was killed", "A", "ab", 7, preempted=True),),
    "ActorHandleNotFoundError": ("m",),
    "ActorUnavailableError": ("m", b"\xab" * 16),
    "ActorUnschedulableError": ("m",),
    "AuthenticationError": ("m",),
    "CrossLanguageError": ("m",),
    "NodeDiedError": ("m",),
    "OutOfMemoryError": ("m",),
    "RayActorError": ("ab", "m", True, True),
    "RayTaskError": ("f", "Traceback (most recent call last):\nValueError: x", ValueError("x")),
    "RpcError": ("m", 3),
    "RuntimeEnvSetupError": ("m",),
    "TaskCancelledError": ("ab", "m"),
    "TaskUnschedulableError": ("m",),
    "UnserializableException": ("m",),
    "ObjectReconstructionFailedError": ("ab", "OBJECT_UNRECONSTRUCTABLE_PUT", None, b"o", "f.py:3"),
}
for _name in ("ObjectLostError", "ObjectFetchTimedOutError", "ObjectFreedError", "OwnerDiedError"):
    ARGUMENTS[_name] = ("ab", b"owner", "f.py:3")
ARGUMENTS["ReferenceCountingAssertionError"] = ARGUMENTS["ObjectLostError"]
for _name in (
    "RaySystemError",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayCgraphCapacityExceeded",
    "RayDirectTransportError",
    "StreamingGeneratorReplayInconsistentError",
):
    ARGUMENTS[_name] = ("m", "tb")

ERRORS = [
    name
    for name in e.__all__
    if inspect.isclass(getattr(e, name)) and issubclass(getattr(e, name), BaseException)
]


def moved(error):
    """What arrives when ``error`` is sent to another process."""
    return pickle.loads(cloudpickle.dumps(error))


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_survives_pickling_with_all_it_has(name):
    error = getattr(e, name)(*ARGUMENTS.get(name, ("m",)))
    error.added_later = [1, 2]
    back = moved(error)
    assert type(back) is type(error) and isinstance(back, e.RayError)
    assert str(back) == str(error) and str(error)
    assert vars(back).keys() == vars(error).keys() and back.added_later == [1, 2]
    assert [str(arg) for arg in back.args] == [str(arg) for arg in error.args]
    assert moved(back).args == back.args or name == "RayTaskError"
    assert type(error).__module__ == "rayjup.exceptions"
    through_bytes = e.RayError.from_bytes(error.to_bytes())
    assert type(through_bytes) is type(error) and str(through_bytes) == str(error)


@pytest.mark.parametrize(
    ("name", "parents"),
    [
        ("GetTimeoutError", (TimeoutError,)),
        ("RayChannelTimeoutError", (e.RayChannelError, TimeoutError)),
        ("ReferenceCountingAssertionError", (e.ObjectLostError, AssertionError)),
        ("ActorAlreadyExistsError", (ValueError,)),
        ("ActorHandleNotFoundError", (ValueError,)),
        ("ActorDiedError", (e.RayActorError,)),
        ("ActorUnavailableError", (e.RayActorError,)),
        ("OwnerDiedError", (e.ObjectLostError,)),
        ("StreamingGeneratorReplayInconsistentError", (e.RaySystemError,)),
        ("ObjectStoreFullError", (MemoryError,)),
        ("OutOfMemoryError", (MemoryError,)),
        ("OutOfDiskError", (OSError,)),
    ],
)
def test_parents(name, parents):
    assert all(issubclass(getattr(e, name), parent) for parent in parents)


def test_texts():
    assert str(e.RaySystemError("x", "tb")) == "System error: x\ntraceback: tb"
    assert str(e.TaskCancelledError("ab")) == "Task: ab was cancelled."
    assert str(e.TaskCancelledError()) == "This task was cancelled."
    assert str(e.ObjectLostError("ab", None, "f.py:3")).startswith(
        "Failed to retrieve object ab. The ObjectRef was created at: f.py:3\n\nAll copies of ab have been"
    )
    assert "[OBJECT_UNRECONSTRUCTABLE_PUT] It was created with `put()`" in str(
        e.ObjectReconstructionFailedError("ab", "OBJECT_UNRECONSTRUCTABLE_PUT")
    )
    assert str(e.ActorUnavailableError("gone", b"\xab")) == (
        "The actor ab is unavailable: gone. The task may or may not have been executed on the actor."
    )
    died = e.ActorDiedError(e.ActorDiedErrorContext("it was killed", "A", "ab", never_started=True))
    assert str(died).split("\n")[:4] == [
        "The actor died unexpectedly before finishing this task.",
        "\tclass_name: A",
        "\tactor_id: ab",
        "it was killed",
    ]
    assert "never ran" in str(died) and died.actor_id == "ab" and not died.actor_init_failed


def test_an_actor_whose_init_raised():
    task_error = e.RayTaskError("A.__init__", "ValueError: x", ValueError("x"), actor_id="ab")
    error = e.ActorDiedError.from_task_error(task_error)
    assert error.actor_init_failed and error.actor_id == "ab"
    assert str(error) == "The actor died because of an error raised in its creation task, ValueError: x"


# -- the user's own exceptions -----------------------------------------------------------------------


class NeedsArguments(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Slotted(Exception):
    __slots__ = ("code", "never_set")

    def __init__(self, code):
        self.code = code


class Final(Exception):
    def __init_subclass__(cls):
        raise TypeError("final")


class NewWantsTwo(Exception):
    def __new__(cls, a, b):
        return super().__new__(cls)

    def __init__(self, a, b):
        self.both = (a, b)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Pickles(Exception):
    def __init__(self, code, handle):
        super().__init__(code)
        self.code = code
        self.handle = handle

    def __reduce__(self):
        return Pickles, (self.code, None)


class Sealed(type):
    def __new__(mcs, name, bases, namespace):
        if bases != (Exception,):
            raise RuntimeError("sealed")
        return super().__new__(mcs, name, bases, namespace)


class CannotBeSubclassed(Exception, metaclass=Sealed):
    pass


def failed(error, **more):
    """The error of a task that raised ``error``, as it arrives at the caller."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return moved(e.RayTaskError.from_exception(caught, "f", **more))


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (ValueError("x"), {}),
        (KeyError("k"), {}),
        (NeedsArguments(3, detail="no"), {"code": 3, "detail": "no"}),
        (Slotted(4), {"code": 4}),
        (Final("f"), {}),
        (NewWantsTwo(1, 2), {"both": (1, 2)}),
        (Frozen(5), {"code": 5}),
        (Pickles(6, threading.Lock()), {"code": 6, "handle": None}),
        (OSError(2, "no such file", "it"), {"errno": 2, "strerror": "no such file", "filename": "it"}),
        (
            UnicodeDecodeError("utf8", b"a", 0, 1, "bad"),
            {"start": 0, "end": 1, "reason": "bad", "object": b"a"},
        ),
        (SyntaxError("bad", ("f.py", 1, 2, "text")), {"lineno": 1, "filename": "f.py"}),
        (ImportError("no", name="m"), {"name": "m"}),
        (e.GetTimeoutError("late"), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_caller_catches_the_type_of_the_user(error, attributes):
    caught = failed(error).as_instanceof_cause()
    for one in (caught, moved(caught)):
        assert isinstance(one, type(error)) and isinstance(one, e.RayTaskError)
        assert type(one).__name__ == f"RayTaskError({type(error).__name__})"
        assert type(one.cause) is type(error)
        assert one.args == (one.cause,)
        assert {name: getattr(one, name) for name in attributes} == attributes
        assert {name: getattr(one.cause, name) for name in attributes} == attributes
        assert str(one).startswith(f"ray::f() (pid={one.__dict__['_task_error'].pid}, ip=127.0.0.1)\n  File ")
        assert one.as_instanceof_cause() is one
    assert type(moved(caught)) is type(caught), "classes are made once"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_exception_groups():
    group = eval("ExceptionGroup('two', [ValueError(1), KeyError(2)])")
    caught = failed(group).as_instanceof_cause()
    assert isinstance(caught, type(group)) and [type(one) for one in caught.exceptions] == [
        ValueError,
        KeyError,
    ]


def test_what_cannot_be_subclassed_stays_a_plain_task_error(caplog):
    error = failed(CannotBeSubclassed("x"))
    assert error.as_instanceof_cause() is error
    assert type(error.cause) is CannotBeSubclassed
    assert "CannotBeSubclassed cannot be subclassed (sealed)" in caplog.text


def test_a_task_that_exits_does_not_end_its_caller():
    error = failed(SystemExit(3))
    assert error.as_instanceof_cause() is error
    assert error.cause.code == 3


def test_a_cause_that_cannot_be_pickled_is_explained():
    error = failed(ValueError("x", threading.Lock()))
    assert type(error.cause) is e.UnserializableException
    text = str(error.cause)
    assert "builtins.ValueError cannot be pickled (TypeError: cannot pickle" in text
    assert "give its class a __reduce__ method" in text and "in failed" in text


def test_the_object_of_an_attribute_error_does_not_travel():
    class Big:
        lock = threading.Lock()

    try:
        Big().missing
    except AttributeError as error:
        arrived = moved(e.RayTaskError.from_exception(error, "f"))
    assert (
        type(arrived.cause) is AttributeError
        and arrived.cause.name == "missing"
        and arrived.cause.obj is None
    )


def test_errors_of_nested_tasks_keep_the_first_cause():
    inner = failed(NeedsArguments(3, detail="deep")).as_instanceof_cause()
    outer = failed(inner).as_instanceof_cause()
    assert type(outer.cause) is NeedsArguments and outer.code == 3
    assert str(outer).count("ray::f()") == 2, "both tracebacks are there"


def test_frames_of_the_package_are_left_out():
    def user_function():
        e.RayError.from_bytes(None)  # fails inside of the package

    try:
        user_function()
    except TypeError as error:
        text = e.RayTaskError.from_exception(error, "f").traceback_str
    assert "user_function" in text and "_error_root.py" not in text


def test_a_failure_that_is_all_ours_keeps_its_frames():
    code = "from rayjup.base import _error_root as r\nr.RayError.from_bytes(None)"
    try:
        exec(compile(code, sys.modules["rayjup.exceptions"].__file__, "exec"))
    except TypeError as error:
        error.__traceback__ = error.__traceback__.tb_next
        assert "_error_root.py" in e.RayTaskError.from_exception(error, "f").traceback_str


def test_causes_are_shown_and_the_actor_is_named():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = str(
            e.RayTaskError.from_exception(error, "A.m", actor_repr="A()", actor_id="ab", ip="10.0.0.1", pid=7)
        )
    assert "KeyError: 'first'" in text and "direct cause" in text and "ValueError: second" in text
    assert text.count("ray::A.m() (pid=7, ip=10.0.0.1, actor_id=ab, repr=A())") == 2


def test_errors_can_be_imported_cheaply():
    code = "import sys, rayjup.base.exceptions; print('cloudpickle' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
