"""Every setting of the SDK: one object, each field with its unit, its default and its reason.

A value comes from the environment (`PENSTOCK_LOG_LEVEL`), else from a file (`log_level` in `penstock.toml`, or under
`[tool.penstock]` in `pyproject.toml`), else it is the default here. The environment is looked at whenever a value is
read, a file once. Read by the rest of the SDK; what the operator tells a pod about its run is no setting.

`docs/reference/settings.md` is written from this module: `python -m penstock.settings docs/reference/settings.md`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Setting", "Settings", "get_current_settings", "temporary_settings"]

T = TypeVar("T")
PREFIX = "PENSTOCK_"
FILE_VARIABLE = "PENSTOCK_SETTINGS_FILE"


class Setting(Generic[T]):
    """One field. `parse` makes the value of what a file or the environment holds, or raises ValueError."""

    name: str
    variable: str

    def __init__(
        self,
        default: T,
        parse: Callable[[Any], T],
        *,
        unit: str,
        reason: str,
        of_default: str = "",
        found: bool = True,
    ) -> None:
        self.default, self.parse, self.unit, self.reason = default, parse, unit, reason
        self.of_default = of_default  # why the default is what it is
        self.found = found  # whether a file counts that lies in the working directory, and so may be a stranger's

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.variable = name, PREFIX + name.upper()

    def __get__(self, instance: Settings, owner: type) -> T:
        if self.name in instance.overrides:
            return instance.overrides[self.name]  # type: ignore[no-any-return]
        text = os.environ.get(self.variable)
        if text is not None and text != "":
            return self.checked(text, self.variable)
        held = instance.of_file()
        if self.name in held:
            return self.checked(held[self.name], f"{self.name} in {instance.path}")
        return self.default

    def checked(self, value: Any, where: str) -> T:
        """The value, or `InvalidSettings` that names the place."""
        try:
            return self.parse(value)
        except (ValueError, TypeError) as error:
            raise InvalidSettings(f"{where}: {error}") from None


def _text(value: Any) -> str:
    return str(value)


def _flag(value: Any) -> bool:
    word = str(value).lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, not {value!r}")


def _at_least(least: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        try:
            number = int(value)
        except (ValueError, TypeError):
            number = least - 1
        if number < least:
            raise ValueError(f"must be a whole number of at least {least}, not {value!r}")
        return number

    return parse


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"must be a finite number of seconds of at least 0, not {value!r}")
    return number


def _server(value: Any) -> str:
    text = str(value).rstrip("/")
    if not text.startswith(("https://", "http://")):
        raise ValueError(f"must be a URL such as https://10.0.0.1:6443, not {value!r}")
    return text


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {value!r}")
        return str(value)

    return parse


def _level(value: Any) -> str:
    word = str(value).upper()
    if word not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") and not word.isdigit():
        raise ValueError(f"must be DEBUG, INFO, WARNING, ERROR, CRITICAL or a number, not {value!r}")
    return word


def _list(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(text for part in parts if (text := str(part).strip()))


def _pairs(value: Any) -> dict[str, str]:
    """`a=1,b=2`, or a table of a file."""
    if not isinstance(value, str):
        return {str(name): str(item) for name, item in dict(value).items()}
    pairs = {}
    for part in _list(value):
        name, sign, item = part.rpartition("=")
        if not sign or not name.strip():
            raise ValueError(f"must be name=value pairs with commas between, and {part!r} is none")
        pairs[name.strip()] = item.strip()
    return pairs


class Settings:
    """The settings as they are now."""

    log_level = Setting(
        "INFO",
        _level,
        unit="level",
        reason="The least level that Penstock's loggers, and those of `extra_loggers`, write.",
    )
    log_format = Setting(
        "text",
        _one_of("text", "json"),
        unit="text, json",
        reason="Lines for people on stderr, or a JSON object a line on stdout.",
        of_default="The runner in a pod chooses json, so that `penstock logs` knows the task of each line.",
    )
    log_prints = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether `print` in flows and tasks becomes a log record, where neither they nor what calls them say.",
    )
    extra_loggers: Setting[tuple[str, ...]] = Setting(
        (),
        _list,
        unit="names",
        reason="Loggers of other libraries whose records are written like a run's, with the run they come from.",
    )
    progress = Setting(
        "auto",
        _one_of("auto", "rich", "lines", "off"),
        unit="auto, rich, lines, off",
        reason="How a run on this machine is shown.",
        of_default="auto: rich on a terminal, lines elsewhere.",
    )
    context: Setting[str | None] = Setting(
        None,
        _text,
        unit="name",
        reason="The context of the kubeconfig, where no option names one.",
        of_default="Unset: the kubeconfig's current context.",
    )
    namespace: Setting[str | None] = Setting(
        None,
        _text,
        unit="name",
        reason="The namespace, where no option names one.",
        of_default="Unset: that of the context. In a pod the operator sets that of the run.",
    )
    api_server: Setting[str | None] = Setting(
        None,
        _server,
        unit="URL",
        reason="Address of the API server, in place of that of the context, whose credentials are used; "
        "not in a file of the working directory, for it says where these are sent.",
        of_default="Unset: the context's.",
        found=False,
    )
    deploy_work_pool: Setting[str | None] = Setting(
        None,
        _text,
        unit="name",
        reason="The infrastructure: the WorkPool of deployments that name none, when they are deployed.",
        of_default="Unset: the pool `default`.",
    )
    deploy_image: Setting[str | None] = Setting(
        None,
        _text,
        unit="image",
        reason="The image of deployments that name none, when they are deployed.",
        of_default="Unset: that of the pool.",
    )
    task_runner = Setting(
        "threads",
        _one_of("threads", "processes"),
        unit="threads, processes",
        reason="Where tasks of flows that name no task runner execute.",
    )
    task_runner_max_workers = Setting(
        512,
        _at_least(1),
        unit="tasks",
        reason="How many tasks a ThreadPoolTaskRunner without `max_workers` executes at a time.",
        of_default="Threads start only as far as tasks block, so that a high bound costs nothing.",
    )
    worker_slots = Setting(
        1,
        _at_least(1),
        unit="runs",
        reason="How many runs `penstock worker start` executes at a time, where `--slots` does not say.",
    )
    tasks_default_retries = Setting(
        0,
        _at_least(0),
        unit="retries",
        reason="How often a task that does not say `retries` is tried again.",
        of_default="Read when the task is declared; so are the three below.",
    )
    tasks_default_retry_delay_seconds: Setting[float] = Setting(
        0.0,
        _seconds,
        unit="seconds",
        reason="How long before each of them, where the task does not say.",
    )
    flows_default_retries = Setting(
        0,
        _at_least(0),
        unit="retries",
        reason="How often a flow that does not say `retries` is tried again.",
    )
    flows_default_retry_delay_seconds: Setting[float] = Setting(
        0.0,
        _seconds,
        unit="seconds",
        reason="How long before each of them, where the flow does not say.",
    )
    tasks_default_no_cache = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether tasks that name no cache policy have none.",
        of_default="false: they have the policy `DEFAULT`, as far as their results are kept.",
    )
    tasks_disable_caching = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether no task reads or writes a cache, whatever its policy.",
    )
    concurrency_limits: Setting[dict[str, str]] = Setting(
        {},
        _pairs,
        unit="name=slots",
        reason="Limits for `concurrency`, `rate_limit` and task tags: `db=3,api=10/s,tag:gpu=1`.",
        of_default="None: what has no limit is not limited.",
    )
    home = Setting(
        "~/.penstock",
        _text,
        unit="folder",
        reason="Where artifacts, variables, blocks and results of runs on this machine are kept.",
    )
    api = Setting(
        "local",
        _one_of("local", "cluster"),
        unit="local, cluster",
        reason="Where artifacts, variables and blocks outside of pods are: in `home`, or in the kubeconfig's cluster.",
    )
    results_storage: Setting[str | None] = Setting(
        None,
        _text,
        unit="URL or folder",
        reason="The result store where neither task nor flow names one.",
        of_default="`results` in `home`. In a pod the operator sets that of the flow, or of its pool.",
    )
    results_default_serializer = Setting(
        "pickle",
        _text,
        unit="serializer",
        reason="How results become bytes where nobody says: pickle, json, compressed/pickle, compressed/json.",
    )
    results_persist_by_default = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether results are kept where neither task nor flow says.",
    )
    code_storage: Setting[str | None] = Setting(
        None,
        _text,
        unit="URL",
        reason="Where bundles go that are larger than 160 KiB, such as `s3://bucket/bundles`.",
        of_default="Unset: they are refused.",
    )
    code_cache: Setting[str | None] = Setting(
        None,
        _text,
        unit="folder",
        reason="Where fetched code and installed requirements are kept, by content.",
        of_default="In the folder of temporary files; on a volume that pods share, each is fetched and installed once.",
    )
    tasks_refresh_cache = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether every task runs whatever its cache holds, and writes anew.",
    )
    events_queue_size = Setting(
        1000,
        _at_least(1),
        unit="events",
        reason="How many emitted events wait to be sent, and how many are kept on this machine.",
        of_default="A second of the API server's time; more are dropped, counted and told of.",
    )
    background_pool = Setting(
        "background-tasks",
        _text,
        unit="name",
        reason="The work pool in which `task.delay` has its task run, and whose worker `task.serve` is.",
    )
    archive: Setting[str | None] = Setting(
        None,
        _text,
        unit="URL",
        reason="The operator's archive, where `penstock runs --archived`, `show --archived` and `logs` read.",
        of_default="Credentials come from the environment, as each provider's own tools take them.",
    )
    ui_url: Setting[str | None] = Setting(
        None,
        _text,
        unit="URL",
        reason="Where the web interface is, for `runtime.flow_run.ui_url`.",
        of_default="Unset: there is no address to give.",
    )
    debug = Setting(
        False,
        _flag,
        unit="true, false",
        reason="Whether the command line shows the traceback of an error, instead of its message.",
    )

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self.overrides: dict[str, Any] = dict(overrides or {})
        self.path = ""
        self._held: dict[str, Any] | None = None

    def of_file(self) -> Mapping[str, Any]:
        """What the settings file holds, read once."""
        if self._held is None:
            self.path, self._held = _read_file()
        return self._held

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in FIELDS)})"


FIELDS: dict[str, Setting[Any]] = {name: value for name, value in vars(Settings).items() if isinstance(value, Setting)}


def _read_file() -> tuple[str, dict[str, Any]]:
    """The file's path and the settings in it: the one that is named, else `penstock.toml`, else `pyproject.toml`."""
    named = os.environ.get(FILE_VARIABLE)
    for path, section in ((named, ()),) if named else (("penstock.toml", ()), ("pyproject.toml", ("tool", "penstock"))):
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
                data = file.read()
        except OSError as error:
            if named:
                raise InvalidSettings(f"{FILE_VARIABLE}: {path} cannot be read: {error.strerror}") from None
            continue
        if section and b"tool.penstock" not in data:  # tomllib takes longer to import than the whole SDK
            continue
        held = _settings_in(data, path, section)
        for name in () if named else (name for name in held if not FIELDS[name].found):
            raise InvalidSettings(
                f"{path}: {name} is taken from no file that only lies in the working directory, for your credentials "
                f"go there: take it out, and set {FIELDS[name].variable}, or name a file of yours in {FILE_VARIABLE}"
            )
        return path, held
    return "", {}


def _settings_in(data: bytes, path: str, section: tuple[str, ...]) -> dict[str, Any]:
    import tomllib

    try:
        held: Any = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} is no TOML: {error}") from None
    for part in section:
        held = held.get(part) or {}
    unknown = sorted(set(held).difference(FIELDS))
    if unknown:
        raise InvalidSettings(f"{path} has no setting {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    return dict(held)


_current = Settings()


def get_current_settings() -> Settings:
    """The settings that hold now."""
    return _current


@contextmanager
def temporary_settings(updates: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[Settings]:
    """Other values inside of the block, for the whole process: for tests. `temporary_settings(log_prints=True)`."""
    changes = {**(updates or {}), **more}
    unknown = sorted(set(changes).difference(FIELDS))
    if unknown:
        raise InvalidSettings(f"there is no setting {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    before = _current.overrides
    checked = {name: FIELDS[name].checked(value, name) for name, value in changes.items()}
    _current.overrides = {**before, **checked}
    try:
        yield _current
    finally:
        _current.overrides = before


def table() -> str:
    """The reference page, as Markdown."""
    lines = [
        "# Settings of the SDK",
        "",
        "<!-- Generated from sdk/penstock/settings.py. Do not edit. -->",
        "",
        "A setting is an environment variable, or a line of `penstock.toml` in the working directory, or of the",
        f"`[tool.penstock]` table of its `pyproject.toml`; `{FILE_VARIABLE}` names another file. The environment wins.",
        "A value that cannot be is refused, with the place it stands in; so is a name in a file that is no setting.",
        "",
        "In a pod they are set by `spec.pod.env` of a deployment or a run, or in the template of the pool; those of a",
        "run win over those of its deployment, these over what flow and pool say of results. The variables that the",
        "operator itself sets are refused there by name, `PENSTOCK_API` among them.",
        "",
        "| setting | variable | unit | default | what for |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in FIELDS.values():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = "" if field.default in (None, (), {}) else f"`{default}`"
        why = f"{field.reason} {field.of_default}".strip()
        lines.append(f"| `{field.name}` | `{field.variable}` | {field.unit} | {shown} | {why} |")
    lines += [
        "",
        "```toml",
        "# penstock.toml",
        "log_prints = true",
        'extra_loggers = ["sqlalchemy.engine"]',
        "",
        "[concurrency_limits]",
        "db = 3",
        'api = "10/s"',
        "```",
        "",
        "In Python: `penstock.settings.get_current_settings().log_prints`; in a test,",
        "`with penstock.settings.temporary_settings(log_prints=True):`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    with open(sys.argv[1], "w") as file:  # noqa: PTH123
        file.write(table())
