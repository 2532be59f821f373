"""Settings: where a value comes from, and what is said of one that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock import flow, settings, task
from penstock.cache_policies import DEFAULT, INPUTS, NO_CACHE
from penstock.cli import worker
from penstock.engine.keeping import policy_of
from penstock.errors import InvalidSettings
from penstock.kubeconfig import access
from penstock.settings import FIELDS, Settings, get_current_settings, temporary_settings
from penstock.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner, default_task_runner

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for field in FIELDS.values():
        monkeypatch.delenv(field.variable, raising=False)
    monkeypatch.delenv(settings.FILE_VARIABLE, raising=False)
    return tmp_path


def test_the_reference_page_says_what_the_fields_say() -> None:
    page = ROOT / "docs/reference/settings.md"
    assert page.read_text() == settings.table(), f"run python -m penstock.settings {page.relative_to(ROOT)}"


def test_every_setting_has_a_unit_and_a_reason() -> None:
    for field in FIELDS.values():
        assert field.unit
        assert field.reason.endswith(".")


def test_without_anything_the_defaults_hold(here: Path) -> None:
    now = Settings()
    assert {name: getattr(now, name) for name in FIELDS} == {name: field.default for name, field in FIELDS.items()}
    assert "log_level='INFO'" in repr(now)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("log_level", "debug", "DEBUG"),
        ("log_level", "15", "15"),
        ("log_prints", "1", True),
        ("log_prints", "off", False),
        ("extra_loggers", "a, b.c,", ("a", "b.c")),
        ("task_runner_max_workers", "7", 7),
        ("concurrency_limits", "db=3, tag:gpu=1,a=b=10/s", {"db": "3", "tag:gpu": "1", "a=b": "10/s"}),
        ("progress", "rich", "rich"),
        ("progress", "", "auto"),
    ],
)
def test_the_environment_gives_a_value(
    name: str, text: str, value: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Settings()
    monkeypatch.setenv(f"PENSTOCK_{name.upper()}", text)
    assert getattr(now, name) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log_prints", "maybe", "PENSTOCK_LOG_PRINTS: must be true or false, not 'maybe'"),
        ("log_level", "loud", "must be DEBUG, INFO"),
        ("task_runner_max_workers", "0", "must be a whole number of at least 1, not '0'"),
        ("task_runner_max_workers", "many", "must be a whole number of at least 1, not 'many'"),
        ("progress", "bars", "must be one of auto, rich, lines, off"),
        ("concurrency_limits", "db", "'db' is none"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_variable(
    name: str, text: str, message: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PENSTOCK_{name.upper()}", text)
    with pytest.raises(InvalidSettings, match=message):
        getattr(Settings(), name)


def test_a_file_gives_values_and_the_environment_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "penstock.toml").write_text(
        'log_prints = true\nextra_loggers = ["a"]\nlog_level = "ERROR"\n[concurrency_limits]\ndb = 3\napi = "10/s"\n'
    )
    (here / "pyproject.toml").write_text("[tool.penstock]\nlog_prints = false\n")
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "WARNING")
    now = Settings()
    assert (now.log_prints, now.extra_loggers, now.log_level) == (True, ("a",), "WARNING")
    assert now.concurrency_limits == {"db": "3", "api": "10/s"}
    assert now.progress == "auto"


def test_a_project_file_has_a_table_of_ours(here: Path) -> None:
    (here / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.penstock]\ntask_runner_max_workers = 4\n")
    assert Settings().task_runner_max_workers == 4


def test_another_file_is_named_by_a_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "penstock.toml").write_text("debug = false\n")
    (here / "other.toml").write_text("debug = true\n")
    monkeypatch.setenv(settings.FILE_VARIABLE, "other.toml")
    assert Settings().debug is True
    monkeypatch.setenv(settings.FILE_VARIABLE, "none.toml")
    with pytest.raises(InvalidSettings, match=r"PENSTOCK_SETTINGS_FILE: none\.toml cannot be read"):
        _ = Settings().debug


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log_print = true\n", r"penstock\.toml has no setting log_print; there are .*log_prints"),
        ("log_prints = \n", r"penstock\.toml is no TOML"),
        ("log_prints = 'x'\n", r"log_prints in penstock\.toml: must be true or false"),
    ],
)
def test_a_bad_file_is_refused_by_its_name(text: str, message: str, here: Path) -> None:
    (here / "penstock.toml").write_text(text)
    with pytest.raises(InvalidSettings, match=message):
        _ = Settings().log_prints


@pytest.mark.parametrize("file", ["penstock.toml", "pyproject.toml"])
def test_where_credentials_are_sent_is_no_matter_of_the_working_directory(
    file: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project that was cloned from strangers would have the token of whoever lists runs in it."""
    table = "[tool.penstock]\n" if file == "pyproject.toml" else ""
    (here / file).write_text(f'{table}api_server = "https://elsewhere.example"\n')
    with pytest.raises(
        InvalidSettings, match=rf"{file}: api_server is taken from no .*set PENSTOCK_API_SERVER, or name"
    ):
        _ = Settings().log_prints
    (here / "mine.toml").write_text('api_server = "https://mine.example"\n')
    monkeypatch.setenv(settings.FILE_VARIABLE, "mine.toml")
    assert Settings().api_server == "https://mine.example"


def test_temporary_settings_hold_inside_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LOG_PRINTS", "0")
    with temporary_settings(log_prints=True), temporary_settings({"task_runner_max_workers": "3"}) as now:
        assert (now.log_prints, now.task_runner_max_workers) == (True, 3)
    assert get_current_settings().log_prints is False
    with pytest.raises(InvalidSettings, match="there is no setting nothing"), temporary_settings(nothing=1):
        pass
    with pytest.raises(InvalidSettings, match="log_prints: must be"), temporary_settings(log_prints="x"):
        pass


class TestControlPoints:
    """Each setting that decides how flows run or where they go takes effect."""

    @pytest.fixture(autouse=True)
    def _here(self, here: Path) -> None:
        """Nothing else is set."""

    @pytest.fixture
    def two_contexts(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A kubeconfig with the contexts a (current) and b."""
        named = [{"name": each, "cluster": {"server": f"https://{each}.example"}} for each in "ab"]
        contexts = [{"name": each, "context": {"cluster": each, "user": "u", "namespace": each}} for each in "ab"]
        held = {"clusters": named, "users": [{"name": "u", "user": {}}], "contexts": contexts, "current-context": "a"}
        (here / "kubeconfig").write_text(json.dumps(held))
        monkeypatch.setenv("KUBECONFIG", str(here / "kubeconfig"))

    def test_the_context_and_an_option_that_wins(self, two_contexts: None) -> None:
        assert access().server == "https://a.example"
        with temporary_settings(context="b"):
            assert (access().server, access().namespace) == ("https://b.example", "b")
            assert access(context="a").server == "https://a.example"

    def test_the_address_of_the_api_server(self, two_contexts: None) -> None:
        with temporary_settings(api_server="https://10.0.0.1:6443/"):
            assert access().server == "https://10.0.0.1:6443"
        with pytest.raises(InvalidSettings, match="must be a URL such as https"), temporary_settings(api_server="here"):
            pass

    def test_the_namespace(self, two_contexts: None) -> None:
        with temporary_settings(namespace="team"):
            assert access().namespace == "team"

    def test_retries_of_tasks_and_their_delay(self) -> None:
        calls = []

        with temporary_settings(tasks_default_retries=2, tasks_default_retry_delay_seconds=0.01):

            @task
            def fails() -> None:
                calls.append(1)
                raise ValueError

            @task(retries=0)
            def says_so() -> None: ...

        assert (fails.retries, fails.retry_delay_seconds, says_so.retries) == (2, 0.01, 0)

        @flow
        def main() -> Any:
            return fails(return_state=True)

        main(return_state=True)
        assert len(calls) == 3

    def test_retries_of_flows_and_their_delay(self) -> None:
        calls = []

        with temporary_settings(flows_default_retries=1, flows_default_retry_delay_seconds=0.01):

            @flow
            def fails() -> None:
                calls.append(1)
                raise ValueError

        assert fails.with_options(name="other").retries == 1
        fails(return_state=True)
        assert len(calls) == 2

    def test_the_task_runner_of_flows_that_name_none(self) -> None:
        assert type(default_task_runner()) is ThreadPoolTaskRunner
        with temporary_settings(task_runner="processes"):
            assert type(default_task_runner()) is ProcessPoolTaskRunner

    @pytest.mark.parametrize("name", ["tasks_default_no_cache", "tasks_disable_caching"])
    def test_the_cache_policy(self, name: str) -> None:
        @task
        def plain() -> None: ...

        @task(cache_policy=INPUTS)
        def says_so() -> None: ...

        assert (policy_of(plain), policy_of(says_so)) == (DEFAULT, INPUTS)
        with temporary_settings({name: True}):
            wanted = INPUTS if name == "tasks_default_no_cache" else NO_CACHE
            assert (policy_of(plain), policy_of(says_so)) == (NO_CACHE, wanted)

    def test_the_slots_of_a_worker(self) -> None:
        start = worker.command.commands["start"]
        with temporary_settings(worker_slots=3):
            for words, slots in (([], 3), (["--slots", "2"], 2)):
                assert start.make_context("start", ["--pool", "p", *words]).params["slots"] == slots

    def test_the_infrastructure_of_deployments(self) -> None:
        deployment = flow_in_a_file.to_deployment()
        assert deployment.manifests()[1]["spec"] == {"flowRef": {"name": "flow-in-a-file"}}
        with temporary_settings(deploy_work_pool="gpu", deploy_image="registry/i:1"):
            spec = deployment.manifests()[1]["spec"]
            assert (spec["workPool"], spec["pod"]) == ("gpu", {"image": "registry/i:1"})
            named = flow_in_a_file.to_deployment(work_pool_name="own", image="i:2").manifests()[1]["spec"]
            assert (named["workPool"], named["pod"]) == ("own", {"image": "i:2"})


@flow
def flow_in_a_file() -> None: ...
