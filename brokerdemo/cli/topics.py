"""`topics create|list|describe|delete`. Kafka's words, so that whoever knows `kafka-topics` can read the answers."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster.errors import ClusterError, Code

JSON = Mapping[str, Any]


def add(app: typer.Typer) -> None:
    topics = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        epilog=opt.examples(
            "brokerdemo topics create orders -p 12 -r 3",
            "brokerdemo topics describe orders --format kafka",
        ),
    )
    topics.command(
        epilog=opt.examples(
            "brokerdemo topics create orders -p 12 -r 3", "brokerdemo topics create t -c reassign.delay.ms=0"
        )
    )(create)
    topics.command("list")(list_)
    topics.command(epilog=opt.examples("brokerdemo topics describe demo --format kafka"))(describe)
    topics.command()(delete)
    app.add_typer(topics, name="topics", help="Create, list, describe and delete topics.")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    partitions: Annotated[str, typer.Option("-p", "--partitions", metavar="N")] = "6",
    rf: Annotated[str, typer.Option("-r", "--replication-factor", "--rf", metavar="N")] = "3",
    config: Annotated[list[str] | None, typer.Option("-c", "--config", metavar="KEY=VALUE", help="Repeat.")] = None,
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Make a topic; returns when every partition is led."""
    for option, text in (("--partitions", partitions), ("--replication-factor", rf)):
        if not text.isdigit() or int(text) < 1:
            raise opt.usage(
                f"{option} {text!r} is not a whole number above 0", "brokerdemo topics create orders -p 6 -r 3"
            )
    found = opt.client().call(
        "topics_create",
        name=name,
        partitions=int(partitions),
        rf=int(rf),
        configs=opt.pairs(config or [], "brokerdemo topics create orders -c reassign.delay.ms=0"),
        within_ms=opt.duration_ms(within, "--within") or 30_000,
    )
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.topic/1", found))
    else:
        took = f" after {found['ms']:.1f} ms" if isinstance(found.get("ms"), (int, float)) else ""
        screen.out(f"topic {name}: {partitions} partitions, replication factor {rf}, all led{took}")


def list_(as_json: opt.Json = False) -> None:
    """Every topic, with what is wrong with it."""
    found = opt.client().call("topics_list")
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.topics/1", found))
        return
    rows = []
    for topic in found.get("topics", ()):
        parts = topic["partitions"]
        under = sum(1 for p in parts if set(p["replicas"]) - set(p["isr"]))
        offline = sum(1 for p in parts if p["leader"] is None or p["leader"] < 0)
        rows.append((topic["name"], len(parts), max((len(p["replicas"]) for p in parts), default=0), under, offline))
    if not rows:
        screen.say("no topics.   make one: brokerdemo topics create orders -p 6 -r 3")
        return
    for line in screen.table(("TOPIC", "PARTITIONS", "RF", "UNDER-REPLICATED", "OFFLINE"), rows, right=(1, 2, 3, 4)):
        screen.out(line)


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    style: Annotated[str, typer.Option("--format", metavar="table|kafka|json")] = "table",
    as_json: opt.Json = False,
) -> None:
    """Leader, replicas and ISR of each partition."""
    if style not in ("table", "kafka", "json"):
        raise opt.usage(
            f"--format {style!r}: there are table, kafka and json", "brokerdemo topics describe demo --format kafka"
        )
    topic = opt.client().call("topics_describe", name=name)
    if as_json or style == "json":
        screen.emit(opt.with_schema("brokerdemo.topic/1", topic))
        return
    for line in kafka_lines(topic) if style == "kafka" else table_lines(topic):
        screen.out(line)


def table_lines(topic: JSON) -> list[str]:
    """For people: one row per partition, with what is missing named."""
    rows = []
    for p in topic["partitions"]:
        led = p["leader"] is not None and p["leader"] >= 0
        missing = [b for b in p["replicas"] if b not in p["isr"]]
        trouble = ("offline " if not led else "") + (f"not in sync: {_ids(missing)}" if missing else "")
        leader = p["leader"] if led else "none"
        rows.append((p["partition"], leader, p["leader_epoch"], _ids(p["replicas"]), _ids(p["isr"]), trouble))
    lines = screen.table(("PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", ""), rows, right=(0, 1, 2))
    config = topic.get("config") or {}
    return [*lines, *(f"config {key}={value}" for key, value in sorted(config.items()))]


def kafka_lines(topic: JSON) -> list[str]:
    """As kafka-topics prints it, tabs and all."""
    parts = topic["partitions"]
    rf = max((len(p["replicas"]) for p in parts), default=0)
    config = ",".join(f"{key}={value}" for key, value in sorted((topic.get("config") or {}).items()))
    head = (f"Topic: {topic['name']}", f"TopicId: {topic.get('topic_id', '-')}", f"PartitionCount: {len(parts)}")
    lines = ["\t".join([*head, f"ReplicationFactor: {rf}", f"Configs: {config}"])]
    for p in parts:
        leader = p["leader"] if p["leader"] is not None and p["leader"] >= 0 else "none"
        fields = (f"Topic: {topic['name']}", f"Partition: {p['partition']}", f"Leader: {leader}")
        lines.append("\t".join(["", *fields, f"Replicas: {_ids(p['replicas'])}", f"Isr: {_ids(p['isr'])}"]))
    return lines


def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Delete a topic; asks first on a terminal."""
    if screen.the().interactive and not yes:
        answer = input(f"Delete topic {name}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise ClusterError(Code.INTERRUPTED, "nothing was deleted", "", f"brokerdemo topics delete {name} -y")
    found = opt.client().call("topics_delete", name=name, within_ms=opt.duration_ms(within, "--within") or 30_000)
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.topic_deleted/1", {"name": name, **(found or {})}))
    else:
        screen.out(f"topic {name} is gone")


def _ids(ids: list[int]) -> str:
    return ",".join(map(str, ids)) or "-"
