"""``python -m rayjup_kernels [--user | --prefix PREFIX] [--name NAME] [--on-cluster …]``."""

from __future__ import annotations

import argparse
import sys

from rayjup_kernels.spec import CLUSTER_KERNEL_NAME, KERNEL_NAME, install


def main(argv: list[str] | None = None) -> int:
    """Install the kernelspec as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rayjup_kernels",
        description="Install the kernelspec 'Python 3 (rayjup)' so that it starts this Python.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user, whatever the environment")
    where.add_argument("--prefix", help="into this environment (default: the running one)")
    parser.add_argument(
        "--name",
        help=f"name of the kernelspec (default: {KERNEL_NAME}, with --on-cluster {CLUSTER_KERNEL_NAME})",
    )
    parser.add_argument("--display-name", help="what the launcher shows")
    lease = parser.add_argument_group("a kernel on the cluster")
    lease.add_argument("--on-cluster", action="store_true", help="run the kernel on a node of the cluster")
    lease.add_argument("--cluster", help="name or id of the cluster (default: the newest, or a new one)")
    lease.add_argument("--num-cpus", type=float, help="CPUs the kernel holds (default: 1)")
    lease.add_argument("--num-gpus", type=float, help="GPUs the kernel holds and sees")
    lease.add_argument("--memory", type=float, help="bytes of memory the kernel reserves")
    args = parser.parse_args(argv)
    options = {key: getattr(args, key) for key in ("cluster", "num_cpus", "num_gpus", "memory")}
    options = {key: value for key, value in options.items() if value is not None}
    if options and not args.on_cluster:
        parser.error(f"--{next(iter(options)).replace('_', '-')} needs --on-cluster")
    name = args.name or (CLUSTER_KERNEL_NAME if args.on_cluster else KERNEL_NAME)
    path = install(
        user=args.user,
        prefix=args.prefix,
        kernel_name=name,
        display_name=args.display_name,
        on_cluster=options if args.on_cluster else None,
    )
    sys.stdout.write(f"Installed kernelspec {name} in {path}; it starts {sys.executable}.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
