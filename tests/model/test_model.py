"""Whatever is lost, repeated, reordered or killed: the laws of a run hold at each step, and every run comes to its end.

The operators are the real controllers and reconcilers, the runners write by their real protocol; the API server has the
real semantics of the patches. Played are Kubernetes around them, users, and misfortune. `PENSTOCK_MODEL_STEPS` sets how
many steps are taken; a failure prints them, and what to add to have them again.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.api.states import StateType
from penstock_operator.core.views import RunView
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, PostedEvents

from .laws import Laws
from .operators import KINDS, WORKERS, Fault, Operator, Unexpected
from .runners import Runner, nothing
from .warm import WarmWorker
from .world import LOST, UP, Process, World

Json = dict[str, Any]
S = StateType

STEPS = int(os.environ.get("PENSTOCK_MODEL_STEPS", "10000"))
STEPS_IN_A_LIFE = 100
REST = 400  # rounds within which every run has settled once nothing more goes wrong

TROUBLES = (
    "cancel",
    "pods",
    "nodes",
    "image",
    "exit",
    "runs",
    "crash",
    "children",
    "pauses",
    "suspends",
    "limits",
    "workers",
)
SOME_TROUBLES = st.lists(st.sampled_from(TROUBLES), min_size=2, max_size=5, unique=True)
which = st.integers(0, 7)
operator = st.integers(0, 1)
hearing = st.sampled_from(
    [(), ("FlowRun",), ("FlowRun",), ("Pod",), ("Job", "Pod"), ("FlowRun", "Pod"), ("Node",), ("Lease",)]
)
faults = st.sampled_from([*[Fault.NONE] * 5, Fault.REQUEST_LOST, Fault.ANSWER_LOST])


class Model(RuleBasedStateMachine):
    """Two operators that both act, a world, and the runners in it."""

    settled = answers = 0
    entered: Counter[str] = Counter()
    held_at_once: Counter[int] = Counter()

    @initialize(
        pool_type=st.sampled_from(["Pod", "Pod", "Job", "Process", "Process"]),
        slots=st.integers(1, 2),
        outside=st.sampled_from([0, 0, 2]),
        lost=st.sampled_from(["Crash", "Retry"]),
        retries=st.integers(0, 2),
        backoff=st.sampled_from([0, 30]),
        active=st.sampled_from([None, None, 300]),
        rounds=st.sampled_from([0, 1, 2, 4, 4, 4]),
        deaf=st.sampled_from([(), (), ("Pod",), ("Job", "Pod"), ("FlowRun",), ("Pod", "Node")]),
        shared=st.booleans(),
        patience=st.sampled_from([None, None, 30, 600]),
        troubles=st.sampled_from([False, False, False, True]).flatmap(
            lambda deleting: st.just(["limits", "runs"]) if deleting else SOME_TROUBLES
        ),
    )
    def begin(
        self,
        pool_type: str,
        slots: int,
        outside: int,
        lost: str,
        retries: int,
        backoff: int,
        active: int | None,
        rounds: int,
        deaf: tuple[str, ...],
        troubles: list[str],
        *,
        shared: bool,
        patience: int | None,
    ) -> None:
        """What may go wrong in this life; where everything may, little gets far.

        It begins when so many rounds have gone by without trouble. `deaf`: what the second operator does not hear.
        `patience`: seconds after which pauses time out.
        """
        policy: Json = {"infraRetries": {"limit": retries, "backoffSeconds": backoff}, "pendingDeadlineSeconds": 120}
        if active:
            policy["activeDeadlineSeconds"] = active
        self.deaf, self.shared, self.patience, self.asked, self.further = deaf, shared, patience, 0, 0
        self.troubles, self.posted, self.runners = troubles, PostedEvents(), dict[str, Runner]()
        self.unexpected = Unexpected()
        logging.getLogger("penstock_operator.controller").addHandler(self.unexpected)
        self.outside = outside = outside if pool_type == "Process" else 0
        self.world = World(pool_type, policy, shared=shared, slots=slots, outside=outside, lost=lost)
        self.limited, self.leader = "limits" in troubles, 0
        if self.limited:
            self.world.bound(1)
        self.laws = Laws(self.world, self.posted, retries)
        self.operators = [Operator(self.world, self.posted) for _ in range(2)]
        self.world.submit("run")
        self.world.submit("other")
        if self.limited:
            self.world.submit("third")
        for number in range(rounds):
            self.hear(0)
            self.operators[0].work()
            self.kubernetes()
            if number == 3:
                for process in list(self.world.processes.values()):
                    self.goes_on(process)

    # The operators.

    @rule(number=operator, hears=hearing, worker=st.integers(0, 1), steps=st.integers(1, 8), fault=faults)
    def an_operator_takes_some_steps(
        self, number: int, hears: tuple[str, ...], worker: int, steps: int, fault: Fault
    ) -> None:
        """It may have heard something before; it is left where it waits for an answer."""
        for kind in hears:
            self.operators[number].hear(kind)
        if not self.acts(number):
            return
        for step in range(steps):
            self.operators[number].go_on(worker, fault if step == steps - 1 else Fault.NONE)

    @rule(number=operator, hears=hearing)
    def an_operator_works_with_what_it_knows(self, number: int, hears: tuple[str, ...]) -> None:
        for kind in hears:
            self.operators[number].hear(kind)
        if self.acts(number):
            self.operators[number].work()

    @rule(number=operator)
    def an_operator_hears_all_that_it_can_and_works(self, number: int) -> None:
        self.an_operator_comes_to_rest(number)

    def an_operator_comes_to_rest(self, number: int) -> None:
        self.hear(number)
        if self.acts(number):
            self.operators[number].work()
        if not any(self.launching(operator) for operator in self.operators):
            self.laws.most = 0

    def acts(self, number: int) -> bool:
        """Of two that act, one at least does harm across objects: where limits are to hold, one leads."""
        return not self.limited or number == self.leader

    @precondition(lambda self: self.limited)
    @rule(unsent=st.booleans())
    def the_other_leads(self, unsent: bool) -> None:
        """What the one was about to send is never sent, for it has no lease: or was sent just before."""
        if not unsent:
            for worker in range(WORKERS):
                self.operators[self.leader].go_on(worker)
        self.operators[self.leader].stop()
        self.leader = 1 - self.leader
        self.nobody_knows()
        self.operators[self.leader].take_over()
        self.laws.most = 0

    def nobody_knows(self) -> None:
        """Where who leads now has never heard of a run that is deleted, and its worker's Lease does not tell yet, its
        process may overlap."""
        cache = self.operators[self.leader].controller.cache
        for process in self.world.processes.values():
            uid, worker = process.assignment.uid, process.worker
            if worker is None or uid not in self.world.deleted or f'"{uid}"' in worker.said:
                continue
            known = cache.run(Key(NAMESPACE, process.assignment.name))
            if cache.orphans.get(uid) is None and (known is None or known["metadata"]["uid"] != uid):
                process.given_up = True

    @precondition(lambda self: self.limited)
    @rule(limit=st.sampled_from([0, 1, 1, 2, None]))
    def a_user_changes_the_limit(self, limit: int | None) -> None:
        before = self.world.limit
        self.world.bound(limit)
        for each in self.operators:
            each.hear("WorkPool")
        # Who is admitted already is launched, though the limit be lowered before the launch is written.
        self.laws.most = max(self.laws.most, 99 if before is None else before)

    def hear(self, number: int) -> None:
        for kind in KINDS:
            if not (number and kind in self.deaf):
                self.operators[number].hear(kind)

    @rule(number=operator, kind=st.sampled_from(KINDS), back=st.none() | st.integers(0, 20))
    def a_watch_is_cut_or_tells_old_news(self, number: int, kind: str, back: int | None) -> None:
        if back is None:
            self.operators[number].relist(kind)
        else:
            self.operators[number].hear_again(kind, back)

    @precondition(lambda self: "crash" in self.troubles)
    @rule(number=operator)
    def an_operator_is_killed(self, number: int) -> None:
        self.operators[number].restart()

    # The runners.

    def runner(self, process: Process) -> Runner:
        return self.runners.setdefault(process.uid, Runner(self.world, process))

    @rule(number=which, fault=faults, meanwhile=st.booleans(), who=operator, ends=st.integers(0, 2))
    def a_runner_goes_on(self, number: int, fault: Fault, meanwhile: bool, who: int, ends: int) -> None:
        """It claims its run, or ends, but user code only now and then; meanwhile an operator acts."""
        found = [p for p in self.world.processes.values() if p.alive and not (p.executing and ends)]
        if found:
            self.goes_on(found[number % len(found)], fault, self.meanwhile(who) if meanwhile else nothing)

    def meanwhile(self, number: int) -> Callable[[], None]:
        """An operator acts while a runner's request is on its way."""

        def act() -> None:
            self.hear(number)
            if self.acts(number):
                self.operators[number].work(5)

        return act

    def asks(self, runner: Runner) -> None:
        """Every other pause of a life ends its process, where that may be."""
        self.asked += 1
        runner.pause(self.patience, suspends=self.shared and self.asked % 2 == 0)

    def goes_on(self, process: Process, fault: Fault = Fault.NONE, meanwhile: Callable[[], None] = nothing) -> None:
        runner = self.runner(process)
        if process.done:
            process.die(0)
        elif process.worker is not None and not process.worker.reaches:
            pass  # what it says is not heard, and it tries again
        elif runner.waits is not None:
            runner.does(runner.look, fault, meanwhile)
        elif not process.executing:
            runner.does(runner.claim, fault, meanwhile)
        elif runner.subflows:
            runner.does(runner.end_subflow, fault, meanwhile)
        elif "pauses" in self.troubles and not runner.pauses_made:
            runner.does(lambda: self.asks(runner), fault, meanwhile)
        else:
            end = S.FAILED if process.subflows % 2 else S.COMPLETED
            runner.does(lambda: runner.finish(end), fault, meanwhile)

    @rule(number=which, what=st.sampled_from(["report", "subflow", "child"]), fault=faults)
    def user_code_does_something(self, number: int, what: str, fault: Fault) -> None:
        found = [self.runner(process) for process in self.world.processes.values() if process.executing]
        found = [runner for runner in found if runner.waits is None]
        if not found:
            return
        runner = found[number % len(found)]
        if what == "report" or "children" not in self.troubles:
            runner.does(runner.progress, fault)
        elif what == "subflow" and runner.process.subflows < 3:
            runner.does(runner.begin_subflow, fault)
        elif not runner.process.assignment.name.endswith("child"):
            runner.begin_child()

    @precondition(lambda self: "pauses" in self.troubles)
    @rule(number=which, fault=faults)
    def user_code_asks_somebody(self, number: int, fault: Fault) -> None:
        found = [self.runner(process) for process in self.world.processes.values() if process.executing]
        found = [runner for runner in found if runner.waits is None and not runner.subflows]
        if found:
            runner = found[number % len(found)]
            runner.does(lambda: self.asks(runner), fault)

    @precondition(lambda self: "pauses" in self.troubles)
    @rule(number=which, fault=faults, meanwhile=st.booleans(), who=operator)
    def a_runner_that_waits_looks_for_its_answer(self, number: int, fault: Fault, meanwhile: bool, who: int) -> None:
        found = [p for p in self.world.processes.values() if p.executing and self.runner(p).waits is not None]
        if found:
            self.goes_on(found[number % len(found)], fault, self.meanwhile(who) if meanwhile else nothing)

    @precondition(lambda self: "exit" in self.troubles)
    @rule(number=which, code=st.sampled_from([0, 1, 137]))
    def a_process_dies(self, number: int, code: int) -> None:
        found = [process for process in self.world.processes.values() if process.alive]
        if found:
            found[number % len(found)].die(code)

    # Warm workers.

    @precondition(lambda self: self.world.workers)
    @rule(number=which, fresh=st.sampled_from([True, True, False]))
    def a_workers_agent_goes_on(self, number: int, fresh: bool) -> None:
        """With what it hears now, or with what it has heard before."""
        self.worker(number).goes_on(fresh=fresh)

    @precondition(lambda self: self.world.workers and "workers" in self.troubles)
    @rule(number=which, what=st.sampled_from(["agent", "executor", "cut", "cut", "back"]))
    def a_worker_fails(self, number: int, what: str) -> None:
        worker = self.worker(number)
        if what == "agent":
            worker.agent_dies()
        elif what == "executor":
            worker.executor_dies()
        elif not worker.inside:
            (worker.loses_the_network if what == "cut" else worker.has_network)()

    @precondition(lambda self: self.outside)
    @rule(number=which, who=operator, lasts=st.sampled_from([15, 30, 60, 90]))
    def a_worker_loses_the_network_for_a_while(self, number: int, who: int, lasts: int) -> None:
        """An operator acts meanwhile."""
        worker = self.worker(number)
        worker.loses_the_network()
        for _ in range(0, lasts, 5):
            self.world.pass_time(5)
            self.hear(who)
            if self.acts(who):
                self.operators[who].work()
        worker.has_network()

    def worker(self, number: int) -> WarmWorker:
        found = list(self.world.workers.values())
        return found[number % len(found)]

    # Kubernetes.

    @rule(times=st.integers(1, 2))
    def kubernetes_goes_on(self, times: int) -> None:
        for _ in range(times):
            self.kubernetes()

    @rule(number=which)
    def a_kubelet_sees_to_a_pod(self, number: int) -> None:
        pods = self.world.objects("Pod")
        if pods:
            self.world.kubelet(pods[number % len(pods)]["metadata"]["name"])

    @rule(seconds=st.sampled_from([1, 1, 10, 35, 130]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)
        for operator in self.operators:
            operator.controller.agenda.due.fire(self.world.clock())

    @precondition(lambda self: "image" in self.troubles)
    @rule(reason=st.sampled_from(["ErrImagePull", "CreateContainerConfigError", "RunContainerError"]))
    def a_container_does_not_start(self, reason: str) -> None:
        for body in self.world.objects("Pod"):
            started = {**self.world.processes, **self.world.workers}
            if body["spec"].get("nodeName") and body["metadata"]["uid"] not in started:
                self.world.hold(body["metadata"]["name"], reason)

    @precondition(lambda self: "nodes" in self.troubles)
    @rule(name=st.sampled_from(["node-1", "node-2"]), what=st.sampled_from(["silent", "dead", "wrongly", "comes"]))
    def a_node_goes_or_comes(self, name: str, what: str) -> None:
        if what == "comes" or self.world.nodes[name] == LOST:
            self.world.node_comes(name)
        elif what == "silent":
            self.world.node_falls_silent(name)
        else:
            self.world.node_goes(name, dead=what == "dead")

    # Users.

    @rule()
    def a_user_makes_another_run_when_all_have_settled(self) -> None:
        if all((body.get("status") or {}).get("settled") for body in self.world.objects("FlowRun")):
            self.further += 1
            self.world.submit(f"run-{self.further}")

    @precondition(lambda self: "cancel" in self.troubles)
    @rule(number=which, sure=st.booleans())
    def a_user_cancels(self, number: int, sure: bool) -> None:
        runs = {body["metadata"]["name"] for body in self.world.objects("FlowRun")}
        executing = [p.assignment.name for p in self.world.processes.values() if p.executing]
        found = sorted(runs & set(executing) if sure else runs)
        if found:
            self.world.cancel(found[number % len(found)])

    @precondition(lambda self: "pauses" in self.troubles)
    @rule(number=which, how=st.sampled_from(["right", "right", "refused", "wrong", "early", "stale"]))
    def a_user_answers(self, number: int, how: str) -> None:
        """Also a run that asks nothing, or has asked for something else."""
        runs = self.world.objects("FlowRun")
        waiting = [body for body in runs if "pause" in (body.get("status") or {})]
        if not (waiting or (runs and how in ("early", "stale"))):
            return
        body = (waiting or runs)[number % len(waiting or runs)]
        given: Json = {"right": {"approved": True}, "refused": {"approved": False}}.get(how, {"approved": "perhaps"})
        if how in ("early", "stale"):
            self.world.answer(body["metadata"]["name"], f"ask-{1 + number % 3}", {"approved": number % 2 == 0})
        else:
            self.world.answer(body["metadata"]["name"], body["status"]["pause"]["id"], given)

    @precondition(lambda self: "suspends" in self.troubles)
    @rule(number=which, wanted=st.sampled_from([True, True, False]), sure=st.booleans())
    def a_user_suspends_or_lets_go_on(self, number: int, wanted: bool, sure: bool) -> None:
        """`sure`: one that goes on, and an operator sees it before anything else happens."""
        runs = {body["metadata"]["name"] for body in self.world.objects("FlowRun")}
        executing = {p.assignment.name for p in self.world.processes.values() if p.executing}
        found = sorted(runs & executing if sure else runs)
        if found:
            self.world.suspend(found[number % len(found)], wanted=wanted)
        if found and sure:
            self.hear(number % 2)
            if self.acts(number % 2):
                self.operators[number % 2].work()

    @precondition(lambda self: "pods" in self.troubles)
    @rule(number=which, how=st.sampled_from(["pod", "pod", "force", "job", "twice"]))
    def a_pod_is_deleted_or_made_again(self, number: int, how: str) -> None:
        pods, jobs = self.world.objects("Pod"), self.world.objects("Job")
        if how == "job" and jobs:
            self.world.delete_job(jobs[number % len(jobs)]["metadata"]["name"])
        elif how == "twice":
            for job in jobs:
                if (job.get("status") or {}).get("pods") == 1:
                    self.world.job_controller(job["metadata"]["name"], again=True)
        elif pods:
            self.world.delete_pod(pods[number % len(pods)]["metadata"]["name"], force=how == "force")

    @precondition(lambda self: "runs" in self.troubles)
    @rule(again=st.booleans(), sure=st.booleans(), seen=st.booleans(), who=operator)
    def a_user_deletes_the_run(self, again: bool, sure: bool, seen: bool, who: int) -> None:
        """`seen`: an operator hears of it before anything else happens, and has no other reason to wait."""
        there = any(body["metadata"]["name"] == "run" for body in self.world.objects("FlowRun"))
        if there and sure:
            self.world.delete_run("run")
            there = False
            if seen:
                self.an_operator_comes_to_rest(who)
        if again and not there:
            self.world.submit("run")

    # What holds at all times, and in the end.

    @invariant()
    def no_law_is_broken(self) -> None:
        for error in self.laws.broken if hasattr(self, "laws") else ():
            raise error
        if hasattr(self, "laws") and self.limited:  # where one operator leads
            assert not self.world.crowded, self.world.crowded
        for record in self.unexpected.records if hasattr(self, "laws") else ():
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]

    def go_on(self) -> bool:
        """Everyone does the next thing that is to be done; False when there is nothing."""
        done = False
        for number, operator in enumerate(self.operators):
            self.hear(number)
            if self.acts(number):
                done = operator.work() or done
        if not any(self.launching(operator) for operator in self.operators):
            self.laws.most = 0
        done = self.kubernetes() or done
        for process in [process for process in self.world.processes.values() if process.alive]:
            waits = self.runner(process).waits is not None
            self.goes_on(process)
            done = done or not waits or self.runner(process).waits is None
        return done

    def kubernetes(self) -> bool:
        """Its components do what is to be done."""
        done = False
        for kind, does in (("Pod", self.world.kubelet), ("Job", self.world.job_controller)):
            for body in self.world.objects(kind):
                done = does(body["metadata"]["name"]) or done
        for step in (self.world.orphans, self.world.garbage, self.world.pod_gc):
            done = step() or done
        for worker in list(self.world.workers.values()):
            done = worker.goes_on() or done
        return done

    def rest(self) -> None:
        """Nothing more goes wrong."""
        self.deaf = ()
        if self.world.limit == 0:
            self.world.bound(1)
        for name in self.world.nodes:
            if self.world.nodes[name] != UP:
                self.world.node_comes(name)
        for worker in self.world.workers.values():
            worker.has_network()
        for _ in range(REST):
            if self.go_on():
                continue
            settled = all((body.get("status") or {}).get("settled") for body in self.world.objects("FlowRun"))
            if settled and not self.left_behind():
                return
            if self.users_let_go_on():
                continue
            leading = [operator for number, operator in enumerate(self.operators) if self.acts(number)]
            due = [time for time in (operator.next_due() for operator in leading) if time]
            assert due, f"nobody looks at it again: {self.told()}"
            self.world.pass_time(max((min(due) - self.world.clock()).total_seconds(), 0))
        raise AssertionError(f"not settled within {REST} rounds: {self.told()}")

    def left_behind(self) -> bool:
        """Whether an operator that acts counts with processes of runs that are deleted."""
        acting = [operator for number, operator in enumerate(self.operators) if self.acts(number)]
        return any(operator.controller.cache.orphans.all() for operator in acting)

    def users_let_go_on(self) -> bool:
        """Whoever waits is answered, once it holds no pod where it is suspended; whether anything was asked for."""
        done = False
        for body in self.world.objects("FlowRun"):
            name, spec, status = body["metadata"]["name"], body["spec"], body.get("status") or {}
            state, pause = status.get("state") or {}, status.get("pause")
            if status.get("settled"):
                continue
            suspended = state.get("name") == "Suspended"
            if suspended and self.world.holds_pods(body["metadata"]["uid"]):
                continue  # it has to let go of it by itself
            if spec.get("suspend"):
                self.world.suspend(name, wanted=False)
                done = True
            elif state.get("type") == S.PAUSED and pause and state["reason"] != "SuspendRequested":
                right = {"pause": pause["id"], "input": {"approved": True}}
                if spec.get("resume") != right:
                    self.world.answer(name, right["pause"], right["input"])
                    done = True
        return done

    def launching(self, operator: Operator) -> bool:
        """Whether it has admitted a run of which that is not written."""
        found = [RunView(body) for body in self.world.objects("FlowRun")]
        waiting = {run.uid for run in found if run.type in (None, S.SCHEDULED) or run.state["name"] == "Suspended"}
        return bool(operator.controller.slots.books.holding.keys() & waiting)

    def told(self) -> list[Json]:
        """All that is there of runs, pods and Jobs."""
        kinds = ("FlowRun", "Pod", "Job")
        return [
            {"name": body["metadata"]["name"], "deleting": body["metadata"].get("deletionTimestamp")}
            | {"status": body.get("status")}
            for kind in kinds
            for body in self.world.objects(kind)
        ]

    def check_that_nothing_is_left(self) -> None:
        """Of runs that have settled, no process and no pod that runs; in the operators' memory nothing at all."""
        assert not [process.pod for process in self.world.processes.values() if process.alive]
        self.no_law_is_broken()
        for number, operator in enumerate(self.operators):
            self.hear(number)
            if not self.acts(number):
                continue
            operator.work()
            books = operator.controller.slots.books
            assert not {*books.holding, *books.waiting}, "slots of runs that are no more"
            assert operator.controller.cache.count("FlowRun") == 0

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.rest()
            self.check_that_nothing_is_left()
        finally:
            logging.getLogger("penstock_operator.controller").removeHandler(self.unexpected)
            for operator in self.operators:
                operator.stop()
        Model.settled += self.laws.ends
        Model.answers += self.laws.answers
        Model.entered += self.laws.entered
        Model.held_at_once += self.laws.held_at_once


@pytest.mark.timeout(1800)
def test_the_laws_hold_in_every_life() -> None:
    lives = max(STEPS // STEPS_IN_A_LIFE, 1)
    given = settings(
        max_examples=lives,
        stateful_step_count=STEPS_IN_A_LIFE,
        deadline=None,
        print_blob=True,
        phases=[Phase.generate] if "PENSTOCK_MODEL_UNSHRUNK" in os.environ else tuple(Phase),
        suppress_health_check=list(HealthCheck),
    )
    Model.settled = Model.answers = 0
    run_state_machine_as_test(Model, settings=given)
    print(f"{lives} lives of {STEPS_IN_A_LIFE} steps; {Model.settled} runs settled; {Model.answers} answers taken")
    print(f"slots held when one more was taken, where there was a limit: {dict(sorted(Model.held_at_once.items()))}")
    for what, count in Model.entered.most_common():
        print(f"{count:7} {what}")
    assert Model.settled >= lives / 2
    assert Model.answers >= lives / 20
