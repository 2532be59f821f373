"""The whole node: control plane, controller manager, scheduler, containerd, kubelet, kube-proxy, cluster DNS.

Everything runs in the network namespace of its checkout and under `.cluster/`; `traces` removes what the programs
leave elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from . import binaries, certificates, control_plane, images, network, packages, supervisor, traces
from .layout import GATEWAY, MAX_CHECKOUT, NODE, NODE_POD_CIDR, POD_CIDR, SERVICE_CIDR, ClusterError, Layout
from .shell import locked, run, say

CONTAINERD = Path("/usr/bin/containerd")
# The parts that cannot work without an API server wait for this file.
API_READY = "api-ready"
ROLES = ("admin", "kubelet", "controller-manager", "scheduler", "proxy", "coredns")


def up(layout: Layout, *, fsync: bool = True) -> None:
    """Bring the node up and wait until it is Ready; a cluster that is up is left as it is."""
    say(f"cluster: own node of this checkout ({layout.namespace})")
    if len(os.fsencode(layout.checkout)) > MAX_CHECKOUT:
        raise ClusterError(f"{layout.checkout} is too long for unix sockets: at most {MAX_CHECKOUT} bytes, move it")
    if os.geteuid() != 0:
        raise ClusterError("the node needs root: run as root, or use `make test-integration`, which does not")
    with locked(layout.namespace):
        packages.ensure()
        programs = binaries.ensure()
        pause = images.pause_archive()
        start = time.monotonic()
        state = layout.state
        state.mkdir(exist_ok=True)
        if not network.complete(layout):  # after a restart of the machine, too
            supervisor.stop(state)
            traces.remove_processes(layout)
        address = network.up(layout)
        if supervisor.pid(state) is None:
            _write_files(layout, address)
            _link_programs(layout, programs)
            supervisor.start(state, _parts(layout, programs, address, fsync=fsync))
        url = f"https://{address}:6443"
        control_plane.wait_ready(state, url)
        supervisor.open_gate(state, API_READY)
        _load_pause(layout, pause)
        _grant_dns(layout, programs)
        _wait_node(layout, address)
        say(f"node {NODE} is Ready ({time.monotonic() - start:.1f} s)")
    print(f"export KUBECONFIG={layout.kubeconfig}\nexport PATH={state / 'bin'}:$PATH")


def down(layout: Layout) -> None:
    """Remove the cluster and every trace of it; safe to repeat, and after a crash of anything."""
    if os.geteuid() != 0:
        if layout.state.exists() or (traces.NETWORKS / layout.namespace).exists():
            raise ClusterError("removing the node needs root")
        return
    with locked(layout.namespace):
        supervisor.stop(layout.state)
        traces.remove(layout)
        network.down(layout)
        traces.remove_system_folders(layout)
    say(f"the cluster of this checkout is gone ({layout.namespace})")


def status(layout: Layout) -> int:
    """Print the parts; 0 when all of them run."""
    rows = supervisor.table(layout.state)
    if not rows:
        print("no cluster: make cluster")
        return 1
    overseer = supervisor.pid(layout.state)
    print(f"{'PART':<26}{'PID':<10}RESTARTS")
    print(f"{'supervisor':<26}{overseer or 'down':<10}-")
    for name, pid, restarts in rows:
        print(f"{name:<26}{pid or 'down':<10}{restarts}")
    files = {"kubeconfig": layout.kubeconfig, "audit log": layout.state / "audit.log", "logs": layout.state / "log"}
    print()
    for what, path in files.items():
        print(f"{what:<12}{path}")
    if overseer and all(pid for _, pid, _ in rows):
        return 0
    print("\nnot all parts run: make cluster")
    return 1


def _link_programs(layout: Layout, programs: Path) -> None:
    folder = layout.state / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to((programs / name).resolve())


def _write_files(layout: Layout, address: str) -> None:
    state, pki, url = layout.state, layout.state / "pki", f"https://{address}:6443"
    certificates.issue(pki, certificates.wanted(address))
    for name in ROLES:
        target = layout.kubeconfig if name == "admin" else state / f"{name}.kubeconfig"
        target.write_text(certificates.kubeconfig(pki, name, url))
        target.chmod(0o600)
    (state / "containerd.toml").write_text(containerd_config(state))
    (state / "cni").mkdir(exist_ok=True)
    (state / "cni" / "10-bridge.conflist").write_text(json.dumps(cni_config(layout), indent=1))
    (state / "kubelet.json").write_text(json.dumps(kubelet_config(layout), indent=1))
    (state / "Corefile").write_text(corefile(state))
    traces.make_cgroups(layout)
    traces.note_system_folders()


def containerd_config(state: Path) -> str:
    """containerd's configuration: all its folders under `state`, and what a root without CAP_SYS_RESOURCE needs."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{state}/containerd"
state = "{state}/containerd-state"
[grpc]
  address = "{state}/containerd.sock"
[{cri}]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[{cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  Root = "{state}/runc"
[{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{state}/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
"""


def cni_config(layout: Layout) -> dict[str, object]:
    """A bridge without masquerading: pods reach the node and each other, nothing else."""
    ranges = {"type": "host-local", "dataDir": f"{layout.state}/ipam", "ranges": [[{"subnet": NODE_POD_CIDR}]]}
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {**ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "1.0.0", "name": layout.namespace, "plugins": plugins}


def kubelet_config(layout: Layout) -> dict[str, object]:
    """The kubelet's configuration, for cgroup v1 and v2 hosts."""
    state = layout.state
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{state}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{state}/pki/kubelet.crt",
        "tlsPrivateKeyFile": f"{state}/pki/kubelet.key",
        "podLogsDir": f"{state}/pod-logs",
        "volumePluginDir": f"{state}/volume-plugins",
        "maxPods": 250,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "clusterDNS": [GATEWAY],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "registerNode": True,
    }


def corefile(state: Path) -> str:
    """CoreDNS: the names of the cluster, and a quick no for all others.

    Two servers, for within one CoreDNS would ask its `template` plugin first, and the cluster never.
    """
    return f"""cluster.local in-addr.arpa {{
  bind {GATEWAY}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig "{state}/coredns.kubeconfig"
    pods verified
    ttl 5
  }}
}}
. {{
  bind {GATEWAY}
  errors
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""


def _parts(layout: Layout, programs: Path, address: str, *, fsync: bool) -> list[supervisor.Part]:
    state, namespace = layout.state, layout.namespace

    def config(name: str, *flags: str) -> tuple[str, ...]:
        return tuple(f"--{flag}={state}/{name}.kubeconfig" for flag in flags)

    def part(name: str, *flags: str) -> supervisor.Part:
        return supervisor.Part(name, (str(programs / name), *flags), namespace, API_READY)

    secured = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    pki = state / "pki"
    return [
        *control_plane.parts(
            state,
            programs,
            address=address,
            ports=control_plane.Ports(),
            namespace=namespace,
            fsync=fsync,
        ),
        supervisor.Part("containerd", (str(CONTAINERD), "--config", f"{state}/containerd.toml"), namespace),
        part(
            "kube-controller-manager",
            *config("controller-manager", *secured),
            *("--leader-elect=false", "--use-service-account-credentials", "--concurrent-job-syncs=10"),
            # At the default of 20 requests a second its own start takes four seconds.
            *("--kube-api-qps=100", "--kube-api-burst=200"),
            *(f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt"),
            *(f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key"),
            *("--allocate-node-cidrs", f"--cluster-cidr={POD_CIDR}", "--node-cidr-mask-size=24"),
            f"--service-cluster-ip-range={SERVICE_CIDR}",
        ),
        part("kube-scheduler", *config("scheduler", *secured), "--leader-elect=false"),
        part(
            "kubelet",
            *(f"--config={state}/kubelet.json", *config("kubelet", "kubeconfig"), f"--root-dir={state}/kubelet"),
            *(f"--hostname-override={NODE}", f"--node-ip={address}"),
        ),
        part(
            "kube-proxy",
            *(*config("proxy", "kubeconfig"), f"--hostname-override={NODE}", f"--cluster-cidr={POD_CIDR}"),
            *("--proxy-mode=iptables", "--conntrack-max-per-core=0", f"--bind-address={address}"),
        ),
        part("coredns", "-conf", f"{state}/Corefile"),
    ]


def _load_pause(layout: Layout, archive: Path) -> None:
    deadline = time.monotonic() + 20
    while not layout.containerd_socket.exists():
        if time.monotonic() > deadline:
            raise ClusterError(f"containerd does not answer: see {layout.state}/log/containerd.log")
        time.sleep(0.05)
    images.load(layout, archive)


def _grant_dns(layout: Layout, programs: Path) -> None:
    """Let CoreDNS read what it answers from; the API server knows its user by certificate."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    meta, group = {"name": "system:coredns"}, "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": meta["name"]},
        "subjects": [{"kind": "User", "apiGroup": group, "name": meta["name"]}],
    }
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding]})
    run(programs / "kubectl", "--kubeconfig", layout.kubeconfig, "apply", "-f", "-", stdin=objects)


def _wait_node(layout: Layout, address: str, seconds: float = 60.0) -> None:
    """Until a pod can be made: all parts run, the node is Ready, and `default` has its service account."""
    context, deadline = control_plane.tls(layout.state / "pki"), time.monotonic() + seconds
    api, kubelet = f"https://{address}:6443", f"https://{address}:10250"

    def ready() -> bool:
        # The node's condition outlives a kubelet that was killed, so ask the kubelet itself as well.
        node = json.loads(control_plane.get(api, context, f"/api/v1/nodes/{NODE}") or "{}")
        conditions = node.get("status", {}).get("conditions", [])
        return (
            any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
            and control_plane.get(kubelet, context, "/healthz") is not None
            and control_plane.get(api, context, "/api/v1/namespaces/default/serviceaccounts/default") is not None
            and all(pid for _, pid, _ in supervisor.table(layout.state))
        )

    while not ready():
        if time.monotonic() > deadline:
            log = layout.state / "log" / "kubelet.log"
            raise ClusterError(f"the node is not Ready after {seconds:.0f} s: see {log} and `make cluster-status`")
        time.sleep(0.1)
