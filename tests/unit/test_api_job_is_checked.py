# ruff: noqa: E501 - one line for each case reads better than wrapped messages
"""Each refusal of a BatchInferenceJob, with the words that the user reads."""

from __future__ import annotations

import pytest

from batch_inference_api.problems import InvalidManifest, parse_job
from batch_inference_api.redaction import redact
from testkit.manifests import make_manifest

COLUMN = {"name": "p", "column": "score"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NODE_TERM = f"spec.workers.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0]"
KEY = {"name": "s", "key": "k"}
VOLUME = {"name": "v", "emptyDir": {}}
MOUNT = {"name": "v", "mountPath": "/data"}
BEGIN_WITH_DOT = "a path that is really called so begins with './'"
KEY_EXPECTATION = "must have letters, digits, '-', '_' and '.', and not begin with '..' or be '.'"
NO_RESOURCE = "is not a resource: use cpu, memory, ephemeral-storage, or the name of an extended resource such as nvidia.com/gpu"
OWN_FOLDER = "must not be below or hide /bin, /dev, /etc/bij, /lib, /lib64, /opt/bij, /proc, /pvc, /sbin, /sys, /tmp, /usr, /var/run: a run uses these"
OWN_PREFIX = (
    "must not lead to names that begin with BIJ_, RAY_, LD_, PYTHON: these are the runner's own"
)
OWN_VARIABLE = "variables that begin with BIJ_, RAY_, LD_ or PYTHON are the runner's own"


def node_affinity(requirement):
    terms = [{"matchExpressions": [requirement]}]
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}


def node_field(**changes):
    field = {"key": "metadata.name", "operator": "In", "values": ["node-1"], **changes}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [field]}]}}}


def mounted(**changes):
    return {"volumes": [VOLUME], "volumeMounts": [MOUNT | changes]}


REFUSALS = [
    ("spec.output.mode", "Foo", "spec.output.mode: 'Foo' is not one of ErrorIfExists, Overwrite, Append"),
    ("spec.output.mode", "overwrite", "spec.output.mode: 'overwrite' is not one of ErrorIfExists, Overwrite, Append; did you mean 'Overwrite'?"),
    ("spec.input.format", "csv", "spec.input.format: 'csv' is not one of Parquet, CSV, JSONLines, Arrow; did you mean 'CSV'?"),
    ("spec.input.format", "jsonl", "spec.input.format: 'jsonl' is not one of Parquet, CSV, JSONLines, Arrow; did you mean 'JSONLines'?"),
    ("spec.input.format", "json", "spec.input.format: 'json' is not one of Parquet, CSV, JSONLines, Arrow; did you mean 'JSONLines'?"),
    ("spec.output.format", "PARQUET", "spec.output.format: 'PARQUET' is not one of Parquet, CSV, JSONLines, Arrow; did you mean 'Parquet'?"),
    ("spec.model.modelFormat", {"name": "ONNX"}, "spec.model.modelFormat.name: 'ONNX' is not one of onnx; did you mean 'onnx'?"),
    ("spec.model.inputs", [{"name": "a", "columns": ["b"], "nulls": "nan"}], "spec.model.inputs[0].nulls: 'nan' is not one of Reject, NaN; did you mean 'NaN'?"),
    ("spec.workers", {"NODESELECTOR": {}}, "spec.workers.NODESELECTOR: there is no such field; did you mean 'nodeSelector'?"),
    ("spec.output.mode", 3, "spec.output.mode: must be one of ErrorIfExists, Overwrite, Append, not the number 3"),
    ("spec.output.mode", "s3cr3t?sig=abc", "spec.output.mode: (not shown) is not one of ErrorIfExists, Overwrite, Append"),
    ("spec.output.format", "Images", "spec.output.format: 'Images' is not one of Parquet, CSV, JSONLines, Arrow"),
    ("spec.modle", {}, "spec.modle: there is no such field; did you mean 'model'?"),
    ("spec.model.storage_uri", "m", "spec.model.storage_uri: there is no such field; did you mean 'storageUri'?"),
    ("spec.mode", "Plan", "spec.mode: there is no such field; did you mean 'model'?"),
    ("spec.input.zzz", 1, "spec.input.zzz: there is no such field; there are storageUris, format, csv, filter, keyField, secretRef"),
    ("spec.workers.resources.limit", {}, "spec.workers.resources.limit: there is no such field; did you mean 'limits'?"),
    ("spec.model.outputs", [{**COLUMN, "indx": 1}], "spec.model.outputs[0].indx: there is no such field; did you mean 'index'?"),
    ("spec.model", ..., "spec.model: is required"),
    ("spec.input.format", ..., "spec.input.format: is required"),
    ("spec", [], "spec: must be a mapping, not a list"),
    ("spec.input.storageUris", "data/", "spec.input.storageUris: must be a list, not the text 'data/'"),
    ("spec.input.storageUris", [], "spec.input.storageUris: must have at least 1 entry"),
    ("spec.input.storageUris", ["hf://a/b"], "spec.input.storageUris[0]: scheme 'hf' is not one of file, s3, gs, az, https, pvc"),
    ("spec.input.storageUris", ["s3:///key"], "spec.input.storageUris[0]: names no bucket after 's3://'"),
    ("spec.input.storageUris", ["pvc:///key"], "spec.input.storageUris[0]: names no claim after 'pvc://'"),
    ("spec.input.storageUris", ["pvc://claim/../x"], "spec.input.storageUris[0]: must not hold a '..' segment"),
    ("spec.input.storageUris", ["file://data/x"], "spec.input.storageUris[0]: a file URI has three slashes: file:///folder/file"),
    ("spec.input.storageUris", ["https://me:secret@host/x"], "spec.input.storageUris[0]: must not hold a user or password; put credentials in a secretRef"),
    ("spec.input.storageUris", ["s3:/bucket/x"], f"spec.input.storageUris[0]: a URI has '://' after 's3'; {BEGIN_WITH_DOT}"),
    ("spec.input.storageUris", ["GS:bucket"], f"spec.input.storageUris[0]: a URI has '://' after 'GS'; {BEGIN_WITH_DOT}"),
    ("spec.model.storageUri", "hdfs:/models/m", f"spec.model.storageUri: a URI has '://' after 'hdfs'; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "file:/out", f"spec.output.storageUri: a URI has '://' after 'file'; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "~/out", f"spec.output.storageUri: '~' stands for no folder here: write the whole path; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "~", f"spec.output.storageUri: '~' stands for no folder here: write the whole path; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "$HOME/out", f"spec.output.storageUri: '$HOME' stands for no variable here: write the whole path; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "${OUT}", f"spec.output.storageUri: '${{OUT}}' stands for no variable here: write the whole path; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "out/$DAY/", f"spec.output.storageUri: '$DAY' stands for no variable here: write the whole path; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", "C:/out", f"spec.output.storageUri: a URI has '://' after 'C'; {BEGIN_WITH_DOT}"),
    ("spec.output.storageUri", " \t", "spec.output.storageUri: must not be blank"),
    ("spec.input.csv", {}, "spec.input.csv: csv has an effect with format CSV only: remove it, or set format: CSV"),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"delimiter": "||"}}, "spec.input.csv.delimiter: must have at most 1 character"),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"delimiter": "\\t"}}, 'spec.input.csv.delimiter: must have at most 1 character: \\t is one in double quotes only, "\\t"'),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"delimiter": '"'}}, "spec.input.csv.delimiter: must be one ASCII character, and no quote or line break"),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"delimiter": "§"}}, "spec.input.csv.delimiter: must be one ASCII character, and no quote or line break"),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"delimiter": "\n"}}, "spec.input.csv.delimiter: must be one ASCII character, and no quote or line break"),
    ("spec.input", {"storageUris": ["d"], "format": "CSV", "csv": {"header": "yes"}}, "spec.input.csv.header: must be true or false, not the text 'yes'"),
    ("spec.output.storageUri", "https://host/x/", "spec.output.storageUri: https is read only: write to one of file, s3, gs, az, pvc"),
    ("spec.output.storageUri", "s3://b/*/", "spec.output.storageUri: must name one folder, without '*' or '?'"),
    ("spec.output.compression", "brotli", "spec.output.compression: 'brotli' is not one of none, gzip, lz4, snappy, zstd"),
    ("spec.output", {"storageUri": "o", "format": "CSV", "compression": "snappy"}, "spec.output.compression: format CSV and JSONLines can be compressed with none, gzip, zstd only"),
    ("spec.output", {"storageUri": "o", "format": "Arrow", "compression": "gzip"}, "spec.output.compression: format Arrow can be compressed with none, lz4, zstd only"),
    ("spec.output.passthroughFields", ["a", "A"], "spec.output.passthroughFields: column 'A' is named twice (case does not count)"),
    ("spec.output.partitionBy", ["a", "a"], "spec.output.partitionBy: column 'a' is named twice (case does not count)"),
    ("spec.model.digest", "sha256:ABC", "spec.model.digest: must be 'sha256:' and 64 lower-case hexadecimal digits"),
    ("spec.model.modelFormat", {"name": "pickle"}, "spec.model.modelFormat.name: 'pickle' is not one of onnx"),
    ("spec.model.inputs", [{"name": "x", "columns": []}], "spec.model.inputs[0].columns: must have at least 1 entry"),
    ("spec.model.inputs", [{"name": "x", "columns": ["a"], "nulls": "Reject", "fillValue": "0"}], "spec.model.inputs[0].fillValue: set either fillValue or nulls: a null that is filled is not there any more"),
    ("spec.model.inputs", [{"name": "x", "columns": ["a"], "fillValue": 0}], "spec.model.inputs[0].fillValue: must be text, not the number 0: put it in quotes"),
    ("spec.model.inputs", [{"name": "x", "columns": ["a"]}] * 2, "spec.model.inputs: input 'x' is bound twice"),
    ("spec.model.inputs", [{"name": "x", "columns": ["a", "b", "a"]}], "spec.model.inputs[0].columns: column 'a' is named twice (case does not count)"),
    ("spec.model.inputs", [{"name": "w", "columns": ["a"]}, {"name": "x", "columns": ["a", "A"]}], "spec.model.inputs[1].columns: column 'A' is named twice (case does not count)"),
    ("spec.model.outputs", [{**COLUMN, "index": 1, "classLabel": "1"}], "spec.model.outputs[0].classLabel: set at most one of index and classLabel: each picks one column of the output"),
    ("spec.model.outputs", [COLUMN, {"name": "q", "column": "SCORE"}], "spec.model.outputs: column 'SCORE' is named twice (case does not count)"),
    ("spec.preprocessing", {"columns": [{"name": "a", "expression": "1"}, {"name": "A", "expression": "2"}]}, "spec.preprocessing.columns: column 'A' is computed twice (case does not count)"),
    ("spec.batching", {"batchSize": 0}, "spec.batching.batchSize: must be auto, or a whole number from 1 to 1000000"),
    ("spec.batching", {"batchSize": "64"}, "spec.batching.batchSize: must be auto, or a whole number from 1 to 1000000"),
    ("spec.batching", {"batchSize": True}, "spec.batching.batchSize: must be auto, or a whole number from 1 to 1000000"),
    ("spec.sharding", {"targetBytesPerShard": "256 MB"}, "spec.sharding.targetBytesPerShard: must be a quantity such as 4, 500m, 8Gi; did you mean 256M or 256Mi?"),
    ("spec.sharding", {"targetBytesPerShard": 0}, "spec.sharding.targetBytesPerShard: must be at least 1"),
    ("spec.sharding", {"targetRowsPerShard": 0}, "spec.sharding.targetRowsPerShard: must be at least 1, not 0"),
    ("spec.execution", {"executionProviders": ["cuda"]}, "spec.execution.executionProviders[0]: must be the name of an ONNX Runtime execution provider, such as CPUExecutionProvider or CUDAExecutionProvider"),
    ("spec.execution", {"executionProviders": ["CPUExecutionProvider"] * 2}, "spec.execution.executionProviders: names a provider twice"),
    ("spec.execution", {"batchTimeoutSeconds": 0}, "spec.execution.batchTimeoutSeconds: must be at least 1, not 0"),
    ("spec.workers", {"replicas": 1001}, "spec.workers.replicas: must be at most 1000, not 1001"),
    ("spec.workers", {"replicas": 1.5}, "spec.workers.replicas: must be a whole number, not the number 1.5"),
    ("spec.workers", {"resources": {"limits": {"cpu": 0.57}}}, 'spec.workers.resources.limits.cpu: a decimal must be in quotes: "0.57", which is 570m'),
    ("spec.workers", {"resources": {"limits": {"cpu": 0.0625}}}, 'spec.workers.resources.limits.cpu: a decimal must be in quotes: "0.0625"'),
    ("spec.workers", {"resources": {"limits": {"cpu": True}}}, "spec.workers.resources.limits.cpu: must be a quantity such as 4, 500m, 8Gi"),
    ("spec.workers", {"resources": {"limits": {"cpu": "4x"}}}, "spec.workers.resources.limits.cpu: must be a quantity such as 4, 500m, 8Gi"),
    ("spec.workers", {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}, "spec.workers.resources.requests: memory requests more (2Gi) than its limit (1Gi)"),
    ("spec.workers", {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "spec.execution.executionProviders: the pods get GPUs that nothing would use: ask for CUDAExecutionProvider, or take the GPUs out of spec.workers.resources"),
    ("spec.workers", {"resources": {"limits": {"gpu": 1}}}, "spec.workers.resources.limits: 'gpu' is not a resource: use cpu, memory, ephemeral-storage, or the name of an extended resource such as nvidia.com/gpu"),
    ("spec.workers", {"resources": {"requests": {"Memory": "1Gi"}}}, "spec.workers.resources.requests: 'Memory' is not a resource: use cpu, memory, ephemeral-storage, or the name of an extended resource such as nvidia.com/gpu"),
    ("spec.workers", {"resources": {"limits": {"example.com/fpga": "500m"}}}, "spec.workers.resources.limits: example.com/fpga must be a whole number, not 500m"),
    ("spec.workers", {"resources": {"limits": {"memory": 0}}}, "spec.workers.resources.limits: memory must be at least 1Mi"),
    ("spec.workers", {"resources": {"limits": {"memory": "512m"}}}, "spec.workers.resources.limits: memory must be at least 1Mi, and 512m is 0.512 bytes: did you mean 512Mi?"),
    ("spec.workers", {"resources": {"requests": {"memory": "1n"}}}, "spec.workers.resources.requests: memory must be at least 1Mi, and 1n is 0.000000001 bytes"),
    ("spec.workers", {"resources": {"requests": {"memory": 8}}}, "spec.workers.resources.requests: memory must be at least 1Mi, and 8 is 8 bytes: did you mean 8Mi or 8Gi?"),
    ("spec.workers", {"resources": {"requests": {"memory": "1.5"}}}, "spec.workers.resources.requests: memory must be at least 1Mi, and 1.5 is 1.5 bytes: did you mean 1.5Mi or 1.5Gi?"),
    ("spec.workers", {"resources": {"limits": {"ephemeral-storage": "10m"}}}, "spec.workers.resources.limits: ephemeral-storage must be at least 1, and 10m is 0.01 bytes: did you mean 10Mi?"),
    ("spec.sharding", {"targetBytesPerShard": "256m"}, "spec.sharding.targetBytesPerShard: must be at least 1, and 256m is 0.256 bytes: did you mean 256Mi?"),
    ("spec.workers", {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1m"}}]}, "spec.workers.volumes[0].emptyDir.sizeLimit: must be at least 1, and 1m is 0.001 bytes: did you mean 1Mi?"),
    ("spec.workers", {"nodeSelector": {"zone": "Frankfurt am Main"}}, "spec.workers.nodeSelector.zone: must have letters, digits, '-', '_' and '.', and begin and end with a letter or digit"),
    ("spec.workers", {"nodeSelector": {"a b": "x"}}, "spec.workers.nodeSelector: 'a b' must be the key of a label such as zone or example.com/zone: have letters, digits, '-', '_' and '.', and begin and end with a letter or digit"),
    ("spec.workers", {"tolerations": [{"key": "a b"}]}, "spec.workers.tolerations[0].key: must be the key of a label such as zone or example.com/zone: have letters, digits, '-', '_' and '.', and begin and end with a letter or digit"),
    ("spec.workers", {"tolerations": [{"operator": "Exists", "value": "x"}]}, "spec.workers.tolerations[0].value: operator Exists takes no value"),
    ("spec.workers", {"tolerations": [{"value": "x"}]}, "spec.workers.tolerations[0].key: without a key the operator must be Exists"),
    ("spec.managedBy", "kueue", "spec.managedBy: must look like example.com/controller"),
    ("spec.managedBy", "a/", "spec.managedBy: must have at least 3 characters"),
    ("spec.managedBy", "example.com/" + "x" * 52, "spec.managedBy: must have at most 63 characters"),
    ("spec.workers", {"tolerations": [{"operator": "Exists", "tolerationSeconds": 5}]}, "spec.workers.tolerations[0].tolerationSeconds: tolerationSeconds needs the effect NoExecute"),
    ("spec.workers", {"tolerations": [{"key": "a", "effect": "NoEffect"}]}, "spec.workers.tolerations[0].effect: 'NoEffect' is not one of NoSchedule, PreferNoSchedule, NoExecute; did you mean 'NoExecute'?"),
    ("spec.workers", {"priorityClassName": "High"}, "spec.workers.priorityClassName: must have lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"),
    ("spec.workers", {"runtimeClassName": ""}, "spec.workers.runtimeClassName: must have at least 1 character"),
    ("spec.workers", {"schedulerName": "a_b"}, "spec.workers.schedulerName: must have lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"),
    ("spec.workers", {"serviceAccountName": 7}, "spec.workers.serviceAccountName: must be text, not the number 7: put it in quotes"),
    ("spec.workers", {"image": ""}, "spec.workers.image: must have at least 1 character"),
    ("spec.workers", {"imagePullSecrets": ["registry"]}, "spec.workers.imagePullSecrets[0]: must be a mapping, not the text 'registry'"),
    ("spec.workers", {"imagePullSecrets": [{"name": "r"}] * 17}, "spec.workers.imagePullSecrets: must have at most 16 entries"),
    ("spec.workers", {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}}, f"spec.workers.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: must have at least 1 entry"),
    ("spec.workers", {"affinity": node_affinity({"key": "zone", "operator": "In"})}, f"{NODE_TERM}.matchExpressions[0].values: operators Exists and DoesNotExist take no values, every other needs some"),
    ("spec.workers", {"affinity": node_affinity({"key": "zone", "operator": "Exists", "values": ["a"]})}, f"{NODE_TERM}.matchExpressions[0].values: operators Exists and DoesNotExist take no values, every other needs some"),
    ("spec.workers", {"affinity": node_affinity({"key": "zone", "operator": "Has"})}, f"{NODE_TERM}.matchExpressions[0].operator: 'Has' is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt"),
    ("spec.workers", {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": ""}]}}}, f"spec.workers.affinity.podAffinity.{REQUIRED}[0].topologyKey: must have at least 1 character"),
    ("spec.workers", {"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": "zone"}}]}}}, f"spec.workers.affinity.podAntiAffinity.{PREFERRED}[0].weight: must be at least 1, not 0"),
    ("spec.workers", {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "zone", "namespaces": ["other"]}]}}}, f"spec.workers.affinity.podAffinity.{REQUIRED}[0].namespaces: there is no such field; there are labelSelector, topologyKey"),
    ("spec.workers", {"affinity": node_affinity({"key": "zone", "operator": "Gt", "values": ["1", "2"]})}, f"{NODE_TERM}.matchExpressions[0].values: Gt and Lt compare with one whole number"),
    ("spec.workers", {"affinity": node_affinity({"key": "zone", "operator": "Lt", "values": ["a"]})}, f"{NODE_TERM}.matchExpressions[0].values: Gt and Lt compare with one whole number"),
    ("spec.workers", {"affinity": node_field(key="spec.x")}, f"{NODE_TERM}.matchFields: each is metadata.name, In or NotIn, with one value"),
    ("spec.workers", {"affinity": node_field(operator="Exists", values=[])}, f"{NODE_TERM}.matchFields: each is metadata.name, In or NotIn, with one value"),
    ("spec.workers", {"affinity": node_field(values=["a", "b"])}, f"{NODE_TERM}.matchFields: each is metadata.name, In or NotIn, with one value"),
    ("spec.workers", {"serviceAccountName": "a..b"}, "spec.workers.serviceAccountName: each part between dots must begin and end with a letter or digit"),
    ("spec.workers", {"priorityClassName": "a-.b"}, "spec.workers.priorityClassName: each part between dots must begin and end with a letter or digit"),
    ("spec.workers", {"runtimeClassName": "a.-b"}, "spec.workers.runtimeClassName: each part between dots must begin and end with a letter or digit"),
    ("spec.workers", {"image": " img"}, "spec.workers.image: must not hold spaces or line breaks"),
    ("spec.workers", {"image": "img\n"}, "spec.workers.image: must not hold spaces or line breaks"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a b"}}}]}, f"spec.workers.env[0].valueFrom.secretKeyRef.key: {KEY_EXPECTATION}"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "..a"}}}]}, f"spec.workers.env[0].valueFrom.configMapKeyRef.key: {KEY_EXPECTATION}"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "."}}}]}, f"spec.workers.env[0].valueFrom.configMapKeyRef.key: {KEY_EXPECTATION}"),
    ("spec.workers", {"resources": {"limits": {"hugepages-foo": 1}}}, f"spec.workers.resources.limits: 'hugepages-foo' {NO_RESOURCE}"),
    ("spec.workers", {"resources": {"limits": {"hugepages-2Mi": "3Mi"}}}, "spec.workers.resources.limits: hugepages-2Mi must be a multiple of 2Mi, not 3Mi"),
    ("spec.workers", {"env": [{"name": "1A"}]}, "spec.workers.env[0].name: must have letters, digits and '_', and not begin with a digit"),
    ("spec.workers", {"env": [{"name": "BIJ_TOKEN", "value": "x"}]}, f"spec.workers.env[0].name: {OWN_VARIABLE}"),
    ("spec.workers", {"env": [{"name": "RAY_AUTH_MODE", "value": "x"}]}, f"spec.workers.env[0].name: {OWN_VARIABLE}"),
    ("spec.workers", {"env": [{"name": "LD_PRELOAD", "value": "x"}]}, f"spec.workers.env[0].name: {OWN_VARIABLE}"),
    ("spec.workers", {"env": [{"name": "PYTHONPATH", "value": "x"}]}, f"spec.workers.env[0].name: {OWN_VARIABLE}"),
    ("spec.workers", {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": KEY}}]}, "spec.workers.env[0].value: set at most one of value and valueFrom"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {}}]}, "spec.workers.env[0].valueFrom: set exactly one of secretKeyRef and configMapKeyRef"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}]}, "spec.workers.env[0].valueFrom: set exactly one of secretKeyRef and configMapKeyRef"),
    ("spec.workers", {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}, "spec.workers.env[0].valueFrom.fieldRef: there is no such field; there are secretKeyRef, configMapKeyRef"),
    ("spec.workers", {"env": [{"name": "A", "value": 1}]}, "spec.workers.env[0].value: must be text, not the number 1: put it in quotes"),
    ("spec.workers", {"envFrom": [{}]}, "spec.workers.envFrom[0]: set exactly one of secretRef and configMapRef"),
    ("spec.workers", {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}, "spec.workers.envFrom[0]: set exactly one of secretRef and configMapRef"),
    ("spec.workers", {"envFrom": [{"prefix": "LD_", "secretRef": {"name": "a"}}]}, f"spec.workers.envFrom[0].prefix: {OWN_PREFIX}"),
    ("spec.workers", {"envFrom": [{"prefix": "LD_PRE", "secretRef": {"name": "a"}}]}, f"spec.workers.envFrom[0].prefix: {OWN_PREFIX}"),
    ("spec.workers", {"envFrom": [{"prefix": "L", "secretRef": {"name": "a"}}]}, f"spec.workers.envFrom[0].prefix: {OWN_PREFIX}"),
    ("spec.workers", {"envFrom": [{"prefix": "PYTHON", "secretRef": {"name": "a"}}]}, f"spec.workers.envFrom[0].prefix: {OWN_PREFIX}"),
    ("spec.workers", {"envFrom": [{"prefix": "BIJ", "secretRef": {"name": "a"}}]}, f"spec.workers.envFrom[0].prefix: {OWN_PREFIX}"),
    ("spec.workers", {"envFrom": [{"prefix": "A-", "secretRef": {"name": "a"}}]}, "spec.workers.envFrom[0].prefix: must have letters, digits and '_', and not begin with a digit"),
    ("spec.workers", {"volumes": [{"name": "v"}]}, "spec.workers.volumes[0]: set exactly one of persistentVolumeClaim, secret, configMap, emptyDir"),
    ("spec.workers", {"volumes": [{"name": "v", "emptyDir": {}, "configMap": {"name": "c"}}]}, "spec.workers.volumes[0]: set exactly one of persistentVolumeClaim, secret, configMap, emptyDir"),
    ("spec.workers", {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.workers.volumes[0].hostPath: there is no such field; there are name, persistentVolumeClaim, secret, configMap, emptyDir"),
    ("spec.workers", {"volumes": [{"name": "bij-run", "emptyDir": {}}]}, "spec.workers.volumes[0].name: names that begin with bij- are the run's own"),
    ("spec.workers", {"volumes": [{"name": "V", "emptyDir": {}}]}, "spec.workers.volumes[0].name: must have lower-case letters, digits and '-'"),
    ("spec.workers", {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "much"}}]}, "spec.workers.volumes[0].emptyDir.sizeLimit: must be a quantity such as 4, 500m, 8Gi"),
    ("spec.workers", {"volumes": [{"name": "v", "secret": "mine"}]}, "spec.workers.volumes[0].secret: must be a mapping, not the text 'mine'"),
    ("spec.workers", {"volumes": [VOLUME, VOLUME]}, "spec.workers.volumes: volume 'v' is there twice"),
    ("spec.workers", {"volumeMounts": [MOUNT]}, "spec.workers.volumeMounts: volume 'v' is not in volumes"),
    ("spec.workers", {"volumes": [VOLUME], "volumeMounts": [MOUNT, {**MOUNT, "mountPath": "/data/"}]}, "spec.workers.volumeMounts: two volumes are mounted at '/data'"),
    ("spec.workers", mounted(mountPath="data"), "spec.workers.volumeMounts[0].mountPath: must be an absolute path without ':'"),
    ("spec.workers", mounted(mountPath="/a:b"), "spec.workers.volumeMounts[0].mountPath: must be an absolute path without ':'"),
    ("spec.workers", mounted(mountPath="/"), "spec.workers.volumeMounts[0].mountPath: must be an absolute path without ':'"),
    ("spec.workers", mounted(mountPath="/etc/bij/run"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/var/run/secrets"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/tmp/"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/usr/local/bin"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/opt"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/etc/"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(mountPath="/var"), f"spec.workers.volumeMounts[0].mountPath: {OWN_FOLDER}"),
    ("spec.workers", mounted(subPath="/a"), "spec.workers.volumeMounts[0].subPath: must be relative, without '..'"),
    ("spec.workers", mounted(subPath="a/../b"), "spec.workers.volumeMounts[0].subPath: must be relative, without '..'"),
    ("spec.model.outputs", [{"name": "p", "column": "c", "classLabel": True}], "spec.model.outputs[0].classLabel: must be text, not the boolean true, as YAML reads y, yes, on and true: put it in quotes"),
    ("spec.input.keyField", False, "spec.input.keyField: must be text, not the boolean false, as YAML reads n, no, off and false: put it in quotes"),
    ("spec.errorPolicy", {"maxErrorRate": 0.001}, "spec.errorPolicy.maxErrorRate: must be text, not the number 0.001: put it in quotes"),
    ("spec.errorPolicy", {"maxErrorRate": "1.5"}, 'spec.errorPolicy.maxErrorRate: must be a decimal between 0 and 1 in quotes, such as "0.001"'),
    ("spec.errorPolicy", {"errorThreshold": -2}, "spec.errorPolicy.errorThreshold: must be at least -1, not -2"),
    ("spec.activeDeadlineSeconds", "60", "spec.activeDeadlineSeconds: must be a whole number, not the text '60'"),
    ("spec.suspend", "true", "spec.suspend: must be true or false, not the text 'true'"),
    ("apiVersion", "batchinference.dev/v1", "apiVersion: 'batchinference.dev/v1' is not one of batchinference.dev/v1alpha1; did you mean 'batchinference.dev/v1alpha1'?"),
    ("metadata.name", "Churn.2026", "metadata.name: must have at most 52 lower-case letters, digits and '-', and begin and end with a letter or digit"),
    ("metadata.name", ..., "metadata.name: is required"),
    ("spec.model.secretRef", {"name": "a b"}, "spec.model.secretRef.name: must have lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), REFUSALS)
def test_a_refusal_names_the_field_and_what_to_write(path, value, message):
    with pytest.raises(InvalidManifest) as refusal:
        parse_job(make_manifest({path: value}))

    assert str(refusal.value) == message
    assert redact(message) == message, "it is shown redacted"


CROSS_REFUSALS = {
    "a passthrough field that is also a model output": (
        {"spec.model.outputs": [COLUMN], "spec.output.passthroughFields": ["Score"]},
        (
            "spec.output.passthroughFields: column 'Score' is written already, as a model output or by "
            "postprocessing"
        ),
    ),
    "a model output that postprocessing computes again": (
        {
            "spec.model.outputs": [COLUMN],
            "spec.postprocessing": {"columns": [{"name": "score", "expression": "1"}]},
        },
        (
            "spec.postprocessing: column 'score' has two sources among preprocessing, model outputs "
            "and postprocessing (case does not count)"
        ),
    ),
    "a partition column that is not written": (
        {"spec.model.outputs": [COLUMN], "spec.output.partitionBy": ["country"]},
        (
            "spec.output.partitionBy: column 'country' is not written: add it to "
            "output.passthroughFields"
        ),
    ),
    "an output on a volume that is mounted read-only": (
        {
            "spec.output.storageUri": "pvc://results/nightly/",
            "spec.workers.volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": "results", "readOnly": True}}
            ],
        },
        (
            "spec.workers.volumes[0].persistentVolumeClaim.readOnly: must be false, or left out: "
            "output.storageUri is written to this claim"
        ),
    ),
    "a key that preprocessing computes": (
        {
            "spec.preprocessing": {"columns": [{"name": "id", "expression": "1"}]},
            "spec.input.keyField": "id",
        },
        "spec.input.keyField: column 'id' is computed: it must be a column of the input",
    ),
}


@pytest.mark.parametrize(("changes", "message"), CROSS_REFUSALS.values(), ids=CROSS_REFUSALS)
def test_parts_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(InvalidManifest) as refusal:
        parse_job(make_manifest(changes))

    assert str(refusal.value) == message


def test_every_problem_is_listed_at_once():
    manifest = make_manifest(
        {"spec.output.mode": "Foo", "spec.backoffLimit": -1, "spec.modle": 1, "spec.suspend": 0}
    )

    with pytest.raises(InvalidManifest) as refusal:
        parse_job(manifest)

    assert [problem.field for problem in refusal.value.problems] == [
        "spec.output.mode",
        "spec.backoffLimit",
        "spec.suspend",
        "spec.modle",
    ]


ACCEPTED = [
    {"spec.workers": {"affinity": node_field(), "serviceAccountName": "a.b-c", "resources": {"limits": {"hugepages-2Mi": "4Mi"}}}},
    {"spec.workers": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ".a..B_c-1"}}}]}},
    {"spec.workers": {"resources": {"limits": {"memory": "1.1Gi", "ephemeral-storage": "0"}, "requests": {"memory": "1181116006400m"}}}},
    {"spec.input.storageUris": ["a:b.csv", "run:1/", "./s3:/x", "./~/x", "./$HOME/x", "~backup/", "a$b/$5.csv", "run/a:/b"]},
    {"spec.input.storageUris": ["../x/*.parquet", "/abs", "s3://b", "https://h/x?sig=a@b", "az://c/x"]},
    {"spec.model.outputs": [], "spec.output.partitionBy": ["label"]},
    {"spec.input.keyField": "id", "spec.model.outputs": [COLUMN], "spec.output.partitionBy": ["id"]},
    {"spec.workers": {"resources": {"requests": {"cpu": 2, "memory": "1.5Gi", "example.com/fpga": 1}}}},
    {"spec.workers": {"resources": {"limits": {"x/gpu": 1}}}, "spec.execution": {"allowProviderFallback": True}},
    {"spec.workers": {"resources": {"limits": {"x/gpu": 1}}}, "spec.execution": {"executionProviders": ["CUDAExecutionProvider"]}},
    {"spec.workers": {"tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}]}},
    {"spec.managedBy": "kueue.x-k8s.io/multikueue"},
    {"spec.workers": {"affinity": node_affinity({"key": "zone", "operator": "Gt", "values": ["3"]})}},
    {"spec.workers": {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": ""}}}]}}}},
    {"spec.workers": {"env": [{"name": "A"}, {"name": "BIJOU", "value": ""}, {"name": "B", "valueFrom": {"configMapKeyRef": KEY}}]}},
    {"spec.workers": {"envFrom": [{"prefix": "P_", "secretRef": {"name": "s", "optional": True}}]}},
    {"spec.workers": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}]}},
    {"spec.workers": {"envFrom": [{"prefix": "LDAP_", "configMapRef": {"name": "c"}}]}},
    {"spec.workers": mounted(mountPath="/optional")},
    {"spec.workers": mounted(mountPath="/var/lib/models")},
    {"spec.workers": mounted(mountPath="/etc/bijou", subPath="a/b..c", readOnly=True)},
    {"spec.batching": {"batchSize": "auto"}, "spec.errorPolicy": {"maxErrorRate": "0"}},
    {"metadata.labels": {"a": "b"}, "metadata.managedFields": [{"manager": "x"}], "status": {"phase": "Running"}},
    {"metadata.annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
    {"spec.output": {"storageUri": "pvc://claim/a/", "format": "Parquet", "compression": "lz4"}},
]  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED)
def test_what_is_valid_is_accepted(changes):
    assert parse_job(make_manifest(changes)).metadata.name == "churn"
