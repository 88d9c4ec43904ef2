"""Models behind online endpoints of Azure ML, in containers that take chat completions."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2

from ..errors import ModelNotFound
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from .carried import CarriedProvider, Carrier, message_of
from .wire import Failure

# Of a deployment; `default` leaves the choice to the endpoint.
_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
ANY_DEPLOYMENT = "default"


class AzureMlProvider(CarriedProvider):
    """One endpoint; its URL is the scoring URI, its models are its deployments.

    Options: `streams` is `false` for scripts that answer whole; `constrains_output` is `true` for
    containers that keep to schemas.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings, _AzureMl(settings))

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return the model of a deployment, or `default` for the one that the endpoint chooses."""
        if not _MODEL.fullmatch(model):
            raise ModelNotFound(f"{self.settings.name}/{model}")
        return await super().open(model, key)


class _AzureMl(Carrier):
    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(streams=settings.options.get("streams") != "false")
        self._url = settings.url

    def address(self, secret: str, model: str, body: dict[str, Any]) -> httpx2.Request:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        if model != ANY_DEPLOYMENT:
            headers["azureml-model-deployment"] = model
        content = json.dumps(body).encode()
        return httpx2.Request("POST", self._url, headers=headers, content=content)

    def understand(
        self, response: httpx2.Response, said: bytes, secret: str
    ) -> tuple[Failure, bool]:
        """See `Carrier`. Azure says 424 when the container refuses, and then what it said.

        A script that fails is there, and says so itself where it is asked without Azure.
        """
        status, headers = response.status_code, response.headers
        if status == httpx2.codes.FAILED_DEPENDENCY:
            original = headers.get("ms-azureml-model-error-statuscode", "")
            status = int(original) if original.isdecimal() else httpx2.codes.BAD_GATEWAY
            return Failure(message_of(said), status, "model_error"), True
        failed = "x-ms-run-function-failed" in headers
        return Failure(message_of(said), status), failed
