"""Components of the world `action` that tests write by hand, in the text format."""

from __future__ import annotations

import json

import wasmtime

from sandbox.ports import Component

DESCRIBED = {
    "actions": [
        {
            "name": "act",
            "description": "Act.",
            "capabilities": ["board.post"],
            "parameters_schema": {"type": "object", "properties": {}},
            "output_schema": {},
        }
    ]
}
HOST = """
  (import "actionvm:action/host@0.1.0" (instance $host
    (export "ask" (func (param "calls" string) (result string)))
    (export "log" (func (param "text" string)))
    (export "now" (func (result float64)))))
"""


def returning(value: str) -> str:
    """Return the body of a function whose result is this text, in memory at 0x8000."""
    return f"(call $text (i32.const 0x8000) (i32.const {len(value.encode())}))"


def component(
    body: str, *, data: str = "", head: str = "", more: str = "", functions: str = ""
) -> Component:
    """Return a component: `execute` has this body, `data` is at 0x8000 of its memory.

    `$text` makes the result of a place and a length; `$join` appends both to what lies at 0x20000
    and gives the new length; `$ask` asks the host with a place and a length, and puts where.
    """
    return Component(
        compiled(
            _TEXT.format(
                body=body,
                data=_quoted(data),
                described=_quoted(json.dumps(DESCRIBED)),
                length=len(json.dumps(DESCRIBED)),
                host=HOST,
                head=head,
                more=more,
                functions=functions,
            )
        )
    )


def compiled(text: str) -> bytes:
    """Return the binary of a text."""
    return bytes(wasmtime.wat2wasm(text))


def _quoted(text: str) -> str:
    return "".join(f"\\{byte:02x}" for byte in text.encode())


# Memory: results of the host from 0x40000 on, a result at 0x10, the description at 0x4000.
_TEXT = """
(component
  {host}
  {head}
  (core module $memory
    (memory (export "memory") 8)
    (global $end (mut i32) (i32.const 0x40000))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $end)
      (global.set $end (i32.add (global.get $end) (i32.and (i32.add (local.get 3) (i32.const 7))
        (i32.const -8))))))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))
  (alias export $host "ask" (func $host_ask))
  (alias export $host "log" (func $host_log))
  (core func $ask (canon lower (func $host_ask) (memory $bytes) (realloc $realloc)))
  (core func $log (canon lower (func $host_log) (memory $bytes)))
  (core module $main
    (import "memory" "memory" (memory 8))
    (import "host" "ask" (func $ask (param i32 i32 i32)))
    (import "host" "log" (func $log (param i32 i32)))
    (data (i32.const 0x4000) "{described}")
    (data (i32.const 0x8000) "{data}")
    (global $length (mut i32) (i32.const 0))
    (func $text (param i32 i32) (result i32)
      (i32.store (i32.const 0x10) (local.get 0))
      (i32.store (i32.const 0x14) (local.get 1))
      (i32.const 0x10))
    (func $join (param i32 i32)
      (memory.copy (i32.add (i32.const 0x20000) (global.get $length)) (local.get 0) (local.get 1))
      (global.set $length (i32.add (global.get $length) (local.get 1))))
    {functions}
    (func (export "describe") (result i32)
      (call $text (i32.const 0x4000) (i32.const {length})))
    (func $execute (export "execute") (param $call i32) (param $size i32) (result i32)
      {body}))
  (core instance $main (instantiate $main
    (with "memory" (instance $memory))
    (with "host" (instance (export "ask" (func $ask)) (export "log" (func $log))))))
  (alias core export $main "describe" (core func $describe))
  (alias core export $main "execute" (core func $execute))
  (func (export "describe") (result string)
    (canon lift (core func $describe) (memory $bytes) (realloc $realloc)))
  (func (export "execute") (param "call" string) (result string)
    (canon lift (core func $execute) (memory $bytes) (realloc $realloc)))
  {more}
)
"""
