"""Executes bundles durably: nothing acknowledged is lost, and no effect happens twice."""
