"""How a process joins a system: a library for the composition roots, which knows one contract."""
