"""Contract tests: every RPC of every service, over real gRPC."""
