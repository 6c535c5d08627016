"""Every field of the CRD has an effect that a test shows, or is named as having none here.

And every reason is given somewhere, and a test reads its message.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_inference_api.reasons import Reason
from batch_inference_api.reasons_reference import reason_docs
from batch_inference_runner.cli.manifest import load
from testkit.checkout import ROOT
from testkit.manifests import make_manifest

MODEL = "integration/test_fields_of_model.py"
INPUT = "integration/test_fields_of_input.py"
OUTPUT = "integration/test_fields_of_output.py"
EXECUTION = "integration/test_fields_of_execution.py"
CREDENTIALS = (
    "integration/test_fields_of_credentials.py"
    "::test_secret_ref_of_model_input_and_output_are_taken_from_their_folders"
)
NULLS = f"{MODEL}::test_inputs_nulls_and_fill_value_decide_what_a_null_is"
BINDING = f"{MODEL}::test_inputs_name_and_columns_bind_in_the_order_that_is_given"
LABELS = f"{MODEL}::test_outputs_name_column_index_and_class_label_pick_columns"
COMPUTED = (
    f"{MODEL}::test_preprocessing_columns_feed_the_model_and_postprocessing_columns_the_output"
)
CSV = f"{INPUT}::test_csv_delimiter_and_header"
SHARDING = f"{EXECUTION}::test_sharding_fields_decide_how_many_shards_there_are"
FALLBACK = f"{EXECUTION}::test_allow_provider_fallback_runs_on_what_there_is_and_says_so"
RESOURCES = f"{EXECUTION}::test_workers_resources_bound_threads_and_memory"

TESTS = {
    "model.storageUri": f"{MODEL}::test_storage_uri_may_be_a_file_or_a_folder_with_external_data",
    "model.modelFormat.name": f"{MODEL}::test_a_model_format_that_is_not_scored_is_refused",
    "model.digest": f"{MODEL}::test_digest_is_compared_with_the_bytes_of_the_model",
    "model.secretRef.name": CREDENTIALS,
    "model.inputs[].name": BINDING,
    "model.inputs[].columns": BINDING,
    "model.inputs[].nulls": NULLS,
    "model.inputs[].fillValue": NULLS,
    "model.outputs[].name": LABELS,
    "model.outputs[].column": LABELS,
    "model.outputs[].classLabel": LABELS,
    "model.outputs[].index": f"{MODEL}::test_outputs_index_picks_one_column_of_a_matrix",
    "model.outputs[].nonFinite": f"{MODEL}::test_outputs_non_finite_decides_about_nan",
    "input.storageUris": f"{INPUT}::test_storage_uris_name_files_folders_and_globs",
    "input.format": f"{INPUT}::test_format_csv_is_read_as_it_is_or_compressed",
    "input.csv.delimiter": CSV,
    "input.csv.header": CSV,
    "input.csv.newlinesInValues": (
        f"{INPUT}::test_csv_newlines_in_values_decide_what_a_row_is_and_where_files_are_cut"
    ),
    "input.filter": f"{INPUT}::test_filter_leaves_rows_out_and_counts_them",
    "input.keyField": f"{INPUT}::test_key_field_is_in_the_output_and_in_the_rejects",
    "input.secretRef.name": CREDENTIALS,
    "preprocessing.columns[].name": COMPUTED,
    "preprocessing.columns[].expression": COMPUTED,
    "postprocessing.columns[].name": COMPUTED,
    "postprocessing.columns[].expression": COMPUTED,
    "output.storageUri": f"{OUTPUT}::test_storage_uri_is_where_the_result_is_published",
    "output.format": f"{OUTPUT}::test_format_and_compression_decide_how_files_are_written",
    "output.passthroughFields": f"{OUTPUT}::test_passthrough_fields_are_copied",
    "output.mode": f"{OUTPUT}::test_mode_decides_about_a_result_that_is_there",
    "output.compression": (f"{OUTPUT}::test_compression_of_parquet_is_zstd_unless_told_otherwise"),
    "output.partitionBy": f"{OUTPUT}::test_partition_by_makes_folders_outermost_first",
    "output.secretRef.name": CREDENTIALS,
    "sharding.targetRowsPerShard": SHARDING,
    "sharding.targetBytesPerShard": SHARDING,
    "sharding.maxShards": SHARDING,
    "batching.batchSize": f"{EXECUTION}::test_batch_size_is_what_is_given_or_found",
    "execution.executionProviders": f"{EXECUTION}::test_execution_providers_must_be_active",
    "execution.allowProviderFallback": FALLBACK,
    "execution.intraOpNumThreads": (
        f"{EXECUTION}::test_intra_op_num_threads_are_the_threads_of_one_call"
    ),
    "execution.batchTimeoutSeconds": (
        f"{EXECUTION}::test_batch_timeout_seconds_cost_the_rows_that_hang_and_only_them"
    ),
    "workers.resources.requests": RESOURCES,
    "workers.resources.limits": RESOURCES,
    "errorPolicy.onError": f"{OUTPUT}::test_on_error_fail_ends_the_job_at_the_first_bad_row",
    "errorPolicy.errorThreshold": (
        f"{OUTPUT}::test_error_threshold_is_the_most_rows_that_may_be_rejected"
    ),
    "errorPolicy.maxErrorRate": f"{OUTPUT}::test_max_error_rate_is_judged_at_the_end",
    "backoffLimitPerShard": (
        f"{EXECUTION}::test_backoff_limit_per_shard_is_how_often_a_shard_is_tried_again"
    ),
    "maxFailedShards": (
        f"{EXECUTION}::test_max_failed_shards_may_fail_and_their_rows_are_rejected"
    ),
    "activeDeadlineSeconds": (
        f"{EXECUTION}::test_active_deadline_seconds_end_the_run_in_a_state_that_resumes"
    ),
}
"""Where the effect of a field is shown by a run."""

WITHOUT_EFFECT: dict[str, Any] = {
    "suspend": True,
    "managedBy": "example.com/another",
    "backoffLimit": 1,
    "preRunningDeadlineSeconds": 1,
    "progressDeadlineSeconds": 1,
    "ttlSecondsAfterFinished": 0,
    "workers.replicas": 2,
    "workers.nodeSelector": {"disk": "fast"},
    "workers.tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute"}
    ],
    "workers.affinity": {"podAntiAffinity": {}},
    "workers.priorityClassName": "low",
    "workers.runtimeClassName": "nvidia",
    "workers.schedulerName": "another",
    "workers.serviceAccountName": "scorer",
    "workers.image": "registry.example.com/runner:1",
    "workers.imagePullSecrets": [{"name": "registry"}],
    "workers.env": [{"name": "A", "value": "b"}],
    "workers.envFrom": [{"configMapRef": {"name": "settings"}}],
    "workers.volumes": [{"name": "scratch", "emptyDir": {}}],
    "workers.volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
}
"""Fields that only a cluster gives effect, with a value."""

NEEDED = {"workers.volumeMounts": ("workers.volumes",)}
"""Fields without which another one says nothing."""

REFUSALS = "integration/test_refusals.py"
TROUBLES = "unit/test_operator_decide_troubles.py"
NEXT_RUN = "unit/test_operator_decide_next_run.py"
UNREPORTED = "unit/test_operator_decide_unreported.py"
TABLES = (
    (REFUSALS, "REFUSALS"),
    (TROUBLES, "TROUBLES"),
    ("unit/test_operator_decide_deadlines.py", "MISSED"),
)
"""Tables of cases with a reason and its message each."""
MESSAGES = {
    Reason.OUTPUT_VOLUME_FULL: f"{REFUSALS}::test_a_store_that_refuses_is_named",
    Reason.ACCESS_DENIED: f"{REFUSALS}::test_a_store_that_refuses_is_named",
    Reason.OUTPUT_STORE_UNSAFE: (
        f"{REFUSALS}::test_a_store_that_lets_several_writers_win_is_refused"
    ),
    Reason.ROW_COUNT_MISMATCH: f"{REFUSALS}::test_rows_that_do_not_add_up_are_not_committed",
    Reason.OUT_OF_MEMORY: (
        "unit/test_dispatch.py"
        "::test_scorers_that_are_killed_again_and_again_before_they_are_ready_lack_memory"
    ),
    Reason.MAX_FAILED_SHARDS_EXCEEDED: (
        f"{EXECUTION}::test_without_backoff_limit_per_shard_one_crash_is_one_too_many"
    ),
    Reason.DEADLINE_EXCEEDED: TESTS["activeDeadlineSeconds"],
    Reason.BACKOFF_LIMIT_EXCEEDED: (
        "unit/test_operator_decide_verdicts.py::test_the_message_says_how_the_last_pod_ended"
    ),
    Reason.HEAD_UNRESPONSIVE: (
        f"{TROUBLES}::test_a_silent_first_pod_is_said_to_be_unresponsive_and_stays"
    ),
    Reason.SCALED_TO_ZERO: (
        "unit/test_operator_decide_scheduling.py"
        "::test_a_job_that_somebody_has_scaled_to_zero_says_so"
    ),
    Reason.REPORT_MISSING: (
        f"{UNREPORTED}::test_after_three_runs_without_a_report_a_fourth_is_tried_and_no_fifth"
    ),
    Reason.NOT_ALLOWED: (
        f"{NEXT_RUN}::test_what_the_platform_does_not_allow_fails_before_anything_is_created"
    ),
    Reason.NAME_TAKEN: (
        "unit/test_operator_reconcile.py"
        "::test_a_job_whose_runs_name_is_taken_says_so_and_what_to_do"
    ),
}
"""Where the message of a reason is read that is in none of the tables."""


def fields_of_spec() -> Iterator[str]:
    """The leaves of the CRD's spec, as `model.inputs[].name`."""
    (path,) = (ROOT / "crds").glob("*.yaml")
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name, schema in spec["properties"].items():
        yield from _leaves(name, schema)


def _leaves(path: str, schema: dict[str, Any]) -> Iterator[str]:
    items = schema.get("items", {})
    if "properties" in schema:
        for name, child in schema["properties"].items():
            yield from _leaves(f"{path}.{name}", child)
    elif "properties" in items:
        yield from _leaves(f"{path}[]", items)
    else:
        yield path


def is_without_effect(field: str) -> bool:
    return any(
        field == name or field.startswith((f"{name}[]", f"{name}.")) for name in WITHOUT_EFFECT
    )


@cache
def functions_of(path: Path) -> dict[str, ast.FunctionDef]:
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: node for node in statements if isinstance(node, ast.FunctionDef)}


def function_of(test: str) -> ast.FunctionDef:
    file, _, name = test.partition("::")
    functions = functions_of(ROOT / "tests" / file)
    assert name in functions, f"there is no test {test}"
    return functions[name]


def texts_of(test: str) -> Iterator[str]:
    """The strings in a test's decorators and body; its name and docstring only claim."""
    function = function_of(test)
    body = function.body[1:] if ast.get_docstring(function) else function.body
    for part in (*function.decorator_list, *body):
        for node in ast.walk(part):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_field_is_in_one_of_the_tables():
    fields = set(fields_of_spec())
    shown = {field for field in fields if field in TESTS}
    assert {field for field in fields - shown if not is_without_effect(field)} == set()
    assert set(TESTS) - fields == set()
    assert not any(is_without_effect(field) for field in TESTS)


@pytest.mark.parametrize("field", TESTS)
def test_the_test_of_a_field_exists_and_sets_it(field):
    key = next(part for part in reversed(field.replace("[]", "").split(".")) if part != "name")
    is_set = re.compile(
        rf"(?:^|[.\s]){key}(?:\.name)?(?:$|=)"
    )  # as a key, a path, or `--set spec.path=`
    assert any(is_set.search(text) for text in texts_of(TESTS[field]))


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_a_field_that_only_a_cluster_obeys_is_named(tmp_path, field):
    fields = (*NEEDED.get(field, ()), field)
    manifest = make_manifest({f"spec.{name}": WITHOUT_EFFECT[name] for name in fields})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(manifest))
    assert load(path).without_effect == tuple(f"spec.{name}" for name in fields)


def reasons_given() -> set[str]:
    """Names of the members of Reason that some code refers to."""
    sources = [*(ROOT / "runner" / "src").rglob("*.py"), *(ROOT / "operator" / "src").rglob("*.py")]
    return set().union(*(reasons_in(ast.parse(path.read_text())) for path in sources))


def reasons_in(tree: ast.AST) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Reason"
    }


def test_every_reason_is_given_somewhere():
    assert {reason.name for reason in Reason} - reasons_given() == set()


def test_every_reason_says_what_it_means_and_what_to_do():
    assert list(reason_docs()) == [reason.value for reason in Reason]


def reasons_in_table(file: str, name: str) -> set[str]:
    """The reasons in a table of cases, each of which holds the message that is expected."""
    (table,) = (
        node.value
        for node in ast.parse((ROOT / "tests" / file).read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and name in {ast.unparse(target) for target in ast.iter_child_nodes(node)}
    )
    assert isinstance(table, ast.Dict)
    return reasons_in(table)


def test_the_message_of_every_reason_is_read_by_a_test():
    in_tables = set().union(*(reasons_in_table(*table) for table in TABLES))
    assert {reason.name for reason in Reason if reason not in MESSAGES} - in_tables == set()
    for reason, test in MESSAGES.items():
        quoted = any(text.startswith(f"{reason.value}: ") for text in texts_of(test))
        assert quoted or reason.name in reasons_in(function_of(test))
