"""The demo: deploys the weather pipeline on a pool of Pods and on one of Jobs, runs it on both, shows what there is.

Called by `make demo`, which has brought the cluster up and installed Penstock. Everything it does a person could type:
each command is printed before it runs. Exit code 1 when any run is not Completed.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
POOLS = ("pods", "jobs")
NEWEST = "jsonpath={.items[-1:].status.result.inline}"


def say(text: str) -> None:
    """A line of what goes on, between the outputs of the commands."""
    print(text, flush=True)


def run(*words: str) -> int:
    """Print a command and run it; its exit code."""
    say(f"\n\033[1m$ {' '.join(words)}\033[0m")
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def main() -> int:
    """Deploy, run, show; 0 when all runs completed."""
    os.environ["PATH"] = os.pathsep.join((str(ROOT / ".cluster/bin"), str(ROOT / ".venv/bin"), os.environ["PATH"]))
    os.environ.setdefault("PENSTOCK_NAMESPACE", "default")
    flow = str((HERE / "weather.py").relative_to(ROOT))
    failed = run("kubectl", "apply", "-f", str((HERE / "pools.yaml").relative_to(ROOT)))
    for pool in POOLS:
        failed |= run("penstock", "deploy", flow, "--pool", pool, "--deployment-name", f"weather-{pool}")
    failed |= run("penstock", "run", "weather-pods", "--watch")
    failed |= run("penstock", "run", "weather-jobs", "--param", "since=2014", "--watch")
    failed |= run("kubectl", "get", "flows,flowdeployments,flowruns,workpools")
    report = subprocess.run(
        ["kubectl", "get", "flowruns", "--sort-by", ".metadata.creationTimestamp", "--output", NEWEST],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    say(f"\nThe report, as it stands in the run's status:\n\n{report}")
    say("To go on in this cluster, with the penstock, kubectl and python of this checkout:\n")
    say(f"export KUBECONFIG={os.environ['KUBECONFIG']}")
    say(f"export PATH={ROOT / '.cluster/bin'}:{ROOT / '.venv/bin'}:$PATH")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
