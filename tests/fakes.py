"""The simulated service without a port, the same core behind an httpx transport; and what an error could show.

Not here: the simulator itself (pipelines/simulator/).
"""

import traceback

import httpx

from pipelines.simulator.service import Service
from pipelines.simulator.wire import Request


def transport(service: Service) -> httpx.MockTransport:
    """For `httpx.Client(transport=...)`: every request is answered by `service` in this process."""

    def handle(request: httpx.Request) -> httpx.Response:
        response = service.handle(
            Request.received(request.method, request.url.path, request.url.query, dict(request.headers), request.read())
        )
        return httpx.Response(response.status, headers=list(response.headers), content=response.body)

    return httpx.MockTransport(handle)


def all_texts(error: BaseException | None) -> str:
    """Everything about the error that could be printed, the errors that it hides among it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
