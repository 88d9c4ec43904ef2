#!/bin/sh
# Runs this agent against a hub of Farcaster on this machine; nothing leaves it.
set -eu
cd "$(dirname "$0")/../.."
example=farcaster-notice
. examples/with-fake.sh
start_fake -m tests.fakes.farcaster_server --port
put_secret farcaster-signer ed25519 examples/farcaster-notice/key.txt
avm run examples/farcaster-notice/agent.yaml --set "url=http://localhost:$fake_port" \
    --set network=devnet --input "${1:-What about the ferry?}"
