"""A project's pipeline, as it calls the API."""

from typing import Any

from django.test import Client

ENDPOINT = "http://metrics.example:8080/ds-metrics"


class Pipeline:
    """Calls with an API key; answers are responses of Django's test client."""

    def __init__(self, api_key: str, **options: Any) -> None:
        self.client = Client(headers={"X-API-Key": api_key}, **options)

    def get(self, path: str, data: Any = None) -> Any:
        return self.client.get(path, data)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.post(path, body, content_type="application/json", headers=headers)

    def trigger(self, **body: Any) -> Any:
        return self.post("/deployments/trigger", {"env": "prod", **body})

    def start(self, **body: Any) -> str:
        """Trigger and return the deployment's id."""
        uuid: str = self.trigger(**body).json()["deployment_id"]
        return uuid

    def finish(self, uuid: Any, **body: Any) -> Any:
        return self.post("/deployments/finish", {"deployment_id": str(uuid), "result": "success", **body})

    def verdict(self, uuid: Any, **query: Any) -> Any:
        return self.get(f"/deployments/{uuid}/verdict", query)
