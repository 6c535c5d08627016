"""What happens to rows, in order: filter, preprocess, infer, postprocess, project, write as text.

Every stage takes a table and gives the rows that survived; what did not survive is either filtered
or an error. After each stage `_Flow.step` checks that rows in = rows out + rejected + filtered, so
that no row is lost or counted twice.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.formats.columns import find_column
from batch_inference_runner.formats.moments import moment_checks
from batch_inference_runner.formats.output_partitions import folder_checks
from batch_inference_runner.formats.row_checks import reject_unwritable
from batch_inference_runner.models.scoring import ModelScorer
from batch_inference_runner.rows import RowErrors, Stage, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.formats.row_checks import RowCheck
    from batch_inference_runner.models.model_file import ModelFile
    from batch_inference_runner.rows import Indices
    from batch_inference_runner.transforms.expressions import Expressions
    from batch_inference_runner.transforms.row_filter import RowFilter

    InIsolation = Callable[[], AbstractContextManager[None]]


class SliceResult(NamedTuple):
    """What became of n rows: `output` rows to write, errors (indices into the n), and filtered."""

    output: pa.Table
    errors: tuple[RowErrors, ...]
    filtered: int


class Stages:
    """The compiled pipeline of a job. Safe to use from several threads.

    `columns` are the input columns that must be read, in schema order, and `input_schema` their
    types; `float_columns` are those that only feed inputs of floats; `output_schema` is what is
    written, partition columns included.
    """

    def __init__(
        self,
        config: RunnerConfig,
        schema: pa.Schema,
        model: ModelFile,
        *,
        memory_bytes: int,
    ) -> None:
        """Compile the job for input columns of `schema`.

        `memory_bytes` is what this process may use.

        Raises:
            InvalidJob, JobFailed: columns, model or SQL do not fit together.
        """
        of_files = schema
        schema = _with_nested_columns(of_files, _columns_named_in(config))
        self.digest = model.digest
        self._filter = _row_filter(config, schema)
        self._preprocess = _expressions(config, schema, Stage.PREPROCESS)
        prepared = _extend(schema, self._preprocess.added if self._preprocess else ())
        self.model = ModelScorer(
            model,
            config.model,
            config.execution,
            prepared,
            isolated_memory_bytes=memory_bytes // 2,
        )
        scored = _extend(prepared, self.model.added)
        self._postprocess = _expressions(config, scored, Stage.POSTPROCESS)
        computed = self._postprocess.added if self._postprocess else ()
        self._keep = _passthrough(config, prepared)
        self.output_schema = pa.schema(
            [*(prepared.field(name) for name in self._keep), *self.model.added, *computed]
        )
        _refuse_duplicates(self.output_schema)
        self._row_checks = _row_checks(config, self.output_schema)
        others = self._columns_read_beside_model(config)
        required = others | self.model.required
        self.columns = tuple(name for name in schema.names if name in required)
        self.float_columns = _apart_from(self.model.only_floats, others, of_files)
        self.input_schema = pa.schema([schema.field(name) for name in self.columns])

    def _columns_read_beside_model(self, config: RunnerConfig) -> frozenset[str]:
        columns = set(self._keep)
        for step in (self._filter, self._preprocess, self._postprocess):
            columns |= step.required if step else set()
        if config.input.key_field is not None:
            columns.add(config.input.key_field)
        return frozenset(columns)

    def prepared(self, table: pa.Table) -> pa.Table:
        """Take rows through the steps before the model; return the columns that it takes.

        Where these want too much memory for the rows, fewer of them will do.

        Raises:
            MemoryError: not even one row can be prepared.
        """
        prepared = table
        try:
            for step in (self._filter, self._preprocess):
                if step is not None and prepared.num_rows:
                    prepared = step.apply(prepared).table
        except MemoryError:
            if table.num_rows <= 1:
                raise
            return self.prepared(table.slice(0, table.num_rows // 2))
        return prepared.select(sorted(self.model.required))

    def run(
        self,
        table: pa.Table,
        *,
        isolated: bool = False,
        frugal: bool = False,
        in_isolation: InIsolation = nullcontext,
    ) -> SliceResult:
        """Score a table of `columns`.

        Args:
            table: n rows.
            isolated: run the model in a process of its own, so that a crash costs one row.
            frugal: nothing else uses this process's memory, so a row that needs more is rejected.
            in_isolation: entered while that process works, which has deadlines of its own.

        Raises:
            JobFailed: the rows do not add up.
            MemoryError: too little is left beside whatever else is in work.
        """
        flow = _Flow(table)
        try:
            return self._run(flow, in_isolation if isolated else None, frugal=frugal)
        except MemoryError as error:
            if table.num_rows <= 1:
                if not frugal:
                    raise
                return self._too_large(table, flow.stage, error)
            run = partial(self.run, isolated=isolated, frugal=frugal, in_isolation=in_isolation)
            return self._run_halves(table, run)

    def _run(self, flow: _Flow, in_isolation: InIsolation | None, *, frugal: bool) -> SliceResult:
        def infer(table: pa.Table) -> StageResult:
            if in_isolation is None:
                return self.model.score(table, frugal=frugal)
            with in_isolation():
                return self.model.score_isolated(table)

        if self._filter is not None:
            flow.step(Stage.FILTER, self._filter.apply)
        if self._preprocess is not None:
            flow.step(Stage.PREPROCESS, self._preprocess.apply)
        flow.step(Stage.INFER, infer)
        if self._postprocess is not None:
            flow.step(Stage.POSTPROCESS, self._postprocess.apply)
        if self._row_checks:
            flow.step(Stage.WRITE, partial(reject_unwritable, checks=self._row_checks))
        return flow.result(self.output_schema.names)

    def _run_halves(self, table: pa.Table, run: Callable[[pa.Table], SliceResult]) -> SliceResult:
        """Score fewer rows at once, until memory suffices."""
        middle = table.num_rows // 2
        first = run(table.slice(0, middle))
        second = run(table.slice(middle))
        moved = tuple(each._replace(indices=each.indices + middle) for each in second.errors)
        return SliceResult(
            pa.concat_tables([first.output, second.output]),
            first.errors + moved,
            first.filtered + second.filtered,
        )

    def _too_large(self, row: pa.Table, stage: Stage, error: Exception) -> SliceResult:
        message = f"a single row needs more memory than the scorer has: {error}"
        lost = RowErrors(np.arange(row.num_rows), stage, "OutOfMemory", message)
        return SliceResult(self.output_schema.empty_table(), (lost,), 0)


class _Flow:
    """A table on its way through the stages, and where its rows stood at the beginning.

    `stage` is the one that it has reached.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.stage = Stage.READ
        self._origin: Indices | None = None
        self._errors: list[RowErrors] = []
        self._filtered = 0

    def step(self, stage: Stage, apply: Callable[[pa.Table], StageResult]) -> None:
        self.stage = stage
        rows_in = self.table.num_rows
        result = apply(self.table)
        rejected = sum(len(error.indices) for error in result.errors)
        missing = rows_in - result.table.num_rows - rejected
        if missing < 0 or (missing and stage is not Stage.FILTER):
            raise JobFailed(
                Reason.ROW_COUNT_MISMATCH,
                f"{rows_in} rows went into a stage, {result.table.num_rows} came out and "
                f"{rejected} were rejected; please report this as a bug",
            )
        self._filtered += missing
        self._errors += [e._replace(indices=self._at(e.indices)) for e in result.errors]
        if result.kept is not None:
            self._origin = self._at(result.kept)
        self.table = result.table

    def result(self, names: Sequence[str]) -> SliceResult:
        return SliceResult(self.table.select(names), tuple(self._errors), self._filtered)

    def _at(self, indices: Indices) -> Indices:
        return indices if self._origin is None else self._origin[indices]


def _row_filter(config: RunnerConfig, schema: pa.Schema) -> RowFilter | None:
    if config.input.filter is None:
        return None
    from batch_inference_runner.transforms.row_filter import RowFilter

    return RowFilter(config.input.filter, schema)


def _expressions(config: RunnerConfig, schema: pa.Schema, stage: Stage) -> Expressions | None:
    columns = config.preprocessing if stage is Stage.PREPROCESS else config.postprocessing
    if not columns:
        return None
    from batch_inference_runner.transforms.expressions import Expressions

    return Expressions(columns, schema, stage=stage)


def _extend(schema: pa.Schema, added: Sequence[pa.Field]) -> pa.Schema:
    extended = pa.schema([*schema, *added])
    _refuse_duplicates(extended)
    return extended


def _columns_named_in(config: RunnerConfig) -> tuple[str, ...]:
    bound = [column for binding in config.model.inputs for column in binding.columns]
    key = () if config.input.key_field is None else (config.input.key_field,)
    return (*bound, *config.output.passthrough_fields, *key)


def _with_nested_columns(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Add a column `a.b` for each struct field that a manifest names by its path."""
    named = (find_column(schema, name) for name in dict.fromkeys(names))
    added = [pa.field(path.name, path.type) for path in named if path is not None and path.leaf]
    return pa.schema([*schema, *added])


def _apart_from(
    names: frozenset[str], others: frozenset[str], schema: pa.Schema
) -> tuple[str, ...]:
    """Leave out of `names` what shares its column of the input with one of `others`."""
    paths = [path for name in names if (path := find_column(schema, name))]
    taken = {path.root for name in others if (path := find_column(schema, name))}
    return tuple(sorted(path.name for path in paths if path.root not in taken))


def _passthrough(config: RunnerConfig, schema: pa.Schema) -> tuple[str, ...]:
    key = config.input.key_field
    names = config.output.passthrough_fields
    wanted = (*names, *(() if key is None else (key,)))
    unknown = [name for name in wanted if schema.get_field_index(name) < 0]
    if unknown:
        raise InvalidJob(
            Reason.SCHEMA_MISMATCH,
            f"output.passthroughFields or input.keyField names {unknown[0]!r}, which is no column "
            f"of the input; columns are {', '.join(map(repr, schema.names[:50]))}",
        )
    if key is not None and pa.types.is_nested(schema.field(key).type):
        raise InvalidJob(
            Reason.SCHEMA_MISMATCH,
            f"input.keyField names {key!r}, which is {schema.field(key).type}: rejects name rows "
            f"by text, so a key must be a number, a text or the like; choose another column",
        )
    return names


def _row_checks(config: RunnerConfig, schema: pa.Schema) -> tuple[RowCheck, ...]:
    # A name that is no column is left for `check_writable` to refuse, which lists the columns.
    folders = [name for name in config.output.partition_by if name in schema.names]
    texts = schema.names if config.output.format.is_text else folders
    return (*moment_checks(schema, texts), *folder_checks(schema, folders))


def _refuse_duplicates(schema: pa.Schema) -> None:
    seen: dict[str, str] = {}
    for name in schema.names:
        if name.lower() in seen:
            raise InvalidJob(
                Reason.AMBIGUOUS_COLUMN,
                f"two columns would be called {seen[name.lower()]!r} and {name!r}; names must "
                f"differ by more than case: rename one in spec.model.outputs, spec.preprocessing "
                f"or spec.postprocessing, or leave it out of passthroughFields",
            )
        seen[name.lower()] = name
