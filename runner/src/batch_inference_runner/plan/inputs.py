"""Which files the dataset consists of.

A location is one file, a folder (everything below it, whatever the names end with) or a glob:
`*`, `?` and `[...]` within one name, `**` for any number of folders; `[*]`, `[?]` and `[[]` for
these characters themselves. Folders named `key=value`, below the part of the URI that has no
wildcard, give hive partition values.

Hidden names are skipped, as Spark and Hive do: those that begin with `.` or `_` (but `_key=value`),
unless the glob itself spells that first character. So results written below an input folder by
another job, `_SUCCESS` or `_rejects/` are not read as data. Folders below which nothing can match
are not looked into, so it does no harm if they may not be read.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.plan.plan import InputFile
from batch_inference_runner.redaction import public_uri
from batch_inference_runner.storage.store import NoSuchBucket, NotFound
from batch_inference_runner.storage.wildcards import find_wildcard, unescape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batch_inference_api.choices import DataFormat
    from batch_inference_api.runner_contract import Location
    from batch_inference_runner.storage.store import ObjectInfo, Store

_ONE_NAME = r"(?![._])[^/]*"
_ANY_FOLDERS = r"(?:(?:(?![._])|(?=_[^/]*=))[^/]+/)*"
_RESULT = re.compile(r"part-\d{6,}-[0-9a-f]{8}\..*", re.DOTALL)
_APART = "write beside the input, or to a folder whose name begins with '_'"


def list_inputs(locations: Sequence[Location], data_format: DataFormat) -> tuple[InputFile, ...]:
    """List the files of all locations, pinned, each once, sorted by URI.

    Raises InvalidJob: a location matches nothing, or a link to nothing (InputNotFound), a name is
    not UTF-8 (InvalidSpec), or the partition folders of two files differ in their keys
    (SchemaMismatch). Raises the store's exceptions, NoSuchBucket among them.
    """
    from batch_inference_runner.storage.location import open_parent

    found: dict[str, InputFile] = {}
    for index, location in enumerate(locations):
        store, pattern = open_parent(location)
        before = len(found)
        matched = 0
        for file in _files_at(store, pattern, index):
            matched += 1
            _require_utf8(file.uri)
            found.setdefault(file.uri, file)
        if matched == 0 and len(found) == before:
            raise _nothing_found(location, data_format)
    files = tuple(found[uri] for uri in sorted(found))
    _check_partitions(files)
    return files


def check_output_apart(
    inputs: Sequence[Location], output: Location, *, extension: str, partition_by: Sequence[str]
) -> None:
    """Refuse an output location whose files, which end with `extension`, are read as input.

    Pure but for symbolic links of local folders. Globs that match only some of the values of
    `partition_by` pass: see `refuse_results`. Raises InvalidJob(InvalidSpec).
    """
    folder = _resolved(output.uri)
    name = "".join(f"{column}=v/" for column in partition_by) + "part-000000-00000000" + extension
    for location in inputs:
        base, rest = _split_pattern(location.uri)
        base = _resolved(base)
        if folder.startswith(base) and matches(rest, folder[len(base) :] + name):
            raise InvalidJob(
                Reason.INVALID_SPEC,
                f"the output {public_uri(output.uri)!r} lies inside the input "
                f"{_shown(location)!r}, so results would be read as input: {_APART}",
            )


def refuse_results(files: Sequence[InputFile], output: Location) -> None:
    """Refuse files of the output location that are named as its results are.

    Pure but for symbolic links of local folders. Raises InvalidJob(InvalidSpec).
    """
    folder = _resolved(output.uri)
    is_inside = cache(lambda above: _resolved(above).startswith(folder))
    for file in files:
        above, _, name = file.uri.rpartition("/")
        if _RESULT.fullmatch(name) and is_inside(above):
            raise InvalidJob(
                Reason.INVALID_SPEC,
                f"the input file {public_uri(file.uri)!r} is a result of this or an earlier run, "
                f"whose rows would be scored again: {_APART}",
            )


def matches(pattern: str, key: str) -> bool:
    """Say whether a key below the location's base is one of its files.

    A pattern without wildcards, and one that ends with `/`, names a folder or a single file.
    Raises InvalidJob(InvalidSpec) for a pattern with a range that runs backwards.
    """
    return _regex(pattern).fullmatch(key) is not None


def enters(pattern: str, folder: str) -> bool:
    """Say whether files below a folder, `a/b/` below the location's base, can match the pattern."""
    return _folders_regex(pattern).fullmatch(folder) is not None


def _files_at(store: Store, pattern: str, location: int) -> Iterator[InputFile]:
    base, rest = _split_pattern(pattern)
    exact = _find_exact(store, pattern)
    if exact is not None:
        yield InputFile(store.uri + exact.key, exact.size, exact.version, location)
        return
    for info in _listed(store, base, rest):
        _refuse_dangling(store, info)
        values = _partition_values(info.key[len(base) :])
        yield InputFile(store.uri + info.key, info.size, info.version, location, values)


def _listed(store: Store, base: str, pattern: str) -> Iterator[ObjectInfo]:
    """List what matches; what lies beside it, unreadable perhaps, is not looked at."""

    def wanted(key: str) -> bool:
        look = enters if key.endswith("/") else matches
        return look(pattern, key[len(base) :])

    try:
        yield from store.list(base.rstrip("/"), only=wanted, dangling=True)
    except NoSuchBucket:
        raise
    except NotFound:
        return


def _require_utf8(uri: str) -> None:
    """No plan, reject or report could name such a file: they are JSON and Arrow."""
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        name = uri.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InvalidJob(
            Reason.INVALID_SPEC, f"the name of the input file '{name}' is not UTF-8: rename it"
        ) from error


def _refuse_dangling(store: Store, info: ObjectInfo) -> None:
    """A job that left such a link out would succeed without its rows."""
    if info.dangling:
        raise InvalidJob(
            Reason.INPUT_NOT_FOUND,
            f"{store.uri + info.key!r} is a link that leads to nothing: restore the file that it "
            "leads to, or remove the link",
        )


def _find_exact(store: Store, pattern: str) -> ObjectInfo | None:
    """Find the object whose name is the pattern; it may hold what looks like a wildcard."""
    is_glob = find_wildcard(pattern) is not None
    if not pattern or pattern.endswith("/") or (is_glob and "*" in pattern):
        return None
    try:
        return store.info(pattern if is_glob else unescape(pattern))
    except NotFound:
        return None


def _split_pattern(pattern: str) -> tuple[str, str]:
    """Split after the last folder before the first wildcard: ("data/", "*.csv").

    The folder is a plain path, what follows is still a pattern.
    """
    wildcard = find_wildcard(pattern)
    if wildcard is None:
        folder = unescape(pattern.rstrip("/"))
        return (folder + "/" if folder else "", "")
    cut = pattern.rfind("/", 0, wildcard) + 1
    return unescape(pattern[:cut]), pattern[cut:]


@lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    *folders, last = _parts(pattern)
    name = _ANY_FOLDERS + _ONE_NAME if last == "**" else _name_regex(last)
    return _compile(pattern, "".join(map(_folder_regex, folders)) + name)


@lru_cache(maxsize=256)
def _folders_regex(pattern: str) -> re.Pattern[str]:
    *folders, last = _parts(pattern)
    regex = _ANY_FOLDERS if last == "**" else ""
    for folder in reversed(folders):
        regex = f"(?:{_folder_regex(folder)}{regex})?"
    return _compile(pattern, regex)


def _parts(pattern: str) -> list[str]:
    *folders, last = pattern.split("/")
    return [*folders, last or "**"]


def _folder_regex(part: str) -> str:
    return _ANY_FOLDERS if part == "**" else _name_regex(part) + "/"


def _compile(pattern: str, regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex, re.DOTALL)
    except re.error as error:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"spec.input.storageUris: the glob {pattern!r} is not understood ({error.msg}): a "
            "range has the lower character first, as [a-z]",
        ) from error


def _name_regex(name: str) -> str:
    """Translate one name of a glob; hidden names match only if it spells their first character."""
    parts = re.findall(r"\*+|\?|\[!?\]?[^\]]*\]|.", name, re.DOTALL)
    translated = "".join(_part_regex(part) for part in parts)
    hidden = "(?:(?![._])|(?=_[^/]*=))" if find_wildcard(name) == 0 else ""
    return hidden + translated


def _part_regex(part: str) -> str:
    if part.startswith("*"):
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if len(part) > 2 and part.startswith("["):
        negated = part[1] == "!"
        members = re.sub(r"[\\\[&~|]", r"\\\g<0>", part[2 if negated else 1 : -1])
        members = members.replace("^", r"\^") if members.startswith("^") else members
        return f"(?!/)[{'^' if negated else ''}{members}]"
    return re.escape(part)


def _partition_values(relative: str) -> tuple[tuple[str, str], ...]:
    folders = relative.split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return tuple((unquote(key), unquote(value)) for key, _, value in pairs if key)


def _check_partitions(files: Iterable[InputFile]) -> None:
    first: InputFile | None = None
    for file in files:
        keys = [key for key, _ in file.partition_values]
        first = first or file
        if keys != [key for key, _ in first.partition_values]:
            raise InvalidJob(
                Reason.SCHEMA_MISMATCH,
                f"partition folders differ: {first.uri!r} and {file.uri!r}; every file must lie "
                "below folders with the same keys in the same order",
            )
        if len(set(keys)) != len(keys):
            raise InvalidJob(
                Reason.AMBIGUOUS_COLUMN, f"a partition key appears twice in the path {file.uri!r}"
            )


def _resolved(uri: str) -> str:
    """Resolve `.`, `..` and, for local folders, symbolic links of a folder's plain URI."""
    scheme, separator, path = uri.partition("://")
    resolved = posixpath.realpath(path) if scheme == "file" else posixpath.normpath(path)
    return scheme + separator + resolved.rstrip("/") + "/"


def _shown(location: Location) -> str:
    return unescape(public_uri(location.uri))


def _nothing_found(location: Location, data_format: DataFormat) -> InvalidJob:
    return InvalidJob(
        Reason.INPUT_NOT_FOUND,
        f"no {data_format.value} file matches {_shown(location)!r}: check the "
        "path; names that begin with '_' or '.' are not read, and '*' does not cross a '/'",
    )
