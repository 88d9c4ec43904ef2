"""The commands that compile: validate, assemble."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2

from ..client import Client, problem_from_proto
from ..command import AsJson, Settings, ask
from ..errors import CommandError, ExitCode
from ..files import write_private
from ..following import assemble as assemble_source
from ..following import manifest_to_proto
from ..manifest import BUNDLE_BYTES_MAX, parse_settings, read_limited, read_source
from ..output import clean, console, describe_problem, print_json
from ..views import JsonView, choose_view

File = Annotated[Path, typer.Argument(metavar="FILE", help="The agent, such as agent.yaml.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the bundle to this file as JSON.")
]


def validate(
    context: typer.Context, file: File, *, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Check an agent and report all problems at once. Nothing is stored.

    Example: actionvm validate agent.yaml
    """
    source = read_source(file)
    request = assembler_pb2.ValidateManifestRequest(
        manifest=manifest_to_proto(source), parameters=parse_settings(settings or ())
    )

    async def check(client: Client) -> assembler_pb2.ValidateManifestResponse:
        return await client.assembler(lambda stub: stub.ValidateManifest(request))

    problems = [problem_from_proto(problem) for problem in ask(context, check).problems]
    errors = [problem for problem in problems if problem.severity == "error"]
    if as_json:
        print_json({"valid": not errors, "problems": [asdict(one) for one in problems]})
    else:
        for problem in problems:
            console().print(describe_problem(problem))
        count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
        verdict = count if errors else "is valid"
        console().print(f"{clean(file.name)}: {verdict}")
    if errors:
        raise typer.Exit(ExitCode.BAD_INPUT)


def assemble(
    context: typer.Context,
    file: File,
    *,
    output: Output = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compile an agent into one signed bundle, and show its digest.

    Example: actionvm assemble agent.yaml -o agent.bundle && actionvm run agent.bundle
    """
    source, parameters = read_source(file), parse_settings(settings or ())
    with choose_view(as_json=as_json) as view:
        assembly = ask(context, lambda client: assemble_source(client, source, parameters, view))
        if output is not None:
            write_bundle(output, assembly.bundle)
            view.note(f"written to {output}; run it: actionvm run {output}")
        elif not isinstance(view, JsonView):
            view.note(f"run it: actionvm run {assembly.bundle.name}")


def write_bundle(path: Path, bundle: action_pb2.Bundle) -> None:
    """Write a bundle as the JSON of its contract."""
    text = json_format.MessageToJson(bundle, preserving_proto_field_name=True, indent=1)
    write_private(path, text.encode())


def is_bundle(path: Path) -> bool:
    """Return whether a file holds a bundle; what cannot be read at all counts as a manifest."""
    if path.suffix == ".bundle":
        return True
    if not path.is_file() or path.stat().st_size > BUNDLE_BYTES_MAX:
        return False
    content = path.read_bytes().lstrip()
    return content.startswith(b"{") and b'"apiVersion"' not in content


def read_bundle(path: Path) -> action_pb2.Bundle:
    """Read what `write_bundle` wrote; whether it is genuine is for the runtime to say."""
    content = read_limited(path, BUNDLE_BYTES_MAX, what="the bundle", field="bundle")
    try:
        return json_format.Parse(content, action_pb2.Bundle())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise CommandError(
            f"{path} is not a bundle: {error}",
            reason="BUNDLE_INVALID",
            field="bundle",
            fix="assemble it again: actionvm assemble FILE -o BUNDLE",
        ) from error
