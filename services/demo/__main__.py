"""`python -m services.demo [--keep]`: thirty orders on a real broker, audited.

Broker, two stream processors and the four services run as processes of their own. Exit status 0
only if nothing was lost or doubled. A signal ends all of it, with status 130.
"""

from __future__ import annotations

import argparse
import os
import sys

from services.demo.interruption import Interruption


def main() -> int:
    interruption = Interruption()
    interruption.listen()
    try:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument(
            "--keep", action="store_true", help="leave everything running, and say what to try next"
        )
        keep: bool = parser.parse_args().keep or os.environ.get("KEEP", "") not in ("", "0")
        from odradek.broker.environment import (
            forget_settings,
        )  # takes a second with what follows, and may be interrupted too

        if ignored := forget_settings():
            print(
                f"demo: has a Kafka of its own; not used of the environment: {', '.join(ignored)}",
                file=sys.stderr,
            )
        from services.demo.run import run

        return run(interruption, keep=keep)
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
