# Functions of examples that act on a fake of a service; sourced in the root of the checkout.
# The services of such an example have a home of their own, and end with it.

home=${EXAMPLE_HOME:-.actionvm/$example}
ports=${EXAMPLE_PORTS:-7440}
fake_port=${EXAMPLE_FAKE_PORT:-7481}

avm() { bin/actionvm --home "$home" "$@"; }

# start_fake COMMAND...: starts it with a port as its last argument, and the services that may ask it.
start_fake() {
    bin/setup
    trap 'kill "$fake" 2>/dev/null || true; avm down >&2' EXIT
    mkdir -p "$home"
    PYTHONPATH=. .venv/bin/python "$@" "$fake_port" 2>"$home/fake.log" &
    fake=$!
    RUNTIME_EGRESS_ALLOW=localhost:$fake_port avm up --detach --port-base "$ports" >&2
}

# put_secret NAME KIND FILE: unless it is there from the last time.
put_secret() {
    avm secrets list --json | grep -q "secrets/$1\"" || avm secrets put "$1" --kind "$2" --value-file "$3" >&2
}
