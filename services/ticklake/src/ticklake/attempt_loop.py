"""Event loops of calls that limit their own time: what one that has timed out leaves behind is not waited for."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Loop(asyncio.SelectorEventLoop):
    """Runs blocking calls, which is how asyncio resolves names, in daemon threads; keeps the connections it opened.

    A call cannot be cancelled, and a resolver may take minutes: the end of the loop and that of the process would wait
    for the threads of asyncio's executor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[asyncio.Transport] = []

    def run_in_executor(  # type: ignore[override]
        self, _: Executor | None, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        done = Future[Result]()
        done.set_running_or_notify_cancel()

        def call() -> None:
            try:
                done.set_result(func(*args))
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return asyncio.wrap_future(done, loop=self)

    async def create_connection(self, *args: Any, **options: Any) -> tuple[asyncio.Transport, Any]:
        transport, protocol = await super().create_connection(*args, **options)
        self.opened.append(transport)
        return transport, protocol


def run_attempt(attempt: Coroutine[Any, Any, Result]) -> Result:
    """Run `attempt`, which limits its own time, in this thread, close its connections and return its result."""
    loop = _Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(attempt)
        finally:
            for transport in loop.opened:
                transport.abort()  # close() would wait for the other side to end TLS too
