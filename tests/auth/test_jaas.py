"""JAAS files: users of DIGEST-MD5; everything else is refused with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.auth.jaas import JaasError, digest_users, parse

# What kazoo's own test suite writes.
KAZOO = """
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super="super_secret"
    user_jaasuser="jaas_password";
};"""

MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule required"


def revealed(text: str, section: str = "Server") -> dict[str, bytes]:
    return {user: password.reveal() for user, password in digest_users(text, section).items()}


def test_kazoos_file() -> None:
    assert revealed(KAZOO) == {"super": b"super_secret", "jaasuser": b"jaas_password"}


def test_comments_escapes_words_and_other_options() -> None:
    text = f"""
    // line  # more
    /* block {{ }} */
    Other {{ com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true; }};
    Server {{ {MODULE}
        debug=true  # not a user
        user_a=plain user_b = "x \\"y\\" \\\\ ; }}" username="u";
    }};
    """
    assert revealed(text) == {"a": b"plain", "b": b'x "y" \\ ; }'}
    assert sorted(parse(text)) == ["Other", "Server"]


def test_another_section() -> None:
    assert revealed(KAZOO.replace("Server", "Mine"), "Mine")["super"] == b"super_secret"


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(digest_users(KAZOO))
    assert "secret" not in repr(parse(KAZOO))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no section 'Server'; sections there: none"),
        ("Client { };", "sections there: Client"),
        ("Server { a.KerberosModule required; };", "DIGEST-MD5 only"),
        ("Server {", "line 1: the file ends where } is wanted"),
        ("Server {\n a.B\n maybe; };", "line 3: required or"),
        (f"Server {{\n{MODULE}\nuser_a=;\n}};", "line 3: a value for user_a"),
        (f'Server {{\n{MODULE}\nuser_a "x";\n}};', "line 3: = is wanted"),
        (f'Server {{\n{MODULE}\nuser_a="x\n;\n}};', "line 3: a quoted text does not end"),
        (f"Server {{ {MODULE}; }}", "line 1: the file ends where ; is wanted"),
        ("Server { }; Server { };", "second time"),
        ("/* open", "a comment"),
    ],
)
def test_errors_say_where(text: str, said: str) -> None:
    with pytest.raises(JaasError) as error:
        digest_users(text)
    assert said in str(error.value)


def test_errors_hold_no_password() -> None:
    with pytest.raises(JaasError) as error:
        digest_users(KAZOO.replace("};", ""))
    assert "secret" not in str(error.value)


@given(st.text(alphabet='Server{};="\\ab\n/*#', max_size=60))
def test_no_text_upsets_the_parser(text: str) -> None:
    try:
        parse(text)
    except JaasError:
        pass


@given(st.dictionaries(st.from_regex(r"[a-z0-9.@-]{1,8}", fullmatch=True), st.text(max_size=12), max_size=4))
def test_every_password_comes_back(users: dict[str, str]) -> None:
    def quoted(password: str) -> str:
        return '"' + password.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    options = " ".join(f"user_{user}={quoted(password)}" for user, password in users.items())
    found = digest_users(f"Server {{ {MODULE} {options}; }};")
    assert {user: secret.reveal().decode() for user, secret in found.items()} == users
