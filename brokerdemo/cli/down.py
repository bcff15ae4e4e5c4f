"""`down`: stop a cluster, or all of them. Returns when every process is gone and the name is free again."""

from typing import Annotated

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster import layout
from brokerdemo.cluster.control import ControlClient
from brokerdemo.cluster.errors import ClusterError, Code


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples(
            "brokerdemo down                # graceful: brokers say goodbye first",
            "brokerdemo down --force        # SIGKILL everything",
            "brokerdemo down --all -y",
        )
    )(down)


def down(
    force: Annotated[bool, typer.Option("--force", help="SIGKILL, no goodbye.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Leave data and logs for the next up.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every running cluster; asks first on a terminal.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Stop the cluster: brokers, coordination server, supervisor."""
    if not every:
        names = [layout.select().name]
    else:
        names = layout.running()
        if names and not yes and screen.the().interactive:
            said = input(f"Stop {len(names)} clusters ({', '.join(names)})? [y/N] ")
            if said.strip().lower() not in ("y", "yes"):
                raise ClusterError(Code.INTERRUPTED, "nothing was stopped", "", "brokerdemo down --all -y")
    stopped: list[dict[str, object]] = []
    for name in names:
        client = ControlClient.find(name)
        with client.request("down", force=force, keep_data=keep_data) as answers:
            for answer in answers:
                step = answer.get("step")
                if isinstance(step, dict) and not as_json:
                    screen.say(f"  {step.get('name', '')} {step.get('detail', '')}".rstrip())
            result = answers.result if isinstance(answers.result, dict) else {}
            answers.wait_closed()
        layout.wait_released(layout.layout(name))
        stopped.append({"cluster": name, **result})
        if not as_json:
            took = result.get("ms")
            screen.out(f'Cluster "{name}" is down' + (f" after {took:.0f} ms." if took is not None else "."))
    if as_json:
        screen.emit({"schema": "brokerdemo.down/1", "stopped": stopped})
    elif not names:
        screen.out("No cluster is running.")
