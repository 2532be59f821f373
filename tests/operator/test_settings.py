"""Settings of the operator: from the environment, and a wrong one names its variable and what it takes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from penstock_operator import settings
from penstock_operator.settings import InvalidSetting, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings.read({}) == Settings()


def test_each_setting_is_read_from_its_variable_as_its_type() -> None:
    given = {
        "PENSTOCK_OPERATOR_NAMESPACES": "a, b,,c",
        "PENSTOCK_OPERATOR_IMAGE": "registry.example/penstock:2",
        "PENSTOCK_OPERATOR_IMAGE_PULL_POLICY": "Always",
        "PENSTOCK_OPERATOR_SERVICE_ACCOUNT": "runs",
        "PENSTOCK_OPERATOR_WORKERS": "4",
        "PENSTOCK_OPERATOR_LEASE": "penstock-system/penstock-operator",
        "PENSTOCK_OPERATOR_RETENTION_MAX_RUNS": "50",
        "PENSTOCK_OPERATOR_RETENTION_MAX_DAYS": "0",
        "PENSTOCK_OPERATOR_ARCHIVE": "s3://bucket/runs",
        "PENSTOCK_OPERATOR_LATE_AFTER_SECONDS": "60",
        "PENSTOCK_OPERATOR_LOG_ARCHIVES": "s3://bucket/runs, s3://bucket/logs",
        "PENSTOCK_OPERATOR_LOG_LEVEL": "DEBUG",
        "PENSTOCK_OPERATOR_LOG_FORMAT": "plain",
        "PENSTOCK_OPERATOR_PROBE_PORT": "0",
        "PENSTOCK_OPERATOR_METRICS_PORT": "9000",
    }
    assert {f"PENSTOCK_OPERATOR_{field.name.upper()}" for field in fields(Settings)} == set(given)
    assert settings.read(given) == Settings(
        namespaces=("a", "b", "c"),
        image="registry.example/penstock:2",
        image_pull_policy="Always",
        service_account="runs",
        workers=4,
        lease="penstock-system/penstock-operator",
        retention_max_runs=50,
        retention_max_days=0,
        archive="s3://bucket/runs",
        late_after_seconds=60,
        log_archives=("s3://bucket/runs", "s3://bucket/logs"),
        log_level="DEBUG",
        log_format="plain",
        probe_port=0,
        metrics_port=9000,
    )


def test_an_empty_variable_means_the_default() -> None:
    """A chart writes the variable whether or not there is a value."""
    assert settings.read({"PENSTOCK_OPERATOR_NAMESPACES": "", "PENSTOCK_OPERATOR_WORKERS": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("PENSTOCK_OPERATOR_WORKERS", "many", "a whole number"),
        ("PENSTOCK_OPERATOR_WORKERS", "-1", "a whole number"),
        ("PENSTOCK_OPERATOR_WORKERS", "²", "a whole number"),
        ("PENSTOCK_OPERATOR_WORKERS", "0", "at least 1"),
        ("PENSTOCK_OPERATOR_RETENTION_MAX_RUNS", "1000001", "at most 1000000"),
        ("PENSTOCK_OPERATOR_PROBE_PORT", "70000", "at most 65535"),
        ("PENSTOCK_OPERATOR_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
        ("PENSTOCK_OPERATOR_LOG_FORMAT", "xml", "json, plain"),
        ("PENSTOCK_OPERATOR_IMAGE_PULL_POLICY", "Sometimes", "Always, IfNotPresent, Never"),
        ("PENSTOCK_OPERATOR_LEASE", "penstock-operator", "namespace/name"),
        ("PENSTOCK_OPERATOR_LEASE", "a/b/c", "namespace/name"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_it_takes(variable: str, value: str, wanted: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        settings.read({variable: value})
    assert variable in str(raised.value)
    assert repr(value) in str(raised.value)
    assert wanted in str(raised.value)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [("ftp://somewhere", "there is no archive ftp://"), ("s3://key:hush@bucket", "has credentials in it")],
)
def test_an_archive_that_cannot_be_is_told_without_its_credentials(url: str, wanted: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        settings.read({"PENSTOCK_OPERATOR_ARCHIVE": url})
    assert str(raised.value).startswith("PENSTOCK_OPERATOR_ARCHIVE: ")
    assert wanted in str(raised.value)
    assert "hush" not in str(raised.value)
