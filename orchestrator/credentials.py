"""What must not be written down: passwords, keys and tokens, taken out of any text.

Error lines, tracebacks and addresses of servers end up in records, in MLflow and on the screen.
Each passes through :func:`without_credentials` on its way.
"""

from __future__ import annotations

import re

#: Stands where a value was. Addresses lose ``user:password@`` altogether and stay usable.
HIDDEN = "***"

#: Names whose text value is always secret.
_ALWAYS = r"passw(?:or)?d|passphrase|pwd|secret(?:[_-]?access)?(?:[_-]?(?:access)?[_-]?key)?"
#: Names that also have harmless values (``pad_token=end``): the value decides.
_MOSTLY = (
    r"token|api[_-]?key|access[_-]?key(?:[_-]?id)?|account[_-]?key|private[_-]?key"
    r"|auth[_-]?key|credentials?|signature"
)
_NAME = re.compile(rf"(?i)(?:(?P<secret>{_ALWAYS})|{_MOSTLY})$")

_ASSIGNMENT = re.compile(
    rf"(?i)(?:(?P<secret>{_ALWAYS})|{_MOSTLY})"
    r"(?P<sign>[\"']?\s{0,9}(?:==?|:)\s{0,9})"
    r"(?:\"(?P<double>[^\"\n]+)\"|'(?P<single>[^'\n]+)'|(?P<bare>[^\s&\"',;)\]}=][^\s&\"',;)\]}]*))"
)
_QUERY = re.compile(
    rf"(?i)(?P<name>[?&;](?:[\w.-]{{0,40}}(?:{_ALWAYS}|{_MOSTLY})|sig|key|auth)=)[^\s&\"'<>;)\]}}]+"
)
_HEADER = re.compile(
    r"(?i)(?P<name>authorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:bearer|basic|token|digest)\s{1,9})"
    r"[^\s\"',]+"
)
_BEARER = re.compile(r"(?i)(?P<name>\bbearer\s{1,9})(?=[^\s\d]{0,99}\d)[\w.~+/-]{16,}=*")

_NOT_IN_USER = r"\s/@:\[\"'<>?#"
_USER_AND_PASSWORD = re.compile(rf"(?<=://)[^{_NOT_IN_USER}]{{0,512}}:[^\s/\"'<>]{{0,2048}}@")
#: Secret keys of S3 hold slashes; they should be percent-encoded, but not everybody does.
_S3_KEYS = re.compile(
    rf"(?i)(?P<scheme>\bs3[an]?://)[^{_NOT_IN_USER}]{{1,512}}:"
    r"(?!\d{1,5}/)[^\s@\"'<>]{0,2048}@(?:[^\s/@\"'<>]{0,512}@)?"
)
_HTTP_USER = re.compile(rf"(?i)(?P<scheme>\bhttps?://)[^{_NOT_IN_USER}]{{1,512}}@")

#: Tokens that their issuers made recognisable.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{20,}|dapi[0-9a-f]{32}|pypi-Ag[\w-]{20,}|npm_[A-Za-z0-9]{36}"
    r"|sk-(?=[A-Za-z_-]{0,99}\d)(?=[\w-]{0,99}[A-Za-z0-9]{16})[\w-]{20,}|[sr]k_live_[A-Za-z0-9]{16,}"
    r"|xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|ya29\.[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"  # a JSON web token
    r")",
    re.DOTALL,
)


def without_credentials(text: str) -> str:
    """Take passwords, keys and tokens out of a text.

    Parameters
    ----------
    text : str
        Any text: an address, an error line, a traceback, a search space.

    Returns
    -------
    str
        The text without ``user:password@`` in addresses, and with ``***`` in place of secret
        values and of tokens of well-known shapes. Text without any is returned unchanged; doing
        it twice changes nothing more.
    """
    while (told := _once(text)) != text:  # what is taken out can bring two halves together
        text = told
    return text


def looks_like_credentials(key: str, value: object) -> bool:
    """Tell whether a setting holds a credential, by its name or by its value.

    Parameters
    ----------
    key : str
        Name of the setting, like ``password`` or ``aws_secret_access_key``.
    value : object
        Its value. Only text can be a credential; numbers, lists and such never are.
    """
    if not isinstance(value, str) or not value:
        return False
    name = _NAME.search(key)
    named = name is not None and (name["secret"] is not None or _is_opaque(value))
    return named or without_credentials(value) != value


def _once(text: str) -> str:
    text = _S3_KEYS.sub(r"\g<scheme>", text)
    text = _USER_AND_PASSWORD.sub("", text)
    text = _HTTP_USER.sub(r"\g<scheme>", text)
    text = _QUERY.sub(rf"\g<name>{HIDDEN}", text)
    text = _HEADER.sub(rf"\g<name>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<name>{HIDDEN}", text)
    text = _ASSIGNMENT.sub(_hide_assigned, text)
    return _SHAPES.sub(HIDDEN, text)


def _hide_assigned(found: re.Match[str]) -> str:
    how = found.lastgroup or "bare"
    value: str = found[how]
    if value in {"None", "True", "False", "null", HIDDEN}:
        return found[0]
    if found["secret"] is not None and (how != "bare" or "=" in found["sign"]):
        # The shell's working folder is called PWD.
        secret = not (found["secret"].lower() == "pwd" and value.startswith("/"))
    else:  # prose like "token: unknown key" stays
        secret = _is_opaque(value)
    if not secret:
        return found[0]
    start, end = (at - found.start() for at in found.span(how))
    return found[0][:start] + HIDDEN + found[0][end:]


def _is_opaque(value: str) -> bool:
    """Tell a value that is no word: long, or letters and digits mixed."""
    if any(character.isspace() for character in value):
        return False
    digits = any(character.isdigit() for character in value)
    letters = any(character.isalpha() for character in value)
    return len(value) >= 16 or (digits and letters and len(value) >= 6)
