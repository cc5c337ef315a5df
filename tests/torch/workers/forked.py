"""Run the script argv[1] on the folder argv[2] in argv[3] processes, as torchrun would.

They are forked off this one, which has imported torch for all of them.
"""

import os
import runpy
import signal
import sys
import traceback

import torch.distributed as dist
import torch.distributed.checkpoint.state_dict
import torch.distributed.fsdp
import torch.distributed.tensor.parallel  # noqa: F401

import lion_ports.torch  # noqa: F401


def run(script, folder, variables):
    """One of the processes: it ends with 0 if the script does."""
    os.environ.update(variables)
    sys.argv = [script, folder]
    try:
        runpy.run_path(script, run_name="__main__")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    script, folder, count = sys.argv[1:]
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    variables = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": count,
    }
    children = set()
    for rank in range(int(count)):
        child = os.fork()
        if not child:
            run(script, folder, variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        children.add(child)
    while children:
        child, status = os.wait()
        children.remove(child)
        if status:  # the others would wait for it
            for other in children:
                os.kill(other, signal.SIGKILL)
            sys.exit(f"a process ended with {os.waitstatus_to_exitcode(status)}")
