"""What pyarrow asks of a Python file that is only ever written, front to back."""

from __future__ import annotations


class WriteOnlyFile:
    """Base of sinks, which count the bytes in `_size`. Closing makes nothing visible."""

    def __init__(self) -> None:
        self.closed = False
        self._size = 0

    def flush(self) -> None:
        """Nothing to do: what counts is `commit`."""

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
