"""Scores tables: binds, calls the model in micro-batches, rejects exactly the rows that fail."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_inference_runner.models import probing
from batch_inference_runner.models.binding import InputPlan, bind_inputs, fixed_batch
from batch_inference_runner.models.calling import Call, ModelCall, not_rowwise, with_row_dimension
from batch_inference_runner.models.column_arrays import int64_array
from batch_inference_runner.models.feeds import FeedMaker, Feeds
from batch_inference_runner.models.isolator import Isolation, Isolator
from batch_inference_runner.models.onnx import InferenceFailed, OnnxModel
from batch_inference_runner.models.output_binding import bind_outputs
from batch_inference_runner.models.outputs import Outputs
from batch_inference_runner.models.signature import DTYPES, Signature, ValueSpec
from batch_inference_runner.models.tolerance import FLOAT16, FLOAT32, QUANTIZED, Tolerance
from batch_inference_runner.models.trial import LargestCall, Trial
from batch_inference_runner.rows import RowErrors, Stage, StageResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import pyarrow as pa

    from batch_inference_api.runner_contract import ExecutionConfig, ModelConfig
    from batch_inference_runner.models.model_file import ModelFile
    from batch_inference_runner.rows import Indices

    Array = npt.NDArray[Any]

_NON_FINITE = "NonFinite"


class ModelScorer:
    """A loaded model bound to the columns of a dataset.

    `required` are the columns it reads, `only_floats` those of them whose every value becomes a
    float, `added` the fields it appends, `provider` the execution provider that is active,
    `batch_size` the rows per call (found by `probe` unless the config gives it). `score` may run in
    several threads at once, which share one session.
    """

    def __init__(
        self,
        model: ModelFile,
        config: ModelConfig,
        execution: ExecutionConfig,
        schema: pa.Schema,
        *,
        isolated_memory_bytes: int | None = None,
    ) -> None:
        """Load `model` and bind it to `schema`, the columns after preprocessing.

        `isolated_memory_bytes` is what the process behind `score_isolated` may allocate; None: half
        of what is free.

        Raises:
            InvalidJob: the model cannot be loaded or bound, or a provider is not active.
            JobFailed: ModelNotRowwise, the model quantizes by a scale that the rows of a call give.
        """
        self._model = OnnxModel(
            model.path,
            providers=execution.execution_providers,
            allow_fallback=execution.allow_provider_fallback,
            intra_op_threads=execution.intra_op_num_threads,
        )
        self.provider = self._model.provider
        inputs = bind_inputs(self._model.signature, schema, config.inputs)
        fixed = fixed_batch(inputs)
        self._given_batch_size = fixed or execution.batch_size
        self._mixes = self._given_batch_size != 1
        if not self._mixes:
            fixed = 1
        signature = _observed(
            self._model, inputs, fixed=fixed, unchecked_shapes=model.unchecked_shapes
        )
        self._plans = bind_outputs(signature, schema, config.outputs)
        names = tuple(dict.fromkeys(plan.output for plan in self._plans))
        self._call = ModelCall(self._model, names, fixed_batch=fixed)
        self._tolerance = _tolerance(signature, quantized=model.quantized)
        if self._mixes:
            _refuse_batch_scale(model.scaled_by_batch)
        self.batch_size = self._given_batch_size or probing.DEFAULT_BATCH_SIZE
        self._inputs = inputs
        self._maker = FeedMaker(inputs, block_rows=min(self.batch_size, probing.PROBE_ROWS))
        self.required = _columns_of(inputs)
        self.only_floats = self.required - _columns_of(p for p in inputs if not p.takes_floats)
        self.added = tuple(plan.field for plan in self._plans)
        self._trial = Trial(self._tolerance, fixed_batch=fixed)
        self._tried_outputs = False
        self._sized = self._given_batch_size is not None
        self._lock = threading.Lock()
        self._isolator_lock = threading.Lock()
        self._isolator: Isolator | None = None
        self._isolation = Isolation(
            path=model.path,
            provider=self.provider,
            outputs=names,
            fixed_batch=fixed,
            call_timeout_seconds=float(execution.batch_timeout_seconds),
            memory_bytes=isolated_memory_bytes,
        )

    @property
    def inputs(self) -> tuple[InputPlan, ...]:
        """How each input of the model is made of columns, in the model's order."""
        return self._inputs

    def probe(self, table: pa.Table) -> None:
        """Compare rows of `table` scored alone and together, and settle `batch_size`.

        Takes a few dozen milliseconds for small models. Rows that cannot tell, because they are
        few or all alike, leave the question open: `score` asks it of its tables until some could.

        Raises:
            JobFailed: ModelNotRowwise, or the outputs do not make the columns that were planned, or
                the same row gets other scores each time.
        """
        if not self._probed:
            self._plan_on(self._maker.make(table.slice(0, probing.PROBE_ROWS)))

    def probe_unless_few(self, table: pa.Table) -> pa.Table | None:
        """Probe rows that can tell whether the model scores row by row; return others.

        Rows that are few, or all alike, cannot: those of them that fit the inputs are returned, to
        be probed together with more. But where PROBE_ROWS are alike, the next ones may well be,
        too: these are probed, which leaves the question open as `probe` does.

        Raises:
            JobFailed: as `probe` does.
        """
        if self._probed:
            return None
        feeds = self._maker.make(table)
        can_tell = probing.can_tell(feeds) if self._mixes else feeds.size > 0
        if feeds.size < probing.PROBE_ROWS and not can_tell:
            return table if feeds.kept is None else table.take(int64_array(feeds.kept))
        self._plan_on(feeds)
        return None

    @property
    def _probed(self) -> bool:
        return self._trial.over and self._tried_outputs

    def _plan_on(self, feeds: Feeds) -> None:
        self._probe(feeds, self._call)
        self._try_outputs(feeds)

    def _try_outputs(self, feeds: Feeds) -> None:
        """Make the columns of one row, as a class label may not be among those of the model.

        Where no row was compared with itself among others, it is scored twice.
        """
        if self._tried_outputs:
            return
        twice = not self._mixes or feeds.size == 1
        scores = probing.score_one(self._call, feeds, self._tolerance, twice=twice)
        if scores is not None:
            outputs = Outputs(self._plans, 1)
            outputs.put(0, 1, scores)
            outputs.columns(None)
            self._tried_outputs = True

    def _probe(self, feeds: Feeds, call: Call) -> None:
        if not self._trial.wants(feeds):
            return
        with self._lock:
            checked = self._trial.compare(call, feeds)
            # How long an isolator takes says little about how long this process would.
            if checked is None or self._sized or call is not self._call:
                return
            seconds, largest = checked.row_seconds, LargestCall(call)
            size = probing.find_batch_size(largest, feeds, row_seconds=seconds)
            if largest.rows:
                self._trial.compare_call(call, feeds.part(0, largest.rows), largest.scores)
            self.batch_size = size
            self._maker = FeedMaker(self._inputs, block_rows=self.batch_size)
            self._sized = True

    def _compare_larger_calls(self, feeds: Feeds, scored: _Scored, call: Call) -> None:
        for start, stop in scored.calls:
            if self._trial.wants_call(stop - start):
                with self._lock:
                    part = feeds.part(start, stop)
                    self._trial.compare_call(call, part, scored.outputs.rows(start, stop))

    def score(self, table: pa.Table, *, frugal: bool = False) -> StageResult:
        """Append the model's outputs to `table`; rows that cannot be scored are rejected.

        Until rows could tell whether the model scores row by row, those of `table` are compared
        first, and a few of each call that is larger than all before are compared after it.

        `frugal`: nothing else uses the memory, so a row for which it does not suffice is rejected.

        Raises:
            JobFailed: ModelNotRowwise, or an output is not what was declared.
            MemoryError: memory did not suffice for a row, which may be the fault of others.
        """
        feeds = self._maker.make(table)
        self._probe(feeds, self._call)
        scored = _Scored(Outputs(self._plans, feeds.size))
        size = self.batch_size  # which a probe of another thread's rows may settle meanwhile
        for start in range(0, feeds.size, size):
            self._score_rows(feeds, scored, start, min(start + size, feeds.size), frugal=frugal)
        self._compare_larger_calls(feeds, scored, self._call)
        return self._result(table, feeds, scored)

    def score_isolated(self, table: pa.Table) -> StageResult:
        """Score as `score` does, in a process that may crash, hang or run out of memory.

        Rows that do so are rejected as `Crashed`, `TimedOut` and `OutOfMemory`, and only they. One
        thread at a time; others wait.

        Raises:
            JobFailed: as `score` does.
            Unavailable: the isolator process was lost for a reason that is not a row's.
        """
        with self._isolator_lock:
            if self._isolator is None:
                self._isolator = Isolator(self._isolation)
            feeds = self._maker.make(table)
            self._probe(feeds, self._isolator.call)
            scored = _Scored(Outputs(self._plans, feeds.size))
            self._isolator.score(feeds, scored, batch_size=self.batch_size)
            self._compare_larger_calls(feeds, scored, self._isolator.call)
        return self._result(table, feeds, scored)

    def close(self) -> None:
        """End the isolator process, if there is one."""
        with self._isolator_lock:
            if self._isolator is not None:
                self._isolator.close()
                self._isolator = None

    def _score_rows(
        self, feeds: Feeds, scored: _Scored, start: int, stop: int, *, frugal: bool
    ) -> None:
        """Score rows [start, stop); on failure halve them until single rows are left."""
        try:
            scored.put(start, stop, self._call(feeds.rows(start, stop)))
        except InferenceFailed as failure:
            if stop - start == 1:
                if failure.is_out_of_memory and not frugal:
                    raise MemoryError(failure.message) from failure
                scored.fail(start, failure.error, failure.message)
                return
            middle = (start + stop) // 2
            self._score_rows(feeds, scored, start, middle, frugal=frugal)
            self._score_rows(feeds, scored, middle, stop, frugal=frugal)

    def _result(self, table: pa.Table, feeds: Feeds, scored: _Scored) -> StageResult:
        errors = list(feeds.errors)
        lost = np.zeros(feeds.size, dtype=np.bool_)
        for (error, message), failed in scored.failed.items():
            rows = np.array(failed, dtype=np.int64)
            lost[rows] = True
            errors.append(_row_errors(feeds, rows, error, message))
        for plan in self._plans:
            if not plan.reject_non_finite:
                continue
            wrong = scored.outputs.non_finite(plan)
            if wrong is None:
                continue
            rows = np.flatnonzero(wrong & ~lost)
            lost[rows] = True
            message = f"model output {plan.column!r} is NaN or infinite"
            errors.append(_row_errors(feeds, rows, _NON_FINITE, message))
        good = np.flatnonzero(~lost) if lost.any() else None
        kept = feeds.kept
        if good is not None:
            kept = good if kept is None else kept[good]
        result = table if kept is None else table.take(int64_array(kept))
        for plan, column in zip(self._plans, scored.outputs.columns(good), strict=True):
            result = result.append_column(plan.field, column)
        return StageResult(
            table=result, kept=kept, errors=tuple(error for error in errors if len(error.indices))
        )


class _Scored:
    """What became of the rows of one table, in any order."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self.failed: dict[tuple[str, str], list[int]] = {}
        self.calls: list[tuple[int, int]] = []

    def put(self, start: int, stop: int, values: Mapping[str, Array]) -> None:
        self.outputs.put(start, stop, values)
        self.calls.append((start, stop))

    def fail(self, row: int, error: str, message: str) -> None:
        self.failed.setdefault((error, message), []).append(row)


def _columns_of(inputs: Iterable[InputPlan]) -> frozenset[str]:
    return frozenset(column for plan in inputs for column in plan.columns)


def _row_errors(feeds: Feeds, rows: Indices, error: str, message: str) -> RowErrors:
    indices = rows if feeds.kept is None else feeds.kept[rows]
    return RowErrors(indices, Stage.INFER, error, message)


def _refuse_batch_scale(operator: str | None) -> None:
    if operator is not None:
        raise not_rowwise(
            f"operator {operator!r} quantizes by a scale that is computed from the rows of a "
            "batch, so that an unusual row changes the scores of others",
            "Quantize it statically (QDQ) instead of dynamically, or otherwise export",
        )


def _tolerance(signature: Signature, *, quantized: bool) -> Tolerance:
    if quantized:
        return QUANTIZED
    specs = (*signature.inputs, *signature.outputs)
    return FLOAT16 if any(s.element == "float16" for s in specs) else FLOAT32


def _observed(
    model: OnnxModel, inputs: tuple[InputPlan, ...], *, fixed: int | None, unchecked_shapes: bool
) -> Signature:
    """Complete the signature by scoring rows of ones, where shapes are missing or in doubt.

    Ones, because zeros divide by zero: integer division by zero ends the process.
    """
    signature = model.signature
    alone = fixed == 1
    doubtful = [
        spec.name
        for spec in signature.outputs
        if spec.element is not None
        and (
            spec.shape is None
            or (unchecked_shapes and _is_one_wide(spec))
            or (alone and spec.shape[0] not in {None, 1})
        )
    ]
    if not doubtful:
        return signature
    rows = fixed or 2
    feeds = {
        plan.name: np.full((rows, *plan.trailing), "1" if plan.element == "string" else 1).astype(
            DTYPES[plan.element]
        )
        for plan in inputs
    }
    try:
        values = {
            name: with_row_dimension(value, rows, alone=alone)
            for name, value in zip(doubtful, model.run(doubtful, feeds), strict=True)
        }
    except InferenceFailed:
        return signature
    outputs = tuple(
        ValueSpec(spec.name, spec.type, (None, *values[spec.name].shape[1:]))
        if spec.name in values
        else spec
        for spec in signature.outputs
    )
    return signature._replace(outputs=outputs)


def _is_one_wide(spec: ValueSpec) -> bool:
    # As skl2onnx declares every forest and tree, however many targets it has.
    return (spec.shape or ())[1:] == (1,)
