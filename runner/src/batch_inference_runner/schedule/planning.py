"""From a config to a plan: the driver lists, a scorer inspects, the driver cuts.

What is foreign (footers, the model, SQL) is opened by a scorer that may crash or hang; the driver
sees typed answers.
"""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.errors import (
    Interrupted,
    InvalidJob,
    JobFailed,
    RunnerError,
    Unavailable,
)
from batch_inference_runner.formats.file_names import file_extension
from batch_inference_runner.plan.inputs import check_output_apart, list_inputs, refuse_results
from batch_inference_runner.redaction import public_uri
from batch_inference_runner.schedule.slot import Exited, Slot, SlotEvent, StartFailures
from batch_inference_runner.score.messages import (
    Beat,
    Prepare,
    Prepared,
    Refused,
    Unreachable,
)

if TYPE_CHECKING:
    from threading import Event

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.plan.plan import InputFile, Plan
    from batch_inference_runner.schedule.deadline import Deadline

_SILENCE_SECONDS = 120.0
"""A scorer that gave no sign of life for so long is stopped, or hangs in a parser or a loader. ONNX
Runtime may give none while it loads a large model."""


class Planner:
    """Makes the plan of a job with the scorer in `slot`, which must have been started."""

    def __init__(
        self,
        config: RunnerConfig,
        slot: Slot,
        events: queue.SimpleQueue[object],
        *,
        stop: Event,
        deadline: Deadline,
    ) -> None:
        self._config = config
        self._slot = slot
        self._events = events
        self._stop = stop
        self._deadline = deadline
        self._others: list[object] = []
        self._begun: tuple[InputFile, ...] | None = None

    def begin(self) -> None:
        """Let the scorer prepare before anybody has asked for the plan; if it does so, go on.

        Raises as `make_plan` does if the inputs cannot be listed; then nothing has begun.
        """
        if self._begun is not None:
            return
        files = self._list()
        self._ask(files, probe=True)
        self._begun = files

    def abandon(self) -> None:
        """Do without a plan that was begun: its answer is not to be taken for another's."""
        if self._begun is not None:
            self._begun = None
            self._slot.start(self._events.put)

    def find_added(self, plan: Plan) -> tuple[str, ...]:
        """Return the URIs of files that match the input but were not there for `plan`.

        If the input cannot be listed, none: scorers find out what that means.
        """
        try:
            files = self._list()
        except RunnerError:
            return ()
        planned = {file.uri for file in plan.files}
        return tuple(uri for file in files if (uri := public_uri(file.uri)) not in planned)

    def make_plan(self) -> Plan:
        """List and inspect the inputs, check that everything fits, cut shards.

        Raises:
            InvalidJob: the job cannot run as it is.
            JobFailed: the run's time is over.
            JobFailed, Unavailable: a store refused, or could not be reached.
            Interrupted: the run was asked to stop.
        """
        # Not before the scorer was asked.
        from batch_inference_runner.plan.document import identity_of, make_plan
        from batch_inference_runner.plan.shards import cut

        config = self._config
        files, self._begun = self._begun, None
        if files is None:
            files = self._list()
            self._ask(files, probe=True)
        prepared = self._prepared(files)
        for event in self._others:  # of other slots, and of nodes that joined meanwhile
            self._events.put(event)
        shards = cut(
            prepared.inventories,
            target_rows=config.sharding.target_rows_per_shard,
            target_bytes=config.sharding.target_bytes_per_shard,
            max_shards=config.sharding.max_shards,
        )
        return make_plan(identity_of(config), prepared.details, files, shards)

    def _list(self) -> tuple[InputFile, ...]:
        config = self._config
        output = config.output
        check_output_apart(
            config.input.locations,
            output.location,
            extension=file_extension(output.format, output.compression),
            partition_by=output.partition_by,
        )
        with run_errors(
            "listing the input",
            credentials_field="spec.input.secretRef",
            missing=Reason.INPUT_NOT_FOUND,
        ):
            files = list_inputs(config.input.locations, config.input.format)
        refuse_results(files, output.location)
        return files

    def _ask(self, files: tuple[InputFile, ...], *, probe: bool) -> None:
        self._slot.send(
            Prepare(
                config=self._config.model_dump_json(),
                files=files,
                memory_bytes=self._slot.memory_bytes,
                probe=probe,
            )
        )

    def _prepared(self, files: tuple[InputFile, ...]) -> Prepared:
        """Wait for the answer to `_ask`, and ask a new scorer when one was lost."""
        failures = StartFailures()
        while True:
            match self._wait():
                case Prepared() as prepared:
                    return prepared
                case Refused(reason=reason, message=message):
                    raise InvalidJob(Reason(reason), message)
                case Unreachable(message=message, reason=str(reason)):
                    raise JobFailed(Reason(reason), message)
                case Unreachable(message=message):
                    raise Unavailable(message)
                case Exited() as exited:
                    if failures.add(exited, hung=self._slot.deadline_missed):
                        raise InvalidJob(*failures.explain(exited))
                    self._slot.start(self._events.put)
                    # The first rows may be what crashed it.
                    self._ask(files, probe=failures.crashes == 0)

    def _wait(self) -> Prepared | Refused | Unreachable | Exited:
        self._slot.last_beat = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            self._deadline.check(now)
            if now - self._slot.last_beat > _SILENCE_SECONDS:
                self._slot.deadline_missed = True
                self._slot.kill()
            try:
                event = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            if not isinstance(event, SlotEvent) or event.slot is not self._slot:
                self._others.append(event)
            elif event.generation == self._slot.generation:
                match event.what:
                    case Beat():
                        self._slot.last_beat = now
                    case Prepared() | Refused() | Unreachable() | Exited():
                        return event.what
        raise Interrupted("the run was asked to stop")
