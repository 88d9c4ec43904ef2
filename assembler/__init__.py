"""The Action Assembler: compiles a manifest into one canonical, hashed, signed bundle."""
