"""``%ray_job`` in a real kernel: submitted, followed, interrupted, stopped."""

from __future__ import annotations

from typing import Any


def test_a_program_is_submitted_followed_and_stopped(kernel: Any) -> None:
    assert "run %ray_init first" in kernel.run("%ray_job list").evalue
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    code = "import rayjup as ray; ray.init(); print(ray.get(ray.remote(lambda: 6 * 7).remote()))"
    ran = kernel.ok(f"""code = {code!r}\n%ray_job submit --out first -- python -c $code""")
    assert "Submitted the job" in ran.text
    assert "\n42\n" in ran.text
    assert "has ended: SUCCEEDED." in ran.text

    assert "Submitted" in kernel.ok("%ray_job submit --no-wait --id second -- sleep 600").text
    listed = kernel.ok("%ray_job list\nprint(first)").text
    assert "sleep 600" in listed and listed.split()[-1] in listed
    assert "second is told to end." in kernel.ok("%ray_job stop second").text
    assert "second has ended: STOPPED" in kernel.ok("%ray_job logs --follow second").text
    assert "second: STOPPED" in kernel.ok("%ray_job status second").text
    assert "second is deleted." in kernel.ok("%ray_job delete second").text
    assert "42" in kernel.ok("%ray_job logs $first").text

    assert "takes the id of a job" in kernel.run("%ray_job stop").text
    assert "takes a command line" in kernel.run("%ray_job submit").text
    assert "--no-wait" in kernel.ok("%ray_job --help").text
    kernel.ok("%ray_shutdown")
