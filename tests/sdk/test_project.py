"""What penstock.yaml may say, and how what is wrong is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.project import BadProject, fields_of, manifests_of, parse, read

WHOLE = """
name: shop
x-nightly: &nightly
  slug: nightly
  cron: "0 2 * * *"
  timezone: Europe/Oslo
pools:
  - name: gpu
    type: Pod
    concurrencyLimit: 4
queues:
  - name: fast
    workPool: gpu
    priority: 1
deployments:
  - entrypoint: flows/etl.py:etl
    name: etl-nightly
    workPool: gpu
    parameters: {parts: 3}
    tags: [nightly]
    schedules:
      - *nightly
      - {slug: hourly, interval: 3600, suspend: true}
      - {slug: monthly, rrule: "FREQ=MONTHLY"}
    concurrency: {limit: 1, policy: Forbid}
    pod: {env: [{name: A, value: b}]}
  - entrypoint: report.py
    image: registry/report:1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "penstock.yaml"
    path.write_text(WHOLE)
    return path


def test_pools_and_queues_become_manifests(file: Path) -> None:
    pool, queue = manifests_of(read(file).project)
    assert (pool["kind"], pool["metadata"], pool["spec"]) == (
        "WorkPool",
        {"name": "gpu"},
        {"type": "Pod", "concurrencyLimit": 4},
    )
    assert queue["spec"] == {"workPoolRef": {"name": "gpu"}, "priority": 1}


def test_a_deployment_says_what_its_resource_does(file: Path) -> None:
    first, second = read(file).project.deployments
    assert fields_of(first) == {
        "workPool": "gpu",
        "parameters": {"parts": 3},
        "tags": ["nightly"],
        "schedules": [
            {"slug": "nightly", "cron": {"expression": "0 2 * * *"}, "timezone": "Europe/Oslo"},
            {"slug": "hourly", "interval": {"seconds": 3600}, "suspend": True},
            {"slug": "monthly", "rrule": {"rule": "FREQ=MONTHLY"}},
        ],
        "concurrency": {"limit": 1, "policy": "Forbid"},
        "pod": {"env": [{"name": "A", "value": "b"}]},
    }
    assert fields_of(second) == {}


def test_files_are_those_beside_it(file: Path) -> None:
    found = read(file)
    assert found.target(found.project.deployments[0]) == f"{file.parent}/flows/etl.py:etl"
    assert found.target(found.project.deployments[1]) == f"{file.parent}/report.py"


class TestChosen:
    """Which deployments are meant."""

    def test_by_name_or_by_that_of_the_flow(self, file: Path) -> None:
        assert [each.entrypoint for each in read(file).chosen(("report",), False)] == ["report.py"]

    def test_all(self, file: Path) -> None:
        assert len(read(file).chosen((), True)) == 2

    def test_several_need_a_choice(self, file: Path) -> None:
        with pytest.raises(
            BadProject, match=r"several deployments \(etl-nightly, report\): give --all, or --name NAME"
        ):
            read(file).chosen((), False)

    def test_one_needs_none(self) -> None:
        one = parse({"deployments": [{"entrypoint": "a.py"}]}, "p")
        assert len(read_of(one).chosen((), False)) == 1

    def test_a_name_that_is_not_there(self, file: Path) -> None:
        with pytest.raises(BadProject, match="it has no deployment elt; it has etl-nightly, report"):
            read(file).chosen(("elt",), False)

    def test_the_name_that_the_code_gives_is_one_too_and_both_are_said(self) -> None:
        two = read_of(parse({"deployments": [{"entrypoint": "a.py:load_all"}, {"entrypoint": "b.py:x"}]}, "p"))
        names = {"a.py:load_all": "load-all", "b.py:x": "x"}

        def final(each: Any) -> str:
            return names[each.entrypoint]

        assert [each.entrypoint for each in two.chosen(("load-all",), False, final)] == ["a.py:load_all"]
        assert [each.entrypoint for each in two.chosen(("load_all",), False, final)] == ["a.py:load_all"]
        with pytest.raises(BadProject, match=r"no deployment load; it has load_all \(load-all\), x$"):
            two.chosen(("load",), False, final)

    def test_the_code_is_not_asked_for_names_that_the_file_holds(self, file: Path) -> None:
        def final(each: Any) -> str:
            raise AssertionError(each)

        assert len(read(file).chosen(("report",), False, final)) == 1

    def test_none_at_all(self) -> None:
        with pytest.raises(BadProject, match="add one under `deployments`"):
            read_of(parse({}, "p")).chosen((), True)


def read_of(project: Any) -> Any:
    from penstock.project import Read

    return Read(Path("penstock.yaml"), project)


def deployment(**fields: Any) -> dict[str, Any]:
    return {"deployments": [{"entrypoint": "a.py:a", **fields}]}


# What a file holds, and what is said of it.
WRONG: dict[str, tuple[Any, str]] = {
    "no mapping": (["a"], "f.yaml: it is a mapping with `deployments`, such as `penstock init` writes"),
    "a misspelt key": ({"deployment": []}, "f.yaml: deployment: there is no such field; did you mean deployments?"),
    "a misspelt field": (
        deployment(workPol="a"),
        "deployments[0].workPol: there is no such field; did you mean workPool?",
    ),
    "deep inside": (
        deployment(schedules=[{"slug": "a", "cron": "@daily", "timezon": "UTC"}]),
        "deployments[0].schedules[0].timezon: there is no such field; did you mean timezone?",
    ),
    "of a struct": (
        deployment(concurrency={"limit": 1, "polcy": "Queue"}),
        "deployments[0].concurrency.polcy: there is no such field; did you mean policy?",
    ),
    "the flow's reference": (deployment(flowRef={"name": "a"}), "deployments[0].flowRef: there is no such field"),
    "another type": (deployment(priority="high"), "deployments[0].priority: Input should be a valid integer"),
    "out of bounds": (deployment(priority=0), "deployments[0].priority: Input should be greater than or equal to 1"),
    "no entrypoint": ({"deployments": [{}]}, "deployments[0].entrypoint: Field required"),
    "no file": (deployment(entrypoint="module:flow"), "deployments[0].entrypoint: String should match pattern"),
    "one name twice": (
        {"deployments": [{"entrypoint": "a.py:x"}, {"entrypoint": "b.py", "name": "x"}]},
        "deployments: two are named x: give one of them another name",
    ),
    "one slug twice": (
        deployment(schedules=[{"slug": "a", "interval": 1}, {"slug": "a", "cron": "@daily"}]),
        "deployments[0].schedules: two have the slug a: give one of them another",
    ),
    "a list that is none": ({"deployments": {"a": 1}}, "deployments: Input should be a valid list"),
    "a bundle where one is that is there already": (
        deployment(code={"bundle": {}}),
        "deployments[0].code.bundle: one that is made here is `bundle: true`, without `code`",
    ),
    "likewise": (deployment(code={"bundle": True}), "deployments[0].code.bundle: one that is made here is"),
    "code in two ways": (
        deployment(bundle=True, fromImage=True),
        "deployments[0]: fromImage and bundle: code reaches a run in one way; leave all but one out",
    ),
    "a schedule that is none": (deployment(schedules=["daily"]), "deployments[0].schedules[0]: Input should be"),
}


@pytest.mark.parametrize(("held", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_by_its_path(held: Any, said: str) -> None:
    with pytest.raises(BadProject) as error:
        parse(held, "f.yaml")
    assert str(error.value).startswith("f.yaml: ")
    assert said in str(error.value)


def test_of_many_faults_the_first_are_told() -> None:
    with pytest.raises(BadProject, match=r"; and 12 more$"):
        parse({"deployments": [{"entrypoint": 1}] * 20}, "f.yaml")


def test_a_file_that_is_not_there_has_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadProject, match="write one with `penstock init`"):
        read(tmp_path / "penstock.yaml")


def test_a_file_that_is_no_yaml_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: 1\nb: [\n")
    with pytest.raises(BadProject, match=r"f\.yaml, line 3: it is no YAML"):
        read(tmp_path / "f.yaml")


def test_yaml_makes_no_python_objects(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("deployments: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BadProject, match="it is no YAML"):
        read(tmp_path / "f.yaml")
