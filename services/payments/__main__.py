"""`python -m services.payments --config FILE`: the payments service."""

from __future__ import annotations

import faust

from services.avro_wire import Schemas, schemas_folder
from services.ending import on_signals
from services.payments.config import PaymentsConfig
from services.payments.service import Payments
from services.registry import Registry, RegistryAway, RegistryRefuses
from services.service_config import load

#: Faust itself waits for a broker that is away for as long as it is away. A clean end takes some
#: three seconds.
ENDS_WITHIN_SECONDS = 15.0


class PaymentsWorker(faust.Worker):
    """Faust's, ended by `services/ending.py`."""

    def install_signal_handlers(self) -> None:
        """See `mode.Worker`."""
        super().install_signal_handlers()
        on_signals(
            lambda: self.loop.call_soon_threadsafe(self._on_sigterm),
            within_seconds=ENDS_WITHIN_SECONDS,
        )


def main() -> None:
    config = load(PaymentsConfig, "The payments service.")
    url = config.odradek.schema_registry_url
    payments = Payments(config, Schemas(schemas_folder(), Registry(url) if url else None))
    try:
        payments.register_schemas()
    except (RegistryAway, RegistryRefuses) as error:
        raise SystemExit(f"payments: {error}") from None
    payments.create_topics()
    print(f"serving {config.odradek.task_queue}", flush=True)
    PaymentsWorker(
        payments.app, loglevel="WARN", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
