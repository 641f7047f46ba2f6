"""``rayjup rotate-credentials`` and ``rayjup restart-head``: changes to a cluster that runs."""

from __future__ import annotations

from datetime import datetime

import click

from rayjup.cli.output import address_option
from rayjup.cluster import descriptors, renewal, rotation


@click.command("rotate-credentials")
@address_option
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Seconds for which the old ones count, too.",
)
@click.option("--wait", is_flag=True, help="Stay until the old ones are refused.")
@click.option("--end", is_flag=True, help="Refuse the old ones of an exchange that is under way now.")
def rotate_credentials(address: str | None, grace: float, wait: bool, end: bool) -> None:
    """Exchange the token and the certificates of a running cluster; whoever is connected stays so."""
    if end:
        rotation.end(descriptors.which(address))
        click.echo("The old ones are refused now.")
        return
    done = rotation.rotate(descriptors.which(address), grace, wait=wait)
    click.echo("New credentials count; 'rayjup get-auth-token' prints the token of the REST server.")
    if done.file is not None:
        click.echo(
            f"Nodes have them already. For machines that are to join, and for drivers on machines without "
            f"a node, copy {done.file} again."
        )
    when = datetime.fromtimestamp(done.until).strftime("%H:%M:%S")
    click.echo("The old ones are refused now." if wait else f"The old ones are refused from {when} on.")


@click.command("restart-head")
@address_option
def restart_head(address: str | None) -> None:
    """Replace the head by one of the rayjup that is installed now; programs, nodes and actors stay."""
    done = renewal.restart_head(descriptors.which(address))
    click.echo(f"A head of rayjup {done.version} runs, and {done.nodes} nodes have come to it.")
