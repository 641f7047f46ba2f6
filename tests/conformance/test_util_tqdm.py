"""Progress bars."""


def test_a_bar_counts_what_it_goes_through(ray_cluster):
    from ray.experimental import tqdm_ray

    bar = tqdm_ray.tqdm([1, 2, 3], desc="numbers")
    assert bar.total == 3
    assert list(bar) == [1, 2, 3]
    assert bar.n == 3


def test_a_bar_can_be_moved_by_hand(ray_cluster):
    from ray.experimental import tqdm_ray

    bar = tqdm_ray.tqdm(total=10)
    bar.update(4)
    bar.set_description("later")
    bar.refresh()
    assert (bar.n, bar.total) == (4, 10)
    bar.close()


def test_bars_in_tasks(ray_cluster):
    ray = ray_cluster

    @ray.remote
    def count(n):
        from ray.experimental import tqdm_ray

        return sum(tqdm_ray.tqdm(range(n)))

    assert ray.get(count.remote(5)) == 10
