"""Logs that nobody can change unseen, not even who keeps them: hashes, proofs, exports."""
