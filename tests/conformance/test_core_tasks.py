"""Remote functions: definition, arguments, results, options."""

import os

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_task_runs_in_another_process():
    @ray.remote
    def where():
        return os.getpid()

    assert ray.get(where.remote()) != os.getpid()


def test_results_come_in_the_order_of_the_references():
    @ray.remote
    def square(x):
        return x * x

    assert ray.get([square.remote(i) for i in range(200)]) == [i * i for i in range(200)]


def test_positional_keyword_and_default_arguments():
    @ray.remote
    def shape(a, b=2, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    assert ray.get(shape.remote(1, c=3)) == (1, 2, (), 3, 4, {})
    assert ray.get(shape.remote(1, 5, 6, 7, c=3, d=8, e=9)) == (1, 5, (6, 7), 3, 8, {"e": 9})


def test_remote_may_wrap_a_function_or_a_lambda():
    def add(a, b):
        return a + b

    assert ray.get(ray.remote(add).remote(1, 2)) == 3
    assert ray.get(ray.remote(lambda x: x + 1).remote(1)) == 2
    assert ray.get(ray.remote(num_cpus=1)(add).remote(3, 4)) == 7


def test_variables_around_a_function_travel_with_it():
    factor = 3

    def helper(x):
        return x * factor

    @ray.remote
    def scaled(x):
        return helper(x)

    assert ray.get(scaled.remote(5)) == 15


def test_a_function_that_returns_nothing_returns_none():
    @ray.remote
    def nothing():
        pass

    assert ray.get(nothing.remote()) is None


def test_several_results():
    @ray.remote(num_returns=3)
    def three():
        return 1, [2], "3"

    refs = three.remote()
    assert len(refs) == 3
    assert all(isinstance(r, ray.ObjectRef) for r in refs)
    assert ray.get(refs) == [1, [2], "3"]


def test_options_change_the_number_of_results_of_one_call():
    @ray.remote
    def pair():
        return "a", "b"

    first, second = pair.options(num_returns=2).remote()
    assert ray.get([second, first]) == ["b", "a"]
    assert ray.get(pair.remote()) == ("a", "b")


def test_no_results_means_no_reference():
    @ray.remote(num_returns=0)
    def silent():
        return None

    assert silent.remote() is None


def test_a_wrong_number_of_results_is_an_error_of_the_task():
    @ray.remote(num_returns=2)
    def three():
        return 1, 2, 3

    first, second = three.remote()
    for ref in (first, second):
        with pytest.raises(ValueError):
            ray.get(ref)


def test_results_of_one_task_are_arguments_of_the_next():
    @ray.remote
    def add(a, b=0):
        return a + b

    ref = add.remote(1, 2)
    for _ in range(20):
        ref = add.remote(ref, b=add.remote(1))
    assert ray.get(ref) == 23


def test_calling_a_remote_function_directly_is_refused():
    @ray.remote
    def one():
        return 1

    with pytest.raises(TypeError, match=r"\.remote\("):
        one()


def test_wrong_arguments_are_refused_before_anything_runs():
    @ray.remote
    def two(a, b):
        return a, b

    with pytest.raises(TypeError):
        two.remote(1)
    with pytest.raises(TypeError):
        two.remote(1, 2, 3)
    with pytest.raises(TypeError):
        two.remote(1, c=2)
    assert ray.get(two.remote(1, b=2)) == (1, 2)


def test_remote_decorates_only_functions_and_classes():
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(3)
    with pytest.raises((TypeError, AssertionError)):
        ray.remote()
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(1, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"no_such_option": 1},
        {"num_cpus": -1},
        {"num_gpus": -0.5},
        {"num_returns": -2},
        {"max_retries": -2},
        {"resources": {"CPU": 1}},
        {"resources": {"GPU": 1}},
        {"max_restarts": 1},
        {"lifetime": "detached"},
    ],
    ids=lambda o: next(iter(o)) + "_" + str(next(iter(o.values())))[:8],
)
def test_wrong_options_are_refused_by_decorator_and_options(options):
    def one():
        return 1

    with pytest.raises((ValueError, TypeError)):
        ray.remote(**options)(one)
    with pytest.raises((ValueError, TypeError)):
        ray.remote(one).options(**options).remote()


def test_options_return_a_new_callable_and_leave_the_old_one():
    @ray.remote
    def name():
        return ray.get_runtime_context().get_task_name()

    named = name.options(name="the task")
    assert ray.get(named.remote()) == "the task"
    assert ray.get(name.remote()) != "the task"


def test_fractions_of_a_cpu_run_side_by_side(gate, counted, eventually, tmp_path):
    @ray.remote(num_cpus=0.5)
    def half(count, wait):
        count()
        wait()
        return os.getpid()

    refs = [half.remote(counted, gate.wait) for _ in range(8)]
    # Eight halves fit into four CPUs: all are under way while none has ended.
    eventually(lambda: (tmp_path / "count").exists() and (tmp_path / "count").stat().st_size == 8, 60)
    gate.open()
    assert len(set(ray.get(refs))) == 8


def test_large_arguments_and_results():
    import numpy as np

    @ray.remote
    def plus_one(array):
        return array + 1

    array = np.arange(1_000_000)
    assert (ray.get(plus_one.remote(array)) == array + 1).all()
    assert (ray.get(plus_one.remote(ray.put(array))) == array + 1).all()


def test_a_task_does_not_change_the_callers_object():
    @ray.remote
    def spoil(values):
        values.append(4)
        return values

    mine = [1, 2, 3]
    assert ray.get(spoil.remote(mine)) == [1, 2, 3, 4]
    assert mine == [1, 2, 3]


def test_arguments_are_taken_when_the_task_is_submitted(gate):
    @ray.remote
    def read(values, wait):
        wait()
        return values

    mine = [1]
    ref = read.remote(mine, gate.wait)
    mine.append(2)
    gate.open()
    assert ray.get(ref) == [1]


def test_a_remote_function_may_call_itself():
    @ray.remote
    def factorial(n):
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(6)) == 720
