"""Where results lie: a folder, or a URI that pyarrow reads; and what went wrong there, in one line.

Credentials that stand in a URI open it and are never shown.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from orchestrator.credentials import without_credentials
from orchestrator.errors import UserError, unknown

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_FILE, _S3, _GCS = ("file",), ("s3",), ("gs", "gcs")
_AZURE, _HADOOP = ("abfs", "abfss"), ("hdfs", "viewfs")
_SCHEMES = (*_S3, *_GCS, *_AZURE, *_HADOOP, *_FILE)
_BEGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<second>/?)")
#: Options of a URI that pyarrow takes for S3; those that may be shown for any scheme.
_S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")
_SHOWN_OPTIONS = (*_S3_OPTIONS, "retry_limit_seconds", "default_bucket_location")
#: Where the address of a service that speaks S3 can stand, too.
_S3_ADDRESS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

#: Seconds to wait for a connection; how often to try, with growing pauses of 3 s together; seconds
#: that Google's client goes on trying.
_CONNECT, _ATTEMPTS, _GCS_LIMIT = 5, 7, 5

#: What the services call their refusals, and what to do about it.
_REFUSALS = (
    (
        r"NO_?SUCH_?BUCKET|bucket does not exist|Bucket '.*' not found",
        "there is no such bucket",
        "make it first, or give another place with --results",
    ),
    (
        r"ACCESS_?DENIED|INVALID_?ACCESS_?KEY|SIGNATURE_?DOES_?NOT_?MATCH|INVALID_?CLIENT_?TOKEN"
        r"|EXPIRED_?TOKEN|UNRECOGNIZED_?CLIENT|MISSING_?AUTHENTICATION|FORBIDDEN|PERMISSION_?DENIED"
        r"|UNAUTHENTICATED|HTTP status 40[13]|does not have storage",
        "access was refused",
        "check the credentials, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they "
        "allow",
    ),
    (
        r"NETWORK_?CONNECTION|UNAVAILABLE|REQUEST_?TIMEOUT|curlCode|Could ?n.t connect"
        r"|resolving region",
        "it cannot be reached",
        "check the address and the network",
    ),
)
#: What a service itself says, and how much of it is told.
_DETAIL = re.compile(r"(?:Details|during \w+ operation): (?P<detail>[^;(]+)")
_LONGEST = 160


class StorageFailure(UserError, OSError):
    """What results lie in cannot be read or written; in one line, with what to do."""

    @property
    def strerror(self) -> str:  # type: ignore[override]
        """The reason, without the place."""
        return str(self).partition(": ")[2] or str(self)


@dataclass(frozen=True)
class Place:
    """Where a folder of results lies.

    Attributes
    ----------
    uri : str
        Absolute path or URI, as another process opens it; it may hold credentials.
    shown : str
        As the user wrote it, without credentials.
    base : str
        The same without options, to put names of files behind.
    local : Path, optional
        The folder on this machine, if it is one.
    """

    uri: str
    shown: str
    base: str
    local: Path | None

    @property
    def puts_whole(self) -> bool:
        """Whether a file that is written is there whole or not at all."""
        return urlsplit(self.uri).scheme in (*_S3, *_GCS)


def parse_place(where: str | Path) -> Place:
    """Take apart what a user gave as the place of results.

    Raises
    ------
    UserError
        If it is no folder and no URI that can be opened.
    """
    text = os.fspath(where)
    if not text.strip():
        raise UserError("the folder of results has no name; give one with --results")
    begin = _BEGIN.match(text)
    if begin is None or not (begin["second"] or begin["scheme"].lower() in _SCHEMES):
        folder = Path(os.path.abspath(text))
        return Place(str(folder), text, str(Path(text)), folder)
    scheme = begin["scheme"].lower()
    if not begin["second"]:  # pathlib makes one slash of two
        raise UserError(
            f"{scheme}:/…: is no URI; it begins with {scheme}://, and in Python it is a str"
        )
    if scheme not in _SCHEMES:
        raise UserError(
            f"{scheme}://…: results cannot lie there; give a folder, or a URI that begins with "
            "s3://, gs://, abfs:// or hdfs://"
        )
    try:
        parts = urlsplit(f"{scheme}{text[len(scheme) :]}")
        _check(parts)
    except ValueError:
        raise UserError(f"{scheme}://…: is no URI that can be read") from None
    if scheme in _FILE:
        folder = Path(os.path.normpath(unquote(parts.path)))
        return Place(str(folder), text, text.rstrip("/"), folder)
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{at}{host}" if scheme in _AZURE else host
    options = [(key, value) for key, value in parse_qsl(parts.query) if key in _SHOWN_OPTIONS]
    bare = parts._replace(netloc=netloc, path=parts.path.rstrip("/"), query="", fragment="")
    shown = bare._replace(query=urlencode(options, safe=":/"))
    return Place(urlunsplit(parts), urlunsplit(shown), urlunsplit(bare), None)


def _check(parts: SplitResult) -> None:
    if parts.scheme in _FILE:
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise UserError(
                "file://…: names no folder on this machine; write file:///absolute/folder"
            )
        return
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme in (*_S3, *_GCS) and (":" in host or "@" in parts.path.partition("?")[0]):
        raise UserError(
            f"{parts.scheme}://…: credentials in a URI must be percent-encoded (/ is %2F, + is "
            "%2B, @ is %40); better, leave them out and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if not host and parts.scheme not in _HADOOP:
        raise UserError(f"{parts.scheme}://: names no bucket; write {parts.scheme}://BUCKET/FOLDER")
    if parts.fragment or (parts.query and not parse_qsl(parts.query)):
        raise ValueError
    for name, _ in parse_qsl(parts.query) if parts.scheme in _S3 else ():
        if name not in _S3_OPTIONS:
            raise UserError(
                f"{parts.scheme}://{host}{parts.path}: {unknown('option', name, _S3_OPTIONS)}"
            )


def open_place(place: Place) -> tuple[FileSystem, str]:
    """Open a URI: pyarrow's file system, and the path of the folder in it.

    Raises
    ------
    StorageFailure
        If it cannot be opened. Most mistakes come to light only when it is used.
    """
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    parts = urlsplit(place.uri)
    try:
        if parts.scheme in _S3:
            return _open_s3(parts)
        if parts.scheme in _GCS and "retry_limit_seconds" not in parts.query:  # or 15 minutes
            limit = f"retry_limit_seconds={_GCS_LIMIT}"
            parts = parts._replace(query="&".join(filter(None, (parts.query, limit))))
        system, path = FileSystem.from_uri(urlunsplit(parts))
        return system, path.rstrip("/")
    except (OSError, pa.ArrowException) as error:
        raise failure(place, error) from None


def _open_s3(parts: SplitResult) -> tuple[FileSystem, str]:
    """Open S3 as ``FileSystem.from_uri`` does, with less patience and single requests."""
    from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem, resolve_s3_region

    options: dict[str, Any] = dict(parse_qsl(parts.query))
    address = options.get("endpoint_override") or next(
        filter(None, map(os.environ.get, _S3_ADDRESS)), ""
    )
    if "://" in address:
        options["scheme"], _, options["endpoint_override"] = address.rstrip("/").partition("://")
    user, _, bucket = parts.netloc.rpartition("@")
    if user:
        key, _, secret = user.partition(":")
        options |= {"access_key": unquote(key), "secret_key": unquote(secret)}
    if not (address or "region" in options):
        options["region"] = resolve_s3_region(bucket)
    system = S3FileSystem(
        connect_timeout=_CONNECT,
        retry_strategy=AwsDefaultS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # what is small travels in one request instead of three
        **options,
    )
    return system, f"{bucket}{unquote(parts.path)}".rstrip("/")


def failure(place: Place, error: Exception) -> StorageFailure:
    """Say in one line what went wrong at a place, and what to do."""
    lines = str(error).replace(place.uri, place.shown).splitlines() or [type(error).__name__]
    text = " ".join(lines[0].split())
    for pattern, what, todo in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            found = [said for said in _DETAIL.findall(text) if "No response body" not in said]
            detail = f" ({found[-1].strip()[:_LONGEST].rstrip('. ')})" if found else ""
            return StorageFailure(f"{place.shown}: {what}{without_credentials(detail)}; {todo}")
    return StorageFailure(
        f"{place.shown}: cannot be used ({without_credentials(text)[:_LONGEST]}); "
        "mend it, or give another place with --results"
    )
