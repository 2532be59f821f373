"""URLs of stores: what they mean, and what is refused without repeating a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.results.urls import parse


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("file:///data/results", ("file", "", "/data/results", {})),
        ("file:///my%20data/?fsync=true", ("file", "", "/my data", {"fsync": "true"})),
        ("memory://tests", ("memory", "tests", "", {})),
        ("s3://bucket", ("s3", "bucket", "", {})),
        (
            "s3://bucket/a/b/?endpoint=http://minio:9000&region=eu",
            ("s3", "bucket", "/a/b", {"endpoint": "http://minio:9000", "region": "eu"}),
        ),
        ("gs://bucket/a", ("gs", "bucket", "/a", {})),
        ("az://container/a?account=me", ("az", "container", "/a", {"account": "me"})),
    ],
)
def test_what_a_url_means(url: str, parts: tuple[object, ...]) -> None:
    found = parse(url)
    assert (found.scheme, found.bucket, found.path, found.options) == parts
    again = parse(str(found))
    assert str(again) == str(found)


def test_plain_paths_are_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(parse("results")) == f"file://{tmp_path}/results"
    assert str(parse("~/results")) == "file:///home/me/results"


def test_a_child_keeps_the_options_and_leads_back() -> None:
    url = parse("s3://bucket/a?endpoint=http://here")
    assert str(url.child("k/1")) == "s3://bucket/a/k/1?endpoint=http://here"
    folder, name = url.child("k/1").parent()
    assert (str(folder), name) == ("s3://bucket/a/k?endpoint=http://here", "1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x/y", "no result storage ftp://"),
        ("s3://key:hunter2@bucket/a", "credentials"),
        ("s3://bucket?endpoint=http://key:hunter2@minio", "credentials"),
        ("s3://bucket?secret=hunter2", "no option secret; it has endpoint, region"),
        ("s3:///a", "names no bucket"),
        ("file://host/a", "three slashes"),
        ("s3://[bucket/a", "cannot be read"),
        ("memory://a?fsync=true", "no option fsync; it has none"),
    ],
)
def test_what_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
