"""`coordination digest`: a user and a password as the id that a digest ACL and superDigest hold.

In: argv, or a line of stdin so that the password is in no process list.  Out: `user:base64(sha1(user:password))`.
Answers to DigestAuthenticationProvider's main.
"""

import getpass
import json
import sys

from coordination.auth.schemes import DIGEST_ALGORITHMS, generate_digest
from coordination.tools import words
from coordination.tools.arguments import Parser, fail

_EPILOG = """\
examples:
  coordination digest alice:secret           # alice:EaHz...=
  coordination digest - < file-with-user-and-password
  coordination cli setAcl /app "digest:$(coordination digest alice:secret):cdrwa"
  superDigest: zookeeper.DigestAuthenticationProvider.superDigest=$(coordination digest super:secret)"""


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    parser = Parser("coordination digest", "USER:PASSWORD as the digest that an ACL and superDigest hold.", _EPILOG)
    parser.add_argument("text", nargs="?", default="-", metavar="USER:PASSWORD", help="none or -: ask, or read stdin")
    parser.add_argument("--algorithm", default="SHA1", metavar="SHA1", help="as the server's digestAlg property")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    text: str = options.text
    if text == "-":
        text = getpass.getpass("USER:PASSWORD ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if ":" not in text:
        return fail("there is no colon: write USER:PASSWORD", "coordination digest alice:secret", as_json=options.json)
    if options.algorithm.upper() not in DIGEST_ALGORITHMS:
        known = ", ".join(DIGEST_ALGORITHMS)
        return fail(f"{options.algorithm} is no digest algorithm", f"one of {known}", as_json=options.json)
    digest = generate_digest(text, options.algorithm)
    print(json.dumps({"id": digest, "acl": f"digest:{digest}:cdrwa"}) if options.json else digest)
    return words.EXIT_OK
