"""Tests, in folders that mirror the services; `make test` runs them."""
