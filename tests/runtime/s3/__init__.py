"""Tests of the actions on objects of S3."""
