"""What a store's URL says: which kind of place, where, and with which options. Pure.

    /data/results, file:///data/results?fsync=true     a folder, here or mounted from elsewhere
    memory://name                                      this process; gone with it
    s3://bucket/prefix?endpoint=http://minio:9000&region=eu-central-1
    gs://bucket/prefix
    az://container/prefix?account=name

Credentials never stand in a URL: URLs are shown to people, in errors, in resources and in logs.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ..errors import ConfigurationError

OPTIONS = {
    "file": ("fsync",),
    "memory": (),
    "s3": ("endpoint", "region"),
    "gs": ("endpoint",),
    "az": ("endpoint", "account"),
}


class StorageUrl:
    """A URL taken apart; `str` gives it back whole."""

    __slots__ = ("bucket", "options", "path", "scheme")

    def __init__(self, scheme: str, bucket: str, path: str, options: dict[str, str]) -> None:
        self.scheme, self.bucket, self.path, self.options = scheme, bucket, path, options

    def __str__(self) -> str:
        query = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        path = quote(self.path, safe="/~=") if self.scheme == "file" else self.path
        return f"{self.scheme}://{self.bucket}{path}{query}"

    def child(self, path: str) -> StorageUrl:
        """The URL of what lies below."""
        return StorageUrl(self.scheme, self.bucket, f"{self.path.rstrip('/')}/{path}", self.options)

    def parent(self) -> tuple[StorageUrl, str]:
        """The folder of this URL, and its last name."""
        folder, _, name = self.path.rpartition("/")
        return StorageUrl(self.scheme, self.bucket, folder, self.options), name


def parse(url: str, what: str = "result storage") -> StorageUrl:
    """The parts of a store's URL, or of a plain path. Raises ConfigurationError, which repeats no credentials."""
    if "://" not in url:
        from pathlib import Path

        return StorageUrl("file", "", str(Path(url).expanduser().absolute()), {})
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the URL of the {what} cannot be read: {error}") from None
    scheme = parts.scheme
    if scheme not in OPTIONS:
        known = ", ".join(f"{name}://" for name in OPTIONS)
        raise ConfigurationError(f"there is no {what} {scheme}://; there are {known} and plain paths")
    where = f"the {scheme}:// URL of the {what}"
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{where} has credentials in it: take them out and give them by environment "
            f"(AWS_ACCESS_KEY_ID and its like), or in a pool by the secretRef beside the URL"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options).difference(OPTIONS[scheme]))
    if unknown:
        raise ConfigurationError(
            f"{where} has no option {', '.join(unknown)}; it has {', '.join(OPTIONS[scheme]) or 'none'}"
        )
    if "@" in options.get("endpoint", "").partition("://")[2].partition("/")[0]:
        raise ConfigurationError(f"{where} has credentials in its endpoint: give them by environment")
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError(f"{where} names a host ({parts.netloc}): write file:///path with three slashes")
        return StorageUrl(scheme, "", unquote(parts.path).rstrip("/") or "/", options)
    if not parts.netloc and scheme != "memory":
        raise ConfigurationError(f"{where} names no bucket: write {scheme}://bucket/prefix")
    return StorageUrl(scheme, parts.netloc, parts.path.rstrip("/"), options)
