"""``%ray_job``: submit a program to the cluster, follow what it prints, stop it."""

from __future__ import annotations

import asyncio
import queue
import shlex
import threading
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from rayjup.notebook.parsing import HELP, expanded, mapping, parse

_WITH_VALUE = {"--address", "--id", "--out", "--working-dir", "--runtime-env", "--num-cpus"}
_ACTIONS = ("submit", "logs", "status", "stop", "delete", "list")


@magics_class
class JobMagics(Magics):
    """The magic of jobs; its Python twin is `rayjup.job_submission.JobSubmissionClient`."""

    @magic_arguments()
    @argument("action", nargs="?", default="list", choices=_ACTIONS, help="what to do (default: list)")
    @argument("job", nargs="?", help="the job's id; of submit instead: ' -- ' and the command line")
    @argument("--address", help="of the cluster (default: the one this notebook is connected to)")
    @argument("--id", help="id of the job that is submitted (default: a new one)")
    @argument("--out", metavar="NAME", help="variable that gets the id of the job that is submitted")
    @argument("--working-dir", help="directory that the job gets a copy of")
    @argument("--runtime-env", help="JSON, a JSON file or the name of a dict of this notebook")
    @argument("--num-cpus", type=float, help="CPUs that are kept for the program itself")
    @argument("--no-wait", action="store_true", help="only submit; don't follow what it prints")
    @argument("--follow", "-f", action="store_true", help="of logs: until the job has ended")
    @HELP
    @no_var_expand
    @line_magic
    def ray_job(self, line: str) -> None:
        """Run programs on the cluster: %ray_job submit -- python train.py. An interrupt leaves them be."""
        from rayjup.job_submission import JobSubmissionClient
        from rayjup.notebook import session

        assert self.shell is not None
        variables = self.shell.user_ns
        line, _, rest = f"{line} ".partition(" -- ")
        options = parse(JobMagics.ray_job, _ordered(line), variables)
        if options is None:
            return
        command = [expanded(word, variables) for word in shlex.split(rest)]
        wanted = {"list": "nothing more", "submit": "a command line, behind ' -- '"}
        given = {"list": not options.job, "submit": bool(command) and not options.job}
        if not given.get(options.action, bool(options.job)):
            raise UsageError(
                f"%ray_job {options.action} takes {wanted.get(options.action, 'the id of a job')}"
            )
        address = options.address
        if address is None:
            address = session.watched()[0].cluster_id
        client = JobSubmissionClient(address)
        if options.action == "submit":
            self._submit(client, command, options, variables)
        elif options.action == "list":
            _list(client)
        else:
            _do(client, options.action, options.job, options.follow)

    def _submit(self, client: Any, command: list[str], options: Any, variables: dict[str, Any]) -> None:
        environment: dict[str, Any] = {}
        if options.runtime_env is not None:
            environment |= mapping(options.runtime_env, variables, '{"env_vars": {"A": "1"}}')
        if options.working_dir is not None:
            environment["working_dir"] = options.working_dir
        job = client.submit_job(
            entrypoint=command[0] if len(command) == 1 else shlex.join(command),
            submission_id=options.id,
            runtime_env=environment or None,
            entrypoint_num_cpus=options.num_cpus,
        )
        if options.out is not None:
            variables[options.out] = job
        _say(f"Submitted the job {job}.")
        if not options.no_wait:
            _follow(client, job)


def _ordered(line: str) -> str:
    """The line with what are no options first: argparse takes positional arguments in one go."""
    positional: list[str] = []
    others: list[str] = []
    words = iter(shlex.split(line))
    for word in words:
        (others if word.startswith("-") else positional).append(word)
        if word in _WITH_VALUE:
            others += [value for value in [next(words, None)] if value is not None]
    return shlex.join([*positional, *others])


def _do(client: Any, action: str, job: str, follow: bool) -> None:
    info = client.get_job_info(job)
    if action == "status":
        _say(f"{job}: {info.status}" + (f"\n{info.message}" if info.message else ""))
    elif action == "logs" and follow:
        _follow(client, job)
    elif action == "logs":
        _say(client.get_job_logs(job), end="")
    elif action == "delete":
        client.delete_job(job)
        _say(f"{job} is deleted.")
    elif client.stop_job(job):
        _say(f"{job} is told to end.")
    else:
        _say(f"{job} was not running.")


def _list(client: Any) -> None:
    rows = [job for job in client.list_jobs() if job.submission_id]
    for job in rows:
        _say(f"{job.submission_id}  {job.status!s:<10} {job.entrypoint}")
    if not rows:
        _say("No jobs have been submitted to this cluster.")


def _follow(client: Any, job: str) -> None:
    """Print what a job prints until it ends; the notebook's own event loop is busy, so a thread listens."""
    heard: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    async def listen() -> None:
        async for piece in client.tail_job_logs(job):
            heard.put(piece)

    def run() -> None:
        try:
            asyncio.run(listen())
            heard.put(None)
        except (OSError, RuntimeError) as error:
            heard.put(error)

    threading.Thread(target=run, name=f"log of {job}", daemon=True).start()
    try:
        while (piece := heard.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            _say(piece, end="")
    except KeyboardInterrupt:
        _say(f"\nThe job goes on; '%ray_job logs -f {job}' follows it again, '%ray_job stop {job}' ends it.")
        return
    info = client.get_job_info(job)
    _say(f"The job {job} has ended: {info.status}." + (f" {info.message}" if info.message else ""))


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)  # noqa: T201
