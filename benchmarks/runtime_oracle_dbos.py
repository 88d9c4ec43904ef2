"""An agent of ten steps in DBOS, for the oracle of the runtime; see runtime_oracle.py.

`python benchmarks/runtime_oracle_dbos.py FOLDER stay` runs one workflow for every place to stop at
and stops each there; killed and started again with `go`, it brings them all to their end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from dbos import DBOS, SetWorkflowID

STEPS = 10
# Places within a step, before and after its effect. Between two steps is before the next one.
SIDES = ("before", "after")

folder = Path(sys.argv[1])
stays = sys.argv[2] == "stay"
stopped = asyncio.Semaphore(0)


@DBOS.step()
async def act(place: str, step: int) -> int:
    """Add a line, and stay if this is where to."""
    await stay_at(place, f"before {step}")
    with (folder / place.replace(" ", "-")).open("a") as effects:
        effects.write(f"{step}\n")
    await stay_at(place, f"after {step}")
    return step


async def stay_at(place: str, here: str) -> None:
    """Wait for the kill, if this is where to."""
    if stays and place == here:
        stopped.release()
        await asyncio.Event().wait()


@DBOS.workflow()
async def agent(place: str) -> int:
    """Take ten steps."""
    total = 0
    for step in range(1, STEPS + 1):
        total += await act(place, step)
    return total


async def main() -> None:
    """Begin all workflows, or find them again."""
    places = [f"{side} {step}" for step in range(1, STEPS + 1) for side in SIDES]
    database = f"sqlite:///{folder}/dbos.db"
    config = {"name": "oracle", "system_database_url": database, "log_level": "ERROR"}
    DBOS(config={**config, "application_version": "1", "executor_id": "one"})
    DBOS.launch()
    if stays:
        for place in places:
            with SetWorkflowID(place):
                await DBOS.start_workflow_async(agent, place)
        for _ in places:
            await stopped.acquire()
        print("stopped", flush=True)
        await asyncio.Event().wait()
    handles = [await DBOS.retrieve_workflow_async(place) for place in places]
    results = {
        place: await handle.get_result() for place, handle in zip(places, handles, strict=True)
    }
    print(json.dumps(results), flush=True)
    DBOS.destroy()


asyncio.run(main())
