"""The server as a process: `python -m tests.kafka.web_process ADDRESS NAMESPACE STATE_DIR PORT`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from odradek.config import Settings
from odradek.web.server import main

if __name__ == "__main__":
    address, namespace, state_dir, port = sys.argv[1:5]
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    settings = Settings(
        address=address,
        namespace=namespace,
        state_dir=Path(state_dir),
        partitions=2,
        replication_factor=1,
    )
    sys.exit(main(settings, port=int(port)))
