"""Exceptions of user code, dead workers, retries."""

import os
import signal

import pytest
import ray
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_the_error_is_one_of_the_users_class_and_of_rays():
    class Refused(Exception):
        pass

    @ray.remote
    def fail():
        raise Refused("because")

    with pytest.raises(Refused) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, RayTaskError)
    assert isinstance(caught.value, RayError)
    assert isinstance(caught.value.cause, Refused)
    assert caught.value.cause.args == ("because",)


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, ZeroDivisionError, OSError, AssertionError, StopIteration]
)
def test_errors_of_the_standard_library(error):
    @ray.remote
    def fail():
        raise error("text")

    with pytest.raises(error):
        ray.get(fail.remote())


def test_the_text_holds_the_remote_traceback():
    @ray.remote
    def outer_function():
        def inner_function():
            raise ValueError("a special text")

        inner_function()

    with pytest.raises(RayTaskError) as caught:
        ray.get(outer_function.remote())
    text = str(caught.value)
    for part in (
        "outer_function",
        "inner_function",
        "ValueError",
        "a special text",
        os.path.basename(__file__),
    ):
        assert part in text


def test_an_exception_that_needs_arguments():
    class Odd(Exception):
        def __init__(self, code, *, reason):
            super().__init__(f"{code}: {reason}")
            self.code = code
            self.reason = reason

        def __reduce__(self):
            return _rebuild, (type(self), self.code, self.reason)

    def _rebuild(cls, code, reason):
        return cls(code, reason=reason)

    @ray.remote
    def fail():
        raise Odd(7, reason="why not")

    with pytest.raises(Odd) as caught:
        ray.get(fail.remote())
    assert caught.value.cause.code == 7
    assert "why not" in str(caught.value)


def test_an_exception_that_cannot_be_pickled_is_still_reported():
    @ray.remote
    def fail():
        import threading

        error = ValueError("with a lock inside")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(RayTaskError, match="with a lock inside"):
        ray.get(fail.remote())


def test_an_error_reaches_every_task_that_depends_on_it():
    @ray.remote
    def fail():
        raise ValueError("at the source")

    @ray.remote
    def follow(x):
        return x

    with pytest.raises(ValueError, match="at the source"):
        ray.get(follow.remote(follow.remote(fail.remote())))


def test_each_get_raises_again():
    @ray.remote
    def fail():
        raise ValueError("again")

    ref = fail.remote()
    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            ray.get(ref)


def test_one_error_in_a_list_raises_and_the_others_stay():
    @ray.remote
    def maybe(i):
        if i == 2:
            raise IndexError("two")
        return i

    refs = [maybe.remote(i) for i in range(4)]
    with pytest.raises(IndexError):
        ray.get(refs)
    assert ray.get([refs[0], refs[1], refs[3]]) == [0, 1, 3]


def test_all_results_of_a_failed_task_raise():
    @ray.remote(num_returns=2)
    def fail():
        raise ValueError("both")

    for ref in fail.remote():
        with pytest.raises(ValueError, match="both"):
            ray.get(ref)


def test_a_result_that_cannot_be_pickled_is_an_error_of_the_task():
    @ray.remote
    def lock():
        import threading

        return threading.Lock()

    with pytest.raises(TypeError, match="lock"):
        ray.get(lock.remote())


def test_an_exception_may_be_a_value():
    @ray.remote
    def give():
        return ValueError("a value, not an error")

    value = ray.get(give.remote())
    assert type(value) is ValueError


def test_user_errors_are_not_retried_unless_asked(counted):
    @ray.remote
    def fail(count):
        raise ValueError(f"call {count()}")

    with pytest.raises(ValueError, match="call 1"):
        ray.get(fail.remote(counted))


def test_user_errors_are_retried_when_asked(counted):
    @ray.remote(max_retries=3, retry_exceptions=True)
    def third(count):
        n = count()
        if n < 3:
            raise ValueError(f"call {n}")
        return n

    assert ray.get(third.remote(counted)) == 3


def test_only_listed_exceptions_are_retried(counted):
    @ray.remote(max_retries=3, retry_exceptions=[KeyError])
    def fail(count):
        n = count()
        raise KeyError(n) if n < 2 else ValueError(f"call {n}")

    with pytest.raises(ValueError, match="call 2"):
        ray.get(fail.remote(counted))


def test_retries_have_an_end(counted):
    @ray.remote(max_retries=2, retry_exceptions=True)
    def fail(count):
        raise ValueError(f"call {count()}")

    with pytest.raises(ValueError, match="call 3"):
        ray.get(fail.remote(counted))


def test_a_dead_worker_is_an_error_without_retries():
    @ray.remote(max_retries=0)
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError):
        ray.get(die.remote())


def test_a_task_is_run_again_when_its_worker_died(counted):
    @ray.remote(max_retries=1)
    def die_once(count):
        n = count()
        if n == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    assert ray.get(die_once.remote(counted)) == 2


def test_the_cluster_goes_on_after_a_dead_worker():
    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    @ray.remote
    def one():
        return 1

    for _ in range(2):
        with pytest.raises(WorkerCrashedError):
            ray.get(die.remote())
    assert ray.get([one.remote() for _ in range(8)]) == [1] * 8


def test_a_caught_error_can_be_stored():
    @ray.remote
    def fail():
        raise ValueError("to be stored")

    with pytest.raises(RayTaskError) as caught:
        ray.get(fail.remote())
    (again,) = ray.get(ray.put([caught.value]))
    assert isinstance(again, ValueError)
    assert isinstance(again, RayTaskError)
    assert "to be stored" in str(again)


def test_the_tree_of_exceptions():
    errors = ray.exceptions
    assert issubclass(errors.GetTimeoutError, TimeoutError)
    assert issubclass(errors.ActorDiedError, errors.RayActorError)
    assert issubclass(errors.ActorUnavailableError, errors.RayActorError)
    for name in (
        "RayTaskError",
        "RayActorError",
        "WorkerCrashedError",
        "TaskCancelledError",
        "ObjectLostError",
    ):
        assert issubclass(getattr(errors, name), errors.RayError)
    assert issubclass(errors.OwnerDiedError, errors.ObjectLostError)
    assert issubclass(errors.RayError, Exception)
