"""The worker process: `python -m roo.runtime.worker_main FOLDER INDEX ATTEMPT LIFELINE`.

    hello -> assignment -> (build, preload, open) -> ready -> go -> batches … -> barrier -> exit

One thread does all the work (`worker`). Another (`watchdog`) tells the coordinator how it goes,
also while a plugin blocks.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import zmq

from roo.runtime import control, presence
from roo.runtime.key import read_key
from roo.runtime.transport import Control, Data, Site, ipc
from roo.runtime.watchdog import Watchdog, die_with_parent

if TYPE_CHECKING:
    from roo.runtime.worker import Worker

GOODBYE_MS = 2_000
"""How long a last message to the coordinator may take."""


def _site(folder: str) -> Site:
    """Where this process is: by its environment, where others than the coordinator start it."""
    environ = os.environ
    key = read_key(environ["ROO_KEY_FILE"]) if environ.get("ROO_KEY_FILE") else None
    address = environ.get("ROO_CONTROL") or ipc(folder, "control")
    return Site(folder, address, environ.get("ROO_PLACE", ""), environ.get("ROO_BIND"), key)


def _keep_stdout_for_data() -> int:
    """A descriptor for a stdout sink alone; what plugins print to stdout goes to stderr."""
    data = os.dup(1)
    os.dup2(2, 1)
    return data


def main(arguments: list[str]) -> NoReturn:
    """Run one worker and end the process."""
    folder, lifeline = arguments[0], int(arguments[3])
    index, attempt = int(arguments[1]), int(arguments[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stdout_fd = _keep_stdout_for_data()
    context: zmq.Context[Any] = zmq.Context()
    site = _site(folder)
    line = Control(context, site, f"worker-{attempt}-{index}")
    watchdog = Watchdog(site, f"watchdog-{attempt}-{index}", lifeline)
    watchdog.start()
    line.send(control.Hello(os.getpid()))
    # While the coordinator answers:
    die_with_parent()
    from roo import api
    from roo.core.worker import ProtocolError
    from roo.runtime.collector import tune_collector
    from roo.runtime.failures import RunFailure, unexpected
    from roo.runtime.loops import Code
    from roo.runtime.worker import Worker

    # After Roo's own imports: no file beside the pipeline is taken for one of them.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    code = 1
    data: Data | None = None
    worker: Worker | None = None
    try:
        line.socket.poll()
        assignment = line.receive()
        assert isinstance(assignment, control.Assignment)
        if assignment.checkpoints is not None:
            presence.hold(assignment.checkpoints)
        data = Data(context, site, index, attempt)
        worker = Worker(assignment, line, data, stdout_fd, folder)
        watchdog.watch(worker)
        gc.disable()  # a million states are made, and none is garbage
        worker.prepare()
        if worker.changing.move is None:  # else many more come
            tune_collector()
        line.send(control.Ready(worker.opened(), data.port))
        line.socket.poll()
        go = line.receive()
        if type(go) is control.Go:
            data.connect(go.data)
            worker.run()
        worker.close()
        code = 0
    except RunFailure as failure:
        if worker is not None:
            line.send(worker.stats())  # so that the summary counts what had come this far
        line.send(control.Failed(failure.error))
    except ProtocolError as error:
        if site.bind is None:
            raise
        # A connection to another machine broke, and took something with it: all go back.
        line.send(control.Said(f"worker {index}: {error}"))
    except BrokenPipeError:
        line.send(control.Quit())
        code = 0  # the run ends well, also when this worker is gone before it is told to go
    except api.ConnectorError as error:
        line.send(control.Failed({"kind": "sink", "what": error.message, "hint": error.hint}))
    except BaseException as error:
        line.send(control.Failed(unexpected(error, worker.stages.code if worker else Code())))
    finally:
        watchdog.stop()
        line.close(GOODBYE_MS)
        if data is not None:
            data.close(0)
        context.term()
    sys.stderr.flush()
    os._exit(code)  # no interpreter teardown: a million states take a while to free


if __name__ == "__main__":
    main(sys.argv[1:])
