"""By hand: `python -m brokerdemo broker --id 1 --connect ...` runs one broker in the foreground, without a supervisor.

In: argv. Out: the broker's exit code. argparse and not the command line's library, because this is also how a container
starts a broker, and starting is what containers do all day.
"""

import argparse
import logging
from collections.abc import Sequence

from brokerdemo.durations import parse_ms


def _ms(text: str) -> int:
    try:
        return parse_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """The options of one broker."""
    found = argparse.ArgumentParser(
        prog="brokerdemo broker",
        description="Run one broker in the foreground; SIGTERM ends it gracefully.",
        allow_abbrev=False,
    )
    found.add_argument("--id", type=int, required=True, help="the broker's id, unique in the cluster")
    found.add_argument("--connect", required=True, metavar="HOST:PORT,...", help="the coordination service")
    found.add_argument("--host", default="127.0.0.1", help="address to bind (default %(default)s)")
    found.add_argument("--port", type=int, default=0, help="Kafka port; 0 lets the system choose (default %(default)s)")
    found.add_argument("--advertise", metavar="HOST", help="what clients are told, when --host is a bind address")
    found.add_argument(
        "--session-timeout", type=_ms, default=10_000, metavar="10s", help="how soon its death is noticed"
    )
    found.add_argument(
        "--data", metavar="DIR", help="keeps the broker's owner id (and later its records) between starts"
    )
    found.add_argument("--rack", default="", help="replicas are spread over racks")
    found.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return found


def broker(argv: Sequence[str]) -> int:
    """Parse and run; exit code 2 for a bad option, else the broker's own."""
    said = parser().parse_args(argv)
    from brokerdemo.broker import main as broker_main
    from brokerdemo.broker.options import BrokerOptions
    from brokerdemo.observe import logs

    try:
        options = BrokerOptions(
            broker_id=said.id,
            connect=said.connect,
            host=said.host,
            port=said.port,
            advertised_host=said.advertise,
            session_timeout_ms=said.session_timeout,
            data_dir=said.data,
            rack=said.rack,
        )
    except ValueError as error:
        parser().error(str(error))
    logs.set_up(level=getattr(logging, said.log_level.upper()), process=f"broker {said.id}")
    return broker_main.run(options)
