"""Fetching the next parts in the background while one is decoded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextlib import AbstractContextManager

    Watched = Callable[[int], AbstractContextManager[object]]
    """Given a shard: entered by a thread that decodes ahead of whoever asked for the shard."""

Task = TypeVar("Task")
Fetched = TypeVar("Fetched")
_DEPTH = 2


def read_ahead(
    tasks: Iterable[Task],
    fetch: Callable[[Task], Fetched],
    *,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Task, Fetched]]:
    """Yield each task with what `fetch` made of it, in order, at most `_DEPTH` tasks ahead.

    An exception of `fetch` is raised where its task's turn comes.
    """
    waiting: deque[tuple[Task, Future[Fetched]]] = deque()
    remaining = iter(tasks)
    try:
        for task in remaining:
            waiting.append((task, pool.submit(fetch, task)))
            if len(waiting) > _DEPTH:
                due, future = waiting.popleft()
                yield due, future.result()
        while waiting:
            due, future = waiting.popleft()
            yield due, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
