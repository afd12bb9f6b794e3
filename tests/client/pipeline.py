"""What a pipeline does with the public client. Runs in the client's own environment; prints one JSON object.

Arguments: address of the site, metrics endpoint. The API key is in SEQPULSE_API_KEY, where the client looks for it.
"""

import json
import sys
import time

from seqpulse import create_ci_client

site, endpoint = sys.argv[1:]
client = create_ci_client(base_url=site, metrics_endpoint=endpoint, env="prod", non_blocking=False)
first = client.trigger(idempotency_key="build-7", branch="main")
again = client.trigger(idempotency_key="build-7", branch="main")
time.sleep(1)  # the deployment itself: the sample from before it is taken meanwhile
finished = client.finish(deployment_id=first["deployment_id"], job_status="success")
ignored = client.finish(deployment_id=first["deployment_id"], job_status="success")
print(json.dumps({"first": first, "again": again, "finished": finished, "ignored": ignored}))
