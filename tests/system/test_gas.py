"""Tests of the commands of gas on the real gas system, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc
from chassis.config import ServiceConfig
from cli.app import app
from cli.health import wait_until_serving
from cli.home import Home
from cli.services import ROOT, SERVICE_NAMES, SERVICES, addresses, environment, peer_addresses
from cli.state import Child, State
from enrolment.join import join
from keymanager.config import KeymanagerConfig
from tests.fakes.platform import FakeAttester, FakePlatform

from .conftest import free_port_base
from .stand_ins import keymanager_for, platform_for

pytestmark = pytest.mark.system

GAS, RUNTIME = (
    next(service for service in SERVICES if service.name == name) for name in ("gas", "runtime")
)
MODEL = "model local/babbler"
PLATFORM = FakePlatform()
RUNTIME_HERE = FakeAttester(PLATFORM, "runtime")
WEBHOOK_SECONDS = 30.0


@dataclass
class GasProcess:
    """The gas system with its home, and the agents that spend in it."""

    home: Home
    port_base: int
    runs: int = 0

    def invoke(self, *arguments: str) -> Result:
        """Run a command to its end."""
        return CliRunner().invoke(app, ["--home", str(self.home.folder), "gas", *arguments])

    def read(self, *arguments: str) -> Any:  # noqa: ANN401  # JSON
        """Return the document of a command that must succeed."""
        result = self.invoke(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def spend(self, agent: str, tokens: int) -> str:
        """Let an agent use so many tokens in a run of its own, close it, and return its name."""
        self.runs += 1
        run = f"runs/{uuid.UUID(int=self.runs, version=4)}"
        asyncio.run(self._spend(run, agent, tokens))
        return run

    async def _spend(self, run: str, agent: str, tokens: int) -> None:
        used = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=tokens)]
        async with (
            join(
                runtime_of(self.home, self.port_base), FakeAttester(PLATFORM, "runtime")
            ) as member,
            member.connect(peer_addresses(self.port_base)["gas"], "gas") as channel,
        ):
            stub: Any = gas_pb2_grpc.GasServiceStub(channel)
            wish = pb.ReserveGasRequest(
                request_id=run, account=f"agents/{agent}", run=run, item=MODEL, usages=used
            )
            hold = (await stub.ReserveGas(wish)).hold
            settled = pb.SettleGasRequest(hold=hold.name, usages=used)
            await stub.SettleGas(settled)
            closed = pb.CloseRunRequest(run=run, account=f"agents/{agent}")
            await stub.CloseRun(closed)


@pytest.fixture(scope="module")
def gas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GasProcess]:
    """Start the gas system, and who lets it in; other commands would find nothing."""
    home = Home(tmp_path_factory.mktemp("gas") / "home")
    home.prepare(SERVICE_NAMES)
    port_base = free_port_base()
    listen, peer_listen = addresses(port_base), peer_addresses(port_base)
    issuer = KeymanagerConfig(
        listen=listen["keymanager"],
        peer_listen=peer_listen["keymanager"],
        data_dir=home.data_dir("keymanager"),
        identities_file=home.identities_file,
        ca_file=home.ca_file,
    )
    with (
        platform_for(FakeAttester(PLATFORM, "gas"), home.platform_socket),
        keymanager_for(issuer, PLATFORM),
        subprocess.Popen(
            [sys.executable, "-m", "gas"], cwd=ROOT, env=environment(home, GAS, port_base)
        ) as process,
    ):
        try:
            own = psutil.Process()
            services = {"gas": Child(listen["gas"], pid=process.pid)}
            platform = Child(str(home.platform_socket), pid=own.pid)
            state = State(own.pid, own.create_time(), port_base, platform, services)
            state.write(home)
            asyncio.run(wait_until_serving(home, state, lambda _: None))
            yield GasProcess(home, port_base)
        finally:
            process.terminate()


def runtime_of(home: Home, port_base: int) -> ServiceConfig:
    """Return the settings of the runtime, whom the tests play."""
    folder = home.data_dir("runtime")
    settings = environment(home, RUNTIME, port_base)
    return ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=home.identities_file,
        peer_listen="127.0.0.1:0",
        ca_file=home.ca_file,
        issuer_address=settings["RUNTIME_ISSUER_ADDRESS"],
        issuer_peer_address=settings["RUNTIME_ISSUER_PEER_ADDRESS"],
        platform_socket=home.platform_socket,
    )


@pytest.fixture
def agent(gas: GasProcess) -> str:
    """Return an agent that no other test knows, with a budget."""
    name = f"a{uuid.uuid4()}"
    gas.read("budget", "set", name, "1000000")
    return name


def test_the_packaged_prices_can_be_written_changed_and_put_into_force(
    gas: GasProcess, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(gas.invoke("prices", "show", "--yaml").stdout)
    assert "nothing changes" in gas.invoke("prices", "update", str(file)).stdout

    before = gas.read("prices", "show")["version"]
    file.write_text(file.read_text().replace("model local/*:", "model local/other:", 1))
    changed = gas.read("prices", "update", str(file), "--yes")

    items = {change["item"] for change in changed["changes"]["prices"]}
    assert items == {"model local/*", "model local/other"}
    tables = gas.read("prices", "list")["tables"]
    assert [one["version"] for one in tables if one["in_force"]] == [changed["version"]]
    # The table of before, scheduled again, takes it back.
    file.write_text(file.read_text().replace("model local/other:", "model local/*:", 1))
    assert gas.read("prices", "update", str(file), "--yes")["version"] == before


def test_a_value_that_the_gas_system_refuses_is_told_with_its_line(
    gas: GasProcess, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    tiers = "{input_tokens: 9, above 1000: {input_tokens: 1}}"
    file.write_text(f"prices:\n  model local/*: {{input_tokens: 1}}\n  model x: {tiers}\n")

    result = gas.invoke("prices", "update", str(file), "--yes")

    assert result.exit_code == 2
    assert "prices.yaml:3:" in result.stderr


def test_what_was_spent_is_used_and_counts_against_the_budget(gas: GasProcess, agent: str) -> None:
    gas.spend(agent, 10_000)

    (row,) = gas.read("usage", agent, "--by", "agent,model,day")["rows"]
    (budget,) = gas.read("budget", "list", agent)["budgets"]
    assert (row["item"], row["usages"][0]["amount"]) == (MODEL, 10_000)
    assert row["gas"] == budget["gas_spent"] > 0


def test_every_kind_of_budget_is_set_listed_and_lifted(gas: GasProcess, agent: str) -> None:
    kinds = {
        "sliding": ("--window", "36h", "--soft"),
        "berlin": ("--per", "month", "--zone", "Europe/Berlin"),
        "model": ("--per", "total", "--item", "model openai/*"),
    }
    for kind, options in kinds.items():
        gas.read("budget", "set", agent, "5000", "--id", kind, *options)

    listed = gas.read("budget", "list", agent)["budgets"]
    assert {budget["id"] for budget in listed} >= set(kinds)
    for kind in kinds:
        gas.read("budget", "delete", f"{agent}/budgets/operator.{kind}")
    assert len(gas.read("budget", "list", agent)["budgets"]) == 1


def test_the_budget_of_a_tenant_is_shown_with_its_agents(gas: GasProcess, agent: str) -> None:
    gas.read("tenant", agent, "lab")
    gas.read("budget", "set", "tenants/lab", "70")

    found = gas.read("budget", "list", agent)

    assert [budget["gas_limit"] for budget in found["tenant_budgets"]] == [70]
    assert found["gas_available"] == 70


def test_an_agent_that_was_put_nowhere_shows_the_default_tenant(
    gas: GasProcess, agent: str
) -> None:
    assert gas.read("tenant", agent)["tenant"] == "tenants/default"


def test_the_chain_of_the_real_ledger_is_verified_here(gas: GasProcess, agent: str) -> None:
    gas.spend(agent, 10)
    first = gas.read("entries", "--verify")
    gas.spend(agent, 10)

    again = gas.read("entries", "--verify", "--kept", first["head"])

    assert first["verified"]
    assert again["verified"]
    assert again["count"] == first["count"] + 1


def test_a_refund_returns_gas_to_the_budget(gas: GasProcess, agent: str) -> None:
    gas.spend(agent, 10_000)
    (entry,) = gas.read("entries", agent)["entries"]

    gas.read("refund", entry["hold"], str(entry["gas"]), "--cause", "was down")

    assert gas.read("budget", "list", agent)["budgets"][0]["gas_spent"] == 0


def test_a_run_is_billed_and_the_creator_is_paid_out(gas: GasProcess, agent: str) -> None:
    gas.read("dao", "set", "founders", "alice=2", "bob=1")
    fees = ("--commission", "10%", "--creator-fee", "0.01", "--dao", "founders")
    gas.read("fees", "set", agent, *fees)
    run = gas.spend(agent, 10_000)

    price = gas.read("bill", run)["price"]

    paid = {payout["holder"]: payout["micros"] for payout in price["payouts"]}
    assert paid == {"alice": 6_667, "bob": 3_333}
    shown = gas.read("fees", "show", agent, "--gas", str(price["gas"]))["price"]
    assert shown["total_micros"] == price["total_micros"]
    assert gas.read("dao", "show", "founders")["payouts"]


def test_a_stated_item_is_quoted(gas: GasProcess) -> None:
    found = gas.read("quote", MODEL, "--usage", "input_tokens=1000")

    assert found["gas"] > 0
    assert found["cost"]["currency"]


def test_what_happens_is_watched_in_order(gas: GasProcess, agent: str) -> None:
    run = gas.spend(agent, 10)
    command = ["--home", str(gas.home.folder), "gas", "watch", agent, "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline())["event"] for _ in range(2)]
        process.terminate()

    assert events[0]["entry"]["item"] == MODEL
    assert events[1]["run_closed"]["run"] == run


@dataclass
class Receiver:
    """Somebody who takes events, and keeps them."""

    url: str
    bodies: list[Any] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            made.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()
            made.arrived.set()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    thread.join(5)
    server.server_close()


def test_a_webhook_gets_the_bill(gas: GasProcess, agent: str, receiver: Receiver) -> None:
    options = ("--event", "bill", "--agent", agent)
    webhook = gas.read("webhook", "create", receiver.url, *options)
    run = gas.spend(agent, 10)

    gas.read("bill", run)

    assert receiver.arrived.wait(WEBHOOK_SECONDS)
    assert receiver.bodies[0]["type"] == "com.actionvm.gas.bill.v1"
    name = webhook["webhook"]["name"]
    assert name in {one["name"] for one in gas.read("webhook", "list")["webhooks"]}
    gas.read("webhook", "delete", name)
