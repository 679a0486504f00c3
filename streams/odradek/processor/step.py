"""The engine's step of one batch, encoded: what the transaction will hold."""

from __future__ import annotations

import logging
import traceback

from odradek.engine.ports import Batch, Engine, StepResult, TablesError
from odradek.exceptions import LaneError
from odradek.processor.encoder import Encoder, Rejected, Rows
from odradek.processor.errors import RecordRejected, TopicUnavailableError
from odradek.processor.store import PartitionStore, StoredTables
from odradek.processor.topic_limits import Record

logger = logging.getLogger(__name__)


def step_and_encode(
    engine: Engine, store: PartitionStore, encoder: Encoder, batch: Batch
) -> tuple[StepResult, Rows, list[Record]]:
    """What cannot be written is told to the engine, which goes again: the workflow task that made
    it fails. Raises RecordRejected for what is rejected twice and for a defect of the engine;
    LaneError and TopicUnavailableError for what cannot be read or had now.
    """
    while True:
        result = _step(engine, store, batch)
        try:
            return result, *encoder.encode(result, batch.timers)
        except Rejected as rejected:
            engine.evict(result.touched)
            if not (
                rejected.workflows.keys() - batch.rejected.keys()
                or rejected.queues.keys() - batch.missing_queues.keys()
            ):
                raise RecordRejected(str(rejected), in_transaction=False) from rejected
            batch.rejected = batch.rejected | rejected.workflows
            batch.missing_queues = batch.missing_queues | rejected.queues


def _step(engine: Engine, store: PartitionStore, batch: Batch) -> StepResult:
    if not (batch.inputs or batch.timers or batch.crashed or batch.quarantined):
        return StepResult()
    try:
        return engine.step(StoredTables(store), batch)
    except TablesError as error:
        raise error.reason from None
    except (LaneError, TopicUnavailableError):
        raise
    except Exception as error:  # a defect of the engine, not of workflow code
        logger.exception("the engine failed")
        engine.evict_all()
        raise RecordRejected(
            f"engine: {type(error).__name__}: {error}\n{traceback.format_exc()}",
            in_transaction=False,
            of_engine=True,
        ) from error
