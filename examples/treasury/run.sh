#!/bin/sh
# Runs this agent against a fake of Coinbase on this machine, and asks before it pays.
set -eu
cd "$(dirname "$0")/../.."
example=treasury
. examples/with-fake.sh
start_fake -m tests.fakes.cdp_server --port
put_secret cdp ed25519 examples/treasury/api-key.txt
put_secret cdp-wallet p256 examples/treasury/wallet-secret.txt

# decide: shows what waits, and does what the person says.
decide() {
    call=$(avm approvals list --json | grep -m 1 -o 'runs/[^"]*/approvals/[^"]*')
    shown=$(avm approvals show "$call")
    echo "$shown"
    printf 'Approve? [y/N] '
    read -r answer <&3 || answer=
    case $answer in
    y*) avm approvals approve "$call" --arguments-sha256 "${shown##*--arguments-sha256 }" ;;
    *) avm approvals deny "$call" ;;
    esac
}

exec 3<&0
avm run examples/treasury/agent.yaml --set "cdp_url=http://localhost:$fake_port" \
    --input "${1:-Pay the supplier.}" </dev/null | while read -r line; do
    echo "$line"
    case $line in waits*) decide ;; esac
done
