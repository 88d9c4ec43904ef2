#!/bin/sh
# Runs this agent against a fake of X on this machine; nothing leaves it.
set -eu
cd "$(dirname "$0")/../.."
example=x-brief
. examples/with-fake.sh
start_fake -m tests.fakes.x_server --port
put_secret x-account oauth1 examples/x-brief/credential.json
avm run examples/x-brief/agent.yaml --set "url=http://localhost:$fake_port" \
    --input "${1:-What moved the market today?}"
