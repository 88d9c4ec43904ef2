#!/bin/sh
# Runs this agent against a bucket on this machine (moto); nothing leaves it.
set -eu
cd "$(dirname "$0")/../.."
example=s3-report
. examples/with-fake.sh
start_fake -m moto.server --port
url=http://localhost:$fake_port
curl --silent --show-error --retry 20 --retry-connrefused --retry-delay 1 -X PUT "$url/reports"
put_secret s3-key aws examples/s3-report/credential.json
avm run examples/s3-report/agent.yaml --set "endpoint=$url" --input "${1:-What about ether?}" |
    tee "$home/run.txt"
echo "what is at that address:"
curl --silent --show-error "$(grep -m 1 -o "$url.*Signature=[0-9a-f]*" "$home/run.txt")"
