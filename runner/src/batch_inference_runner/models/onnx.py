"""The only module that calls ONNX Runtime.

Isolator processes import it too, so it needs numpy and ONNX Runtime and nothing else that is slow.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.models.signature import Signature, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

CPU = "CPUExecutionProvider"

_RUNTIME_ERRORS: tuple[type[BaseException], ...] = tuple(
    value
    for value in vars(native).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
_LOAD_ERRORS: tuple[type[BaseException], ...] = (*_RUNTIME_ERRORS, ValueError, RuntimeError)
_RUN_ERRORS: tuple[type[BaseException], ...] = (
    *_RUNTIME_ERRORS,
    ValueError,
    RuntimeError,
    MemoryError,
)

_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {
        # Doubling the arena at every growth leaves half of the device unusable for other pods.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm for each new shape, seconds for a large CNN.
        "cudnn_conv_algo_search": "HEURISTIC",
    },
}
_LONGEST_MESSAGE = 2048
_QUIET = 4  # fatal only: warnings go to stderr unredacted, and may quote values
_NODE = re.compile(r"running (\w+) node")
_STATUS = re.compile(r"Status Message: (.*)", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_PATH = re.compile(r"\S*/\S+:\d+ \S+.*\) ")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FILE = re.compile(r"Load model from .*? failed:|Exception during initialization: ")
_SOURCE = re.compile(
    r"/onnxruntime_src/\S+ .*?\)(?: const)?(?:::<lambda\(.*?\)>)?(?: \[with .*?\])? "
)
"""File, line and signature in ONNX Runtime's own sources: often longer than the reason."""
_NO_LOCALE = re.compile(r"Failed to construct locale with name:((\w{1,32})\.?([\w-]{0,32}))")
_OUT_OF_MEMORY = re.compile(r"bad.alloc|bad allocation|failed to allocate memory", re.IGNORECASE)


_NO_MEMORY = "OutOfMemory"


class InferenceFailed(Exception):
    """A call of the model failed; `error` is a short class, the message quotes no values."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it might succeed with more memory, or with fewer calls beside it."""
        return self.error == _NO_MEMORY


class OnnxModel:
    """A loaded model. `run` may be called from several threads at once."""

    def __init__(
        self,
        path: Path,
        *,
        providers: Sequence[str] = (CPU,),
        allow_fallback: bool = False,
        intra_op_threads: int = 1,
    ) -> None:
        """Load the model at `path`.

        Raises:
            InvalidJob: a provider is not active, or ONNX Runtime cannot load the model.
        """
        active = _available(providers, allow_fallback=allow_fallback)
        self._session = _load(path, active, intra_op_threads=intra_op_threads)
        self.provider = str(self._session.get_providers()[0])
        if self.provider != active[0] and not allow_fallback:
            raise _unavailable(active[0], [self.provider])
        self.signature = Signature(
            inputs=tuple(_spec(value) for value in self._session.get_inputs()),
            outputs=tuple(_spec(value) for value in self._session.get_outputs()),
            defaults=tuple(v.name for v in self._session.get_overridable_initializers()),
        )

    def run(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
        """Call the model once; values come in the order of `outputs`.

        Raises:
            InferenceFailed: ONNX Runtime refused the values, or ran out of memory.
        """
        try:
            return list(self._session.run(outputs, feeds))
        except _RUN_ERRORS as error:
            raise _inference_failed(error, self.signature) from error


def runtime_version() -> str:
    """Return the version of ONNX Runtime."""
    return str(ort.__version__)


def _available(providers: Sequence[str], *, allow_fallback: bool) -> list[str]:
    # Asking for a provider that this build lacks prints to stdout and runs on the CPU instead.
    available = ort.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing and not allow_fallback:
        raise _unavailable(missing[0], available)
    return [provider for provider in providers if provider in available] or [CPU]


def _unavailable(provider: str, active: Sequence[str]) -> InvalidJob:
    return InvalidJob(
        Reason.ACCELERATOR_UNAVAILABLE,
        f"execution provider {provider!r} is not active here; this runner has "
        f"{', '.join(active)}. Use an image and a node that have it, list another one in "
        "spec.execution.executionProviders, or set spec.execution.allowProviderFallback: true",
    )


def _load(path: Path, providers: Sequence[str], *, intra_op_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _QUIET
    # A pattern is kept for every batch size ever seen, and each shard ends with another one.
    options.enable_mem_pattern = False
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    ort.set_default_logger_severity(_QUIET)
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=[(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers],
        )
    except _LOAD_ERRORS as error:
        raise _cannot_load(str(error)) from error


@cache
def _register_arena() -> None:
    """Let memory grow by what is asked for; the default is to double it.

    Where twice as much does not fit, the default tries less and less until it does, and if that
    leaves no room to keep account of it, all of it is lost: not even single rows fit any more.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": 1}))


def _cannot_load(text: str) -> InvalidJob:
    text = _first_line(text)
    what = f"ONNX Runtime {ort.__version__} cannot load the model: "
    if locale := _NO_LOCALE.search(text):
        name = locale[1]
        return InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"{what}its StringNormalizer asks for the locale {name!r}, which this machine does not "
            f"have. Generate it (on Debian or Ubuntu: apt-get install locales, then localedef "
            f"-i {locale[2]} -f {locale[3] or 'UTF-8'} {name}), or export the model for one that "
            "exists everywhere (skl2onnx: options={TfidfVectorizer: {'locale': 'C.UTF-8'}})",
        )
    reason = _SOURCE.sub("", _FILE.sub("", text)).strip()[:300]
    return InvalidJob(
        Reason.MODEL_UNSUPPORTED,
        f"{what}{reason.rstrip('.')}. Export it again with an opset and operators that this "
        "version supports (https://onnxruntime.ai/docs/reference/compatibility.html)",
    )


def _spec(value: Any) -> ValueSpec:
    shape = value.shape
    dims = tuple(dim if isinstance(dim, int) and dim > 0 else None for dim in shape or ())
    return ValueSpec(name=value.name, type=value.type, shape=dims or None)


def _inference_failed(error: BaseException, signature: Signature) -> InferenceFailed:
    text = str(error)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return InferenceFailed(_NO_MEMORY, "the model ran out of memory on this row")
    node = _NODE.search(text)
    where = f"{node[1]} node failed" if node else "the model failed"
    if any(value.element == "string" for value in signature.inputs):
        # A message may quote a string of the row without any mark that could be recognised.
        return InferenceFailed("InferenceError", where)
    status = _STATUS.search(text)
    detail = _redacted(_first_line(status[1] if status else text))
    return InferenceFailed("InferenceError", f"{where}: {detail}")


def _first_line(text: str) -> str:
    """The beginning of a message, which a model may have made as long as it likes."""
    return text.strip().partition("\n")[0][:_LONGEST_MESSAGE]


def _redacted(text: str) -> str:
    text = _PATH.sub("", text)
    return _NUMBER.sub("#", _QUOTED.sub("'...'", text))[:200]
