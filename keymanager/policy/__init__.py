"""The policy language: who may use which secret, for what, how often and when."""
