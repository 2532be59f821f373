"""Object storage as a place for records: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

By obstore (`pip install "penstock[storage]"`), imported with the first such store; `docs/designs/010` says why.
Credentials come from where each provider's own tools look: environment, workload identity, instance metadata.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .urls import StorageUrl

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_SECRET = re.compile(r"(?i)([?&](?:sig|token|x-amz-(?:signature|credential|security-token))=)[^&\s]+")
_CAUSE = re.compile(
    r'Os \{[^{}]*message: "([^"]*)"|"(failed to lookup address information[^"]*)"|(invalid peer certificate: \w+)'
)


class Objects:
    """Objects below one prefix of a bucket."""

    def __init__(self, url: StorageUrl, credentials: Mapping[str, str] | None = None) -> None:
        try:
            import obstore
            from obstore import exceptions
        except ImportError:
            raise ConfigurationError(
                f'{url} needs a library that is not installed: pip install "penstock[storage]"'
            ) from None
        self.url = url
        self._obstore = obstore
        self._failures = (exceptions.BaseError, OSError)
        self._not_found = (exceptions.NotFoundError, FileNotFoundError)
        self._lasting = (
            *self._not_found,
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
        )
        try:
            self._store = _open(url, credentials or {})
        except exceptions.BaseError as error:
            raise ConfigurationError(f"{url}: {_said(error)}") from None

    def _path(self, path: str) -> str:
        return f"{self.url.path}/{path}".lstrip("/")

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        """Fetch the object."""
        try:
            if at_most is not None:
                return bytes(self._obstore.get_range(self._store, self._path(path), start=0, length=at_most))
            return bytes(self._obstore.get(self._store, self._path(path)).bytes())
        except self._failures as error:
            if isinstance(error, self._not_found) and _tag("Code", str(error)) in _NO_OBJECT:
                return None
            raise self._unavailable(error) from None

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """Fetch the object by and by."""
        try:
            found = self._obstore.get(self._store, self._path(path)).stream(min_chunk_size=1 << 20)
        except self._failures as error:
            if isinstance(error, self._not_found) and _tag("Code", str(error)) in _NO_OBJECT:
                return None
            raise self._unavailable(error) from None
        return self._pieces(found)

    def _pieces(self, found: Any) -> Iterator[bytes]:
        try:
            for piece in found:
                yield bytes(piece)
        except self._failures as error:
            raise self._unavailable(error) from None

    def put(self, path: str, data: bytes) -> None:
        """Upload the object, in parts where it is large."""
        try:
            self._obstore.put(self._store, self._path(path), data)
        except self._failures as error:
            raise self._unavailable(error) from None

    def names(self, path: str) -> tuple[list[str], list[str]]:
        """List the prefix."""
        try:
            found = self._obstore.list_with_delimiter(self._store, self._path(path))
        except self._failures as error:
            raise self._unavailable(error) from None
        folders, objects = found["common_prefixes"], (about["path"] for about in found["objects"])
        return sorted(map(_last, folders)), sorted(map(_last, objects))

    def delete(self, path: str) -> None:
        """Delete the object."""
        try:
            self._obstore.delete(self._store, self._path(path))
        except self._failures as error:
            if not (isinstance(error, self._not_found) and _tag("Code", str(error)) in _NO_OBJECT):
                raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> StorageUnavailable:
        """The library's own error is not chained: it repeats request headers and answers, keys among them."""
        lasting = isinstance(error, self._lasting) or _REFUSED.search(str(error))
        return StorageUnavailable(_said(error), transient=not lasting)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


_REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")
_NO_OBJECT = (None, "NoSuchKey", "BlobNotFound")  # other things that are not found are the bucket, or the account


def _open(url: StorageUrl, credentials: Mapping[str, str]) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    environment = {**os.environ, **credentials}
    endpoint = url.options.get("endpoint") or next((v for n in _ENDPOINTS[url.scheme] if (v := environment.get(n))), "")
    common: dict[str, Any] = {
        "client_options": {"connect_timeout": "5s", "timeout": "120s", "allow_http": endpoint.startswith("http://")},
        "retry_config": {"max_retries": 0},  # `store` retries, whatever the place
    }
    if credentials:  # by the same names as in the environment; names that the library does not know it refuses
        prefixes = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}[url.scheme]
        common["config"] = {name: value for name, value in credentials.items() if name.startswith(prefixes)}
    if url.scheme == "s3":
        common.update((name, url.options[name]) for name in ("endpoint", "region") if name in url.options)
        return S3Store(url.bucket, **common)
    if url.scheme == "gs":
        if "endpoint" in url.options:
            common["base_url"] = url.options["endpoint"]
        return GCSStore(url.bucket, **common)
    names = {"endpoint": "endpoint", "account": "account_name"}
    common.update((theirs, url.options[ours]) for ours, theirs in names.items() if ours in url.options)
    return AzureStore(url.bucket, **common)


def _said(error: Exception) -> str:
    """The cause in a line, without what the server repeats of the request."""
    text, _, source = str(error).partition("\n\nDebug source:")
    cause = _CAUSE.search(source)  # which the message itself leaves out
    text, found, body = text.partition("<?xml")
    if found:
        text += ": ".join(part for tag in ("Code", "Message") if (part := _tag(tag, body)))
    if cause is not None:
        text += f": {cause[cause.lastindex or 0]}"
    return _SECRET.sub(r"\1…", " ".join(text.split()))


def _tag(name: str, body: str) -> str | None:
    found = re.search(f"<{name}>(.*?)</{name}>", body, re.DOTALL)
    return None if found is None else found.group(1)
