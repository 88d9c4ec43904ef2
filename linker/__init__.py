"""The LLM Linker: every model behind one contract, and no generation without gas."""
