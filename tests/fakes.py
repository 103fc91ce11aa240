"""The simulated service without a port: the same core behind an httpx transport.

Not here: the simulator itself (pipelines/simulator/).
"""

import httpx

from pipelines.simulator.service import Service
from pipelines.simulator.wire import Request, whole


def transport(service: Service) -> httpx.MockTransport:
    """For `httpx.Client(transport=...)`: every request is answered by `service` in this process.

    Faults of the transport need a port: `with serve(service) as url`.
    """

    def handle(request: httpx.Request) -> httpx.Response:
        response = service.handle(
            Request.received(request.method, request.url.path, request.url.query, dict(request.headers), request.read())
        )
        assert response.steps is whole, "a fault of the transport needs a port: use serve(service)"
        return httpx.Response(response.status, headers=list(response.headers), content=response.body)

    return httpx.MockTransport(handle)
