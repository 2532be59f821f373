"""Derived names: the same cause gives the same name, another cause another, and all are names Kubernetes takes."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api import names

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")

labels = st.from_regex(LABEL, fullmatch=True).filter(lambda text: len(text) <= 63)
run_names = st.from_regex(LABEL, fullmatch=True).filter(lambda text: len(text) <= names.MAX_RUN_NAME)
uids = st.uuids().map(str)
instants = st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.text())
def test_any_text_becomes_a_dns_label_or_nothing(text: str) -> None:
    found = names.dns_label(text)
    assert found == "" or (LABEL.fullmatch(found) and len(found) <= 63)


@given(labels)
def test_a_dns_label_stays_as_it_is(label: str) -> None:
    assert names.dns_label(label) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [("My_flow", "my-flow"), ("etl: daily", "etl-daily"), ("__init__", "init"), ("Ärger", "rger"), ("!!", "")],
)
def test_words_become_labels_as_people_expect(text: str, label: str) -> None:
    assert names.dns_label(text) == label


@given(st.lists(st.text(), min_size=1), st.integers(1, 50))
def test_a_digest_is_lower_case_base32_of_the_length_asked_for(parts: list[str], length: int) -> None:
    assert re.fullmatch(f"[a-z2-7]{{{length}}}", names.digest(*parts, length=length))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_digests_differ_when_any_part_does(one: list[str], other: list[str]) -> None:
    """Parts are framed: ("ab", "c") is not ("a", "bc")."""
    assert (names.digest(*one, length=50) == names.digest(*other, length=50)) == (one == other)


def test_digests_do_not_change_between_versions() -> None:
    """Objects that exist are found again by them: changing these values orphans every run under way."""
    assert names.digest("a", "b") == "hsovsecfxs"
    due = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert names.scheduled_run("nightly", "uid", "morning", due) == "nightly-dhy3zekwbd"
    assert names.child_run("uid", "load", "{}", 0) == "load-66eiglcksv"


@given(labels, uids, labels, instants)
def test_a_slots_run_has_one_valid_name_in_every_time_zone(deployment: str, uid: str, slug: str, due: datetime) -> None:
    name = names.scheduled_run(deployment, uid, slug, due)
    assert LABEL.fullmatch(name)
    assert len(name) <= names.MAX_RUN_NAME
    elsewhere = due.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert names.scheduled_run(deployment, uid, slug, elsewhere) == name


@given(labels, uids, labels, instants, st.integers(1, 10**6))
def test_another_slot_schedule_or_deployment_has_another_name(
    deployment: str, uid: str, slug: str, due: datetime, microseconds: int
) -> None:
    name = names.scheduled_run(deployment, uid, slug, due)
    assert names.scheduled_run(deployment, uid, slug, due + timedelta(microseconds=microseconds)) != name
    assert names.scheduled_run(deployment, uid, f"{slug}x", due) != name
    assert names.scheduled_run(deployment, f"{uid}x", slug, due) != name


@given(labels, st.text())
def test_a_manual_run_has_a_valid_name_that_its_token_decides(deployment: str, token: str) -> None:
    name = names.manual_run(deployment, token)
    assert LABEL.fullmatch(name)
    assert len(name) <= names.MAX_RUN_NAME
    assert name == names.manual_run(deployment, token) != names.manual_run(deployment, f"{token}x")


@given(uids, st.text(), st.text(), st.integers(0, 10**6))
def test_a_child_is_found_again_by_parent_flow_parameters_and_call(
    parent: str, flow: str, parameters: str, call: int
) -> None:
    name = names.child_run(parent, flow, parameters, call)
    assert LABEL.fullmatch(name)
    assert len(name) <= names.MAX_RUN_NAME
    assert name == names.child_run(parent, flow, parameters, call)
    assert name != names.child_run(parent, flow, parameters, call + 1)


@given(labels, uids, st.integers(0, 10**6))
def test_a_worker_has_a_name_that_its_pods_host_may_have(pool: str, uid: str, number: int) -> None:
    name = names.worker(pool, uid, number)
    assert LABEL.fullmatch(name)
    assert len(name) <= 63
    assert name == names.worker(pool, uid, number)
    assert LABEL.fullmatch(names.worker_lease(name))


@given(run_names, st.integers(1, 9999))
def test_a_pod_of_a_run_has_room_for_a_jobs_suffix(run: str, attempt: int) -> None:
    assert LABEL.fullmatch(names.pod(run, attempt))
    assert len(names.pod(run, attempt) + "-abcde") <= 63


@given(run_names, uids, st.integers(1, 9999), st.integers(0, 9999))
def test_pages_events_and_revisions_have_valid_names(run: str, uid: str, attempt: int, number: int) -> None:
    page, event = names.task_page(run, uid, attempt, number), names.event(run, uid, number)
    revision = names.revision("FlowDeployment", run, uid, number)
    for name in (page, event, revision):
        assert SUBDOMAIN.fullmatch(name)
        assert len(name) <= 253
    assert page.startswith(f"{run}-")
    assert page != names.task_page(run, f"{uid}x", attempt, number)


@given(run_names, uids, st.text(), st.integers(0, 9999))
def test_an_artifact_is_found_again_by_run_scope_type_and_call(run: str, uid: str, scope: str, call: int) -> None:
    """It is named for its run, which is what the admission policy asks of it."""
    name = names.artifact(run, uid, scope, "table", str(call))
    assert LABEL.fullmatch(name)
    assert len(name) <= 63
    assert name.startswith(f"{run}-")
    assert name == names.artifact(run, uid, scope, "table", str(call))
    others = [(uid, scope, "link", call), (uid, f"{scope}x", "table", call), (uid, scope, "table", call + 1)]
    for other_uid, other_scope, type_, number in [*others, (f"{uid}x", scope, "table", call)]:
        assert names.artifact(run, other_uid, other_scope, type_, str(number)) != name


@given(labels)
def test_a_key_is_the_name_of_its_artifact(key: str) -> None:
    assert names.keyed_artifact(key) == key


@pytest.mark.parametrize("name", ["api_url", "api-url"])
def test_a_variable_is_the_same_with_dashes_and_underscores(name: str) -> None:
    assert names.variable(name) == "api-url"


@given(st.from_regex(r"[a-z]([-a-z]*[a-z])?", fullmatch=True), st.integers(1, 300))
def test_the_secret_of_a_block_has_a_valid_name_of_its_own(block: str, times: int) -> None:
    long = "-".join([block] * times)[:253].rstrip("-")
    name = names.block_secret(long)
    assert SUBDOMAIN.fullmatch(name)
    assert len(name) <= 253
    assert name != names.block_secret(f"{long}x")


@given(st.text())
def test_code_is_named_by_its_content(code: str) -> None:
    digest = names.content_digest(code)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert digest == names.content_digest(code.encode())
    assert SUBDOMAIN.fullmatch(names.code_config_map(digest))
    assert names.code_config_map(digest) != names.code_config_map(names.content_digest(f"{code}x"))


def test_an_emitted_event_is_named_by_run_and_id() -> None:
    name = names.emitted_event("etl-1", "uid", "shipped-7")
    assert name == names.emitted_event("etl-1", "uid", "shipped-7")
    assert name.startswith("etl-1.e")
    others = [names.emitted_event("etl-1", "uid", "shipped-8"), names.emitted_event("etl-1", "uid2", "shipped-7")]
    assert name not in others
    assert len(names.emitted_event("r" * 52, "uid", "i" * 64)) <= 253


def test_another_take_of_a_child_has_a_name_of_its_own() -> None:
    """It can be told which flow it is of, and each take is the same after a restart."""
    first = names.child_run("uid", "sub_flow", "{}", 0)
    takes = [first, names.another_take(first, 1), names.another_take(first, 2)]
    assert len(set(takes)) == 3
    assert all(name.startswith("sub-flow-") and len(name) == len(first) for name in takes)
    assert takes[1] == names.another_take(first, 1)
