"""`coordination 4lw WORD [HOST:PORT]`: what a server says of itself.

In: a word and an address.  Out: the answer as it came; with `--json` its fields too.
Knows no session: a word is four bytes and an answer up to the end of the stream.  Answers to FourLetterWordMain.

(1) The exit code tells a script: 0 answered, 4 refused by the whitelist, 5 nobody there, 6 there but not serving.
"""

import json
import re
import socket
import ssl
import sys

from coordination.errors import LocalProtocolError
from coordination.tools import connect_string, words
from coordination.tools.arguments import Parser, fail

WORDS = {
    "conf": "the settings it runs with",
    "cons": "every connection and session on it, in full",
    "crst": "reset the statistics of all connections",
    "dirs": "size of snapshots and logs in bytes",
    "dump": "sessions and their ephemeral znodes",
    "envi": "the environment it runs in",
    "gtmk": "the trace mask",
    "hash": "digests of the tree, by zxid",
    "isro": "ro or rw: does it serve read-only",
    "mntr": "counters and gauges, one per line",
    "ruok": "imok when it runs",
    "srst": "reset the server's statistics",
    "srvr": "version, mode, zxid, latency, without the clients",
    "stat": "srvr and the clients",
    "stmk": "set the trace mask",
    "wchc": "watches by session (expensive)",
    "wchp": "watches by path (expensive)",
    "wchs": "how many watches there are",
}
_BYTES_MAX = 256 << 20
_REFUSED = "is not executed because it is not in the whitelist"
_NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
_EPILOG = (
    "words:\n"
    + "".join(f"  {word}  {what}\n" for word, what in WORDS.items())
    + "\nexit codes: 0 answered, 2 usage, 4 not in the server's whitelist, 5 nobody there, 6 not serving"
)


def ask(address: tuple[str, int], word: str, timeout_s: float, tls: ssl.SSLContext | None = None) -> str:
    """The whole answer; OSError when there is none in time."""
    with socket.create_connection(address, timeout_s) as plain:
        sock = plain if tls is None else tls.wrap_socket(plain, server_hostname=address[0])
        with sock:
            sock.sendall(word.encode())
            pieces = []
            size = 0
            while piece := sock.recv(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size > _BYTES_MAX:
                    raise OSError(f"the answer is longer than {_BYTES_MAX} bytes")
    return b"".join(pieces).decode(errors="replace")


def fields(word: str, answer: str) -> dict[str, object]:
    """The answer's `key<tab>value` (mntr), `key=value` and `Key: value` lines; numbers as numbers."""
    found: dict[str, object] = {}
    separators = {"mntr": r"\t", "conf": "=", "envi": "=", "isro": None, "ruok": None}
    separator = separators.get(word, r":\s+")
    if separator is None:
        return {"answer": answer.strip()}
    for line in answer.splitlines():
        parts = re.split(separator, line.strip(), maxsplit=1)
        if len(parts) == 2 and parts[0] and not line.startswith((" ", "/")):
            found[parts[0]] = _typed(parts[1].strip())
    return found


def _typed(text: str) -> object:
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return float(text)
    return text


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    parser = Parser("coordination 4lw", "Send a four letter word to a server, print what it answers.", _EPILOG)
    parser.add_argument("word", metavar="WORD")
    parser.add_argument("server", nargs="?", default="localhost:2181", metavar="HOST:PORT")
    parser.add_argument("--timeout", default="5s", metavar="5s")
    parser.add_argument("--json", action="store_true", help="an object with the answer and its fields")
    parser.add_argument("--tls-ca", metavar="PEM", help="ask over TLS, and trust these certificates")
    parser.add_argument("--tls-no-hostname", action="store_true")
    options = parser.parse_intermixed_args(argv)
    word: str = options.word
    as_json: bool = options.json
    if not re.fullmatch(r"[a-z]{4}", word):
        return fail(f'"{word}" is no four letter word', f"one of {' '.join(WORDS)}", as_json=as_json)
    from coordination.tools.cli import duration_ms

    tls = None
    try:
        where = connect_string.parse(options.server)
        timeout_s = duration_ms(options.timeout) / 1000
        if options.tls_ca:
            tls = ssl.create_default_context(cafile=options.tls_ca)
            tls.check_hostname = not options.tls_no_hostname
    except (LocalProtocolError, ValueError, OSError) as error:
        return fail(str(error), "coordination 4lw srvr HOST:PORT", as_json=as_json)
    said = []
    worst = words.EXIT_OK
    for host, port in where.addresses:
        server = f"{host}:{port}"
        try:
            answer = ask((host, port), word, timeout_s, tls)
            complaint = _complaint(word, answer)
        except (OSError, UnicodeError) as error:
            answer = ""
            complaint = (
                f"{server} does not answer: {_reason(error)}",
                "is it up? coordination serve",
                words.EXIT_NO_ANSWER,
            )
        worst = worst or (complaint[2] if complaint else words.EXIT_OK)
        if as_json:
            said.append({"server": server, "word": word, "answer": answer, "fields": fields(word, answer)})
            if complaint:
                said[-1]["error"] = dict(zip(("message", "hint", "exit_code"), complaint, strict=True))
        elif answer:
            if len(where.addresses) > 1:
                print(f"== {server}")
            sys.stdout.write(answer if answer.endswith("\n") else answer + "\n")
        if complaint:
            fail(*complaint)
    if as_json:
        print(json.dumps(said if len(said) > 1 else said[0]))
    return worst


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):  # a part of it is empty or longer than 63 letters
        return "that is no host name"
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()


def _complaint(word: str, answer: str) -> tuple[str, str, int] | None:
    """What is wrong with an answer: message, hint and exit code; None for a good one."""
    if _REFUSED in answer:
        return (
            "the server's whitelist does not have the word",
            "4lw.commands.whitelist=* in zoo.cfg, or coordination serve --4lw all",
            words.EXIT_REFUSED,
        )
    if not answer and word not in WORDS:
        # Four bytes that are no word are the length of a frame, and a bad one.
        return "the server does not know the word", f"one of {' '.join(WORDS)}", words.EXIT_REFUSED
    if not answer:
        return (
            "the server closed the connection without an answer",
            "has it reached maxClientCnxns, or is this its TLS port? --tls-ca PEM",
            words.EXIT_UNSOUND,
        )
    if _NOT_SERVING in answer or (word == "ruok" and answer.strip() != "imok"):
        return (
            "the server does not serve",
            "has its ensemble a quorum? coordination 4lw srvr on each member",
            words.EXIT_UNSOUND,
        )
    return None
