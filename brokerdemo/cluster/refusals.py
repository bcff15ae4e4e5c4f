"""Refusals: which values written to znodes some broker refuses right now.

In: every event, and what the last look at the znodes could not read. Out: `config_rejected` of `brokerdemo.status/1`.
Pure: asks nobody.

(1) A setting is refused by a broker until that broker applies the znode, refuses its next value, or starts anew.
(2) What a controller refuses outside `/config` is no setting of anybody: it is told for as long as that znode is there
    and unreadable, whoever is the controller. A request under `/admin` is answered once and gone with that.
(3) All keys of one value that are refused are kept, not the last one only.
"""

from collections.abc import Container
from typing import Any

from brokerdemo import znodes
from brokerdemo.observe.events import Event

_TOLD = ("broker", "znode", "key", "value", "reason")
_SETTINGS, _REQUESTS = "/config/", "/admin/"


class Refusals:
    """See the module; a listener of the event log."""

    def __init__(self) -> None:
        self._by: dict[tuple[int, str], dict[str, Event]] = {}

    def listen(self, event: Event) -> None:
        match event["event"]:
            case "config_rejected" if not event["znode"].startswith(_REQUESTS):
                where = (event["broker"], event["znode"])
                known = self._by.get(where, {})
                if any(one.get("mzxid") != event.get("mzxid") for one in known.values()):
                    known = {}
                self._by[where] = {**known, str(event["key"]): event}
            case "config_applied":
                self._by.pop((event["broker"], event["znode"]), None)
            case "process_started" if "broker" in event:
                for where in [where for where in self._by if where[0] == event["broker"]]:
                    del self._by[where]
            case "controller_elected":
                # It could read the epoch, and has written it anew.
                for where in [where for where in self._by if where[1] == znodes.MASTER_EPOCH]:
                    del self._by[where]

    def now(self, unreadable: Container[str] | None) -> list[dict[str, Any]]:
        """Those in force; `unreadable` are the znodes that could not be read just now, None when nobody could look."""
        found = [
            event
            for (_broker, znode), keys in self._by.items()
            for event in keys.values()
            if unreadable is None or znode.startswith(_SETTINGS) or znode == znodes.MASTER_EPOCH or znode in unreadable
        ]
        return [{key: event.get(key) for key in _TOLD} for event in found]
