"""A door of the node of `make cluster` to servers on this machine's loopback, which is all that pods reach of it.

The node's network has no way out. A socket belongs to the network it was made in, whoever accepts on it: so one that is
made in the node's is answered from here, and the servers of other tests serve pods, too.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading

from installation import ROOT
from penstock_cluster.layout import GATEWAY, Layout
from tcp_proxy import TcpProxy

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
HOST = GATEWAY  # the node, as its pods see it


def door(port: int) -> TcpProxy:
    """Pods reach 127.0.0.1:`port` at HOST:`.port`, while the block of what is given lasts."""
    made: list[socket.socket] = []

    def listen() -> None:  # only a thread's network is changed, and this one's ends with it
        namespace = os.open(f"/run/netns/{Layout(ROOT).namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "the network of the node cannot be entered")
        finally:
            os.close(namespace)
        made.append(socket.create_server((HOST, 0)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    (listener,) = made
    return TcpProxy(port, listener)
