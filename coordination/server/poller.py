"""Which sockets are ready, as one thing to wait for.

In: file descriptors with what interests us.  Out: (fd, mask) of those that are ready, the mask made of READABLE and
WRITABLE; and one descriptor that is readable while any of them is, so that a trio task can wait for all at once.
Knows no byte.  Answers to the selectors of ZooKeeper's NIOServerCnxnFactory.

Why not a task per connection: with one, every request of a quiet connection pays a task switch (8-15 us measured), and
a change for 1000 watchers wakes 1000 tasks (37 ms against 8 ms sent directly).  Level-triggered on purpose: what is not
read now is reported again.
"""

import select
import selectors

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE

READY_MAX = 1000
"""So many sockets are given at a time, at most; who was not given comes before those who were."""

if hasattr(select, "epoll"):

    class Poller:
        """Linux: epoll itself."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def fileno(self) -> int:
            return self._epoll.fileno()

        def add(self, fd: int) -> None:
            self._epoll.register(fd, select.EPOLLIN)

        def change(self, fd: int, *, read: bool, write: bool) -> None:
            self._epoll.modify(fd, (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0))

        def remove(self, fd: int) -> None:
            self._epoll.unregister(fd)

        def ready(self) -> list[tuple[int, int]]:
            """(fd, mask) of what is ready now; never waits."""
            return self._epoll.poll(0, READY_MAX)

        def close(self) -> None:
            self._epoll.close()

    READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
    WRITABLE = select.EPOLLOUT

else:  # pragma: no cover - the other systems; their selector has a descriptor to wait for too

    class Poller:  # type: ignore[no-redef]
        """kqueue, through the standard library."""

        def __init__(self) -> None:
            self._selector = selectors.DefaultSelector()

        def fileno(self) -> int:
            return self._selector.fileno()

        def add(self, fd: int) -> None:
            self._selector.register(fd, _READ)

        def change(self, fd: int, *, read: bool, write: bool) -> None:
            mask = (_READ if read else 0) | (_WRITE if write else 0)
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            if mask:
                self._selector.register(fd, mask)

        def remove(self, fd: int) -> None:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

        def ready(self) -> list[tuple[int, int]]:
            return [(key.fd, mask) for key, mask in self._selector.select(0)]  # all of them

        def close(self) -> None:
            self._selector.close()

    READABLE = _READ
    WRITABLE = _WRITE
