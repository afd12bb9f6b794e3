"""Use the public client like a pipeline. Runs in the client's own environment; prints one JSON object.

Arguments: base URL of the site, metrics endpoint. The client reads the API key from SEQPULSE_API_KEY.
"""

import json
import sys
import time

from seqpulse import create_ci_client

site, endpoint = sys.argv[1:]
client = create_ci_client(base_url=site, metrics_endpoint=endpoint, env="prod", non_blocking=False)
first = client.trigger(idempotency_key="build-7", branch="main")
again = client.trigger(idempotency_key="build-7", branch="main")
time.sleep(1)  # the deployment; the PRE sample is taken meanwhile
finished = client.finish(deployment_id=first["deployment_id"], job_status="success")
ignored = client.finish(deployment_id=first["deployment_id"], job_status="success")
print(json.dumps({"first": first, "again": again, "finished": finished, "ignored": ignored}))
