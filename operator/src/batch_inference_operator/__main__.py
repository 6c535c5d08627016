"""The operator's process: from its first moment on, it ends when it is told to.

The kernel drops signals that process 1 of a container has no handler for, and the imports of an
operator take a second. One that a roll-out ends while it starts would go on to take the Lease, and
be killed with it 30 seconds later: nobody would work until the Lease runs out.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

_EXIT_TERMINATED = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Be the operator's process. Until there is something to bring to an end, SIGTERM just ends it.

    `runtime` puts handlers of its own in place before it connects to anything.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_EXIT_TERMINATED))
    from batch_inference_operator import command

    sys.exit(command.main())


if __name__ == "__main__":
    main()
